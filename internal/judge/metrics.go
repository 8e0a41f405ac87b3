package judge

import (
	"fmt"
	"math"
)

// Names of the metrics.
const (
	nameErrors    = "errors"
	nameLatency   = "latency"
	nameInvalid   = "invalid"
	nameShadow    = "shadow errors"
	nameMean      = "mean score"
	nameAgreement = "agreement"
	unbounded     = 1000 // an upper bound that is not known yet
)

// settle gives a metric its outcome from its promote e-value.
func settle(p Policy, m Metric) Metric {
	m.Outcome, m.Reason = outcomeOf(p, m)
	return m
}

func outcomeOf(p Policy, m Metric) (Outcome, Reason) {
	switch {
	case m.Outcome == NotJudgeable:
		return m.Outcome, m.Reason
	case m.LogPromote >= math.Log(1/p.FalsePromote):
		return Pass, m.Reason
	}
	return Inconclusive, m.Reason
}

func share(k, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(k) / float64(n)
}

func errorRate(p Policy, s sums) Metric {
	pick := func(c *Counts) uint64 { return c.ErrorUnits }
	strata := s.events(pick)
	var data []arms
	var errs [2]uint64
	for i := range s.byWeight {
		w := &s.byWeight[i]
		data = append(data, arms{w: w.w, n: w.arms[0].Units + w.arms[1].Units, candidate: w.arms[Candidate].ErrorUnits, other: w.arms[Stable].ErrorUnits})
		for a := range errs {
			errs[a] += w.arms[a].ErrorUnits
		}
	}
	m := Metric{Name: nameErrors, Reason: ReasonErrors, Required: true, Unit: "x", Threshold: p.Errors.PromoteBelow, N: s.units}
	m.LogRevert = logRatioMixture(strata, p.Errors.RevertAbove, revertGrid)
	m.LogPromote = logRatioMixture(strata, p.Errors.PromoteBelow, promoteGrid)
	if p.Errors.OrWithin > 0 {
		m.LogPromote = logMean([]float64{m.LogPromote, logDifference(data, p.Errors.OrWithin)})
	}
	m.Lower, m.Upper = ratioInterval(strata, p.FalsePromote)
	if r := share(errs[Stable], s.units[Stable]); r > 0 {
		m.Value = share(errs[Candidate], s.units[Candidate]) / r
	}
	m.Message = fmt.Sprintf("candidate %s, stable %s; ratio within [%.2f, %s], promoted below %gx%s", rate(errs[Candidate], s.units[Candidate]), rate(errs[Stable], s.units[Stable]), m.Lower, upper(m.Upper), p.Errors.PromoteBelow, orWithin(p))
	m.Needed = needed(p, m, s.units[Candidate])
	return settle(p, m)
}

func orWithin(p Policy) string {
	if p.Errors.OrWithin <= 0 {
		return ""
	}
	return fmt.Sprintf(" or within %.3g points", 100*p.Errors.OrWithin)
}

func upper(x float64) string {
	if x >= unbounded {
		return "?"
	}
	return fmt.Sprintf("%.2f", x)
}

func rate(k, n uint64) string { return fmt.Sprintf("%.3g %% (%d of %d)", 100*share(k, n), k, n) }

// needed estimates how many more units of the candidate a Pass takes, from the
// growth of the log e-value so far.
func needed(p Policy, m Metric, n uint64) uint64 {
	bar := math.Log(1 / p.FalsePromote)
	if n < 20 || m.LogPromote <= 0.05 || m.LogPromote >= bar {
		return 0
	}
	return uint64(math.Ceil(float64(n) * (bar - m.LogPromote) / m.LogPromote))
}

// ratioInterval is the confidence sequence of the ratio on a grid of 2^(1/4).
func ratioInterval(strata []stratum, alpha float64) (low, high float64) {
	bar := math.Log(2 / alpha)
	high = unbounded
	for k := -24; k <= 40; k++ {
		r := math.Exp2(float64(k) / 4)
		if logRatioMixture(strata, r, revertGrid) >= bar {
			low = r
		}
		if high == unbounded && logRatioMixture(strata, r, promoteGrid) >= bar {
			high = r
		}
	}
	return low, high
}

