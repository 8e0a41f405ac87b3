package judge

import "math"

// The grids are fixed for ever: an alternative that adapted to the data would
// make the evidence depend on its order (judge.md 0.2). Equal weights.
var (
	// revertGrid and promoteGrid multiply the null ratio (judge.md 1.1).
	revertGrid  = []float64{1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10, 30, 100}
	promoteGrid = []float64{.95, .9, .8, .7, .6, .5, .4, .25}
	// betGrid are the fractions of the largest bet (absolute margins).
	betGrid = []float64{.02, .05, .1, .2, .35, .5, .7, .9}
	// oddsAbove and oddsBelow multiply the odds of a null share.
	oddsAbove = []float64{1.25, 1.5, 2, 3, 5, 10, 30, 100, 1000}
	oddsBelow = []float64{.8, .65, .5, .35, .2, .1, .03, .005}
)

// coins are the events of one kind at one routing probability w in (0, 1).
type coins struct {
	w                 float64
	candidate, stable uint64
}

// logMeanExp returns ln of the mean of exp(x); 0 for an empty list, that is, no
// evidence. NaN in, NaN out: Judge reports no evidence then.
func logMeanExp(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	top := math.Inf(-1)
	for _, v := range x {
		top = math.Max(top, v)
	}
	if math.IsInf(top, 0) {
		return top
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum/float64(len(x)))
}

// average is the log of the mean of two e-values, itself an e-value under any
// dependence (Vovk & Wang 2021).
func average(a, b float64) float64 { return logMeanExp([]float64{a, b}) }

// logRatio is the event-conditional ratio mixture (judge.md 1.1): given an event,
// the chance that it is the candidate's is w r/(w r + 1-w) whatever the load. With
// a grid above 1 it is evidence against "ratio <= r0 at every moment", with a grid
// below 1 against "ratio >= r0". Without events it is 0. Strata with w outside
// (0, 1) have no control arm and say nothing; nor does anything for an r0 that is
// no positive number.
func logRatio(strata []coins, r0 float64, grid []float64) float64 {
	terms := make([]float64, len(grid))
	for _, s := range strata {
		if !(s.w > 0 && s.w < 1 && r0 > 0) || math.IsInf(r0, 1) || s.candidate == 0 && s.stable == 0 {
			continue
		}
		n := float64(s.candidate) + float64(s.stable) // which two counts near 2^64 must not wrap
		base := math.Log(s.w*r0 + 1 - s.w)
		for j, g := range grid {
			terms[j] += float64(s.candidate)*math.Log(g) - n*(math.Log(s.w*r0*g+1-s.w)-base)
		}
	}
	return logMeanExp(terms)
}

// trials are the units and events of both arms at one routing probability.
type trials struct {
	coins
	units float64 // of both arms
}

func (t trials) quiet() float64 { return math.Max(t.units-float64(t.candidate)-float64(t.stable), 0) }

func minus(a, b uint64) uint64 {
	if b >= a {
		return 0
	}
	return a - b
}

// logExcessBelow is evidence against "the candidate's event rate exceeds stable's
// by delta or more", by bets on inverse-probability-weighted events (judge.md 1.1,
// absolute margin). It grows with every unit without an event, so an error-free
// pair of arms can be told to be good.
func logExcessBelow(data []trials, delta float64) float64 {
	terms := make([]float64, len(betGrid))
	for _, d := range data {
		if !(d.w > 0 && d.w < 1 && delta >= 0 && delta < 1) {
			continue
		}
		for j, c := range betGrid {
			terms[j] += d.quiet()*math.Log1p(c*d.w*delta) +
				float64(d.candidate)*math.Log1p(-c*(1-d.w*delta)) +
				float64(d.stable)*math.Log1p(c*d.w*(1/(1-d.w)+delta))
		}
	}
	return logMeanExp(terms)
}

