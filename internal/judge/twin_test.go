package judge

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The twins do event by event, in plain arithmetic, what the statistics do from
// sums: slow and obvious.

func near(t *testing.T, name string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-6*math.Max(1, math.Abs(want))) {
		t.Errorf("%s: got %.9g, want %.9g", name, got, want)
	}
}

func meanOf(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func products(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

func TestTwinRatio(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		data := map[float64]*trials{}
		r0 := .5 + 2*rng.Float64()
		up, down := products(len(revertGrid)), products(len(promoteGrid))
		for range 60 {
			w := []float64{.01, .1, .25, .5}[rng.IntN(4)]
			if data[w] == nil {
				data[w] = &trials{coins: coins{w: w}}
			}
			cand := rng.Float64() < .3
			chance := func(r float64) float64 {
				if q := w * r / (w*r + 1 - w); cand {
					return q
				} else {
					return 1 - q
				}
			}
			for j, g := range revertGrid {
				up[j] *= chance(g*r0) / chance(r0)
			}
			for j, g := range promoteGrid {
				down[j] *= chance(g*r0) / chance(r0)
			}
			if cand {
				data[w].candidate++
			} else {
				data[w].stable++
			}
		}
		var strata []coins
		for _, w := range []float64{.01, .1, .25, .5} {
			if data[w] != nil {
				strata = append(strata, data[w].coins)
			}
		}
		near(t, "revert", logRatio(strata, r0, revertGrid), math.Log(meanOf(up)))
		near(t, "promote", logRatio(strata, r0, promoteGrid), math.Log(meanOf(down)))
	}
}

func TestTwinExcess(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for range 50 {
		w, delta := []float64{.05, .1, .5, .9}[rng.IntN(4)], .2*rng.Float64()
		d := trials{coins: coins{w: w}}
		below, above := products(len(betGrid)), products(len(revertGrid))
		for range 200 {
			a, x := rng.Float64() < w, rng.Float64() < .1
			z := 0.0
			switch {
			case x && a:
				z, d.candidate = 1/w, d.candidate+1
			case x:
				z, d.stable = -1/(1-w), d.stable+1
			}
			d.units++
			for j, c := range betGrid {
				below[j] *= 1 - c*w*(z-delta)
			}
			for j, r := range revertGrid {
				bet := min(w*(1-w)*(r-1)/(w*r+1-w), .99/(1/(1-w)+delta))
				above[j] *= 1 + bet*(z-delta)
			}
		}
		near(t, "below", logExcessBelow([]trials{d}, delta), math.Log(meanOf(below)))
		near(t, "above", logExcessAbove([]trials{d}, delta, revertGrid), math.Log(meanOf(above)))
		near(t, "at delta 0 it is the ratio mixture", logExcessAbove([]trials{{coins: coins{w: .1, candidate: d.candidate, stable: d.stable}, units: d.units}}, 0, revertGrid),
			logRatio([]coins{{.1, d.candidate, d.stable}}, 1, revertGrid))
	}
}

func TestTwinPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for range 50 {
		r0, delta := 1+rng.Float64(), .1*rng.Float64()
		var c couples
		ratio, above, below := products(len(betGrid)), products(len(betGrid)), products(len(betGrid))
		for range 100 {
			x1, x0 := float64(rng.IntN(2)), float64(rng.IntN(2))
			switch {
			case x1 > x0:
				c.onlyCandidate++
			case x0 > x1:
				c.onlyStable++
			case x1 == 1:
				c.both++
			default:
				c.neither++
			}
			for j, g := range betGrid {
				ratio[j] *= 1 + g/r0*(x1-r0*x0)
				above[j] *= 1 + g/(1+delta)*(x1-x0-delta)
				below[j] *= 1 - g*(x1-x0-delta)
			}
		}
		near(t, "ratio", logPairedRatio(c, r0), math.Log(meanOf(ratio)))
		near(t, "above", logPairedAbove(c, delta), math.Log(meanOf(above)))
		near(t, "below", logPairedBelow(c, delta), math.Log(meanOf(below)))
	}
}

func TestTwinShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	for range 50 {
		q0 := .01 + .5*rng.Float64()
		up, down := products(len(oddsAbove)), products(len(oddsBelow))
		var k, n uint64
		for range 80 {
			x := rng.Float64() < .2
			if n++; x {
				k++
			}
			likelihood := func(odds float64) float64 {
				if q := odds / (1 + odds); x {
					return q
				} else {
					return 1 - q
				}
			}
			for j, g := range oddsAbove {
				up[j] *= likelihood(g*q0/(1-q0)) / likelihood(q0/(1-q0))
			}
			for j, g := range oddsBelow {
				down[j] *= likelihood(g*q0/(1-q0)) / likelihood(q0/(1-q0))
			}
		}
		near(t, "above", logShare(k, n, q0, oddsAbove), math.Log(meanOf(up)))
		near(t, "below", logShare(k, n, q0, oddsBelow), math.Log(meanOf(down)))
	}
}

