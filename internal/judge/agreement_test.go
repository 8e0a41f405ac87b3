package judge

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// TestTwinTwice: pair by pair and repeat by repeat, for every noise of a fine grid the
// mean of two products; the evidence is the least of them. What the judge computes
// must never be more, nor much less.
func TestTwinTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	for range 40 {
		q := []float64{.05, .1, .3}[rng.IntN(3)]
		d, v := rng.Float64(), []float64{0, .02, .2, .5, 1}[rng.IntN(5)]
		x := twice{pairs: uint64(rng.IntN(120)), repeats: uint64(rng.IntN(25))}
		for range x.pairs {
			if rng.Float64() < d {
				x.disagreed++
			}
		}
		for range x.repeats {
			if rng.Float64() < v {
				x.noisy++
			}
		}
		above, below := math.Inf(1), math.Inf(1)
		for step := range 2001 {
			noise := float64(step) / 2000
			at := q + noise - q*noise
			more, fewer := slowShare(x.noisy, x.repeats, noise, oddsLess), slowShare(x.noisy, x.repeats, noise, oddsMore)
			if noise == 1 && x.noisy < x.repeats {
				more = math.Inf(1) // a single repeat that agrees refutes a noise of 1
			}
			if noise == 0 && x.noisy > 0 {
				fewer = math.Inf(1)
			}
			same := slowShare(x.disagreed, x.pairs, at, oddsLess)
			if at == 1 && x.disagreed < x.pairs {
				same = math.Inf(1)
			}
			above = min(above, (1-repeatsToRevert)*slowShare(x.disagreed, x.pairs, at, oddsMore)+repeatsToRevert*more)
			below = min(below, (1-repeatsToPromote)*same+repeatsToPromote*fewer)
		}
		within := func(name string, got, bound float64) {
			t.Helper()
			// The lesser of two is half their sum at the least; the rest is the grid's. Where
			// nothing speaks for a decision, how little does not matter.
			if got > math.Log(bound)+1e-9 || math.Log(bound) > 1 && got < math.Log(bound)-math.Log(2)-.1 {
				t.Errorf("%s of %+v at q %g: got %.4f, the infimum over the noise is %.4f", name, x, q, got, math.Log(bound))
			}
		}
		within("above", x.logAbove(q), above)
		within("below", x.logBelow(q), below)
	}
}

// slowShare multiplies likelihood ratios one by one and averages over the grid; a
// share of 0 or 1 cannot be bet against.
func slowShare(k, n uint64, q0 float64, odds []float64) float64 {
	if q0 <= 0 || q0 >= 1 {
		return 1
	}
	e := products(len(odds))
	for j, g := range odds {
		q := g * q0 / (1 - q0) / (1 + g*q0/(1-q0))
		for i := range n {
			if i < k {
				e[j] *= q / q0
			} else {
				e[j] *= (1 - q) / (1 - q0)
			}
		}
	}
	return meanOf(e)
}

func TestTwiceAtTheEdges(t *testing.T) {
	huge := uint64(math.MaxUint64)
	for _, x := range []twice{{}, {disagreed: 5, pairs: 5}, {noisy: 5, repeats: 5}, {0, 9, 0, 9}, {9, 9, 9, 9}, {huge, huge, huge, huge}, {huge, 1, huge, 1}, {huge, huge, 0, huge}} {
		for _, e := range []float64{x.logAbove(.1), x.logBelow(.05), x.beyondNoise()} {
			if math.IsNaN(e) || math.IsInf(e, 1) {
				t.Errorf("%+v: %v", x, e)
			}
		}
		if v := x.beyondNoise(); v < 0 || v > 1 {
			t.Errorf("%+v: agreement of %g", x, v)
		}
	}
	if e := (twice{disagreed: 1000, pairs: 1000}).logAbove(.1); e > 0 {
		t.Errorf("without a repeat the noise is unknown, but the evidence is %g", e)
	}
	if e := (twice{pairs: 200}).logBelow(.05); e < math.Log(20) {
		t.Errorf("200 pairs that agree need no repeats to pass, evidence %g", e)
	}
}

// tooMany is a number of wrong answers that a chance of at most p each exceeds with a
// chance of less than one in a thousand.
func tooMany(runs int, p float64) int {
	mean := p * float64(runs)
	return int(2 + mean + 4*math.Sqrt(mean))
}

// binomial counts successes of n draws.
func binomial(rng *rand.Rand, n int, p float64) (k uint64) {
	for range n {
		if rng.Float64() < p {
			k++
		}
	}
	return k
}