// logExcessAbove is evidence against "the candidate's event rate exceeds stable's
// by no more than delta". The bets are those that make it logRatio's likelihood
// ratio at delta = 0.
func logExcessAbove(data []trials, delta float64, ratios []float64) float64 {
	terms := make([]float64, len(ratios))
	for _, d := range data {
		if !(d.w > 0 && d.w < 1 && delta >= 0 && delta < 1) {
			continue
		}
		most := .99 / (1/(1-d.w) + delta)
		for j, r := range ratios {
			bet := math.Min(d.w*(1-d.w)*(r-1)/(d.w*r+1-d.w), most)
			terms[j] += d.quiet()*math.Log1p(-bet*delta) +
				float64(d.candidate)*math.Log1p(bet*(1/d.w-delta)) +
				float64(d.stable)*math.Log1p(-bet*(1/(1-d.w)+delta))
		}
	}
	return logMeanExp(terms)
}

// couples are the failures of shadow pairs.
type couples struct{ onlyCandidate, onlyStable, both, neither uint64 }

// logPairedRatio is evidence against "the candidate's failure rate is at most r0
// times stable's" from pairs, by bets on X1 - r0 X0: at r0 = 1 the sequential
// McNemar test. A margin on the ratio of the discordant pairs alone would revert a
// candidate that shares nearly all its failures with production.
func logPairedRatio(p couples, r0 float64) float64 {
	if !(r0 > 0) || math.IsInf(r0, 1) {
		return 0
	}
	terms := make([]float64, len(betGrid))
	for j, c := range betGrid {
		bet := c / math.Max(r0, 1)
		terms[j] = float64(p.onlyCandidate)*math.Log1p(bet) + float64(p.onlyStable)*math.Log1p(-bet*r0) + float64(p.both)*math.Log1p(bet*(1-r0))
	}
	return logMeanExp(terms)
}

// logPairedAbove is evidence against "the failure rates differ by no more than
// delta", logPairedBelow against "by delta or more" (judge.md 1.2).
func logPairedAbove(p couples, delta float64) float64 {
	if !(delta >= 0 && delta < 1) {
		return 0
	}
	terms := make([]float64, len(betGrid))
	for j, c := range betGrid {
		bet := c / (1 + delta)
		terms[j] = float64(p.onlyCandidate)*math.Log1p(bet*(1-delta)) + float64(p.onlyStable)*math.Log1p(-bet*(1+delta)) + float64(p.both+p.neither)*math.Log1p(-bet*delta)
	}
	return logMeanExp(terms)
}

func logPairedBelow(p couples, delta float64) float64 {
	if !(delta >= 0 && delta < 1) {
		return 0
	}
	terms := make([]float64, len(betGrid))
	for j, c := range betGrid {
		terms[j] = float64(p.onlyCandidate)*math.Log1p(-c*(1-delta)) + float64(p.onlyStable)*math.Log1p(c*(1+delta)) + float64(p.both+p.neither)*math.Log1p(c*delta)
	}
	return logMeanExp(terms)
}

// logShare is the Bernoulli mixture (judge.md 1.2) for k events of n against the
// share q0: with oddsAbove against "share <= q0", with oddsBelow against "share >=
// q0". q0 outside (0, 1) says nothing.
func logShare(k, n uint64, q0 float64, odds []float64) float64 {
	if n == 0 || !(q0 > 0 && q0 < 1) {
		return 0
	}
	terms := make([]float64, len(odds))
	for j, g := range odds {
		scale := 1 - q0 + g*q0 // (1-q)/(1-q0) = 1/scale, q/q0 = g/scale
		terms[j] = float64(min(k, n))*math.Log(g) - float64(n)*math.Log(scale)
	}
	return logMeanExp(terms)
}

// logSampleRatio is the Dirichlet mixture against "each unit goes to the candidate
// with probability w" (judge.md 1.4), concentration 100.
func logSampleRatio(candidate, stable uint64, w float64) float64 {
	if !(w > 0 && w < 1) || candidate+stable == 0 {
		return 0
	}
	const k = 100
	a, b, x, y := k*w, k*(1-w), float64(candidate), float64(stable)
	return logBeta(a+x, b+y) - logBeta(a, b) - x*math.Log(w) - y*math.Log1p(-w)
}

func logBeta(a, b float64) float64 {
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	return la + lb - lab
}