func TestTwinSampleRatio(t *testing.T) {
	// The Dirichlet mixture is Polya's urn, ball by ball.
	rng := rand.New(rand.NewPCG(5, 1))
	for range 20 {
		w, logE := .05+.9*rng.Float64(), 0.0
		n := [2]uint64{}
		for range 300 {
			q := (100*w + float64(n[Candidate])) / (100 + float64(n[0]+n[1]))
			if rng.Float64() < .3 {
				logE += math.Log(q / w)
				n[Candidate]++
			} else {
				logE += math.Log((1 - q) / (1 - w))
				n[Stable]++
			}
		}
		near(t, "sample ratio", logSampleRatio(n[Candidate], n[Stable], w), logE)
	}
}

func TestTwinDrifts(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	w, centre, scale, shift := .2, .4, .8, .05
	var arms [2]Counts
	var pairs Pairs
	var un, pa drift
	for range 500 {
		y, z := rng.NormFloat64(), rng.NormFloat64()
		pairs.AddScores(y, z)
		pa.s += z - y - shift
		pa.v += (z - y - shift) * (z - y - shift)
		if rng.Float64() < w {
			arms[Candidate].AddScore(y)
			x := (1 - w) * (scale*y - shift - centre)
			un.s, un.v = un.s+x, un.v+x*x
		} else {
			arms[Stable].AddScore(y)
			x := -w * (y - centre)
			un.s, un.v = un.s+x, un.v+x*x
		}
	}
	got, info := unpaired([]layer{{w, [2]moments{scoresOf(&arms[Stable]), scoresOf(&arms[Candidate])}}, {w: 1}, {w: 0}}, centre, scale, shift)
	near(t, "unpaired S", got.s, un.s)
	near(t, "unpaired V", got.v, un.v)
	near(t, "information", info, (1-w)*float64(arms[Candidate].Scored))
	got, _ = paired(&pairs, shift)
	near(t, "paired S", got.s, pa.s)
	near(t, "paired V", got.v, pa.v)
}

func TestTwinConstant(t *testing.T) {
	// Coin by coin: all scores that vary are stable's, against a tenth of its rate.
	rng := rand.New(rand.NewPCG(7, 1))
	var e Evidence
	logE := 0.0
	for i, bp := range []int{500, 5000} {
		ep := EpochEvidence{Info: EpochInfo{ID: uint32(i + 1), WeightBP: bp, ShadowBP: 100}}
		w, least := float64(bp)/fullWeight, math.Inf(1)
		for range 300 {
			ep.Arms[Candidate].AddScore(.5)
			y := math.Round(3 * rng.Float64())
			if y != least && !math.IsInf(least, 1) {
				logE -= math.Log((1 - w) / (w*constantNull + 1 - w))
			}
			least = min(least, y)
			ep.Arms[Stable].AddScore(y)
		}
		for i := range 10 {
			ep.Shadow.AddScores(float64(i), .5)
		}
		logE += 9 * math.Log((.5+.5*constantNull)/.5)
		e.Epochs = append(e.Epochs, ep)
	}
	s := gather(e)
	near(t, "constant", s.constantScores(), logE)
	e.Epochs[0].Arms[Candidate].AddScore(.6)
	s = gather(e)
	near(t, "no more constant", s.constantScores(), 0)
}

// logNormal is the two-sided mixture, whose bound normalBound is.
func logNormal(d drift, rho float64) float64 {
	return .5*math.Log(rho/(d.v+rho)) + d.s*d.s/(2*(d.v+rho))
}

func TestTwinNormalBound(t *testing.T) {
	for _, v := range []float64{0, 1, 50, 1e6} {
		for _, alpha := range []float64{.05, .01} {
			near(t, "bound", normalBound(v, 7, alpha), bisect(func(s float64) bool { return logNormal(drift{s, v}, 7) >= -math.Log(alpha) }))
		}
	}
}

// TestGoldenVectors are confseq's (MIT), test/uniform_boundaries_unittest.cpp, of
// the boundaries that are built: v_opt 100, alpha_opt = alpha = .05.
func TestGoldenVectors(t *testing.T) {
	two, one := bestRho(100, .05), bestRho(100, .1)
	for _, g := range []struct {
		name      string
		got, want float64
		tolerance float64
	}{
		{"best rho, two-sided", two, 12.60056, 5e-6},
		{"log mixture, two-sided", logNormal(drift{10, 100}, two), -0.6510052, 1e-6},
		{"bound, two-sided", normalBound(100, two, .05), 30.35209, 5e-6},
		{"log mixture, one-sided", logNormalAbove(drift{10, 100}, one), -0.06502391, 1e-6},
		{"bound, one-sided", bisect(func(s float64) bool { return logNormalAbove(drift{s, 100}, one) >= math.Log(20) }), 27.66071, 5e-6},
	} {
		if math.Abs(g.got-g.want) > g.tolerance {
			t.Errorf("%s: got %.9g, want %.9g", g.name, g.got, g.want)
		}
	}
}

func bisect(beyond func(float64) bool) float64 {
	low, high := 0.0, 1e6
	for range 200 {
		if mid := (low + high) / 2; beyond(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

func TestLogPhiTails(t *testing.T) {
	near(t, "0", logPhi(0), math.Log(.5))
	near(t, "+40", logPhi(40), 0)
	if got := logPhi(-30.000001) - logPhi(-29.999999); math.Abs(got) > 2e-3 {
		t.Errorf("the two branches differ by %g at -30", got)
	}
	if got := logPhi(-1e6); math.IsInf(got, 0) || got > -1e11 {
		t.Errorf("logPhi(-1e6) = %g, want a large finite negative", got)
	}
}
