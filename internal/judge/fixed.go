package judge

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// MaxScore is the largest magnitude of a score that enters the sums: 2^24.
// Beyond it a score is counted at the limit and as clipped.
const MaxScore = 1 << 24

const fixedFraction = 48 // bits after the binary point

// Fixed is a signed 128-bit sum with 48 fractional bits (resolution 3.6e-15).
// Floating-point sums depend on their order; these do not, so a verdict can be
// recomputed bit for bit from evidence merged in any order.
type Fixed struct {
	hi int64
	lo uint64
}

// FixedOf rounds x to the nearest representable value; NaN and values beyond
// ±2^62 count as 0.
func FixedOf(x float64) Fixed {
	if math.IsNaN(x) || math.Abs(x) >= 1<<62 {
		return Fixed{}
	}
	whole := math.Floor(x)
	frac := math.Round((x - whole) * (1 << fixedFraction))
	// whole fits in 63 bits; shift it left by 48 over two words.
	w := int64(whole)
	f := Fixed{hi: w >> (64 - fixedFraction), lo: uint64(w) << fixedFraction}
	return f.Plus(Fixed{lo: uint64(frac)})
}

// Plus returns f+g, wrapping beyond 2^79.
func (f Fixed) Plus(g Fixed) Fixed {
	lo, carry := bits.Add64(f.lo, g.lo, 0)
	return Fixed{hi: f.hi + g.hi + int64(carry), lo: lo}
}

// Float returns the nearest float64.
func (f Fixed) Float() float64 {
	hi, lo, sign := f.hi, f.lo, 1.0
	if hi < 0 {
		sign = -1
		lo = ^lo + 1
		hi = ^hi
		if lo == 0 {
			hi++
		}
	}
	return sign * (math.Ldexp(float64(hi), 64-fixedFraction) + math.Ldexp(float64(lo), -fixedFraction))
}

// IsZero reports whether the sum is zero, so that it is left out of JSON.
func (f Fixed) IsZero() bool { return f == Fixed{} }

// MarshalJSON writes the raw integer (value x 2^48) as a decimal string.
func (f Fixed) MarshalJSON() ([]byte, error) { return json.Marshal(f.raw().String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Fixed) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("reading a fixed-point sum: %w", err)
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.BitLen() > 127 {
		return fmt.Errorf("reading a fixed-point sum: %q is not a 128-bit integer", s)
	}
	low := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	f.lo = low.Uint64()
	f.hi = new(big.Int).Rsh(n, 64).Int64()
	return nil
}

func (f Fixed) raw() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(f.hi), 64)
	return n.Add(n, new(big.Int).SetUint64(f.lo))
}

// Range is the least and greatest value seen; its zero value is empty. Union is
// idempotent, so it merges as freely as a count.
type Range struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Seen bool    `json:"seen"`
}

// With returns the range widened to hold v.
func (r Range) With(v float64) Range {
	if !r.Seen {
		return Range{Min: v, Max: v, Seen: true}
	}
	return Range{Min: math.Min(r.Min, v), Max: math.Max(r.Max, v), Seen: true}
}

// Union returns the smallest range that holds both.
func (r Range) Union(o Range) Range {
	if !o.Seen {
		return r
	}
	return r.With(o.Min).With(o.Max)
}

// constant says that all values seen were one.
func (r Range) constant() bool { return r.Seen && r.Min == r.Max }

// IsZero reports whether nothing was seen.
func (r Range) IsZero() bool { return !r.Seen }

func clip(y float64) (v float64, clipped, ok bool) {
	switch {
	case math.IsNaN(y) || math.IsInf(y, 0):
		return 0, false, false
	case y > MaxScore:
		return MaxScore, true, true
	case y < -MaxScore:
		return -MaxScore, true, true
	}
	return y, false, true
}

func (f Fixed) negated() Fixed {
	return Fixed{hi: ^f.hi, lo: ^f.lo}.Plus(Fixed{lo: 1})
}
