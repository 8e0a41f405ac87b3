package spec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

func sortStrings(s []string) { slices.Sort(s) }

// percentBP reads 12.5% as 1250 basis points.
func percentBP(s string) (int, error) {
	v, err := percentOf(s)
	if err != nil {
		return 0, err
	}
	bp := v * 10000
	if math.Abs(bp-math.Round(bp)) > 1e-6 {
		return 0, fmt.Errorf("%q is finer than a hundredth of a percent", s)
	}
	return int(math.Round(bp)), nil
}

// percentOf reads 5% as 0.05.
func percentOf(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || v < 0 || v > 100 || math.IsNaN(v) {
		return 0, fmt.Errorf("%q must be between 0%% and 100%%", s)
	}
	return exact(v, 100), nil
}

// exact divides decimal by a power of ten without the error of a second rounding.
func exact(v, by float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v/by, 'g', 15, 64), 64)
	if err != nil {
		return v / by
	}
	return out
}

// ratioOf reads 1.25x.
func ratioOf(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "x")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 1 && v <= 1000) {
		return 0, fmt.Errorf("%q must be between 1x and 1000x", s)
	}
	return v, nil
}

// pointsOf reads 0.1pp as 0.001.
func pointsOf(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "pp")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 0 && v < 100) {
		return 0, fmt.Errorf("%q must be between 0pp and 100pp (percentage points)", s)
	}
	return exact(v, 100), nil
}

// quantileOf reads p99.9 as 0.999.
func quantileOf(s string) (float64, error) {
	number, ok := strings.CutPrefix(s, "p")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 1 && v <= 99.99) {
		return 0, fmt.Errorf("%q must be between p1 and p99.99", s)
	}
	return exact(v, 100), nil
}

// sizeOf reads 4Mi, 512Ki or plain bytes.
func sizeOf(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, u := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = n, u
		}
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 1 || v > (1<<30)/unit {
		return 0, fmt.Errorf("%q must be a size from 1 to 1Gi", s)
	}
	return v * unit, nil
}

// longestDuration bounds every duration of a document.
const longestDuration = 366 * 24 * time.Hour

func durationOf(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > longestDuration {
		return 0, fmt.Errorf("%q must be a duration from 0s to 8784h", s)
	}
	return d, nil
}
