// Package judge compares a candidate's counts with production's and says what they
// allow. It is pure: the same policy, calibration, evidence and window give the
// same verdict, bit for bit. Formulas, sources and limits stand in docs/judge.md.
package judge

import (
	"fmt"
	"math"
	"strings"
)

const sampleRatioAlpha = 1e-4

// criticalWeights are the shares of the combined evidence of what hurts clients;
// the other half is shared equally by the rest.
var criticalWeights = map[string]float64{nameErrors: .2, nameInvalid: .1, nameShadow: .1, nameRefusals: .1}

// Judge says what the evidence allows. c is nil until Calibrate has answered true;
// without it latency and scores are Calibrating. breaker holds the counts of the
// last seconds, which e must hold too. p must be valid (Validate).
func Judge(p Policy, c *Calibration, e Evidence, breaker Window) Verdict {
	s := gather(e)
	metrics := []Metric{errorRate(p, &s), latency(p, c, &s), invalid(p, &s), refusals(p, &s), shadowErrors(p, &s)}
	if p.Mean != nil {
		metrics = append(metrics, meanShift(p, c, &s))
	}
	for i := range p.Cutoffs {
		metrics = append(metrics, cutoff(p, c, &s, i))
	}
	if p.Agreement != nil {
		metrics = append(metrics, agreement(p, &s))
	}
	v := Verdict{ExtraErrorRate: extraErrorRate(p, &s), LogERevertAt: revertAt(p)}
	for i := range metrics {
		keepFinite(&metrics[i])
	}
	v.LogE = combine(metrics, v.LogERevertAt)
	for i := range metrics {
		settle(p, &metrics[i])
	}
	v.Metrics = metrics
	decide(p, c, &s, breaker, &v)
	return v
}

// revertAt is the combined evidence that reverts. The 1 on top pays for metrics that
// report no evidence (a factor of 1) while their process is not read: before enough
// scores, or once a constant candidate has varied. Their weighted sum exceeds that of
// the processes by 1 at most.
func revertAt(p Policy) float64 { return math.Log1p(1 / (combinedShare * p.FalseRevert)) }

// keepFinite drops what is no number: JSON has none such, and no evidence may come
// from them.
func keepFinite(m *Metric) {
	for _, x := range []*float64{&m.Value, &m.Lower, &m.Upper, &m.EvidenceRevert, &m.EvidencePromote} {
		if math.IsNaN(*x) || math.IsInf(*x, 0) {
			*x = 0
		}
	}
}

// settle gives a metric its outcome, unless it has one.
func settle(p Policy, m *Metric) {
	switch {
	case m.Outcome == NotJudgeable:
		m.Reason = EvidenceMissing
	case m.Outcome != "":
	case m.Required && m.EvidencePromote >= -math.Log(p.FalsePromote):
		m.Outcome, m.Reason = Pass, WithinBounds
	default:
		m.Outcome = Inconclusive
		if m.Reason != Calibrating {
			m.Reason = TooLittleData
		}
		if m.Undecidable != "" {
			m.Message += "; more requests like these do not decide it: " + m.Undecidable
		}
	}
	if m.Outcome != Inconclusive {
		m.Undecidable = ""
	}
}

// combine averages the e-values for revert, with weights fixed by the policy, and
// marks as Fail what alone, or most, carries a revert.
func combine(metrics []Metric, bar float64) (logE float64) {
	rest := .5 / float64(len(metrics)-len(criticalWeights))
	terms := make([]float64, len(metrics))
	top, sum := 0, 0.0
	for i := range metrics {
		weight, critical := criticalWeights[metrics[i].Name]
		if !critical {
			weight = rest
		}
		if terms[i] = metrics[i].EvidenceRevert + math.Log(weight); terms[i] > terms[top] {
			top = i
		}
	}
	for _, t := range terms {
		sum += math.Exp(t - terms[top])
	}
	logE = terms[top] + math.Log(sum)
	for i := range metrics {
		if logE >= bar && (i == top || terms[i] >= bar) {
			metrics[i].Outcome = Fail
		}
	}
	return logE
}

// decide turns metrics into an action; what protects clients comes first.
func decide(p Policy, c *Calibration, s *sums, w Window, v *Verdict) {
	action, reason, message := breaker(p, s, w)
	switch logSRM := s.logSampleRatio(); {
	case action == Revert:
	case v.LogE >= v.LogERevertAt:
		action = Revert
		reason, message = blame(v)
	case action == Hold:
	case logSRM >= -math.Log(sampleRatioAlpha):
		action, reason = Hold, SampleRatioMismatch
		message = fmt.Sprintf("the candidate got %d of %d units, which its weights do not explain: routing or collection is broken, or its clients give up sooner", s.units[Candidate], s.units[Stable]+s.units[Candidate])
	case s.dropped >= leastConstant && 2*s.dropped > s.answers:
		action, reason = Hold, EvidenceMissing
		message = fmt.Sprintf("%d of the candidate's %d answers could not be recorded", s.dropped, s.answers)
	case s.units[Candidate] == 0 && s.shadow.N == 0:
		action, reason, message = Hold, TooLittleData, "no request of the candidate was judged yet"
	case c == nil:
		action, reason = Hold, Calibrating
		message = fmt.Sprintf("production's latency edges need %d requests of stable before anything is compared", p.MinCalibration)
	default:
		action, reason, message = Advance, WithinBounds, summary(v)
		if v.Promotable {
			reason = Promotable
		}
	}
	v.Action, v.Reason, v.Message = action, reason, message
}

// blame returns reason and message of the first metric that failed.
func blame(v *Verdict) (Reason, string) {
	for _, m := range v.Metrics {
		if m.Outcome == Fail {
			return m.Reason, fmt.Sprintf("%s: %s (evidence %.3g to 1, %.0f to 1 reverts)", m.Name, m.Message, math.Exp(math.Min(v.LogE, 600)), math.Exp(v.LogERevertAt))
		}
	}
	return "", ""
}

// summary describes an Advance and sets what is promotable.
func summary(v *Verdict) string {
	var open []string
	passed := false
	for _, m := range v.Metrics {
		switch {
		case !m.Required:
		case m.Outcome == NotJudgeable:
			v.Unjudged = append(v.Unjudged, m.Name)
		case m.Outcome == Pass:
			passed = passed || m.Name == nameErrors
		case m.Needed > 0:
			open = append(open, fmt.Sprintf("%s needs about %d more requests", m.Name, m.Needed))
		case m.Undecidable != "":
			open = append(open, fmt.Sprintf("%s is not decided by more requests like these (%s)", m.Name, m.Undecidable))
		default:
			open = append(open, m.Name+" is not decided")
		}
	}
	v.Promotable = passed && len(open) == 0
	unjudged := ""
	if len(v.Unjudged) > 0 {
		unjudged = "; not judgeable: " + strings.Join(v.Unjudged, ", ")
	}
	if v.Promotable {
		return "every required metric is within its bounds" + unjudged
	}
	return "nothing speaks against the next step; to promote, " + strings.Join(open, ", ") + unjudged
}

// logSampleRatio adds the evidence over strata: each weight has its own coin.
func (s *sums) logSampleRatio() (logE float64) {
	for i := range s.strata {
		t := &s.strata[i]
		logE += logSampleRatio(t.arms[Candidate].Units, t.arms[Stable].Units, t.w)
	}
	return logE
}
