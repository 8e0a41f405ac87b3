package judge

import "math"

// drift is a sum of increments that is a martingale under the null, with its
// variance process (judge.md 1.6).
type drift struct{ s, v float64 }

// logNormalAbove is the one-sided normal mixture (Howard et al. 2021): evidence that
// the drift is above 0. It says nothing for rho <= 0 or numbers that are not finite.
func logNormalAbove(d drift, rho float64) float64 {
	if !d.sound(rho) {
		return 0
	}
	x := d.s / math.Sqrt(d.v+rho)
	return .5*math.Log(4*rho/(d.v+rho)) + x*x/2 + logPhi(x)
}

func (d drift) sound(rho float64) bool {
	return rho > 0 && d.v >= 0 && !math.IsInf(rho+d.v, 0) && !math.IsNaN(d.s) && !math.IsInf(d.s, 0)
}

func (d drift) negative() drift { return drift{-d.s, d.v} }

// logPhi is ln of the standard normal distribution function.
func logPhi(x float64) float64 {
	if x > -30 {
		return math.Log(.5 * math.Erfc(-x/math.Sqrt2))
	}
	return -x*x/2 - math.Log(-x*math.Sqrt(2*math.Pi)) // relative error below 1/900
}

// normalBound is the radius that |S| never leaves, but with probability alpha: where
// the two-sided mixture reaches 1/alpha.
func normalBound(v, rho, alpha float64) float64 {
	return math.Sqrt((v + rho) * (math.Log1p(v/rho) + 2*math.Log(1/alpha)))
}

// bestRho makes the two-sided mixture tightest at variance v; pass 2 alpha for
// the one-sided one.
func bestRho(v, alpha float64) float64 {
	l := 2 * math.Log(1/alpha)
	return v / (l + math.Log1p(l))
}

// moments are sums of one value per answer.
type moments struct{ n, sum, sq float64 }

func (m moments) plus(o moments) moments { return moments{m.n + o.n, m.sum + o.sum, m.sq + o.sq} }

func (m moments) mean() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / m.n
}

// sd is 0 for fewer than two values.
func (m moments) sd() float64 {
	if m.n < 2 {
		return 0
	}
	return math.Sqrt(math.Max(m.sq/m.n-m.mean()*m.mean(), 0))
}

// about returns the sums of a*y - b and of its square.
func (m moments) about(a, b float64) (sum, sq float64) {
	return a*m.sum - b*m.n, math.Max(a*a*m.sq-2*a*b*m.sum+b*b*m.n, 0)
}

// layer are the values of both arms at one routing probability.
type layer struct {
	w    float64
	arms [2]moments
}

// unpaired sums (A-w)(Y-centre) over answers, the candidate's Y taken as
// scale*y - shift: a martingale if that has stable's mean. Its variance is the sum
// of squares, (1-w)^2 for the candidate's and w^2 for stable's: judge.md's
// w(1-w)(Y-m)^2 is right only if both arms vary alike.
func unpaired(layers []layer, centre, scale, shift float64) (d drift, info float64) {
	for _, l := range layers {
		if !(l.w > 0 && l.w < 1) {
			continue
		}
		c, cc := l.arms[Candidate].about(scale, shift+centre)
		s, ss := l.arms[Stable].about(1, centre)
		d.s += (1-l.w)*c - l.w*s
		d.v += (1-l.w)*(1-l.w)*cc + l.w*l.w*ss
		info += (1 - l.w) * l.arms[Candidate].n
	}
	return d, info
}

// paired sums candidate - stable - shift over shadow pairs.
func paired(p *Pairs, shift float64) (d drift, info float64) {
	n := float64(p.Scored)
	diff := p.CandidateSum.Plus(p.StableSum.negated()).Float()
	sq := p.CandidateSq.Float() - 2*p.Cross.Float() + p.StableSq.Float()
	return drift{diff - n*shift, math.Max(sq-2*shift*diff+n*shift*shift, 0)}, n
}
