package judge

import (
	"math"
	"strings"
	"testing"
)

// Each statistic at n = 0, NaN, infinities, zero variance and all-equal data: what
// cannot be evidence is none (0), and never NaN.
func TestStatisticsAtTheEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	some := []coins{{.1, 3, 5}}
	data := []trials{{some[0], 100}}
	pair := couples{3, 1, 1, 10}
	for _, tc := range []struct {
		name      string
		got, want float64
	}{
		{"mean of nothing", logMeanExp(nil), 0},
		{"mean of impossibilities", logMeanExp([]float64{-inf, -inf}), -inf},
		{"mean with certainty", logMeanExp([]float64{0, inf}), inf},
		{"mean of huge logs", logMeanExp([]float64{5000, 5000}), 5000},
		{"ratio, no strata", logRatio(nil, 1, revertGrid), 0},
		{"ratio, no events", logRatio([]coins{{.1, 0, 0}}, 1, revertGrid), 0},
		{"ratio, no control arm", logRatio([]coins{{1, 9, 0}, {0, 0, 9}, {nan, 3, 3}, {-1, 3, 3}, {inf, 3, 3}}, 1, revertGrid), 0},
		{"ratio, r0 NaN", logRatio(some, nan, revertGrid), 0},
		{"ratio, r0 infinite", logRatio(some, inf, revertGrid), 0},
		{"ratio, r0 zero", logRatio(some, 0, revertGrid), 0},
		{"below, nothing", logExcessBelow(nil, .001), 0},
		{"below, no units", logExcessBelow([]trials{{coins{w: .5}, 0}}, .001), 0},
		{"below, delta NaN", logExcessBelow(data, nan), 0},
		{"below, delta infinite", logExcessBelow(data, inf), 0},
		{"below, delta negative", logExcessBelow(data, -1), 0},
		{"below, no control arm", logExcessBelow([]trials{{coins{w: 1, candidate: 3}, 10}}, .001), 0},
		{"above, nothing", logExcessAbove(nil, .001, revertGrid), 0},
		{"above, delta NaN", logExcessAbove(data, nan, revertGrid), 0},
		{"above, delta infinite", logExcessAbove(data, inf, revertGrid), 0},
		{"pairs, none", logPairedRatio(couples{}, 1.25), 0},
		{"pairs, r0 NaN", logPairedRatio(pair, nan), 0},
		{"pairs, r0 infinite", logPairedRatio(pair, inf), 0},
		{"pairs above, none", logPairedAbove(couples{}, .1), 0},
		{"pairs above, NaN", logPairedAbove(pair, nan), 0},
		{"pairs above, infinite", logPairedAbove(pair, inf), 0},
		{"pairs below, none", logPairedBelow(couples{}, .1), 0},
		{"pairs below, NaN", logPairedBelow(pair, nan), 0},
		{"pairs below, infinite", logPairedBelow(pair, inf), 0},
		{"share, none", logShare(0, 0, .1, oddsAbove), 0},
		{"share, q0 NaN", logShare(1, 2, nan, oddsAbove), 0},
		{"share, q0 0", logShare(1, 2, 0, oddsAbove), 0},
		{"share, q0 1", logShare(1, 2, 1, oddsAbove), 0},
		{"share, q0 infinite", logShare(1, 2, inf, oddsAbove), 0},
		{"sample ratio, none", logSampleRatio(0, 0, .1), 0},
		{"sample ratio, w NaN", logSampleRatio(1, 2, nan), 0},
		{"sample ratio, w 1", logSampleRatio(1, 2, 1), 0},
		{"one-sided, nothing", logNormalAbove(drift{}, 1), 0},
		{"one-sided, nothing", logNormalAbove(drift{}, 1), 0},
		{"one-sided, S NaN", logNormalAbove(drift{nan, 1}, 1), 0},
		{"one-sided, V infinite", logNormalAbove(drift{1, inf}, 1), 0},
		{"one-sided, rho 0", logNormalAbove(drift{1, 1}, 0), 0},
		{"one-sided, rho NaN", logNormalAbove(drift{1, 1}, nan), 0},
		{"one-sided, rho infinite", logNormalAbove(drift{1, 1}, inf), 0},
		{"one-sided, S infinite", logNormalAbove(drift{inf, 1}, 1), 0},
		{"one-sided, V negative", logNormalAbove(drift{1, -1}, 1), 0},
		{"mean of none", moments{}.mean(), 0},
		{"sd of one", moments{1, 5, 25}.sd(), 0},
		{"sd, all equal", moments{4, 2, 1}.sd(), 0},
		{"harm, weight 0", HarmOfNext(1, 10, 1, 0), 0},
		{"harm, nothing extra", HarmOfNext(0, 10, 1, 100), 20},
		{"harm, NaN is the worst", HarmOfNext(nan, 10, 2, 100), 40},
		{"harm, above one", HarmOfNext(inf, 10, 2, 100), 40},
		{"harm, negative", HarmOfNext(-inf, 10, 2, 100), 20},
		{"harm, no traffic known", HarmOfNext(1, nan, inf, 2500), 20},
		{"harm, at 37.5 %", HarmOfNext(0, 1, 1, 3750), 30},
		{"harm, at 50 %", HarmOfNext(.01, 100, 5, 5000), 45},
		{"harm, infinite traffic is bounded", HarmOfNext(1, inf, 1, 9900), 1e12 + 40},
	} {
		if got := tc.got; got != tc.want && !(math.Abs(got-tc.want) <= 1e-12) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestPromise4TooLittleData: nothing, or nothing but a little, is Hold or
// Inconclusive; never Pass, never Fail.
func TestPromise4TooLittleData(t *testing.T) {
	p := fullPolicy()
	c := newWorld(1).calibration(p, 1000)
	for _, tc := range []struct {
		name string
		e    Evidence
		c    *Calibration
		want Reason
	}{
		{"no evidence", Evidence{}, nil, TooLittleData},
		{"no evidence, calibrated", Evidence{}, c, TooLittleData},
		{"an epoch without requests", Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000, ShadowBP: 100}}}}, c, TooLittleData},
		{"stable only", Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000}, Arms: [2]Counts{{Requests: 50, Units: 50}}}}}, c, TooLittleData},
		{"warm-up only", Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000, Warmup: true}, Arms: [2]Counts{{Units: 900}, {Units: 100}}}}}, c, TooLittleData},
		{"tampered only", Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000, Tampered: true}, Arms: [2]Counts{{Units: 900}, {Units: 100}}}}}, c, TooLittleData},
		{"not calibrated", Evidence{Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000}, Arms: [2]Counts{{Units: 900}, {Units: 100}}}}}, nil, Calibrating},
	} {
		v := Judge(p, tc.c, tc.e, Window{})
		if v.Action != Hold || v.Reason != tc.want || v.Promotable || v.Message == "" {
			t.Errorf("%s: %s %s promotable=%v %q, want Hold %s", tc.name, v.Action, v.Reason, v.Promotable, v.Message, tc.want)
		}
		if len(tc.e.Epochs) == 0 && v.ExtraErrorRate != 1 {
			t.Errorf("%s: extra error rate %g, want 1", tc.name, v.ExtraErrorRate)
		}
		for _, m := range v.Metrics {
			if m.Outcome == Pass || m.Outcome == Fail {
				t.Errorf("%s: %s is %s", tc.name, m.Name, m.Outcome)
			}
		}
	}
}

