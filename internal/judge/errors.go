package judge

import (
	"fmt"
	"math"
)

// Names of the metrics; a cut-off's is "cutoff " and its value.
const (
	nameErrors    = "errors"
	nameLatency   = "latency"
	nameInvalid   = "invalid"
	nameShadow    = "shadow errors"
	nameRefusals  = "refusals"
	nameMean      = "mean"
	nameAgreement = "agreement"
)

func errorUnits(c *Counts) uint64 { return c.ErrorUnits }

// firstErrors are failed first requests. Of a client that stays with its arm the first
// failure tells sooner that something is wrong, but in the end every busy client meets
// one: only first requests say how often requests fail.
func firstErrors(c *Counts) uint64 { return minus(c.ErrorUnits, c.LateErrorUnits) }

// excessMargin is what orWithin means for revert: the excess that stands to
// orWithin as the revert margin stands to the promote margin (0.025 points of 0.1
// at 1.25x and 2x). Both margins then take over from the ratio at the same
// production rate, orWithin / (promoteBelow - 1).
func excessMargin(m RatioMargin) float64 {
	return m.OrWithin * (m.RevertAbove - 1) / (m.PromoteBelow - 1)
}

// errorRate judges failed requests under weights. Revert must beat both the ratio
// and the absolute margin; promotion needs one of them.
func errorRate(p Policy, s *sums) Metric {
	m := Metric{Name: nameErrors, Reason: ErrorRate, Required: true, Unit: "x", N: s.units, Threshold: p.Errors.PromoteBelow}
	events := s.coinsOf(firstErrors)
	m.EvidenceRevert = s.worse(p.Errors, errorUnits)
	m.EvidencePromote = logRatio(events, p.Errors.PromoteBelow, promoteGrid)
	if p.Errors.OrWithin > 0 {
		m.EvidencePromote = average(m.EvidencePromote, logExcessBelow(s.trialsOf(firstErrors), p.Errors.OrWithin))
	}
	m.Value = s.weightedRatio(firstErrors)
	m.Lower, m.Upper, m.Open = ratioBounds(events, p.FalsePromote)
	k := s.totals(errorUnits)
	m.Needed = s.errorsNeeded(p, m, k)
	m.Message = fmt.Sprintf("candidate failed %s, stable %s: %s; passes below %gx", rate(k[Candidate], m.N[Candidate]), rate(k[Stable], m.N[Stable]), bounds(m, k), p.Errors.PromoteBelow)
	if p.Errors.OrWithin > 0 {
		m.Message += fmt.Sprintf(" or within %g points", 100*p.Errors.OrWithin)
	}
	return m
}

// worse is evidence that the candidate's rate of an event exceeds both margins.
func (s *sums) worse(m RatioMargin, pick func(*Counts) uint64) float64 {
	ratio := logRatio(s.coinsOf(pick), m.RevertAbove, revertGrid)
	if m.OrWithin <= 0 {
		return ratio
	}
	return math.Min(ratio, logExcessAbove(s.trialsOf(pick), excessMargin(m), scaled(revertGrid, m.RevertAbove)))
}

// refusals judges 4xx answers by the margins of errors, for revert only: a
// candidate that refuses what production takes answers no question, yet fails none.
func refusals(p Policy, s *sums) Metric {
	pick := func(c *Counts) uint64 { return c.RefusalUnits }
	k := s.totals(pick)
	return Metric{
		Name: nameRefusals, Reason: Refusals, Unit: "x", N: s.units, Threshold: p.Errors.RevertAbove,
		Value: s.weightedRatio(pick), EvidenceRevert: s.worse(p.Errors, pick),
		Message: fmt.Sprintf("candidate refused (4xx) %s, stable %s; reverts above %gx", rate(k[Candidate], s.units[Candidate]), rate(k[Stable], s.units[Stable]), p.Errors.RevertAbove),
	}
}

func scaled(grid []float64, by float64) []float64 {
	out := make([]float64, len(grid))
	for i, g := range grid {
		out[i] = g * by
	}
	return out
}

func rate(k, n uint64) string { return fmt.Sprintf("%.3g %% (%d of %d)", 100*part(k, n), k, n) }

func part(k, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(k) / float64(n)
}

// bounds says the ratio of k, and between what it is known to be.
func bounds(m Metric, k [2]uint64) string {
	ratio := fmt.Sprintf("%.2fx", m.Value)
	switch {
	case k[Stable] == 0 && k[Candidate] == 0:
		return "no failure to compare"
	case k[Stable] == 0:
		ratio = "no failure of stable to compare with"
	}
	switch {
	case m.Open && m.Lower == 0:
		return ratio + ", not bounded yet"
	case m.Open:
		return fmt.Sprintf("%s, above %.2fx", ratio, m.Lower)
	case m.Lower == 0:
		return fmt.Sprintf("%s, below %.2fx", ratio, m.Upper)
	}
	return fmt.Sprintf("%s, between %.2fx and %.2fx", ratio, m.Lower, m.Upper)
}