// TestPromise5AgreementBeyondNoise: at both margins, whatever the noise is, the chances
// of a wrong answer stay within bounds however often one looks.
func TestPromise5AgreementBeyondNoise(t *testing.T) {
	t.Parallel()
	const looks = 40
	runs, noises := 60, []float64{0, .02, .3}
	if os.Getenv("SERIN_LONG_TESTS") != "" {
		runs, noises = 1000, []float64{0, .005, .02, .1, .3, .5, .7, .9}
	}
	for _, noise := range noises {
		for _, repeatBP := range []int{100, 1000} {
			rng := rand.New(rand.NewPCG(uint64(1000*noise), uint64(repeatBP)))
			var reverted, passed int
			for range runs {
				var at, past twice // a candidate at the revert margin, and one at the promote margin
				var wrong [2]bool
				for range looks {
					const n = 200
					k := int(binomial(rng, n, float64(repeatBP)/fullWeight))
					v := binomial(rng, k, noise)
					at = twice{at.disagreed + binomial(rng, n, beyond(.1, noise)), at.pairs + n, at.noisy + v, at.repeats + uint64(k)}
					past = twice{past.disagreed + binomial(rng, n, beyond(.05, noise)), past.pairs + n, at.noisy, at.repeats}
					wrong[0] = wrong[0] || at.logAbove(.1) >= math.Log(100)
					wrong[1] = wrong[1] || past.logBelow(.05) >= math.Log(20)
				}
				if wrong[0] {
					reverted++
				}
				if wrong[1] {
					passed++
				}
			}
			if reverted > tooMany(runs, .01) || passed > tooMany(runs, .05) {
				t.Errorf("noise %g, repeats %d bp: %d of %d reverted at the margin, %d passed; want at most about 1 and 5 %%", noise, repeatBP, reverted, runs, passed)
			}
			t.Logf("noise %g, repeats %d bp: %d reverted, %d passed, of %d", noise, repeatBP, reverted, passed, runs)
		}
	}
}

// TestNoisyScorers are the cases of a comparison of predictions: an identical model,
// noise in both, an answer that is shifted, and one of another shape.
func TestNoisyScorers(t *testing.T) {
	noisy := func(share float64) func(*world) func(Arm, float64) float64 {
		return func(w *world) func(Arm, float64) float64 {
			return func(_ Arm, b float64) float64 {
				if w.rng.Float64() < share {
					return b + .1*w.rng.Float64() + .02
				}
				return b
			}
		}
	}
	for _, tc := range []struct {
		name    string
		score   func(*world) func(Arm, float64) float64
		shape   bool // every pair disagrees, whatever the scores are
		pairs   int
		action  Action
		outcome Outcome
	}{
		{"identical model", noisy(0), false, 2000, Advance, Pass},
		{"a third of the answers vary", noisy(1. / 3), false, 20000, Advance, Inconclusive},
		{"one in fifty varies", noisy(.02), false, 20000, Advance, Pass},
		{"shifted", func(*world) func(Arm, float64) float64 {
			return func(a Arm, b float64) float64 { return b + .02*float64(a) }
		}, false, 2000, Revert, Fail},
		{"noise and a shift", func(w *world) func(Arm, float64) float64 {
			both := noisy(.2)(w)
			return func(a Arm, b float64) float64 { return both(a, b) + .5*float64(a) }
		}, false, 5000, Revert, Fail},
		{"another shape", noisy(.2), true, 5000, Revert, Fail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := DefaultPolicy()
			p.Agreement = &AgreementMargin{Tolerance: .01, RevertBelow: .9, PromoteAbove: .95, RepeatBP: 100}
			w := newWorld(90)
			c := w.calibration(p, 1500)
			w.score, w.repeatBP = tc.score(w), p.Agreement.RepeatBP
			w.epoch(EpochInfo{ShadowBP: fullWeight})
			var v Verdict
			for n := 0; n < tc.pairs && v.Action != Revert; n += 100 {
				w.requests(100, n)
				if tc.shape {
					w.evidence.Epochs[0].Shadow.Disagreed = w.evidence.Epochs[0].Shadow.Compared
				}
				v = Judge(p, c, w.evidence, Window{})
			}
			m := metric(t, v, nameAgreement)
			if v.Action != tc.action || m.Outcome != tc.outcome {
				t.Errorf("%s, agreement %s; want %s, %s\n%s", v.Action, m.Outcome, tc.action, tc.outcome, m.Message)
			}
			t.Log(m.N[0], m.EvidenceRevert, m.Message)
		})
	}
}

// TestNoiseUnknownOrNone: no repeats by plan is a scorer taken to repeat itself; none
// yet is a scorer of which nothing is known.
func TestNoiseUnknownOrNone(t *testing.T) {
	p := DefaultPolicy()
	p.Agreement = &AgreementMargin{Tolerance: .01, RevertBelow: .9, PromoteAbove: .95}
	e := Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{ID: 1, ShadowBP: fullWeight}, Shadow: Pairs{N: 90, BothOK: 90, Compared: 90, Disagreed: 60}}}}
	c := newWorld(1).calibration(p, 1000)
	v := Judge(p, c, e, Window{})
	if m := metric(t, v, nameAgreement); v.Action != Revert || !strings.Contains(m.Message, "taken as none") {
		t.Errorf("no repeats planned: %s, %s", v.Action, m.Message)
	}
	p.Agreement.RepeatBP = 100
	v = Judge(p, c, e, Window{})
	if m := metric(t, v, nameAgreement); v.Action != Advance || m.Outcome != Inconclusive || !strings.Contains(m.Message, "not asked twice yet") {
		t.Errorf("no repeat yet: %s, %s: %s", v.Action, m.Outcome, m.Message)
	}
	e.Epochs[0].Shadow.Repeats = 40
	if v := Judge(p, c, e, Window{}); v.Action != Revert || v.Reason != Disagreement {
		t.Errorf("forty repeats that agree: %s %s", v.Action, v.Message)
	}
	e.Epochs[0].Shadow.RepeatsDisagreed, e.Epochs[0].Shadow.Disagreed = 40, 90
	v = Judge(p, c, e, Window{})
	if m := metric(t, v, nameAgreement); v.Action != Advance || m.Outcome != Inconclusive || m.Value != 0 {
		t.Errorf("nobody ever agrees: %s, %s: %s", v.Action, m.Outcome, m.Message)
	}
}
