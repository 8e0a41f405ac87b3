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
		m.Message = fmt.Sprintf("none of the candidate's %d answers could be read: declare the contract", blind[Candidate])
		if n[Stable] == 0 {
			m.Outcome = NotJudgeable
			return m
		}
		m.Undecidable = "production's answers can be read, the candidate's have another form"
		return m
	}
	own := logShare(k[Candidate], max(n[Candidate], k[Candidate]), p.Invalid.RevertAbove, oddsAbove)
	against := logRatio(s.coinsOf(invalidUnits), p.Errors.RevertAbove, revertGrid)
	constant := s.constantScores()
	m.EvidenceRevert = average(math.Min(own, against), constant)
	m.EvidencePromote = logShare(bad, max(seen, bad), p.Invalid.PromoteBelow, oddsBelow)
	if s.constantSoFar() {
		m.EvidencePromote = math.Min(m.EvidencePromote, 0) // whose answers are one score, none of them is valid
	}
	m.Needed = needed(p, m, 5.2/p.Invalid.PromoteBelow)
	m.Message = fmt.Sprintf("candidate %s of answers without a usable score, stable %s; passes below %g %%", rate(bad, seen), rate(k[Stable], n[Stable]), 100*p.Invalid.PromoteBelow)
	if constant > math.Min(own, against) && constant > 0 && s.constantSoFar() {
		m.Reason = ConstantScores
		m.Message = fmt.Sprintf("all %d scored answers of the candidate are %.6g, while stable's vary", s.candidateScored(), s.candidateRange().Min)
	}
	return m
}

func (s *sums) candidateScored() uint64 {
	scored := s.settled.Scored
	for i := range s.strata {
		scored += s.strata[i].settled[Candidate].Scored
	}
	return scored
}

func (s *sums) candidateRange() Range {
	r := s.settled.CandidateRange
	for i := range s.strata {
		r = r.Union(s.strata[i].settled[Candidate].ScoreRange)
	}
	return r
}

// constantNull is how often, compared with stable's answers, the candidate's must
// vary at the least.
const constantNull = .1

// constantScores is evidence against "the candidate's scores vary at least
// constantNull times as often as stable's": given a score that varied (Counts.Varied),
// it is then stable's with a chance of at most (1-w) / (1-w + w constantNull), and all
// of them were. 0 when the candidate's scores vary or are fewer than 100.
func (s *sums) constantScores() float64 {
	if s.candidateScored() < leastConstant || !s.candidateRange().constant() {
		return 0
	}
	logE := float64(s.settled.StableVaried) * math.Log1p(constantNull)
	for i := range s.strata {
		t := &s.strata[i]
		logE += float64(t.settled[Stable].Varied) * math.Log1p(t.w*constantNull/(1-t.w))
	}
	return logE
}

// constantSoFar says that all of the candidate's scores were one, and stable's were not.
func (s *sums) constantSoFar() bool {
	stable := s.settled.StableRange
	for i := range s.strata {
		stable = stable.Union(s.strata[i].settled[Stable].ScoreRange)
	}
	return s.candidateRange().constant() && stable.Seen && !stable.constant()
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
