package judge

import (
	"fmt"
	"math"
)

// How falseRevert is shared: the three parts add up to it.
const (
	breakerShare  = .25 // runs of failures under weights
	shadowShare   = .05 // runs of failures in shadow
	combinedShare = .7  // the averaged evidence of all metrics
)

const (
	breakerLeast = 3    // failures of the candidate before the breaker may fire
	bakeLeast    = 20   // the same at weight 100 %, without a control arm
	breakerRatio = 1000 // the alternative: as good as always failing
)

// spend is the part of the breaker's chance that belongs to runs that start at
// the i-th event (from 1): 0.8, then 0.2/((i-1) i). It sums to 1.
func spend(i uint64) float64 {
	if i <= 1 {
		return .8
	}
	return .2 / (float64(i-1) * float64(i))
}

// run reports whether, of events that each are the candidate's with chance at most
// w r0/(w r0 + 1-w), mine are and theirs are not is too much for chance. past is
// the number of events before. The likelihood ratio from any fixed event on is an
// e-process, so Ville's inequality and the sum over first events bound the chance
// of ever firing by level, whatever windows are looked at.
func run(mine, theirs, past uint64, w, r0, level float64) bool {
	logE := logRatio([]coins{{w, mine, theirs}}, r0, []float64{breakerRatio})
	return mine >= breakerLeast && logE >= -math.Log(level*spend(past+1))
}

// breaker looks at the last seconds only, warm-up included.
func breaker(p Policy, s *sums, w Window) (Action, Reason, string) {
	bad, asked := w.Errors[Candidate], w.Requests[Candidate]
	stableBad, stableAsked := w.Errors[Stable], w.Requests[Stable]
	weight := w.WeightBP
	if weight <= 0 {
		weight = s.maxWeight
	}
	says := fmt.Sprintf("the candidate failed %d of its last %d requests, stable %d of %d", bad, asked, stableBad, stableAsked)
	// Clients that fail again and again are part of the share, but no new events.
	events, theirs := minus(bad, w.SameKey[Candidate]), minus(stableBad, w.SameKey[Stable])
	failing := events >= breakerLeast && 2*bad >= asked
	switch stableFails := 2*stableBad >= max(stableAsked, 1); {
	case failing && stableFails && stableBad >= breakerLeast:
		return Hold, BothArmsFailing, "both arms fail: " + says
	case failing && stableFails:
	case failing && weight >= fullWeight && events >= bakeLeast && 10*bad >= 9*asked:
		return Revert, TotalBreakage, says
	case failing && run(events, theirs, minus(s.events, events+theirs), float64(weight)/fullWeight, p.Errors.RevertAbove, breakerShare*p.FalseRevert):
		return Revert, breakage(bad, asked), says
	}
	return shadowBreaker(p, s, w)
}

func shadowBreaker(p Policy, s *sums, w Window) (Action, Reason, string) {
	b, c := w.ShadowOnlyShadow, w.ShadowOnlyStable
	says := fmt.Sprintf("of the last %d shadow pairs the candidate alone failed %d, stable alone %d, both %d", w.ShadowPairs, b, c, w.ShadowBothFailed)
	switch {
	case w.ShadowBothFailed >= breakerLeast && 2*w.ShadowBothFailed >= w.ShadowPairs:
		return Hold, BothArmsFailing, "both arms fail: " + says
	case 2*b >= w.ShadowPairs && run(b, c, minus(s.discords, b+c), .5, p.Errors.RevertAbove, shadowShare*p.FalseRevert):
		return Revert, breakage(b, w.ShadowPairs), says
	}
	return "", "", ""
}

func breakage(bad, asked uint64) Reason {
	if 10*bad >= 9*asked {
		return TotalBreakage
	}
	return ErrorRate
}
