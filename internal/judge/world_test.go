package judge

import (
	"math"
	"math/rand/v2"
	"time"
)

// world draws requests one by one, as a router and two scorers would.
type world struct {
	rng        *rand.Rand
	errorRate  func(arm Arm, i int) float64
	quick      bool // failures take no time
	invalid    [2]float64
	refuse     [2]float64
	latency    [2]float64 // factor on a lognormal of 5 ms
	tail       [2]float64 // chance of half a second more
	score      func(arm Arm, base float64) float64
	base       func(r *rand.Rand) float64
	repeatBP   int
	evidence   Evidence
	recent     []Window
	failedCand uint64
}

func newWorld(seed uint64) *world {
	return &world{
		rng: rand.New(rand.NewPCG(seed, 77)), latency: [2]float64{1, 1},
		errorRate: func(Arm, int) float64 { return 0 },
		score:     func(_ Arm, b float64) float64 { return b },
		base:      func(r *rand.Rand) float64 { return .036 * math.Exp(.5*r.NormFloat64()-.125) },
	}
}

func (w *world) epoch(info EpochInfo) *EpochEvidence {
	info.ID = uint32(len(w.evidence.Epochs) + 1)
	w.evidence.Epochs = append(w.evidence.Epochs, EpochEvidence{Info: info})
	return &w.evidence.Epochs[len(w.evidence.Epochs)-1]
}

// requests sends n requests in the latest epoch and remembers them as one slice of
// the breaker's window.
func (w *world) requests(n, from int) {
	ep := &w.evidence.Epochs[len(w.evidence.Epochs)-1]
	slice := Window{WeightBP: ep.Info.WeightBP}
	for i := range n {
		arm := Stable
		if w.rng.IntN(fullWeight) < ep.Info.WeightBP {
			arm = Candidate
		}
		w.request(&ep.Arms[arm], arm, from+i, &slice)
		if arm == Stable && w.rng.IntN(fullWeight) < ep.Info.ShadowBP {
			w.shadow(&ep.Shadow, from+i, &slice)
		}
	}
	if w.recent = append(w.recent, slice); len(w.recent) > 10 {
		w.recent = w.recent[1:]
	}
}

func (w *world) window() (out Window) {
	for _, s := range w.recent {
		out.Add(s)
	}
	return out
}

func (w *world) request(c *Counts, arm Arm, i int, slice *Window) {
	c.Requests++
	c.Units++
	slice.Requests[arm]++
	took := time.Duration(w.latency[arm] * 5e6 * math.Exp(.5*w.rng.NormFloat64()))
	if w.tail[arm] > 0 && w.rng.Float64() < w.tail[arm] {
		took += 500 * time.Millisecond
	}
	failed := w.rng.Float64() < w.errorRate(arm, i)
	if failed && w.quick {
		took = time.Millisecond / 10
	}
	c.AddLatency(took)
	if failed {
		c.Errors++
		c.ErrorUnits++
		slice.Errors[arm]++
		if arm == Candidate {
			w.failedCand++
		}
		return
	}
	if w.refuse[arm] > 0 && w.rng.Float64() < w.refuse[arm] {
		c.Refusals++
		c.RefusalUnits++
		return
	}
	c.AnsweredUnits++
	if w.rng.Float64() < w.invalid[arm] {
		c.Invalid++
		c.InvalidUnits++
		return
	}
	y := w.score(arm, w.base(w.rng))
	c.AddScore(y)
	above := 0.0
	if y > .05 {
		above = 1
	}
	c.AddAbove(0, above)
}

func (w *world) shadow(p *Pairs, i int, slice *Window) {
	p.N++
	slice.ShadowPairs++
	bad := [2]bool{w.rng.Float64() < w.errorRate(Stable, i), w.rng.Float64() < w.errorRate(Candidate, i)}
	switch {
	case bad[0] && bad[1]:
		p.BothFailed++
		slice.ShadowBothFailed++
	case bad[0]:
		p.OnlyStableBad++
		slice.ShadowOnlyStable++
	case bad[1]:
		p.OnlyShadowBad++
		p.ShadowErrors++
		slice.ShadowOnlyShadow++
	default:
		p.BothOK++
		p.Compared++
		b := w.base(w.rng)
		s, c := w.score(Stable, b), w.score(Candidate, b)
		if math.Abs(s-c) > .01 {
			p.Disagreed++
		}
		p.AddScores(s, c)
		if w.rng.IntN(fullWeight) < w.repeatBP {
			p.Repeats++
			if math.Abs(s-w.score(Stable, b)) > .01 {
				p.RepeatsDisagreed++
			}
		}
	}
}

// calibration comes from requests before the rollout.
func (w *world) calibration(p Policy, n int) *Calibration {
	var c Counts
	var ignored Window
	for range n {
		w.request(&c, Stable, 0, &ignored)
	}
	out, ok := Calibrate(p, &c)
	if !ok {
		panic("not enough calibrating requests")
	}
	return &out
}

// fullPolicy declares every metric.
func fullPolicy() Policy {
	p := DefaultPolicy()
	p.Mean = &ShareMargin{RevertAbove: .1, PromoteBelow: .2}
	p.Cutoffs = []Cutoff{{Value: .05, RevertAbove: CutoffRevertAbove, PromoteBelow: CutoffPromoteBelow}}
	p.Agreement = &AgreementMargin{Tolerance: .01, RevertBelow: .9, PromoteAbove: .95}
	return p
}

// ladder runs the weights 1, 5, 10, 25 and 50 % and stops at a revert, or when
// promotable if asked to. It returns the last verdict and the requests sent.
func (w *world) ladder(p Policy, c *Calibration, perStep, every int, stopAtPromotable bool) (v Verdict, sent int, everPromotable bool) {
	for step, bp := range []int{100, 500, 1000, 2500, 5000} {
		w.epoch(EpochInfo{Step: step, WeightBP: bp})
		for done := 0; done < perStep; done += every {
			w.requests(every, sent)
			sent += every
			v = Judge(p, c, w.evidence, w.window())
			everPromotable = everPromotable || v.Promotable
			if v.Action == Revert || stopAtPromotable && v.Promotable {
				return v, sent, everPromotable
			}
		}
	}
	return v, sent, everPromotable
}
