package judge

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// machine answers in some 0.2 ms, or is held up for some 40 ms with a chance that is
// one at calibration and another one afterwards.
type machine struct {
	rng           *rand.Rand
	before, after float64
	hold          time.Duration
	candidate     func(time.Duration) time.Duration
}

func (m machine) draw(held float64) time.Duration {
	d := time.Duration(150e3 * (1 + .3*m.rng.ExpFloat64()))
	if m.rng.Float64() < held {
		d += time.Duration(float64(m.hold) * (.5 + m.rng.Float64()))
	}
	return d
}

func (m machine) calibration(p Policy) *Calibration {
	var base Counts
	for range p.MinCalibration {
		base.AddLatency(m.draw(m.before))
	}
	c, ok := Calibrate(p, &base)
	if !ok {
		panic("not enough calibrating requests")
	}
	return &c
}

// serve draws n requests at 50 %.
func (m machine) serve(e *EpochEvidence, n int) {
	for range n {
		arm := Arm(m.rng.IntN(2))
		d := m.draw(m.after)
		if arm == Candidate && m.candidate != nil {
			d = m.candidate(d)
		}
		a := &e.Arms[arm]
		a.Requests++
		a.Units++
		a.AnsweredUnits++
		a.AddLatency(d)
	}
}

func at50() Evidence {
	return Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{ID: 1, WeightBP: 5000}}}}
}

func widePolicy() Policy {
	p := DefaultPolicy()
	p.Latency = LatencyMargin{RevertAbove: 2, PromoteBelow: 4, At: []float64{.5, .9, .99}}
	return p
}

// machines are what a calibration may have been made on, and what came afterwards.
var machines = map[string]machine{
	"steady":         {before: .03, after: .03, hold: 40 * time.Millisecond},
	"calm then busy": {before: .002, after: .05, hold: 40 * time.Millisecond},
	"busy then calm": {before: .2, after: 0, hold: 40 * time.Millisecond},
	"all slow":       {before: 0, after: 1, hold: 10 * time.Millisecond},
}

// TestLatencyIsDecidedWhereProductionMoved: both arms are equally slow, and the edges
// come from another time. The metric passes, and says meanwhile about how much it
// still takes; never "about 1 more" for ever.
func TestLatencyIsDecidedWhereProductionMoved(t *testing.T) {
	p := widePolicy()
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			m.rng = rand.New(rand.NewPCG(5, 1))
			c, e := m.calibration(p), at50()
			type look struct{ n, needed uint64 }
			var looks []look
			for metricOf(Judge(p, c, e, Window{}), nameLatency).Outcome != Pass {
				m.serve(&e.Epochs[0], 100)
				v := metricOf(Judge(p, c, e, Window{}), nameLatency)
				if v.N[Candidate] > 15_000 {
					t.Fatalf("not decided by %d requests of the candidate: %s", v.N[Candidate], v.Message)
				}
				if v.Outcome != Pass {
					looks = append(looks, look{v.N[Candidate], v.Needed})
					if v.Needed == 0 || v.Undecidable != "" {
						t.Errorf("after %d: %d needed, %q", v.N[Candidate], v.Needed, v.Undecidable)
					}
				}
			}
			v := metricOf(Judge(p, c, e, Window{}), nameLatency)
			if moved := strings.Contains(v.Message, "has moved since calibration"); moved != (name != "steady") || v.Needed != 0 {
				t.Errorf("passed with %d needed: %s", v.Needed, v.Message)
			}
			for _, l := range looks {
				truth := v.N[Candidate] - l.n
				if truth > 500 && (l.needed < truth/5 || l.needed > 5*truth) {
					t.Errorf("after %d requests %d more were said to be needed, it took %d", l.n, l.needed, truth)
				}
			}
			t.Logf("passed after %d requests of the candidate: %s", v.N[Candidate], v.Message)
		})
	}
}

// TestPromise5LatencyWhereProductionMoved: a candidate at the tested margin, in all of
// its latencies or in the slowest of a hundred only, passes in no more than 5 % of the
// rollouts, wherever the edges come from.
func TestPromise5LatencyWhereProductionMoved(t *testing.T) {
	t.Parallel()
	p := widePolicy()
	const looks = 60
	runs := 60
	if os.Getenv("SERIN_LONG_TESTS") != "" {
		runs = 1000
	}
	for name, m := range machines {
		passed := 0
		for seed := range uint64(runs) {
			m.rng = rand.New(rand.NewPCG(seed, 9))
			m.candidate = func(d time.Duration) time.Duration { return 4 * d }
			if seed%2 == 0 { // only what is slow anyway: p99, and p50 and p90 are like production's
				slow := 10 * time.Millisecond
				if m.after == 0 {
					slow = 290 * time.Microsecond
				}
				m.candidate = func(d time.Duration) time.Duration {
					if d > slow {
						return 4*d + d/4
					}
					return d
				}
			}
			c, e := m.calibration(p), at50()
			for range looks {
				m.serve(&e.Epochs[0], 100)
				all := gather(e)
				if latency(p, c, &all).EvidencePromote >= -math.Log(p.FalsePromote) {
					passed++
					break
				}
			}
		}
		if passed > tooMany(runs, .05) {
			t.Errorf("%s: %d of %d candidates at the margin passed, want at most about 5 %%", name, passed, runs)
		}
		t.Logf("%s: %d of %d", name, passed, runs)
	}
}

