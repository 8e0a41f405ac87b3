package safedriver

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// Generator draws rows with the real schema. The same seed gives the same rows.
type Generator struct{ rng *rand.Rand }

// NewGenerator makes a generator.
func NewGenerator(seed uint64) *Generator {
	return &Generator{rand.New(rand.NewPCG(seed, 0x5e217))}
}

// columns that hang together or that a claim depends on.
var (
	ind05, ind06, ind15, ind16, ind17 = Column("ps_ind_05_cat"), Column("ps_ind_06_bin"), Column("ps_ind_15"), Column("ps_ind_16_bin"), Column("ps_ind_17_bin")
	reg02, reg03, car07, car12, car13 = Column("ps_reg_02"), Column("ps_reg_03"), Column("ps_car_07_cat"), Column("ps_car_12"), Column("ps_car_13")
	car15                             = Column("ps_car_15")
)

// Row appends the 57 values of one row to dst.
func (g *Generator) Row(dst []float64) []float64 {
	from := len(dst)
	for _, s := range shapes {
		dst = append(dst, g.draw(s))
	}
	row := dst[from:]
	g.oneOf(row, ind06, 4) // in the real data exactly one of ps_ind_06…09 is 1
	g.oneOf(row, ind16, 3) // and at most one of ps_ind_16…18
	shared := g.rng.NormFloat64()
	row[car12] = shapes[car12].at(.7*shared + math.Sqrt(1-.7*.7)*g.rng.NormFloat64())
	row[car13] = shapes[car13].at(shared)
	row[car15] = math.Round(math.Sqrt(row[car15])*1e9) / 1e9 // the real column is the root of 0…14
	return dst
}

// Labelled appends a row and says whether a claim came of it: a latent logistic
// model with thresholds and interactions, about 3.7 % positives.
func (g *Generator) Labelled(dst []float64) (row []float64, claim bool) {
	from := len(dst)
	dst = g.Row(dst)
	return dst, g.rng.Float64() < risk(dst[from:])
}

// risk is the true chance of a claim.
func risk(x []float64) float64 {
	z := -3.545 + 1.6*(x[car13]-.814) + .5*x[ind17] - .05*(x[ind15]-7.3) + .4*(x[reg02]-.44) - .4*x[ind06]
	if x[ind05] > 0 {
		z += .4
	}
	if x[car07] == 0 {
		z += .4
	}
	if x[reg03] > 1 {
		z += .25
	}
	if x[reg03] == -1 {
		z -= .2
	}
	if x[car13] > 1 && x[ind17] == 1 {
		z += .4
	}
	z += 2 * math.Max(x[car12]-.42, 0)
	return 1 / (1 + math.Exp(-z))
}

// draw takes one value of a column, -1 when it is missing.
func (g *Generator) draw(s shape) float64 {
	if s.missing > 0 && g.rng.Float64() < s.missing {
		return -1
	}
	if s.step == 0 {
		return s.at(g.rng.NormFloat64())
	}
	return math.Round((s.low+float64(g.count(s))*s.step)*1e6) / 1e6
}

// count is how many steps above low: mostly binomial, sometimes uniform, so that
// the whole range occurs while the mean stays the column's.
func (g *Generator) count(s shape) int {
	n := int(math.Round((s.high - s.low) / s.step))
	p := (s.mean - s.low) / (s.high - s.low)
	if n > 1 {
		uniform := .6 * math.Min(p, 1-p)
		if g.rng.Float64() < uniform {
			return g.rng.IntN(n + 1)
		}
		p = (p - uniform/2) / (1 - uniform)
	}
	k := 0
	for range n {
		if g.rng.Float64() < p {
			k++
		}
	}
	return k
}

// at is the log-normal value of a continuous column for a standard normal z, cut to the range.
func (s shape) at(z float64) float64 {
	v := s.mean * math.Exp(s.sigma*z-s.sigma*s.sigma/2)
	return math.Round(math.Min(math.Max(v, s.low), s.high)*1e9) / 1e9
}

// oneOf sets at most one of n neighbouring columns, each with its own share.
func (g *Generator) oneOf(row []float64, first, n int) {
	u := g.rng.Float64()
	for i := first; i < first+n; i++ {
		row[i] = 0
		if u >= 0 && u < shapes[i].mean {
			row[i] = 1
		}
		u -= shapes[i].mean
	}
}

// RequestBody appends {"data":[[57 numbers],…]} with the given number of rows.
func (g *Generator) RequestBody(dst []byte, rows int) []byte {
	dst = append(dst, `{"data":[`...)
	var row []float64
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		row = g.Row(row[:0])
		dst = append(dst, '[')
		for j, v := range row {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
		}
		dst = append(dst, ']')
	}
	return append(dst, `]}`...)
}
