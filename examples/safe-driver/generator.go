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

// indices of the columns that a claim depends on.
var (
	car13, ind05, ind17, reg03, car07, ind15, reg02, car12, ind06 = Column("ps_car_13"), Column("ps_ind_05_cat"), Column("ps_ind_17_bin"), Column("ps_reg_03"),
		Column("ps_car_07_cat"), Column("ps_ind_15"), Column("ps_reg_02"), Column("ps_car_12"), Column("ps_ind_06_bin")
	car15 = Column("ps_car_15")
)

// Row appends the 57 values of one row to dst.
func (g *Generator) Row(dst []float64) []float64 {
	from := len(dst)
	for _, s := range shapes {
		dst = append(dst, g.draw(s))
	}
	row := dst[from:]
	row[car15] = math.Sqrt(row[car15]) // the real column is the root of 0..14
	return dst
}

// Labelled appends a row and says whether a claim came of it: a latent logistic
// model with thresholds and an interaction, about 3.7 % positives.
func (g *Generator) Labelled(dst []float64) (row []float64, claim bool) {
	from := len(dst)
	dst = g.Row(dst)
	return dst, g.rng.Float64() < risk(dst[from:])
}

func risk(x []float64) float64 {
	z := -3.81 + 1.9*(x[car13]-.814) + .9*x[ind17] - .035*(x[ind15]-7.3) + .25*(x[reg02]-.44) - .35*x[ind06]
	if x[ind05] > 0 {
		z += .55
	}
	if x[car07] == 0 {
		z += .5
	}
	if x[reg03] > 1 {
		z += .35
	}
	if x[reg03] == -1 {
		z -= .15
	}
	if x[car13] > 1 && x[ind17] == 1 {
		z += .5
	}
	z += 1.2 * math.Max(x[car12]-.4, 0)
	return 1 / (1 + math.Exp(-z))
}

// draw takes one value: whole numbers are binomial between low and high, so that
// range and mean are those of the column; continuous ones are log-normal, cut.
func (g *Generator) draw(s shape) float64 {
	if s.missing > 0 && g.rng.Float64() < s.missing {
		return -1
	}
	if s.step == 0 {
		sigma := .28
		v := math.Exp(math.Log(s.mean) - sigma*sigma/2 + sigma*g.rng.NormFloat64())
		v = math.Min(math.Max(v, s.low), s.high)
		return math.Round(v*1e9) / 1e9
	}
	n := int(math.Round((s.high - s.low) / s.step))
	p := (s.mean - s.low) / (s.high - s.low)
	k := 0
	for range n {
		if g.rng.Float64() < p {
			k++
		}
	}
	return math.Round((s.low+float64(k)*s.step)*1e6) / 1e6
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