// TestLatencyThatNothingDecidesSaysWhy: half of production's answers come from a cache,
// so that its median lies in a gap wider than the margin; or the candidate itself is
// what stands in the way.
func TestLatencyThatNothingDecidesSaysWhy(t *testing.T) {
	p := widePolicy()
	slower := func(d time.Duration) time.Duration { return 4 * d }
	for _, tc := range []struct {
		name string
		machine
		says string
	}{
		{"a gap", machine{before: .5, after: .5, hold: 40 * time.Millisecond}, "of production's own requests are beyond"},
		{"a slow candidate", machine{hold: time.Millisecond, candidate: slower}, "of the candidate's requests are beyond"},
	} {
		tc.rng = rand.New(rand.NewPCG(3, 3))
		c, e := tc.calibration(p), at50()
		tc.serve(&e.Epochs[0], 12_000)
		all := gather(e)
		if m := latency(p, c, &all); m.Needed != 0 || !strings.Contains(m.Undecidable, tc.says) {
			t.Errorf("%s: %d needed, %q", tc.name, m.Needed, m.Undecidable)
		}
		v := Judge(p, c, e, Window{})
		m := metricOf(v, nameLatency)
		switch says := strings.Contains(m.Message, tc.says) && strings.Contains(v.Message, tc.says); {
		case m.Outcome == Inconclusive && !says:
			t.Errorf("%s: %q and %q do not say why", tc.name, m.Message, v.Message)
		case m.Outcome == Fail && (says || m.Undecidable != ""):
			t.Errorf("%s: it failed, so that it is decided: %q", tc.name, m.Message)
		case m.Outcome == Pass:
			t.Errorf("%s passed: %s", tc.name, m.Message)
		}
	}
}

// TestSharesOfEdges: all that may pass a quantile by chance adds up to the whole.
func TestSharesOfEdges(t *testing.T) {
	if sum := frozenShare + otherShare*HistogramBuckets; math.Abs(sum-1) > 1e-12 {
		t.Errorf("the shares add up to %v", sum)
	}
}

// TestNeededIsNotOneForEver: past the usual total, and with nothing to go by, it takes
// as many again.
func TestNeededIsNotOneForEver(t *testing.T) {
	p := DefaultPolicy()
	for _, tc := range []struct {
		n        uint64
		evidence float64
		want     uint64
	}{{0, 0, 1000}, {400, 0, 600}, {1000, 0, 1000}, {5000, -2, 5000}, {5000, 2, 2490}, {5000, 3, 0}} {
		m := Metric{N: [2]uint64{0, tc.n}, EvidencePromote: tc.evidence}
		if got := needed(p, m, 1000); got != tc.want {
			t.Errorf("%d requests, evidence %g: %d, want %d", tc.n, tc.evidence, got, tc.want)
		}
	}
}

func metricOf(v Verdict, name string) Metric {
	for _, m := range v.Metrics {
		if m.Name == name {
			return m
		}
	}
	panic("no metric " + name)
}

// TestMessagesAtNight: what a ratio says when there is little, or nothing, to compare.
func TestMessagesAtNight(t *testing.T) {
	p := DefaultPolicy()
	c := newWorld(1).calibration(p, 1000)
	for _, tc := range []struct {
		name              string
		stable, candidate [2]uint64 // units, failed
		says              []string
		not               string
	}{
		{"nothing yet", [2]uint64{}, [2]uint64{}, []string{"no failure to compare"}, "0.00x"},
		{"no failure", [2]uint64{900, 0}, [2]uint64{100, 0}, []string{"0 % (0 of 100)", "no failure to compare", "passes below 2x"}, "0.00x"},
		{"stable has none", [2]uint64{229, 0}, [2]uint64{18, 5}, []string{"27.8 % (5 of 18)", "no failure of stable to compare with, above"}, "0.00x"},
		{"few", [2]uint64{900, 3}, [2]uint64{100, 1}, []string{"3.00x, not bounded yet"}, "0.00x"},
		{"many", [2]uint64{90000, 900}, [2]uint64{10000, 100}, []string{"1.00x, between"}, "0.00x"},
	} {
		e := Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{ID: 1, WeightBP: 1000}}}}
		for arm, k := range [2][2]uint64{tc.stable, tc.candidate} {
			e.Epochs[0].Arms[arm] = Counts{Requests: k[0], Units: k[0], Errors: k[1], ErrorUnits: k[1]}
		}
		m := metricOf(Judge(p, c, e, Window{}), nameErrors)
		for _, want := range tc.says {
			if !strings.Contains(m.Message, want) || strings.Contains(m.Message, tc.not) {
				t.Errorf("%s: %q; want %q, and not %q", tc.name, m.Message, want, tc.not)
			}
		}
	}
	if got := short(20_480 * time.Microsecond); got != 20500*time.Microsecond {
		t.Errorf("20.48 ms is shown as %s", got)
	}
}
