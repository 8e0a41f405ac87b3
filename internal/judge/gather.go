package judge

import (
	"cmp"
	"slices"
)

const fullWeight = 10000 // basis points

// stratum is all judged evidence of one routing probability: epochs of one weight
// are added, epochs of different weights never are (Simpson's paradox).
type stratum struct {
	bp, kept int
	w        float64
	arms     [2]Counts
	settled  [2]Counts // without calibrating epochs: latency and scores
}

// sums is the evidence as the metrics read it.
type sums struct {
	strata    []stratum // by ascending weight, 0 < w < 1
	shadow    Pairs
	settled   Pairs // shadow without calibrating epochs: scores
	shadowed  bool  // some epoch copied requests
	weighted  bool  // some epoch gave the candidate traffic
	maxWeight int
	events    uint64 // failures seen under weights, warm-up included: the breaker's
	discords  uint64 // discordant shadow pairs, likewise
	units     [2]uint64
	dropped   uint64 // answers of the candidate that were not looked at, of
	answers   uint64
}

// gather sorts epochs into strata. Tampered epochs are left out; warm-up ones feed
// the breaker only; at weight 0 and 100 % there is no comparison of arms.
func gather(e Evidence) sums {
	var s sums
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		s.shadowed = s.shadowed || ep.Info.ShadowBP > 0 || ep.Shadow.N > 0
		s.weighted = s.weighted || ep.Info.WeightBP > 0
		s.maxWeight = max(s.maxWeight, ep.Info.WeightBP)
		mixed := ep.Info.WeightBP > 0 && ep.Info.WeightBP < fullWeight
		if mixed {
			s.events += ep.Arms[Stable].ErrorUnits + ep.Arms[Candidate].ErrorUnits
		}
		s.discords += ep.Shadow.OnlyShadowBad + ep.Shadow.OnlyStableBad
		if ep.Info.Tampered || ep.Info.Warmup {
			continue
		}
		s.shadow.Add(&ep.Shadow)
		if !ep.Info.Calibrating {
			s.settled.Add(&ep.Shadow)
		}
		if mixed {
			s.add(ep)
		}
	}
	slices.SortFunc(s.strata, func(a, b stratum) int { return cmp.Or(cmp.Compare(a.bp, b.bp), cmp.Compare(a.kept, b.kept)) })
	return s
}

func (s *sums) add(ep *EpochEvidence) {
	bp, kept := ep.Info.WeightBP, ep.Info.KeptBP
	if kept < 0 || kept >= bp {
		return // nobody drew a coin
	}
	i := slices.IndexFunc(s.strata, func(t stratum) bool { return t.bp == bp && t.kept == kept })
	if i < 0 {
		i = len(s.strata)
		s.strata = append(s.strata, stratum{bp: bp, kept: kept, w: float64(bp-kept) / float64(fullWeight-kept)})
	}
	for a := range ep.Arms {
		s.strata[i].arms[a].Add(&ep.Arms[a])
		if !ep.Info.Calibrating {
			s.strata[i].settled[a].Add(&ep.Arms[a])
		}
		s.units[a] += ep.Arms[a].Units
	}
	c := &ep.Arms[Candidate]
	s.dropped += c.Dropped
	s.answers += minus(c.Requests, c.Errors+c.Refusals)
}

// coinsOf counts events of one kind in both arms of every stratum.
func (s *sums) coinsOf(pick func(*Counts) uint64) []coins {
	out := make([]coins, 0, len(s.strata))
	for i := range s.strata {
		t := &s.strata[i]
		out = append(out, coins{t.w, pick(&t.arms[Candidate]), pick(&t.arms[Stable])})
	}
	return out
}

// trialsOf are the units of both arms and those that pick counts.
func (s *sums) trialsOf(pick func(*Counts) uint64) []trials {
	out := make([]trials, 0, len(s.strata))
	for i := range s.strata {
		t := &s.strata[i]
		out = append(out, trials{coins{t.w, pick(&t.arms[Candidate]), pick(&t.arms[Stable])}, float64(t.arms[Candidate].Units) + float64(t.arms[Stable].Units)})
	}
	return out
}

// couples are the shadow pairs. Those not compared count as quiet, as far as their
// statuses say; known leaves them out: no proof of harm may rest on what was not
// looked at, and no proof of its absence either.
func (s *sums) couples(known bool) couples {
	p := &s.shadow
	c := couples{p.OnlyShadowBad, p.OnlyStableBad, p.BothFailed, p.BothOK}
	if !known {
		c.neither = minus(p.N, c.onlyCandidate+c.onlyStable+c.both)
	}
	return c
}

// totals adds one count over the strata, for display and for shares that need no
// comparison.
func (s *sums) totals(pick func(*Counts) uint64) (n [2]uint64) {
	for i := range s.strata {
		for a := range n {
			n[a] += pick(&s.strata[i].arms[a])
		}
	}
	return n
}

// weightedRatio is the Mantel-Haenszel ratio of the arms' rates: it compares
// within strata. 0 when stable has no event.
func (s *sums) weightedRatio(pick func(*Counts) uint64) float64 {
	var up, down float64
	for i := range s.strata {
		a := &s.strata[i].arms
		n1, n0 := float64(a[Candidate].Units), float64(a[Stable].Units)
		if n1+n0 == 0 {
			continue
		}
		up += float64(pick(&a[Candidate])) * n0 / (n1 + n0)
		down += float64(pick(&a[Stable])) * n1 / (n1 + n0)
	}
	if down == 0 {
		return 0
	}
	return up / down
}
