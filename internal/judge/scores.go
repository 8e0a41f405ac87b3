package judge

import (
	"fmt"
	"math"
)

// contrastUnits is the number of units at which the normal mixture is tightest.
const contrastUnits = 1000

// contrast is a standardised sum: under the null its drift is at most 0.
type contrast struct{ s, v float64 }

// standardise divides by the empirical standard deviation, so that one tuning
// serves every scale. Below normalLeast units, or without spread, it says nothing.
func standardise(sum, squares, n float64) contrast {
	if n < normalLeast {
		return contrast{}
	}
	variance := squares/n - (sum/n)*(sum/n)
	if !(variance > 1e-24) {
		// No spread: a difference that never varies is certain, whatever its size.
		scale := math.Abs(sum / n)
		if scale == 0 {
			return contrast{v: n}
		}
		variance = scale * scale
	}
	return contrast{s: sum / math.Sqrt(variance), v: n}
}

// evidence returns ln E against "drift of c is at most 0".
func (c contrast) evidence(alpha float64) float64 {
	return logNormalMixtureOneSided(c.s, c.v, bestRho(contrastUnits, 2*alpha))
}

func (c contrast) negative() contrast { return contrast{-c.s, c.v} }

// pairedContrast is the sum of candidate - ratio*stable over shadow pairs.
func pairedContrast(p Pairs, ratio float64) contrast {
	sum := p.CandidateSum.Float() - ratio*p.StableSum.Float()
	squares := p.CandidateSq.Float() - 2*ratio*p.Cross.Float() + ratio*ratio*p.StableSq.Float()
	return standardise(sum, squares, float64(p.Scored))
}

// values are sums of one value per answer.
type values struct{ n, sum, sq float64 }

// weightContrast sums (A-w)(Y/ratio^A - m) over answers (judge.md 1.6): under
// "the candidate's mean is ratio times stable's" its drift is 0, whatever the
// load does. m is any fixed centre; the pooled mean is used.
func weightContrast(s sums, ratio float64, pick func(*Counts) values) contrast {
	var total, squares, n float64
	var all values
	for i := range s.byWeight {
		for a := range s.byWeight[i].arms {
			v := pick(&s.byWeight[i].arms[a])
			all.n, all.sum = all.n+v.n, all.sum+v.sum
		}
	}
	if all.n == 0 {
		return contrast{}
	}
	m := all.sum / all.n
	for i := range s.byWeight {
		w := s.byWeight[i].w
		c, st := pick(&s.byWeight[i].arms[Candidate]), pick(&s.byWeight[i].arms[Stable])
		total += (1-w)*(c.sum/ratio-m*c.n) - w*(st.sum-m*st.n)
		squares += (1-w)*(1-w)*(c.sq/(ratio*ratio)-2*m*c.sum/ratio+m*m*c.n) + w*w*(st.sq-2*m*st.sum+m*m*st.n)
		n += c.n + st.n
	}
	return standardise(total, squares, n)
}

// shift judges a relative shift either way, from contrasts at a given ratio; the
// e-values of paired and unpaired evidence are averaged.
func shift(p Policy, margin ShareMargin, at func(ratio float64) []contrast) (logRevert, logPromote float64) {
	side := func(ratio, sign, alpha float64) float64 {
		var terms []float64
		for _, c := range at(ratio) {
			if c.v == 0 {
				continue
			}
			if sign < 0 {
				c = c.negative()
			}
			terms = append(terms, c.evidence(alpha))
		}
		return logMean(terms)
	}
	r, q := margin.RevertAbove, margin.PromoteBelow
	higher, lower := side(1+r, 1, p.FalseRevert), side(math.Max(1-r, 0), -1, p.FalseRevert)
	notHigher, notLower := side(1+q, -1, p.FalsePromote), side(math.Max(1-q, 0), 1, p.FalsePromote)
	return logMean([]float64{higher, lower}), math.Min(notHigher, notLower)
}