func TestCalibrate(t *testing.T) {
	p := fullPolicy()
	var c Counts
	if _, ok := Calibrate(p, &c); ok {
		t.Error("calibrated from nothing")
	}
	for range 999 {
		c.AddLatency(EdgeOf(50))
	}
	if _, ok := Calibrate(p, &c); ok {
		t.Error("calibrated from 999 requests")
	}
	c.AddLatency(EdgeOf(50))
	got, ok := Calibrate(p, &c)
	if !ok {
		t.Fatal("not calibrated from 1000 requests")
	}
	// All equal: no request lies beyond the bucket, so non-inferiority is tested at
	// its lower edge, and slowness at its upper one.
	for _, e := range got.PromoteEdges {
		if e != BucketOf(EdgeOf(50)) {
			t.Errorf("promote edges %v", got.PromoteEdges)
		}
	}
	if len(got.RevertEdges) != 1 || got.RevertEdges[0] != BucketOf(EdgeOf(50))+1 {
		t.Errorf("revert edges %v", got.RevertEdges)
	}
	if nearestEdge(&Histogram{}, .5) != 0 {
		t.Error("nearest edge of nothing")
	}
	zero := p
	zero.MinCalibration = 0
	if _, ok := Calibrate(zero, &Counts{}); ok {
		t.Error("calibrated from nothing with minCalibration 0")
	}
}

