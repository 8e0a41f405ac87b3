package judge

import (
	"fmt"
	"math"
)

const (
	burnIn      = 50 // answers per arm before a normal approximation is trusted
	leastEvents = 30 // answers above a cut-off, both arms, before its share is
	information = 12 // n gap^2 / variance at which a shift is usually decided (judge.md 2.5)
	pairSpread  = .2 // variance of a paired difference / variance of the score, for tuning only
)

// sides are two one-sided tests of a shift, each from the sources of evidence
// there are (paired, unpaired), averaged.
type sides struct {
	sources []func(scale, shift float64) (drift, float64)
	spread  []float64 // expected variance per unit of information, for tuning
}

// evidence is the log e-value that the candidate, scaled and shifted, lies above
// stable (sign 1) or below it (sign -1). gap, the distance of the two margins, and
// alpha tune it.
func (t sides) evidence(scale, shift, gap, alpha, sign float64) float64 {
	terms := make([]float64, 0, len(t.sources))
	for i, source := range t.sources {
		d, _ := source(scale, shift)
		if sign < 0 {
			d = d.negative()
		}
		terms = append(terms, logNormalAbove(d, bestRho(t.spread[i]*t.spread[i]*information/(gap*gap), 2*alpha)))
	}
	return logMeanExp(terms)
}

// unjudged is the metric where nothing could ever decide it.
func (m Metric) unjudged(why string) Metric {
	m.Outcome, m.Message = NotJudgeable, why
	return m
}

// meanShift judges the mean score, paired in shadow and unpaired under weights.
// The margins are shares of production's mean at calibration.
func meanShift(p Policy, c *Calibration, s *sums) Metric {
	m := Metric{Name: nameMean, Reason: ScoreShift, Required: true, Unit: "relative", Threshold: p.Mean.PromoteBelow}
	switch {
	case p.Unrecorded:
		return m.unjudged(noScores)
	case c == nil:
		m.Reason, m.Message = Calibrating, "calibrating: production's mean score is not fixed yet"
		return m
	case c.Scored < burnIn:
		return m.unjudged(fmt.Sprintf("only %d of stable's calibrating answers carried a score", c.Scored))
	case math.Abs(c.ScoreCentre) <= 1e-9*c.ScoreSD || c.ScoreCentre == 0:
		m.Outcome, m.Message = NotJudgeable, "production's mean score is 0: a relative shift has no meaning"
		return m
	}
	unit := math.Abs(c.ScoreCentre)
	t := s.meanSides(c)
	r, q, gap := p.Mean.RevertAbove*unit, p.Mean.PromoteBelow*unit, (p.Mean.PromoteBelow-p.Mean.RevertAbove)*unit
	m.EvidenceRevert = average(t.evidence(1, r, gap, p.FalseRevert, 1), t.evidence(1, -r, gap, p.FalseRevert, -1))
	m.EvidencePromote = math.Min(t.evidence(1, q, gap, p.FalsePromote, -1), t.evidence(1, -q, gap, p.FalsePromote, 1))
	s.describeMean(p, c, t, gap, &m)
	m.Needed = needed(p, m, 2*information*c.ScoreSD*c.ScoreSD/(gap*gap))
	return m
}

func (s *sums) scoreLayers(pick func(*Counts) moments) []layer {
	out := make([]layer, 0, len(s.strata))
	for i := range s.strata {
		t := &s.strata[i]
		l := layer{w: t.w}
		for a := range l.arms {
			l.arms[a] = pick(&t.settled[a])
		}
		out = append(out, l)
	}
	return out
}

// ready says whether both arms have enough values for the normal approximation.
func ready(layers []layer) bool {
	var n [2]float64
	for _, l := range layers {
		for a := range n {
			n[a] += l.arms[a].n
		}
	}
	return n[Stable] >= burnIn && n[Candidate] >= burnIn
}

func (s *sums) meanSides(c *Calibration) sides {
	layers := s.scoreLayers(scoresOf)
	variance := math.Max(c.ScoreSD*c.ScoreSD, 1e-18*c.ScoreCentre*c.ScoreCentre)
	return sides{
		sources: []func(float64, float64) (drift, float64){
			func(_, shift float64) (drift, float64) {
				if s.settled.Scored < burnIn {
					return drift{}, 0
				}
				return paired(&s.settled, shift)
			},
			func(scale, shift float64) (drift, float64) {
				if !ready(layers) {
					return drift{}, 0
				}
				return unpaired(layers, c.ScoreCentre, scale, shift)
			},
		},
		spread: []float64{pairSpread * variance, variance},
	}
}

