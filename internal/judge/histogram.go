package judge

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// HistogramBuckets is the number of latency buckets.
const HistogramBuckets = 224

// Histogram counts latencies in log-spaced buckets, 8 to the doubling
// (ratio 2^(1/8) = 1.0905, Prometheus native histogram schema 3), from 10 us up
// to 10 us x 2^28 (45 min). Counts are exact and additive, so exceedance counts
// at bucket edges are exact too (judge.md 4.3).
type Histogram struct {
	Buckets [HistogramBuckets]uint64
}

const (
	histogramBase      = 10 * time.Microsecond
	bucketsPerDoubling = 8
)

// Observe counts d; what lies outside the range goes to the first or last bucket.
func (h *Histogram) Observe(d time.Duration) { h.Buckets[BucketOf(d)]++ }

// BucketOf returns the index of the bucket that d falls into: bucket i holds
// latencies in [EdgeOf(i), EdgeOf(i+1)).
func BucketOf(d time.Duration) int {
	if d <= histogramBase {
		return 0
	}
	i := int(math.Floor(8 * math.Log2(float64(d)/float64(histogramBase))))
	return min(max(i, 0), HistogramBuckets-1)
}

// EdgeOf returns the lower edge of bucket i.
func EdgeOf(i int) time.Duration {
	return time.Duration(float64(histogramBase) * math.Exp2(float64(i)/8))
}

// Add adds o's counts to h.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
}

// Total returns the number of latencies counted.
func (h *Histogram) Total() (n uint64) {
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// AtLeast returns how many latencies fell into bucket i or a later one.
func (h *Histogram) AtLeast(i int) (n uint64) {
	for _, b := range h.Buckets[min(max(i, 0), HistogramBuckets):] {
		n += b
	}
	return n
}

// Quantile returns the bucket in which the q-quantile lies, and false when empty.
func (h *Histogram) Quantile(q float64) (int, bool) {
	total := h.Total()
	if total == 0 || math.IsNaN(q) {
		return 0, false
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(total)))
	rank = max(rank, 1)
	var seen uint64
	for i, b := range h.Buckets {
		if seen += b; seen >= rank {
			return i, true
		}
	}
	return HistogramBuckets - 1, true
}

// IsZero reports whether nothing was counted.
func (h Histogram) IsZero() bool { return h == Histogram{} }

// MarshalJSON writes the non-empty buckets as a flat list: index, count, ….
func (h Histogram) MarshalJSON() ([]byte, error) {
	flat := []uint64{}
	for i, n := range h.Buckets {
		if n > 0 {
			flat = append(flat, uint64(i), n)
		}
	}
	return json.Marshal(flat)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var flat []uint64
	if err := json.Unmarshal(data, &flat); err != nil {
		return fmt.Errorf("reading a histogram: %w", err)
	}
	*h = Histogram{}
	if len(flat)%2 != 0 {
		return fmt.Errorf("reading a histogram: %d numbers, want pairs of index and count", len(flat))
	}
	for i := 0; i < len(flat); i += 2 {
		if flat[i] >= HistogramBuckets {
			return fmt.Errorf("reading a histogram: bucket %d, want less than %d", flat[i], HistogramBuckets)
		}
		h.Buckets[flat[i]] += flat[i+1]
	}
	return nil
}
