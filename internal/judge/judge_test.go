package judge

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func metric(t *testing.T, v Verdict, name string) Metric {
	t.Helper()
	for _, m := range v.Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no metric %q in %+v", name, v.Metrics)
	return Metric{}
}

// scenario is a world, changed, after some requests.
type scenario struct {
	name    string
	policy  func(*Policy)
	change  func(*world)
	info    EpochInfo
	n       int
	action  Action
	reason  Reason
	metric  string
	outcome Outcome
}

func TestVerdicts(t *testing.T) {
	at10 := EpochInfo{WeightBP: 1000}
	shadow := EpochInfo{ShadowBP: fullWeight}
	for i, tc := range []scenario{
		{"same model", nil, nil, at10, 8000, Advance, WithinBounds, nameInvalid, Pass},
		{"tenfold errors", nil, func(w *world) {
			w.errorRate = func(a Arm, _ int) float64 { return []float64{.005, .05}[a] }
		}, at10, 8000, Revert, ErrorRate, nameErrors, Fail},
		{"refuses what production takes", nil, func(w *world) { w.refuse[Candidate] = .2 }, at10, 3000, Revert, Refusals, nameRefusals, Fail},
		{"both refuse alike", nil, func(w *world) { w.refuse = [2]float64{.2, .2} }, at10, 8000, Advance, WithinBounds, nameRefusals, Inconclusive},
		{"slower by half", nil, func(w *world) { w.latency[Candidate] = 1.5 }, at10, 8000, Revert, Latency, nameLatency, Fail},
		{"slow tail is not hidden by a fast median", nil, func(w *world) { w.latency[Candidate], w.tail[Candidate] = .9, .02 }, at10, 10000, Revert, Latency, nameLatency, Fail},
		{"faster", nil, func(w *world) { w.latency[Candidate] = .7 }, at10, 20000, Advance, WithinBounds, nameLatency, Pass},
		{"5 % invalid", nil, func(w *world) { w.invalid[Candidate] = .05 }, at10, 8000, Revert, InvalidAnswers, nameInvalid, Fail},
		{"both 5 % invalid", nil, func(w *world) { w.invalid = [2]float64{.05, .05} }, at10, 8000, Advance, WithinBounds, nameInvalid, Inconclusive},
		{"constant", nil, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return []float64{b, .5}[a] }
		}, at10, 3000, Revert, ConstantScores, nameInvalid, Fail},
		{"constant at production's mean", nil, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return []float64{b, .036}[a] }
		}, EpochInfo{WeightBP: 5000}, 2000, Revert, ConstantScores, nameInvalid, Fail},
		{"both constant", nil, func(w *world) { w.score = func(Arm, float64) float64 { return .5 } }, at10, 4000, Advance, WithinBounds, nameInvalid, Pass},
		{"mean up by 60 %", func(p *Policy) { p.Mean = &ShareMargin{.1, .2} }, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return b * (1 + .6*float64(a)) }
		}, at10, 8000, Revert, ScoreShift, nameMean, Fail},
		{"mean down by half", func(p *Policy) { p.Mean = &ShareMargin{.1, .2} }, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return b * (1 - .5*float64(a)) }
		}, at10, 8000, Revert, ScoreShift, nameMean, Fail},
		{"negative scores, mean kept", func(p *Policy) { p.Mean = &ShareMargin{.1, .2} }, func(w *world) {
			w.score = func(_ Arm, b float64) float64 { return -b }
		}, at10, 30000, Advance, WithinBounds, nameMean, Pass},
		{"share above the cut-off doubled", func(p *Policy) { p.Cutoffs = []Cutoff{{.05, 1.25, 1.5}} }, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return b * (1 + float64(a)) }
		}, at10, 8000, Revert, CutoffShare, "cutoff 0.05", Fail},
		{"share above the cut-off kept", func(p *Policy) { p.Cutoffs = []Cutoff{{.05, 1.25, 1.5}} }, nil, at10, 80000, Advance, Promotable, "cutoff 0.05", Pass},
		{"swapped columns, in shadow", func(p *Policy) { p.Agreement = &AgreementMargin{.01, .9, .95, 0} }, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return b + .02*float64(a) }
		}, shadow, 500, Revert, Disagreement, nameAgreement, Fail},
		{"agreement, in shadow", func(p *Policy) { p.Agreement = &AgreementMargin{.01, .9, .95, 0} }, nil, shadow, 500, Advance, WithinBounds, nameAgreement, Pass},
		{"mean, in shadow", func(p *Policy) { p.Mean = &ShareMargin{.1, .2} }, nil, shadow, 500, Advance, WithinBounds, nameMean, Pass},
		{"mean shifted, in shadow", func(p *Policy) { p.Mean = &ShareMargin{.1, .2} }, func(w *world) {
			w.score = func(a Arm, b float64) float64 { return b * (1 + .3*float64(a)) }
		}, shadow, 1000, Revert, ScoreShift, nameMean, Fail},
		{"fails a tenth of its copies", nil, func(w *world) {
			w.errorRate = func(a Arm, _ int) float64 { return .1 * float64(a) }
		}, shadow, 2000, Revert, ShadowErrors, nameShadow, Fail},
		{"both fail a tenth", nil, func(w *world) { w.errorRate = func(Arm, int) float64 { return .1 } }, shadow, 3000, Advance, WithinBounds, nameShadow, Inconclusive},
		{"agreement, production not recorded", func(p *Policy) { p.Agreement, p.Unrecorded = &AgreementMargin{.01, .9, .95, 0}, true }, nil, at10, 80000, Advance, Promotable, nameAgreement, NotJudgeable},
		{"mean, production not recorded", func(p *Policy) { p.Mean, p.Unrecorded = &ShareMargin{.1, .2}, true }, nil, at10, 80000, Advance, Promotable, nameMean, NotJudgeable},
		{"share above the cut-off, production not recorded", func(p *Policy) { p.Cutoffs, p.Unrecorded = []Cutoff{{.05, 1.25, 1.5}}, true }, nil, at10, 80000, Advance, Promotable, "cutoff 0.05", NotJudgeable},
		{"agreement without shadow", func(p *Policy) { p.Agreement = &AgreementMargin{.01, .9, .95, 0} }, nil, at10, 80000, Advance, Promotable, nameAgreement, NotJudgeable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := DefaultPolicy()
			if tc.policy != nil {
				tc.policy(&p)
			}
			w := newWorld(uint64(100 + i))
			if tc.change != nil {
				tc.change(w)
			}
			c := w.calibration(p, 1500)
			w.epoch(tc.info)
			w.requests(tc.n, 0)
			v := Judge(p, c, w.evidence, Window{})
			m := metric(t, v, tc.metric)
			if v.Action != tc.action || v.Reason != tc.reason || m.Outcome != tc.outcome {
				t.Errorf("%s %s, %s is %s; want %s %s, %s\n%s", v.Action, v.Reason, tc.metric, m.Outcome, tc.action, tc.reason, tc.outcome, v.Message)
				for _, m := range v.Metrics {
					t.Logf("%s %s rev %.2f pro %.2f needed %d: %s", m.Name, m.Outcome, m.EvidenceRevert, m.EvidencePromote, m.Needed, m.Message)
				}
			}
			if v.Message == "" || m.Message == "" || v.Promotable != (v.Reason == Promotable) {
				t.Errorf("message %q, %q, promotable %v", v.Message, m.Message, v.Promotable)
			}
			if v.Reason == Promotable && m.Outcome == NotJudgeable && (len(v.Unjudged) != 1 || !strings.Contains(v.Message, tc.metric)) {
				t.Errorf("unjudged %v not reported in %q", v.Unjudged, v.Message)
			}
		})
	}
}