// describeMean fills in value, bounds and message from the source that knows more.
func (s *sums) describeMean(p Policy, c *Calibration, t sides, gap float64, m *Metric) {
	best, unit := 0, math.Abs(c.ScoreCentre)
	n := s.settled.Scored
	scored := [2]uint64{}
	for i := range s.strata {
		for a := range scored {
			scored[a] += s.strata[i].settled[a].Scored
		}
	}
	m.N = [2]uint64{n + scored[Stable], n + scored[Candidate]}
	if n < burnIn {
		best = 1
	}
	d, info := t.sources[best](1, 0)
	if info <= 0 {
		m.Message = fmt.Sprintf("%d of %d scored answers of the candidate needed before its mean is compared", m.N[Candidate], burnIn)
		return
	}
	rho := bestRho(t.spread[best]*t.spread[best]*information/(gap*gap), p.FalsePromote)
	radius := normalBound(d.v, rho, p.FalsePromote) / (info * unit)
	m.Value = d.s / (info * unit)
	m.Lower, m.Upper = m.Value-radius, m.Value+radius
	m.Message = fmt.Sprintf("mean score %+.2f %% against production's %.5g (%+.2f to %+.2f %%) over %d answers; reverts beyond %g %%, passes within %g %%",
		100*m.Value, c.ScoreCentre, 100*m.Lower, 100*m.Upper, m.N[Candidate], 100*p.Mean.RevertAbove, 100*p.Mean.PromoteBelow)
}

// cutoff judges the ratio of the shares of rows above one cut-off, under weights.
// Shadow flips are reported: the counts of pairs carry no share to compare with.
func cutoff(p Policy, c *Calibration, s *sums, i int) Metric {
	k := p.Cutoffs[i]
	m := Metric{Name: fmt.Sprintf("cutoff %g", k.Value), Reason: CutoffShare, Required: true, Unit: "x", Threshold: k.PromoteBelow}
	switch {
	case p.Unrecorded:
		return m.unjudged(noScores)
	case c == nil || i >= len(c.Shares):
		m.Reason, m.Message = Calibrating, "calibrating: production's share is not fixed yet"
		return m
	case c.Scored < burnIn:
		return m.unjudged(fmt.Sprintf("only %d of stable's calibrating answers carried a score", c.Scored))
	}
	layers := s.scoreLayers(func(n *Counts) moments { return aboveOf(n, i) })
	var all [2]moments
	for _, l := range layers {
		for a := range all {
			all[a] = all[a].plus(l.arms[a])
		}
	}
	m.N = [2]uint64{uint64(all[Stable].n), uint64(all[Candidate].n)}
	share := math.Max(c.Shares[i], 1/float64(c.Scored))
	gap := share * (k.PromoteBelow - k.RevertAbove)
	if ready(layers) && all[Stable].sum+all[Candidate].sum >= leastEvents {
		t := sides{sources: []func(float64, float64) (drift, float64){func(scale, shift float64) (drift, float64) {
			return unpaired(layers, share, scale, shift)
		}}, spread: []float64{share}}
		r, q := k.RevertAbove, k.PromoteBelow
		m.EvidenceRevert = average(t.evidence(1/r, 0, gap, p.FalseRevert, 1), t.evidence(r, 0, gap, p.FalseRevert, -1))
		m.EvidencePromote = math.Min(t.evidence(1/q, 0, gap, p.FalsePromote, -1), t.evidence(q, 0, gap, p.FalsePromote, 1))
	}
	if all[Stable].mean() > 0 {
		m.Value = all[Candidate].mean() / all[Stable].mean()
	}
	m.Needed = needed(p, m, 2*information*share/(gap*gap))
	m.Message = fmt.Sprintf("%.3g %% of rows above %g, stable %.3g %%, over %d and %d answers; reverts beyond %gx either way, passes within %gx",
		100*all[Candidate].mean(), k.Value, 100*all[Stable].mean(), m.N[Candidate], m.N[Stable], k.RevertAbove, k.PromoteBelow)
	if i < len(s.shadow.Above) {
		f := s.shadow.Above[i]
		m.Message += fmt.Sprintf("; in shadow %d rows moved above it and %d below", f.OnlyCandidate, f.OnlyStable)
	}
	return m
}