// extraErrorRate bounds the candidate's extra errors per request from above; 1
// when nothing is known.
func extraErrorRate(p Policy, s sums) float64 {
	var data []arms
	for i := range s.byWeight {
		w := &s.byWeight[i]
		data = append(data, arms{w: w.w, n: w.arms[0].Units + w.arms[1].Units, candidate: w.arms[Candidate].ErrorUnits, other: w.arms[Stable].ErrorUnits})
	}
	bar := math.Log(1 / p.FalsePromote)
	for d := 1e-4; d < 1; d *= 1.25 {
		if logDifference(data, d) >= bar {
			return d
		}
	}
	return 1
}

// latency compares exceedances of stable's own quantiles: an event is a stable
// request slower than the edge, or a candidate request slower than the edge
// shifted by the margin (judge.md 1.3).
func latency(p Policy, c *Calibration, s sums) Metric {
	m := Metric{Name: nameLatency, Reason: ReasonLatency, Required: true, Unit: "x", N: s.units}
	if c == nil {
		m.Outcome, m.Reason = Inconclusive, ReasonCalibrating
		m.Message = fmt.Sprintf("calibrating: the edges need %d requests of stable before they are frozen", p.MinCalibration)
		return m
	}
	up, down := shiftUp(p.Latency.RevertAbove), shiftDown(p.Latency.PromoteBelow)
	m.Threshold = math.Exp2(float64(down) / 8)
	terms := make([]float64, 0, len(c.Revert))
	for _, edge := range c.Revert {
		terms = append(terms, logRatioMixture(s.slower(edge, up), 1, revertGrid))
	}
	m.LogRevert = logMean(terms)
	m.LogPromote = math.Inf(1)
	for _, edge := range c.Promote {
		m.LogPromote = math.Min(m.LogPromote, logRatioMixture(s.slower(edge, down), 1, promoteGrid))
	}
	if len(c.Promote) == 0 {
		m.LogPromote = 0
	}
	text := ""
	for i, edge := range c.Promote {
		text += fmt.Sprintf("%sp%g %s", sep(i), 100*c.At[i], s.exceeding(edge))
		if i == len(c.Promote)-1 {
			m.Value = s.quantileRatio(c.At[i])
		}
	}
	m.Message = fmt.Sprintf("%s; tested at x%.3f (whole buckets within the %gx asked), reverts beyond x%.3f", text, m.Threshold, p.Latency.PromoteBelow, math.Exp2(float64(up)/8))
	m.Needed = needed(p, m, s.units[Candidate])
	return settle(p, m)
}

func sep(i int) string {
	if i == 0 {
		return ""
	}
	return ", "
}

func (s *sums) slower(edge, shift int) []stratum {
	var out []stratum
	for i := range s.byWeight {
		w := &s.byWeight[i]
		c := w.latency[Candidate].AtLeast(min(edge+max(shift, 0), HistogramBuckets-1))
		out = append(out, stratum{w: w.w, candidate: c, all: c + w.latency[Stable].AtLeast(edge)})
	}
	return out
}

// exceeding says what share of each arm lies beyond an edge.
func (s *sums) exceeding(edge int) string {
	var over, all [2]uint64
	for i := range s.byWeight {
		for a := range over {
			over[a] += s.byWeight[i].latency[a].AtLeast(edge)
			all[a] += s.byWeight[i].latency[a].Total()
		}
	}
	return fmt.Sprintf("beyond %s: candidate %.2f %%, stable %.2f %%", EdgeOf(edge).Round(1e4), 100*share(over[Candidate], all[Candidate]), 100*share(over[Stable], all[Stable]))
}

func (s *sums) quantileRatio(q float64) float64 {
	var h [2]Histogram
	for i := range s.byWeight {
		for a := range h {
			h[a].Add(&s.byWeight[i].latency[a])
		}
	}
	c, ok1 := h[Candidate].Quantile(q)
	st, ok2 := h[Stable].Quantile(q)
	if !ok1 || !ok2 {
		return 0
	}
	return math.Exp2(float64(c-st) / 8)
}

