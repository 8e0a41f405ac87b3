package scorer

import (
	"errors"
	"strconv"
	"unsafe"
)

var (
	errNotNumber = errors.New("not a JSON number")
	errRange     = errors.New("out of range")
)

// pow10 are the powers of ten that a float64 holds exactly.
var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

const (
	exactMantissa = 1 << 53 // integers up to here are exact
	maxDigits     = 18      // a mantissa of so many digits cannot overflow
)

// parseNumber reads the JSON number at b[i] and returns its value and the index behind it. The value is the one that
// strconv.ParseFloat gives: an integer of at most 53 bits times or divided by an exact power of ten is rounded once,
// which is the definition of right (Clinger, "How to Read Floating Point Numbers Accurately", 1990); all else goes to
// ParseFloat itself.
func parseNumber(b []byte, i int) (float64, int, error) {
	start := i
	if i < len(b) && b[i] == '-' {
		i++
	}
	intStart, exponent := i, 0
	mantissa, i := takeDigits(0, b, i)
	digits := i - intStart
	if digits == 0 || digits > 1 && b[intStart] == '0' {
		return 0, start, errNotNumber
	}
	if i < len(b) && b[i] == '.' {
		i++
		fracStart := i
		mantissa, i = takeDigits(mantissa, b, i)
		if i == fracStart {
			return 0, start, errNotNumber
		}
		digits += i - fracStart
		exponent = fracStart - i
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		end, ok := skipExponent(b, i)
		if !ok {
			return 0, start, errNotNumber
		}
		v, err := slowNumber(b[start:end])
		return v, end, err
	}
	if digits > maxDigits || mantissa > exactMantissa || exponent < -22 {
		v, err := slowNumber(b[start:i])
		return v, i, err
	}
	v := float64(mantissa) / pow10[-exponent]
	if b[start] == '-' {
		v = -v
	}
	return v, i, nil
}

func takeDigits(mantissa uint64, b []byte, i int) (uint64, int) {
	for ; i < len(b) && isDigit(b[i]); i++ {
		mantissa = mantissa*10 + uint64(b[i]-'0')
	}
	return mantissa, i
}

func skipExponent(b []byte, i int) (end int, ok bool) {
	i++
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		i++
	}
	start := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i, i > start
}

func slowNumber(token []byte) (float64, error) {
	// ParseFloat keeps its argument only inside the error, which is dropped here.
	v, err := strconv.ParseFloat(unsafe.String(&token[0], len(token)), 64)
	if err != nil {
		return 0, errRange
	}
	return v, nil
}

func isDigit(c byte) bool { return c-'0' <= 9 }
