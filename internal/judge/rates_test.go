package judge

import (
	"math"
	"slices"
	"testing"
)

// bursts is an error rate shared by both arms: a daily swing and tenfold bursts.
func bursts(rate float64, ratio float64) func(Arm, int) float64 {
	return func(arm Arm, i int) float64 {
		p := rate * (1 + .8*math.Sin(float64(i)/3000))
		if i/500%7 == 3 {
			p *= 10
		}
		if arm == Candidate {
			p *= ratio
		}
		return math.Min(p, 1)
	}
}

func TestPromise5FalseRevertsUnderBurstsAndMovingWeights(t *testing.T) {
	t.Parallel()
	p := fullPolicy()
	const runs = 48
	for _, ratio := range []float64{1, 1.25} {
		reverted := 0
		for seed := range uint64(runs) {
			w := newWorld(seed)
			w.errorRate = bursts(.005, ratio)
			c := w.calibration(p, 1500)
			if v, _, _ := w.ladder(p, c, 4000, 200, false); v.Action == Revert {
				reverted++
				t.Logf("ratio %g seed %d: %s %s", ratio, seed, v.Reason, v.Message)
			}
		}
		if reverted > tooMany(runs, .01) {
			t.Errorf("ratio %g: %d of %d healthy candidates reverted, want about 1 %% at most", ratio, reverted, runs)
		}
	}
}

func TestPromise5FalsePromotionsAtTheMargin(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	p.Errors.OrWithin = 0
	const runs = 48
	promoted := 0
	for seed := range uint64(runs) {
		w := newWorld(1000 + seed)
		w.errorRate = bursts(.02, 2)
		c := w.calibration(p, 1500)
		if _, _, ever := w.ladder(p, c, 4000, 200, true); ever {
			promoted++
		}
	}
	if promoted > tooMany(runs, .05) {
		t.Errorf("%d of %d candidates at twice the error rate were promotable, want about 5 %% at most", promoted, runs)
	}
	t.Logf("%d of %d promotable at the margin", promoted, runs)
}

func TestPowerTenfoldErrors(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	var sent []int
	for seed := range uint64(40) {
		w := newWorld(2000 + seed)
		w.errorRate = func(arm Arm, _ int) float64 { return []float64{.005, .05}[arm] }
		c := w.calibration(p, 1500)
		w.epoch(EpochInfo{WeightBP: 500})
		n := 0
		for v := (Verdict{}); v.Action != Revert && n < 40000; n += 50 {
			w.requests(50, n)
			v = Judge(p, c, w.evidence, w.window())
		}
		sent = append(sent, n)
	}
	slices.Sort(sent)
	t.Logf("x10 of 0.5 %% at 5 %%: median %d, p90 %d requests", sent[20], sent[36])
	if sent[20] > 6000 {
		t.Errorf("median %d requests to catch tenfold errors at 5 %%, want at most 6000", sent[20])
	}
}

func TestPowerTotalBreakage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		bp   int
		most uint64
	}{{100, 3}, {500, 3}, {1000, 5}, {2500, 6}, {5000, 12}} {
		var failed []uint64
		p := DefaultPolicy()
		for seed := range uint64(60) {
			w := newWorld(3000 + seed)
			w.errorRate = func(arm Arm, _ int) float64 { return []float64{.001, 1}[arm] }
			c := w.calibration(p, 1500)
			w.epoch(EpochInfo{WeightBP: tc.bp, Warmup: true}) // the breaker does not wait for warm-up
			v := Verdict{}
			for n := 0; v.Action != Revert && n < 5000; n++ {
				w.requests(1, n)
				w.recent = []Window{w.total()} // all of it within ten seconds
				v = Judge(p, c, w.evidence, w.window())
			}
			if v.Reason != TotalBreakage {
				t.Fatalf("weight %d: %s %s %s, want a revert for TotalBreakage", tc.bp, v.Action, v.Reason, v.Message)
			}
			failed = append(failed, w.failedCand)
		}
		slices.Sort(failed)
		t.Logf("weight %d bp: median %d, max %d failed requests", tc.bp, failed[30], failed[59])
		if failed[30] > tc.most {
			t.Errorf("weight %d bp: median %d failed requests, want at most %d", tc.bp, failed[30], tc.most)
		}
	}
}