// ratioBounds is the confidence sequence of the ratio on a grid of 65 points from
// 1/16 to 16, at 1 - alpha, alpha/2 each side. open: not bounded from above.
func ratioBounds(events []coins, alpha float64) (lower, upper float64, open bool) {
	bar := math.Log(2 / alpha)
	for k := 32; k >= -32; k-- {
		if r := math.Exp2(float64(k) / 8); logRatio(events, r, revertGrid) >= bar {
			lower = r
			break
		}
	}
	for k := -32; k <= 32; k++ {
		if r := math.Exp2(float64(k) / 8); r >= lower && logRatio(events, r, promoteGrid) >= bar {
			return lower, r, false
		}
	}
	return lower, 0, true
}

// errorsNeeded is rough: judge.md 2.3 at a margin of 2 (about 13 / rate requests of
// the candidate), and about 6 / orWithin when there are no errors.
func (s *sums) errorsNeeded(p Policy, m Metric, k [2]uint64) uint64 {
	total := math.Inf(1)
	if r := part(k[Stable], m.N[Stable]); r > 0 {
		gap := math.Log(p.Errors.PromoteBelow)
		total = 6.3 / (gap * gap * r)
	}
	if p.Errors.OrWithin > 0 {
		r := part(k[Stable], m.N[Stable])
		total = math.Min(total, 6/p.Errors.OrWithin+12*r/(p.Errors.OrWithin*p.Errors.OrWithin))
	}
	return needed(p, m, total)
}

// needed estimates the further units of the candidate until m can be decided, from
// the growth of the evidence so far, or else from prior, the usual total.
func needed(p Policy, m Metric, prior float64) uint64 {
	bar, n := math.Log(1/p.FalsePromote), float64(m.N[Candidate])
	if m.EvidencePromote >= bar {
		return 0
	}
	// More than usual, and still nothing to go by: as many again, for all one knows.
	left := math.Max(n, 1)
	switch {
	case m.EvidencePromote > 1 && n > 0:
		left = n * (bar - m.EvidencePromote) / m.EvidencePromote
	case prior > n:
		left = prior - n
	}
	return count(left)
}

// count rounds an estimate up to a whole number, 1 at least; 0, unknown, for one that
// is beyond all bounds.
func count(left float64) uint64 {
	if !(left < 1e15) {
		return 0
	}
	return uint64(math.Ceil(math.Max(left, 1)))
}

// shadowErrors judges pairs in which one arm failed: revert only, for a pass in
// shadow says nothing about load.
func shadowErrors(p Policy, s *sums) Metric {
	m := Metric{Name: nameShadow, Reason: ShadowErrors, Unit: "x", N: [2]uint64{s.shadow.N, s.shadow.N}, Threshold: p.Errors.RevertAbove}
	c := s.couples(false)
	m.EvidenceRevert = logPairedRatio(c, p.Errors.RevertAbove)
	if p.Errors.OrWithin > 0 {
		m.EvidenceRevert = math.Min(m.EvidenceRevert, logPairedAbove(c, excessMargin(p.Errors)))
	}
	if failed := c.onlyStable + c.both; failed > 0 {
		m.Value = float64(c.onlyCandidate+c.both) / float64(failed)
	}
	m.Message = fmt.Sprintf("of %d shadow pairs the candidate alone failed %d, stable alone %d, both %d; reverts above %gx stable's failures", s.shadow.N, c.onlyCandidate, c.onlyStable, c.both, p.Errors.RevertAbove)
	if s.shadow.N == 0 {
		m.Outcome, m.Message = NotJudgeable, "no shadow pairs"
	}
	return m
}

// extraErrorRate bounds the candidate's error rate minus stable's from above: the
// least excess, to 1 part in 1,000, that the evidence excludes. 1 without data.
func extraErrorRate(p Policy, s *sums) float64 {
	bar, data, pairs := math.Log(1/p.FalsePromote), s.trialsOf(firstErrors), s.couples(true)
	excluded := func(d float64) bool {
		return average(logExcessBelow(data, d), logPairedBelow(pairs, d)) >= bar
	}
	low, high := math.Log(1e-7), 0.0
	if !excluded(.999) {
		return 1
	}
	for high-low > .001 {
		if mid := (low + high) / 2; excluded(math.Exp(mid)) {
			high = mid
		} else {
			low = mid
		}
	}
	return math.Exp(high)
}

// HarmOfNext bounds the extra failed requests that a next step at weightBP could
// cost: the bound of the extra error rate x the candidate's requests per second
// there x the seconds that a reaction takes, and what the judge has to see before
// it acts: about 20 up to a quarter of the traffic, twice that from a half on
// (judge.md 2.2). An extra error rate that is no number counts as 1; traffic or
// lag that is none, or negative, as 0.
func HarmOfNext(extraErrorRate, candidateRPS, lagSeconds float64, weightBP int) float64 {
	if weightBP <= 0 {
		return 0
	}
	extra := math.Max(math.Min(extraErrorRate, 1), 0)
	if math.IsNaN(extraErrorRate) {
		extra = 1
	}
	seen := 20 + 20*float64(min(max(weightBP, 2500), 5000)-2500)/2500
	return extra*positive(candidateRPS)*positive(lagSeconds) + seen
}

func positive(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return math.Min(x, 1e12)
}