// meanShift judges the mean score, paired in shadow and unpaired under weights.
func meanShift(p Policy, s sums) Metric {
	pick := func(c *Counts) values {
		return values{float64(c.Scored), c.ScoreSum.Float(), c.ScoreSq.Float()}
	}
	var n [2]uint64
	var sum [2]float64
	for i := range s.byWeight {
		for a := range n {
			n[a] += s.byWeight[i].arms[a].Scored
			sum[a] += s.byWeight[i].arms[a].ScoreSum.Float()
		}
	}
	means := [2]float64{sum[0] / math.Max(float64(n[0]), 1), sum[1] / math.Max(float64(n[1]), 1)}
	if s.shadow.Scored > n[Candidate] {
		n = [2]uint64{s.shadow.Scored, s.shadow.Scored}
		means = [2]float64{s.shadow.StableSum.Float() / float64(n[0]), s.shadow.CandidateSum.Float() / float64(n[0])}
	}
	m := Metric{Name: nameMean, Reason: ReasonMean, Required: true, Unit: "relative", Threshold: p.Mean.PromoteBelow, N: n}
	if n[Candidate] == 0 {
		m.Outcome, m.Reason, m.Message = Inconclusive, ReasonTooLittle, "no scored answers yet"
		return m
	}
	if means[Stable] != 0 {
		m.Value = means[Candidate]/means[Stable] - 1
	}
	m.LogRevert, m.LogPromote = shift(p, *p.Mean, func(ratio float64) []contrast {
		return []contrast{pairedContrast(s.shadow, ratio), weightContrast(s, math.Max(ratio, 1e-9), pick)}
	})
	m.Message = fmt.Sprintf("candidate %.5g, stable %.5g: shift %+.2f %% over %d answers; promoted within %g %%, reverts beyond %g %%", means[Candidate], means[Stable], 100*m.Value, n[Candidate], 100*p.Mean.PromoteBelow, 100*p.Mean.RevertAbove)
	m.Needed = needed(p, m, n[Candidate])
	return settle(p, m)
}

// defaultCutoffMargin serves cut-offs where no margin of the mean is declared.
var defaultCutoffMargin = ShareMargin{RevertAbove: .1, PromoteBelow: .2}

// cutoff judges the share of rows above a business cut-off, under weights.
func cutoff(p Policy, s sums, i int, at float64) Metric {
	pick := func(c *Counts) values {
		if i >= len(c.Above) {
			return values{n: float64(c.Scored)}
		}
		return values{float64(c.Scored), c.Above[i].Sum.Float(), c.Above[i].Sq.Float()}
	}
	margin := defaultCutoffMargin
	if p.Mean != nil {
		margin = *p.Mean
	}
	var v [2]values
	for k := range s.byWeight {
		for a := range v {
			x := pick(&s.byWeight[k].arms[a])
			v[a].n, v[a].sum = v[a].n+x.n, v[a].sum+x.sum
		}
	}
	m := Metric{Name: fmt.Sprintf("above %g", at), Reason: ReasonCutoff, Required: true, Unit: "relative", Threshold: margin.PromoteBelow, N: [2]uint64{uint64(v[0].n), uint64(v[1].n)}}
	if v[Candidate].n == 0 {
		m.Outcome, m.Reason, m.Message = Inconclusive, ReasonTooLittle, "no scored answers under weight yet"
		return m
	}
	shares := [2]float64{v[0].sum / math.Max(v[0].n, 1), v[1].sum / v[1].n}
	if shares[Stable] > 0 {
		m.Value = shares[Candidate]/shares[Stable] - 1
	}
	m.LogRevert, m.LogPromote = shift(p, margin, func(ratio float64) []contrast {
		return []contrast{weightContrast(s, math.Max(ratio, 1e-9), pick)}
	})
	m.Message = fmt.Sprintf("candidate %.3g %%, stable %.3g %% of rows above %g; promoted within %g %%", 100*shares[Candidate], 100*shares[Stable], at, 100*margin.PromoteBelow)
	m.Needed = needed(p, m, m.N[Candidate])
	return settle(p, m)
}
