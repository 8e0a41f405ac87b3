package judge

import "math"

// revertGrid holds the alternatives r_j/r0 against "no worse than r0"; promoteGrid
// those against "at least r0" (judge.md 1.1). All have equal weight.
var (
	revertGrid  = []float64{1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10, 30, 100}
	promoteGrid = []float64{.95, .9, .8, .7, .6, .5, .4, .25}
)

// stratum is what one routing probability contributes: events of the candidate
// among all events while the probability was w.
type stratum struct {
	w         float64
	candidate uint64
	all       uint64
}

// logRatioMixture returns ln E for the ratio of the arms' event rates against
// r0, over the alternatives r0*grid: each event is a coin of known probability
// w r/(w r + 1 - w), whatever the load does (Lindon & Malek 2022). With a grid
// above 1 it is an e-process for "ratio <= r0", below 1 for "ratio >= r0".
// Without events it is 0.
func logRatioMixture(strata []stratum, r0 float64, grid []float64) float64 {
	terms := make([]float64, len(grid))
	for j, g := range grid {
		r := r0 * g
		for _, s := range strata {
			if s.w <= 0 || s.w >= 1 {
				continue // no coin was tossed
			}
			terms[j] += float64(s.candidate)*math.Log(g) - float64(s.all)*math.Log((s.w*r+1-s.w)/(s.w*r0+1-s.w))
		}
	}
	return logMean(terms)
}

// logMean returns ln of the mean of exp(x).
func logMean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	top := math.Inf(-1)
	for _, v := range x {
		top = math.Max(top, v)
	}
	if math.IsInf(top, -1) {
		return top
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum/float64(len(x)))
}

// shareRevertGrid and sharePromoteGrid hold alternatives to a share q0.
var (
	shareRevertGrid  = []float64{1.25, 1.5, 2, 3, 5, 10, 30, 100}
	sharePromoteGrid = []float64{.9, .75, .5, .25, .1, .03, .01, 0}
)

// logShareMixture returns ln E for one Bernoulli stream, k of n, against the
// share q0 over the alternatives q0*grid (capped below 1).
func logShareMixture(k, n uint64, q0 float64, grid []float64) float64 {
	if n == 0 || q0 <= 0 || q0 >= 1 {
		return 0
	}
	terms := make([]float64, 0, len(grid))
	for _, g := range grid {
		q := math.Min(q0*g, (1+q0)/2)
		term := float64(n-k) * math.Log((1-q)/(1-q0))
		if k > 0 {
			if q == 0 {
				term = math.Inf(-1)
			} else {
				term += float64(k) * math.Log(q/q0)
			}
		}
		terms = append(terms, term)
	}
	return logMean(terms)
}

// bets are the fractions of the bounded-bet mixtures.
var bets = []float64{.02, .05, .1, .2, .35, .5, .7, .9}

// arms are the units and events of both arms at one routing probability.
type arms struct {
	w                   float64
	n, candidate, other uint64 // all units; events of the candidate; of stable
}

// logDifference returns ln E against "the candidate's event rate exceeds stable's
// by at least delta", by bets on inverse-probability-weighted events (Waudby-Smith
// & Ramdas 2024): exact, and it grows with every unit without an event, so that a
// pair of arms without any error can be told to be good.
func logDifference(data []arms, delta float64) float64 {
	terms := make([]float64, len(bets))
	for j, c := range bets {
		for _, a := range data {
			if a.w <= 0 || a.w >= 1 || delta <= 0 {
				continue
			}
			bet := func(z float64) float64 { return math.Log1p(-c * a.w * (z - delta)) }
			quiet := float64(a.n) - float64(a.candidate) - float64(a.other)
			terms[j] += quiet*bet(0) + float64(a.candidate)*bet(1/a.w) + float64(a.other)*bet(-1/(1-a.w))
		}
	}
	return logMean(terms)
}

// logNormalMixture is the two-sided normal mixture: S a martingale under the
// null, V its variance (Howard et al. 2021, Prop. 5).
func logNormalMixture(s, v, rho float64) float64 {
	if v <= 0 || rho <= 0 {
		return 0
	}
	return .5*math.Log(rho/(v+rho)) + s*s/(2*(v+rho))
}

// logNormalMixtureOneSided is the one-sided normal mixture (Howard et al. 2021,
// Prop. 6): against a drift of S of at most 0.
func logNormalMixtureOneSided(s, v, rho float64) float64 {
	if v <= 0 || rho <= 0 {
		return 0
	}
	root := math.Sqrt(v + rho)
	return .5*math.Log(4*rho/(v+rho)) + s*s/(2*(v+rho)) + logPhi(s/root)
}

// logPhi is ln of the standard normal distribution function.
func logPhi(x float64) float64 {
	if x > -30 {
		return math.Log(.5 * math.Erfc(-x/math.Sqrt2))
	}
	return -x*x/2 - math.Log(-x*math.Sqrt(2*math.Pi))
}

// normalBound returns the radius within which |S| stays with probability 1-alpha
// at all times.
func normalBound(v, rho, alpha float64) float64 {
	return math.Sqrt((v + rho) * (math.Log1p(v/rho) + 2*math.Log(1/alpha)))
}

// bestRho tunes the mixture to be tightest at variance v.
func bestRho(v, alpha float64) float64 {
	l := 2 * math.Log(1/alpha)
	return v / (l + math.Log1p(l))
}

// logDirichlet returns ln E for sample-ratio mismatch: n units split into the
// candidate's and the rest, against the routing probability w (Lindon & Malek
// 2022), with concentration k=100.
func logDirichlet(candidate, n uint64, w float64) float64 {
	if n == 0 || w <= 0 || w >= 1 || candidate > n {
		return 0
	}
	const k = 100
	a, b := k*w, k*(1-w)
	x, y := float64(candidate), float64(n-candidate)
	return logBeta(a+x, b+y) - logBeta(a, b) - x*math.Log(w) - y*math.Log(1-w)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// HarmOfNext returns how many extra failed requests the next step may cost: the
// upper bound of the extra error rate at the candidate's requests per second for
// the seconds that a reaction takes, plus what the judge itself has to see of such
// an effect before it acts (about 20 up to a quarter of the traffic, twice that at
// half: judge.md 2.2), where there is any effect to see.
func HarmOfNext(extraErrorRate, candidateRPS, lagSeconds float64, weightBP int) float64 {
	if !(extraErrorRate > 0) || !(candidateRPS > 0) || !(lagSeconds >= 0) {
		return 0
	}
	see := 20.0
	if weightBP > 2500 {
		see = 40
	}
	return extraErrorRate*candidateRPS*lagSeconds + math.Min(see, extraErrorRate*candidateRPS*3600)
}