func mixed(bp int, stable, candidate Counts) Evidence {
	return Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{ID: 1, WeightBP: bp}, Arms: [2]Counts{stable, candidate}}}}
}

func TestHolds(t *testing.T) {
	p := DefaultPolicy()
	c := newWorld(1).calibration(p, 1000)
	for _, tc := range []struct {
		name   string
		e      Evidence
		w      Window
		action Action
		reason Reason
	}{
		{"sample ratio", mixed(1000, Counts{Units: 8000}, Counts{Units: 2000}), Window{}, Hold, SampleRatioMismatch},
		{"candidate's telemetry lost", mixed(5000, Counts{Units: 1000}, Counts{Units: 0}), Window{}, Hold, SampleRatioMismatch},
		{"answers dropped", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, Requests: 200, Dropped: 150}), Window{}, Hold, EvidenceMissing},
		{"both arms fail", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{WeightBP: 1000, Requests: [2]uint64{90, 10}, Errors: [2]uint64{88, 10}}, Hold, BothArmsFailing},
		{"both fail, too few of stable to tell", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{WeightBP: 1000, Requests: [2]uint64{2, 10}, Errors: [2]uint64{2, 10}}, Advance, WithinBounds},
		{"both fail in shadow", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{ShadowPairs: 5, ShadowBothFailed: 5}, Hold, BothArmsFailing},
		{"two failures are not enough", mixed(100, Counts{Units: 9900}, Counts{Units: 100, Errors: 2, ErrorUnits: 2}), Window{WeightBP: 100, Requests: [2]uint64{990, 2}, Errors: [2]uint64{0, 2}}, Advance, WithinBounds},
		{"breakage", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, Errors: 4}), Window{WeightBP: 1000, Requests: [2]uint64{90, 4}, Errors: [2]uint64{0, 4}}, Revert, TotalBreakage},
		{"breakage beats a broken sample ratio", mixed(1000, Counts{Units: 8000}, Counts{Units: 2000, Errors: 4}), Window{Requests: [2]uint64{90, 4}, Errors: [2]uint64{0, 4}}, Revert, TotalBreakage},
		{"half of the requests", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, Errors: 6}), Window{WeightBP: 1000, Requests: [2]uint64{90, 10}, Errors: [2]uint64{0, 6}}, Revert, ErrorRate},
		{"less than half is left to the evidence", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, Errors: 6}), Window{WeightBP: 1000, Requests: [2]uint64{90, 13}, Errors: [2]uint64{0, 6}}, Advance, WithinBounds},
		{"many errors before raise the bar", mixed(1000, Counts{Units: 18000, ErrorUnits: 400}, Counts{Units: 2000, ErrorUnits: 44}), Window{WeightBP: 1000, Requests: [2]uint64{90, 4}, Errors: [2]uint64{0, 4}}, Advance, WithinBounds},
		{"one client fails again and again", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, ErrorUnits: 1}), Window{WeightBP: 1000, Requests: [2]uint64{90, 12}, Errors: [2]uint64{0, 12}, SameKey: [2]uint64{0, 11}}, Advance, WithinBounds},
		{"every client fails again and again", mixed(1000, Counts{Units: 1800}, Counts{Units: 200, ErrorUnits: 4}), Window{WeightBP: 1000, Requests: [2]uint64{90, 40}, Errors: [2]uint64{0, 40}, SameKey: [2]uint64{0, 36}}, Revert, TotalBreakage},
		{"bake, one broken client", mixed(fullWeight, Counts{}, Counts{Units: 200}), Window{WeightBP: fullWeight, Requests: [2]uint64{0, 25}, Errors: [2]uint64{0, 24}, SameKey: [2]uint64{0, 23}}, Hold, TooLittleData},
		{"breakage in shadow", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{ShadowPairs: 16, ShadowOnlyShadow: 16}, Revert, TotalBreakage},
		{"half of the copies fail", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{ShadowPairs: 30, ShadowOnlyShadow: 18}, Revert, ErrorRate},
		{"bake, broken", mixed(fullWeight, Counts{}, Counts{Units: 200}), Window{WeightBP: fullWeight, Requests: [2]uint64{0, 25}, Errors: [2]uint64{0, 24}}, Revert, TotalBreakage},
		{"bake, too few failures", mixed(1000, Counts{Units: 1800}, Counts{Units: 200}), Window{WeightBP: fullWeight, Requests: [2]uint64{0, 19}, Errors: [2]uint64{0, 19}}, Advance, WithinBounds},
	} {
		v := Judge(p, c, tc.e, tc.w)
		if v.Action != tc.action || v.Reason != tc.reason || v.Promotable || v.Message == "" {
			t.Errorf("%s: %s %s promotable=%v %q, want %s %s", tc.name, v.Action, v.Reason, v.Promotable, v.Message, tc.action, tc.reason)
		}
	}
}

