package judge

import (
	"fmt"
	"math"
)

// The two questions of agreement, how often the candidate disagrees with stable and
// how often stable does with itself, share a bet. Shadow pairs are plenty, repeats
// few: to revert, most of the stake is on the repeats. To promote, on the pairs: a
// scorer that repeats itself needs nothing else.
const (
	repeatsToRevert  = .9
	repeatsToPromote = .1
	noiseSteps       = 40 // of the bisection for the noise that splits the two
)

// oddsMore and oddsLess multiply the odds of a null share, as oddsAbove and oddsBelow
// do, in steps fine enough to tell a noisy candidate from its noisy production.
var (
	oddsMore = []float64{1.05, 1.15, 1.35, 2, 5, 50}
	oddsLess = []float64{.95, .85, .65, .4, .1, .005}
)

// agreement judges the share of shadow pairs within tolerance, beyond the noise with
// which stable's own answers differ when it is asked twice. It stands on shadow
// evidence for the whole rollout; a plan without shadow can never give it any.
func agreement(p Policy, s *sums) Metric {
	a, d, n := p.Agreement, s.shadow.Disagreed, s.shadow.Compared
	m := Metric{Name: nameAgreement, Reason: Disagreement, Required: true, ShadowOnly: true, Unit: "share", N: [2]uint64{n, n}, Threshold: a.PromoteAbove}
	switch {
	case p.Unrecorded:
		m.Outcome, m.Message = NotJudgeable, noScores
		return m
	case n == 0 && s.shadow.NotComparable >= leastConstant:
		m.Outcome, m.Message = NotJudgeable, fmt.Sprintf("none of %d shadow pairs could be compared: the answers cannot be read", s.shadow.NotComparable)
		return m
	case n == 0 && s.weighted && !s.shadowed:
		m.Outcome, m.Message = NotJudgeable, "the plan has no shadow step: agreement is declared but cannot be judged, and does not block promotion"
		return m
	}
	t := twice{d, n, s.shadow.RepeatsDisagreed, s.shadow.Repeats}
	if n > 0 {
		m.Value = t.beyondNoise()
	}
	if a.RepeatBP > 0 || t.repeats > 0 {
		m.EvidenceRevert = t.logAbove(1 - a.RevertBelow)
	} else {
		m.EvidenceRevert = logShare(d, n, 1-a.RevertBelow, oddsAbove)
	}
	m.EvidencePromote = t.logBelow(1 - a.PromoteAbove)
	m.Needed = needed(p, m, 5.2/(1-a.PromoteAbove))
	m.Message = fmt.Sprintf("%.2f %% of %d shadow pairs agree within %g%s; reverts below %g %%, passes above %g %%", 100*part(n-min(d, n), n), n, a.Tolerance, t.noise(a), 100*a.RevertBelow, 100*a.PromoteAbove)
	if s.shadow.NotComparable > 0 {
		m.Message += fmt.Sprintf("; %d pairs could not be compared", s.shadow.NotComparable)
	}
	return m
}

// twice are pairs of stable's and the candidate's answers, and of two of stable's own.
type twice struct{ disagreed, pairs, noisy, repeats uint64 }

// beyondNoise estimates how much of the agreement that stable reaches with itself the
// candidate reaches, 1 at most.
func (t twice) beyondNoise() float64 {
	own := 1 - part(min(t.noisy, t.repeats), t.repeats)
	with := 1 - part(min(t.disagreed, t.pairs), t.pairs)
	if with >= own {
		return math.Ceil(with) // 0 if neither ever agrees
	}
	return with / own
}

// beyond is the disagreement that noise v explains, if the candidate fails to agree
// in a share q of the cases in which stable would have agreed with itself.
func beyond(q, v float64) float64 { return q + (1-q)*v }

// logAbove is evidence against "there is a noise v: stable disagrees with itself at a
// rate of v or more, and the candidate with it at beyond(q, v) or less". For each v
// the mean of two e-values, one for each half of that sentence, is one; the evidence
// is the least of these over all v. For whatever x one splits the v's at, it is no
// less than the lesser of "the candidate disagrees more than beyond(q, x)" and
// "stable disagrees with itself less than x", times their shares.
func (t twice) logAbove(q float64) float64 {
	return t.split(repeatsToRevert,
		func(x float64) float64 { return logShare(t.disagreed, t.pairs, beyond(q, x), oddsMore) },
		func(x float64) float64 { return logShare(t.noisy, t.repeats, x, oddsLess) })
}

// logBelow is evidence against "there is a noise v: stable disagrees with itself at a
// rate of v or less, and the candidate with it at beyond(q, v) or more". No noise is
// less than 0, so that x = 0 needs no repeats.
func (t twice) logBelow(q float64) float64 {
	pairs := func(x float64) float64 { return logShare(t.disagreed, t.pairs, beyond(q, x), oddsLess) }
	noisy := t.split(repeatsToPromote, pairs, func(x float64) float64 { return logShare(t.noisy, t.repeats, x, oddsMore) })
	return math.Max(noisy, pairs(0)+math.Log(1-repeatsToPromote))
}

// split returns the greatest of min(pairs(x) + ln(1-share), repeats(x) + ln(share)),
// of which one falls and the other grows with x. Whatever x it finds, the value is
// valid; the best is where they meet.
func (t twice) split(share float64, pairs, repeats func(float64) float64) float64 {
	best, low, high := math.Inf(-1), 0.0, 1.0
	rising := repeats(.75) > repeats(.25)
	for range noiseSteps {
		x := (low + high) / 2
		p, r := pairs(x)+math.Log(1-share), repeats(x)+math.Log(share)
		best = math.Max(best, math.Min(p, r))
		if (r < p) == rising {
			low = x
		} else {
			high = x
		}
	}
	return best
}

// noise says what is known of stable's own noise.
func (t twice) noise(a *AgreementMargin) string {
	switch {
	case t.repeats > 0:
		return fmt.Sprintf(", stable with itself %.2f %% of %d: %.2f %% beyond that noise", 100*(1-part(min(t.noisy, t.repeats), t.repeats)), t.repeats, 100*t.beyondNoise())
	case a.RepeatBP > 0:
		return ", stable was not asked twice yet, so that nothing is known of its noise"
	}
	return ", stable's own noise taken as none"
}