// total is a window over all that the latest epoch holds.
func (w *world) total() Window {
	ep := &w.evidence.Epochs[len(w.evidence.Epochs)-1]
	out := Window{WeightBP: ep.Info.WeightBP}
	for a := range ep.Arms {
		out.Requests[a], out.Errors[a] = ep.Arms[a].Requests, ep.Arms[a].Errors
	}
	return out
}

func TestBreakerFalseFires(t *testing.T) {
	t.Parallel()
	// Candidate and stable fail alike, half of all requests at times: windows with
	// nothing but candidate failures occur, and may fire in 0.25 % of rollouts.
	fired := 0
	const runs = 100
	p := DefaultPolicy()
	for seed := range uint64(runs) {
		w := newWorld(4000 + seed)
		var s sums
		var events []Arm
		for range 3000 {
			arm := Stable
			if w.rng.Float64() < .25*1.25/(.25*1.25+.75) {
				arm = Candidate
			}
			events = append(events, arm)
			s.events++
			win := Window{WeightBP: 2500}
			for k := 1; k <= 12 && k <= len(events); k++ {
				a := events[len(events)-k]
				win.Errors[a]++
				win.Requests[a]++
				win.Requests[Stable] += 3
				if action, _, _ := breaker(p, &s, win); action == Revert {
					fired++
					break
				}
			}
		}
	}
	// Every start in 3000 events, every length, 100 times: 0.25 % of 100 is a quarter.
	if fired > 4 {
		t.Errorf("the breaker fired %d times in %d rollouts at its null, want none or one", fired, runs)
	}
	t.Logf("fired %d times in %d rollouts", fired, runs)
}

func TestGoodCandidateIsPromotable(t *testing.T) {
	p := fullPolicy()
	p.Agreement.Tolerance = .01
	w := newWorld(5)
	w.errorRate = func(Arm, int) float64 { return .0005 }
	c := w.calibration(p, 1500)
	w.epoch(EpochInfo{ShadowBP: fullWeight})
	w.requests(3000, 0)
	v := Judge(p, c, w.evidence, w.window())
	if v.Action != Advance || v.Promotable {
		t.Fatalf("after shadow: %s %s promotable=%v, want Advance and not promotable: %s", v.Action, v.Reason, v.Promotable, v.Message)
	}
	v, sent, _ := w.ladder(p, c, 60000, 1000, true)
	if !v.Promotable || v.Reason != Promotable {
		for _, m := range v.Metrics {
			t.Logf("%s %s rev %.2f pro %.2f: %s", m.Name, m.Outcome, m.EvidenceRevert, m.EvidencePromote, m.Message)
		}
		t.Fatalf("after %d requests: %s %s: %s", sent, v.Action, v.Reason, v.Message)
	}
	t.Logf("promotable after %d requests", sent)
}

// TestMeanAtItsMarginWithAnotherSpread: the candidate's mean stands at the revert
// margin and its scores vary three times as much, at small weights: the case that
// a variance taken from both arms alike would get wrong.
func TestMeanAtItsMarginWithAnotherSpread(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	p.Mean = &ShareMargin{RevertAbove: .1, PromoteBelow: .2}
	reverted := 0
	const runs = 48
	for seed := range uint64(runs) {
		w := newWorld(6000 + seed)
		c := w.calibration(p, 20000)
		centre := c.ScoreCentre
		w.score = func(a Arm, b float64) float64 {
			if a == Candidate {
				return 1.1*centre + 3*(b-.036)
			}
			return b
		}
		if v, _, _ := w.ladder(p, c, 3000, 150, false); v.Action == Revert {
			reverted++
			t.Logf("seed %d: %s", seed, v.Message)
		}
	}
	if reverted > tooMany(runs, .01) {
		t.Errorf("%d of %d candidates at the margin reverted, want about 1 %% at most", reverted, runs)
	}
}