// TestACandidateWithAnotherFormIsNotPromoted: production's answers can be read and the
// candidate's cannot, so that nobody knows what it says: that is no reason to let it
// through, as it is where neither can be read.
func TestACandidateWithAnotherFormIsNotPromoted(t *testing.T) {
	e := mixed(5000, Counts{Units: 5000, AnsweredUnits: 5000}, Counts{Units: 5000, AnsweredUnits: 5000, Opaque: 5000})
	var base Counts
	for range 1000 {
		base.AddLatency(5e6)
	}
	c, _ := Calibrate(DefaultPolicy(), &base)
	v := Judge(DefaultPolicy(), &c, e, Window{})
	m := metric(t, v, nameInvalid)
	if v.Promotable || m.Outcome != Inconclusive || m.Undecidable == "" || !strings.Contains(v.Message, "another form") {
		t.Errorf("promotable %v, invalid is %s; %s; want that it is not promoted and why", v.Promotable, m.Outcome, v.Message)
	}
}

func TestOpaqueAnswersAreNotJudgeable(t *testing.T) {
	p := fullPolicy()
	base := Counts{}
	for range 1000 {
		base.AddLatency(5e6)
	}
	c, _ := Calibrate(p, &base)
	e := mixed(5000, Counts{Units: 500, AnsweredUnits: 500, Opaque: 500}, Counts{Units: 500, AnsweredUnits: 500, Unparsed: 500})
	e.Epochs[0].Shadow = Pairs{N: 200, BothOK: 200, NotComparable: 200}
	v := Judge(p, &c, e, Window{})
	for _, name := range []string{nameInvalid, nameMean, "cutoff 0.05", nameAgreement} {
		if m := metric(t, v, name); m.Outcome != NotJudgeable || m.Reason != EvidenceMissing {
			t.Errorf("%s: %s %s %q, want NotJudgeable EvidenceMissing", name, m.Outcome, m.Reason, m.Message)
		}
	}
	zero := newWorld(3)
	zero.score = func(Arm, float64) float64 { return 0 }
	if m := metric(t, Judge(p, zero.calibration(p, 1000), e, Window{}), nameMean); m.Outcome != NotJudgeable {
		t.Errorf("mean of production 0: %s %q", m.Outcome, m.Message)
	}
}