// invalid judges the share of the candidate's answers without a usable score.
func invalid(p Policy, s sums) Metric {
	var k, n, opaque [2]uint64
	for i := range s.byWeight {
		for a := range k {
			c := &s.byWeight[i].arms[a]
			k[a] += c.InvalidUnits
			n[a] += c.AnsweredUnits
			opaque[a] += c.Opaque + c.Unparsed
		}
	}
	k[Candidate] += s.shadow.ShadowInvalid
	n[Candidate] += s.shadow.Compared + s.shadow.ShadowInvalid
	m := Metric{Name: nameInvalid, Reason: ReasonInvalid, Required: true, Unit: "share", Threshold: p.Invalid.PromoteBelow, N: n, Value: share(k[Candidate], n[Candidate])}
	if n[Candidate] > 0 && opaque[Candidate] >= n[Candidate] {
		m.Outcome, m.Reason = NotJudgeable, ReasonNotObserved
		m.Message = fmt.Sprintf("none of the candidate's %d answers could be read: declare spec.contract", n[Candidate])
		return m
	}
	m.LogRevert = logShareMixture(k[Candidate], n[Candidate], p.Invalid.RevertAbove, shareRevertGrid)
	m.LogPromote = logShareMixture(k[Candidate], n[Candidate], p.Invalid.PromoteBelow, sharePromoteGrid)
	m.Message = fmt.Sprintf("candidate %s, stable %s; promoted below %g %%", rate(k[Candidate], n[Candidate]), rate(k[Stable], n[Stable]), 100*p.Invalid.PromoteBelow)
	m.Needed = needed(p, m, n[Candidate])
	return settle(p, m)
}

// shadowErrors is McNemar's test, sequential: of the pairs in which one side
// only failed, each is a coin if the candidate is no worse.
func shadowErrors(p Policy, s sums) Metric {
	b, c := s.shadow.OnlyShadowBad, s.shadow.OnlyStableBad
	m := Metric{Name: nameShadow, Reason: ReasonShadowErrors, Unit: "x", N: [2]uint64{s.shadow.N, s.shadow.N}, Threshold: p.Errors.RevertAbove}
	if s.shadow.N == 0 {
		m.Outcome, m.Reason, m.Message = NotJudgeable, ReasonNotObserved, "no shadow pairs"
		return m
	}
	strata := []stratum{{w: .5, candidate: b, all: b + c}}
	m.LogRevert = logRatioMixture(strata, p.Errors.RevertAbove, revertGrid)
	m.LogPromote = logRatioMixture(strata, p.Errors.PromoteBelow, promoteGrid)
	m.Value = float64(b) / math.Max(float64(c), 1)
	m.Message = fmt.Sprintf("of %d pairs only the candidate failed %d times, only stable %d times", s.shadow.N, b, c)
	return settle(p, m)
}

// agreement judges the share of shadow pairs whose scores agree.
func agreement(p Policy, s sums) Metric {
	a := p.Agreement
	d, n := s.shadow.Disagreed, s.shadow.Compared
	m := Metric{Name: nameAgreement, Reason: ReasonAgreement, Required: true, Unit: "share", Threshold: a.PromoteAbove, N: [2]uint64{n, n}, Value: 1 - share(d, n)}
	if n == 0 {
		m.Outcome, m.Reason = NotJudgeable, ReasonNotObserved
		m.Message = "no comparable shadow pairs: agreement needs a shadow step"
		return m
	}
	m.LogRevert = logShareMixture(d, n, 1-a.RevertBelow, shareRevertGrid)
	m.LogPromote = logShareMixture(d, n, 1-a.PromoteAbove, sharePromoteGrid)
	m.Message = fmt.Sprintf("%.2f %% of %d pairs within %g; promoted above %g %%, reverts below %g %%", 100*m.Value, n, a.Tolerance, 100*a.PromoteAbove, 100*a.RevertBelow)
	m.Needed = needed(p, m, n)
	return settle(p, m)
}
