package judge

import (
	"fmt"
	"math"
)

func invalidUnits(c *Counts) uint64 { return c.InvalidUnits }

// readable are the answers in which a score could have been found.
func readable(c *Counts) uint64 { return minus(c.AnsweredUnits, c.Opaque+c.Unparsed) }

const leastConstant = 100 // answers before a candidate may be called constant

// invalid judges the share of the candidate's answers without a usable score, in
// itself and against stable: a candidate no worse than production in this is not
// reverted for it. Constant scores count here too.
func invalid(p Policy, s *sums) Metric {
	m := Metric{Name: nameInvalid, Reason: InvalidAnswers, Required: true, Unit: "share", Threshold: p.Invalid.PromoteBelow}
	n, k := s.totals(readable), s.totals(invalidUnits)
	seen, bad := n[Candidate], k[Candidate]
	sh := &s.shadow
	seen += minus(sh.N, sh.NotComparable+sh.ShadowErrors+sh.ShadowRefusals)
	bad += sh.ShadowInvalid
	m.N, m.Value = [2]uint64{n[Stable], seen}, part(bad, seen)
	if blind := s.totals(func(c *Counts) uint64 { return c.Opaque + c.Unparsed }); seen == 0 && blind[Candidate] >= leastConstant {
		m.Outcome, m.Message = NotJudgeable, fmt.Sprintf("none of the candidate's %d answers could be read: declare the contract", blind[Candidate])
		return m
	}
	own := logShare(k[Candidate], max(n[Candidate], k[Candidate]), p.Invalid.RevertAbove, oddsAbove)
	against := logRatio(s.coinsOf(invalidUnits), p.Errors.RevertAbove, revertGrid)
	constant := s.constantScores()
	m.EvidenceRevert = average(math.Min(own, against), constant)
	m.EvidencePromote = logShare(bad, max(seen, bad), p.Invalid.PromoteBelow, oddsBelow)
	m.Needed = needed(p, m, 5.2/p.Invalid.PromoteBelow)
	m.Message = fmt.Sprintf("candidate %s of answers without a usable score, stable %s; passes below %g %%", rate(bad, seen), rate(k[Stable], n[Stable]), 100*p.Invalid.PromoteBelow)
	if constant > math.Min(own, against) && constant > 0 {
		m.Reason = ConstantScores
		m.Message = fmt.Sprintf("all of the candidate's answers scored %.6g, while stable's vary", s.candidateRange().Min)
	}
	return m
}

func (s *sums) candidateRange() Range {
	r := s.settled.CandidateRange
	for i := range s.strata {
		r = r.Union(s.strata[i].settled[Candidate].ScoreRange)
	}
	return r
}

// constantNull is how often, compared with stable's answers, the candidate's must
// leave its constant at the least.
const constantNull = .1

// constantScores is evidence against "the candidate's scores leave its constant at
// least constantNull times as often as stable's". A departure is then stable's with a
// chance of at most (1-w) / (1-w + w constantNull), and all of them were. 0 when the
// candidate's scores vary or are fewer than 100.
func (s *sums) constantScores() float64 {
	r := s.candidateRange()
	scored := s.settled.Scored
	for i := range s.strata {
		scored += s.strata[i].settled[Candidate].Scored
	}
	if scored < leastConstant || !r.Seen || r.Min != r.Max {
		return 0
	}
	var logE float64
	for i := range s.strata {
		t := &s.strata[i]
		if t.settled[Candidate].Scored == 0 {
			continue
		}
		d := departures(scoresOf(&t.settled[Stable]), t.settled[Stable].ScoreRange, r.Min)
		logE += d * math.Log1p(t.w*constantNull/(1-t.w))
	}
	p := &s.settled
	d := departures(moments{float64(p.Scored), p.StableSum.Float(), p.StableSq.Float()}, p.StableRange, r.Min)
	return logE + d*math.Log1p(constantNull)
}

// departures is a lower bound of how many of the values differ from at: from the
// sum (Cauchy-Schwarz) and from the spread; the counts do not say more. What the
// sums may be off by, from rounding, is taken off first: values that all equal at
// must not seem to differ.
func departures(y moments, r Range, at float64) float64 {
	most := math.Max(math.Abs(r.Min-at), math.Abs(r.Max-at))
	if !r.Seen || most == 0 {
		return 0
	}
	sum, sq := y.about(1, at)
	const resolution = 1. / (1 << 46) // of one value and of one square in the sums
	off := 1e-14*(math.Abs(y.sum)+math.Abs(at)*y.n) + resolution*y.n
	offSq := 1e-14*(y.sq+2*math.Abs(at*y.sum)+at*at*y.n) + resolution*(1+2*math.Abs(at))*y.n
	sum, sqLeast := math.Max(math.Abs(sum)-off, 0), sq-offSq
	if !(sqLeast > 0) {
		return 0
	}
	return math.Min(math.Max(sqLeast/(most*most), sum*sum/(sq+offSq)), y.n)
}

func scoresOf(c *Counts) moments {
	return moments{float64(c.Scored), c.ScoreSum.Float(), c.ScoreSq.Float()}
}

// aboveOf are the shares above cut-off i; a cut-off that nobody exceeded yet may
// be missing from the counts.
func aboveOf(c *Counts, i int) moments {
	if i >= len(c.Above) {
		return moments{n: float64(c.Scored)}
	}
	return moments{float64(c.Scored), c.Above[i].Sum.Float(), c.Above[i].Sq.Float()}
}