// TestErrorFreePairIsPromotable: without orWithin it could never be.
func TestErrorFreePairIsPromotable(t *testing.T) {
	p := DefaultPolicy()
	at := func(candidate uint64) Metric {
		s := gather(mixed(1000, Counts{Units: 9 * candidate}, Counts{Units: candidate}))
		m := errorRate(p, &s)
		settle(p, &m)
		return m
	}
	first := uint64(0)
	for n := uint64(100); n < 20000 && first == 0; n += 100 {
		if at(n).Outcome == Pass {
			first = n
		}
	}
	t.Logf("passes after %d error-free requests of the candidate", first)
	if first < 3000 || first > 6500 {
		t.Errorf("passes after %d error-free requests of the candidate, want about 6 / 0.1 %%", first)
	}
	if m := at(100); m.Needed < 5000 || m.Needed > 7000 {
		t.Errorf("after 100 requests %d more are needed, want about 6000", m.Needed)
	}
	if m := at(3000); m.Needed < 1000 || m.Needed > 6000 {
		t.Errorf("after 3000 requests %d more are needed, want about 3000", m.Needed)
	}
	p.Errors.OrWithin = 0
	if m := at(1_000_000); m.Outcome == Pass {
		t.Error("passed on no events at all without an absolute margin")
	}
}

// TestOrWithinGuardsRevert: an excess within the scaled margin is not reverted for,
// however large the ratio; beyond it is.
func TestOrWithinGuardsRevert(t *testing.T) {
	p := DefaultPolicy()
	c := newWorld(1).calibration(p, 1000)
	few := mixed(5000, Counts{Units: 500_000}, Counts{Units: 500_000, ErrorUnits: 60}) // 0.012 points, infinite ratio
	if v := Judge(p, c, few, Window{}); v.Action == Revert {
		t.Errorf("reverted within orWithin: %s", v.Message)
	}
	p.Errors.OrWithin = 0
	if v := Judge(p, c, few, Window{}); v.Action != Revert {
		t.Errorf("%s without orWithin, want Revert", v.Action)
	}
	p.Errors.OrWithin = .001
	many := mixed(5000, Counts{Units: 500_000}, Counts{Units: 500_000, ErrorUnits: 600})
	if v := Judge(p, c, many, Window{}); v.Action != Revert {
		t.Errorf("%s at 0.12 points, want Revert", v.Action)
	}
}