// TestMeanAtThePromoteMargin: the arms differ by promoteBelow exactly.
func TestMeanAtThePromoteMargin(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	p.Mean = &ShareMargin{RevertAbove: .1, PromoteBelow: .2}
	passed := 0
	const runs = 48
	for seed := range uint64(runs) {
		w := newWorld(6500 + seed)
		c := w.calibration(p, 20000)
		centre := c.ScoreCentre
		sign := float64(1 - 2*int(seed%2))
		w.score = func(a Arm, b float64) float64 { return b + sign*.2*centre*float64(a) }
		w.epoch(EpochInfo{WeightBP: 2500})
		for range 40 {
			w.requests(150, 0)
			v := Judge(p, c, w.evidence, Window{})
			if metric(t, v, nameMean).Outcome == Pass {
				passed++
				break
			}
		}
	}
	if passed > tooMany(runs, .05) {
		t.Errorf("%d of %d candidates at the promote margin passed, want about 5 %% at most", passed, runs)
	}
	t.Logf("%d of %d passed at the margin", passed, runs)
}

// TestConstantAtItsNull: the candidate leaves 0 a tenth as often as stable does, so
// seldom that its first hundred answers are often alike.
func TestConstantAtItsNull(t *testing.T) {
	t.Parallel()
	const runs = 48
	for _, info := range []EpochInfo{{WeightBP: 1000}, {WeightBP: 5000}, {ShadowBP: fullWeight}} {
		reverted := 0
		for seed := range uint64(runs) {
			p, w := DefaultPolicy(), newWorld(8000+seed)
			c := w.calibration(p, 1500)
			w.score = func(a Arm, _ float64) float64 {
				if w.rng.Float64() < []float64{.05, .005}[a] {
					return 1
				}
				return 0
			}
			w.epoch(info)
			for range 60 {
				w.requests(100, 0)
				if v := Judge(p, c, w.evidence, Window{}); v.Action == Revert {
					reverted++
					break
				}
			}
		}
		if reverted > tooMany(runs, .01) {
			t.Errorf("%+v: %d of %d candidates reverted, want about 1 %% at most", info, reverted, runs)
		}
	}
}

// TestBothConstant: whatever the one score is, and however it rounds in the sums.
func TestBothConstant(t *testing.T) {
	for _, y := range []float64{0, .1, .3, .0365, 1234.567, -.7, 1e-9, MaxScore - .1} {
		p, w := DefaultPolicy(), newWorld(9)
		w.score = func(Arm, float64) float64 { return y }
		c := w.calibration(p, 1500)
		w.epoch(EpochInfo{WeightBP: 1000, ShadowBP: 1000})
		w.requests(3000, 0)
		if v := Judge(p, c, w.evidence, Window{}); v.Action == Revert {
			t.Errorf("both score %g: %s", y, v.Message)
		}
	}
}

// TestConstantNeverPasses: before there is evidence enough to revert a constant
// candidate, there is none to promote it.
func TestConstantNeverPasses(t *testing.T) {
	p, w := DefaultPolicy(), newWorld(9)
	c := w.calibration(p, 1500)
	w.score = func(a Arm, b float64) float64 { return []float64{b, .036}[a] }
	w.epoch(EpochInfo{WeightBP: 9000}) // few answers of stable
	for n := 0; n < 1000; n += 10 {
		w.requests(10, n)
		v := Judge(p, c, w.evidence, Window{})
		if m := metric(t, v, nameInvalid); m.Outcome == Pass {
			t.Fatalf("after %d requests: %s", n, m.Message)
		}
	}
}