func TestTestedLatency(t *testing.T) {
	for _, tc := range []struct{ revert, promote, wantRevert, wantPromote float64 }{
		{1.1, 1.25, math.Exp2(.25), math.Exp2(.25)},
		{1, 2, 1, 2},
		{math.Exp2(1. / 8), math.Exp2(3. / 8), math.Exp2(1. / 8), math.Exp2(3. / 8)},
		{1.01, 1.5, math.Exp2(1. / 8), math.Exp2(4. / 8)},
	} {
		r, q := TestedLatency(LatencyMargin{RevertAbove: tc.revert, PromoteBelow: tc.promote})
		if r != tc.wantRevert || q != tc.wantPromote {
			t.Errorf("%g, %g tested at %g, %g, want %g, %g", tc.revert, tc.promote, r, q, tc.wantRevert, tc.wantPromote)
		}
		if r < tc.revert-1e-12 || q > tc.promote+1e-12 {
			t.Errorf("%g, %g: rounding to %g, %g breaks a bound", tc.revert, tc.promote, r, q)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := fullPolicy().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, tc := range []struct {
		field  string
		change func(*Policy)
	}{
		{"falseRevert", func(p *Policy) { p.FalseRevert = 0 }},
		{"falsePromote", func(p *Policy) { p.FalsePromote = nan }},
		{"errors.revertAbove", func(p *Policy) { p.Errors.RevertAbove = .9 }},
		{"errors.revertAbove", func(p *Policy) { p.Errors.RevertAbove = 3 }},
		{"errors.promoteBelow", func(p *Policy) { p.Errors.PromoteBelow = inf }},
		{"errors.orWithin", func(p *Policy) { p.Errors.OrWithin = -1 }},
		{"latency.promoteBelow", func(p *Policy) { p.Latency.PromoteBelow = 1.05 }},
		{"latency.revertAbove", func(p *Policy) { p.Latency.RevertAbove = 1.5 }},
		{"latency.at", func(p *Policy) { p.Latency.At = nil }},
		{"latency.at", func(p *Policy) { p.Latency.At = []float64{1} }},
		{"invalid.revertAbove", func(p *Policy) { p.Invalid.RevertAbove = .5 }},
		{"invalid.promoteBelow", func(p *Policy) { p.Invalid.PromoteBelow = 1 }},
		{"harmBudget", func(p *Policy) { p.HarmBudget = -1 }},
		{"minCalibration", func(p *Policy) { p.MinCalibration = 0 }},
		{"scores.mean.revertAbove", func(p *Policy) { p.Mean.RevertAbove = .3 }},
		{"scores.mean.promoteBelow", func(p *Policy) { p.Mean.PromoteBelow = nan }},
		{"scores.cutoffs", func(p *Policy) { p.Cutoffs = make([]Cutoff, 17) }},
		{"scores.cutoffs.value", func(p *Policy) { p.Cutoffs[0].Value = inf }},
		{"scores.cutoffs.revertAbove", func(p *Policy) { p.Cutoffs[0].RevertAbove = 2 }},
		{"agreement.tolerance", func(p *Policy) { p.Agreement.Tolerance = -.1 }},
		{"agreement.revertBelow", func(p *Policy) { p.Agreement.RevertBelow = .97 }},
		{"agreement.promoteAbove", func(p *Policy) { p.Agreement.PromoteAbove = 1 }},
	} {
		p := fullPolicy()
		tc.change(&p)
		err := p.Validate()
		if err == nil {
			t.Errorf("%s: accepted", tc.field)
		} else if !strings.Contains(err.Error(), "`"+tc.field) {
			t.Errorf("%s: message does not name the field: %v", tc.field, err)
		}
	}
}