func TestExtraErrorRateCoversAndShrinks(t *testing.T) {
	p := DefaultPolicy()
	last := 1.0
	for _, n := range []uint64{0, 300, 3000, 30000} {
		s := gather(mixed(1000, Counts{Units: 9 * n, ErrorUnits: 9 * n / 100}, Counts{Units: n, ErrorUnits: n / 50}))
		got := extraErrorRate(p, &s)
		if got < .01 || got > last {
			t.Errorf("n=%d: %g, want at least the true 0.01 and no more than before (%g)", n, got, last)
		}
		last = got
	}
	if last > .016 {
		t.Errorf("after 30000 requests the bound is still %g", last)
	}
	shadowOnly := sums{shadow: Pairs{N: 5000, BothOK: 5000}}
	if got := extraErrorRate(p, &shadowOnly); got > .002 {
		t.Errorf("5000 good pairs bound the extra rate at %g, want about 0.001", got)
	}
}

func TestRatioBoundsCover(t *testing.T) {
	missed := 0
	for seed := range uint64(100) {
		w := newWorld(7000 + seed)
		w.errorRate = func(a Arm, _ int) float64 { return []float64{.02, .03}[a] }
		w.epoch(EpochInfo{WeightBP: 2500})
		for range 5 {
			w.requests(1000, 0)
			s := gather(w.evidence)
			lower, upper, open := ratioBounds(s.coinsOf(errorUnits), .05)
			if lower > 1.5 || !open && upper < 1.5 {
				missed++
				break
			}
		}
	}
	// At 5 %, more than 15 of 100 have a chance below 1e-4.
	if missed > 15 {
		t.Errorf("the bounds missed the truth in %d of 100 runs", missed)
	}
}

func TestCalibratingEpochsFeedErrorsOnly(t *testing.T) {
	e := randomEvidence(20)
	for i := range e.Epochs {
		e.Epochs[i].Info.Calibrating = true
	}
	p := fullPolicy()
	v := Judge(p, newWorld(2).calibration(p, 1000), e, Window{})
	if m := metric(t, v, nameErrors); m.N[Candidate] == 0 {
		t.Error("errors of calibrating epochs are left out")
	}
	for _, name := range []string{nameLatency, nameMean, "cutoff 0.05"} {
		if m := metric(t, v, name); m.N[Candidate] != 0 || m.EvidenceRevert != 0 || m.EvidencePromote != 0 {
			t.Errorf("%s used calibrating epochs: %+v", name, m)
		}
	}
}

// TestUnitsNotRequests: with sticky routing one bad client is one event.
func TestUnitsNotRequests(t *testing.T) {
	p := DefaultPolicy()
	p.Sticky = true
	e := mixed(1000, Counts{Requests: 9000, Units: 900}, Counts{Requests: 1000, Units: 100, Errors: 400, ErrorUnits: 1, Invalid: 300, InvalidUnits: 1, AnsweredUnits: 99})
	if v := Judge(p, newWorld(1).calibration(p, 1000), e, Window{}); v.Action == Revert {
		t.Errorf("one bad client reverts: %s", v.Message)
	}
}

func TestVerdictIsFiniteAndWritable(t *testing.T) {
	m := Metric{Value: math.NaN(), Upper: math.Inf(1), EvidenceRevert: math.Inf(1), EvidencePromote: 2}
	if keepFinite(&m); m.Value != 0 || m.Upper != 0 || m.EvidenceRevert != 0 || m.EvidencePromote != 2 {
		t.Errorf("not finite: %+v", m)
	}
	p := fullPolicy()
	huge := uint64(math.MaxUint64)
	e := mixed(1, Counts{Units: huge, ErrorUnits: huge}, Counts{Units: 3, ErrorUnits: huge, InvalidUnits: huge})
	if _, err := json.Marshal(Judge(p, newWorld(1).calibration(p, 1000), e, Window{})); err != nil {
		t.Error(err)
	}
}

func BenchmarkJudge(b *testing.B) {
	p := fullPolicy()
	w := newWorld(1)
	w.errorRate = func(Arm, int) float64 { return .01 }
	c := w.calibration(p, 1500)
	w.epoch(EpochInfo{ShadowBP: fullWeight})
	w.requests(2000, 0)
	w.ladder(p, c, 2000, 1000, false)
	b.ReportAllocs()
	for b.Loop() {
		Judge(p, c, w.evidence, w.window())
	}
}
