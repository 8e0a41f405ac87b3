// Package judge compares a candidate's counts with production's. It is pure:
// the same policy, calibration and evidence give the same verdict, bit for bit.
// Formulas and their sources stand in docs/judge.md.
package judge

import (
	"fmt"
	"math"
)

const (
	sampleRatioAlpha = 1e-4
	breakerLeast     = 3    // candidate failures without a success
	breakerAlpha     = 1e-5 // chance of as many failures in a row at stable's own rate
	constantLeast    = 100  // answers before a constant score is called one
	normalLeast      = 30   // units before a normal approximation is trusted
	criticalShare    = .5   // of the revert e-value: errors and invalid answers
)

// Judge returns the verdict on evidence. c may be nil: then latency is
// Calibrating. w holds the counts of the last seconds, for the breaker alone.
func Judge(p Policy, c *Calibration, e Evidence, w Window) Verdict {
	s := gather(e, p)
	metrics := []Metric{errorRate(p, s), latency(p, c, s), invalid(p, s), shadowErrors(p, s)}
	if p.Mean != nil {
		metrics = append(metrics, meanShift(p, s))
	}
	for i, cut := range p.Cutoffs {
		metrics = append(metrics, cutoff(p, s, i, cut))
	}
	if p.Agreement != nil {
		metrics = append(metrics, agreement(p, s))
	}
	v := Verdict{Metrics: metrics, ExtraErrorRate: extraErrorRate(p, s)}
	blame := combine(p, &v)
	v.Promotable = promotable(v.Metrics)
	decide(p, s, w, blame, &v)
	return v
}

// combine averages the revert e-values: half the weight on what is critical, the
// rest on the others alike. An average of e-processes is one under any dependence
// (Vovk & Wang 2021). It returns the index of the metric that speaks loudest.
func combine(p Policy, v *Verdict) int {
	bar, others := math.Log(1/p.FalseRevert), len(v.Metrics)-2
	blame, terms := 0, make([]float64, len(v.Metrics))
	for i := range v.Metrics {
		m := &v.Metrics[i]
		share := criticalShare / 2
		if m.Name != nameErrors && m.Name != nameInvalid {
			share = (1 - criticalShare) / float64(max(others, 1))
		}
		terms[i] = m.LogRevert + math.Log(share)
		if terms[i] > terms[blame] {
			blame = i
		}
		if terms[i] >= bar {
			m.Outcome = Fail
		}
	}
	v.LogE = logMean(terms) + math.Log(float64(len(terms)))
	return blame
}

func promotable(metrics []Metric) bool {
	for _, m := range metrics {
		if m.Outcome == Fail || m.Required && m.Outcome == Inconclusive || m.Name == nameErrors && m.Outcome != Pass {
			return false
		}
	}
	return true
}

// decide turns metrics into an action: what must stop first.
func decide(p Policy, s sums, w Window, blame int, v *Verdict) {
	m := v.Metrics[blame]
	switch reason, message := breaker(s, w); {
	case reason == ReasonBreakage:
		v.Action, v.Reason, v.Message = Revert, reason, message
	case reason == ReasonBothFailing:
		v.Action, v.Reason, v.Message = Hold, reason, message
	case s.constant():
		v.Action, v.Reason, v.Message = Revert, ReasonConstant, fmt.Sprintf("every one of %d answers of the candidate scored %.6g, while stable's vary from %.6g to %.6g", s.candidateScored, s.candidateRange.Min, s.stableRange.Min, s.stableRange.Max)
	case v.LogE >= math.Log(1/p.FalseRevert):
		v.Action, v.Reason = Revert, m.Reason
		v.Message = fmt.Sprintf("%s (evidence %.3g to 1 against the bounds, %.0f to 1 is asked)", m.Message, math.Exp(math.Min(v.LogE, 700)), 1/p.FalseRevert)
		v.Metrics[blame].Outcome = Fail
		v.Promotable = false
	case s.sampleRatio >= math.Log(1/sampleRatioAlpha):
		v.Action, v.Reason = Hold, ReasonSampleRatio
		v.Message = fmt.Sprintf("the candidate got %d of %d requests, which its weight does not explain: routing or collection is broken", s.units[Candidate], s.units[Stable]+s.units[Candidate])
	default:
		v.Action, v.Reason, v.Message = Advance, summaryReason(v), summary(v)
	}
	if v.Action == Revert {
		v.Promotable = false
	}
}

func summaryReason(v *Verdict) Reason {
	if v.Promotable {
		return ReasonWithinBounds
	}
	for _, m := range v.Metrics {
		if m.Required && m.Outcome == Inconclusive && m.Reason != ReasonStillUncertain {
			return m.Reason
		}
	}
	return ReasonStillUncertain
}

func summary(v *Verdict) string {
	if v.Promotable {
		return "every required metric is within its bounds"
	}
	text := ""
	for _, m := range v.Metrics {
		if m.Outcome == Pass || m.Outcome == NotJudgeable || !m.Required {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("%s is %s", m.Name, m.Outcome)
		if m.Needed > 0 {
			text += fmt.Sprintf(" (about %d more requests to the candidate)", m.Needed)
		}
	}
	return text
}

// breaker looks at the last seconds only: a candidate that answers nothing but
// errors while stable succeeds. It fires when as many failures in a row would be
// rarer than breakerAlpha at a rate a quarter above an upper bound of stable's own.
func breaker(s sums, w Window) (Reason, string) {
	fails, asked := w.Errors[Candidate]+w.ShadowErrors, w.Requests[Candidate]+w.Pairs
	if fails < breakerLeast || fails < asked {
		return "", ""
	}
	stableAsked, stableFails := w.Requests[Stable], w.Errors[Stable]
	if stableAsked == 0 || 2*stableFails >= stableAsked {
		if stableFails >= breakerLeast {
			return ReasonBothFailing, fmt.Sprintf("both fail: stable %d of %d requests in the last seconds, the candidate %d of %d: holding", stableFails, stableAsked, fails, asked)
		}
		return "", ""
	}
	n, k := s.stableAll, s.stableAllErrors
	rate := math.Min(1.25*(float64(k)+3+2*math.Sqrt(float64(k)))/(float64(n)+3), 1)
	if float64(fails)*math.Log(rate) > math.Log(breakerAlpha) {
		return "", ""
	}
	return ReasonBreakage, fmt.Sprintf("the candidate failed %d of its last %d requests, while stable failed %d of %d", fails, asked, stableFails, stableAsked)
}
