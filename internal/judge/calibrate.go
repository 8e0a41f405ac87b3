package judge

import (
	"math"
	"slices"
)

// Calibration fixes what production looked like before the first judged request.
// It is stored with the policy and never changed during a rollout: edges learnt
// from the data they are tested on would void the error bounds.
type Calibration struct {
	Requests uint64 `json:"requests"` // stable latencies that the edges come from
	// RevertEdges are first buckets: a production request is slow at edge e when
	// its latency fell into bucket e or later, a candidate's when it fell into
	// e + shift or later.
	RevertEdges []int `json:"revertEdges"`
	// PromoteEdges are the same for the non-inferiority test: one per Latency.At.
	PromoteEdges []int     `json:"promoteEdges"`
	Scored       uint64    `json:"scored,omitempty"`
	ScoreCentre  float64   `json:"scoreCentre,omitempty"` // production's mean score
	ScoreSD      float64   `json:"scoreSD,omitempty"`
	Shares       []float64 `json:"shares,omitempty"` // production's share above each cut-off
}

// revertQuantiles are where a slower candidate is looked for (judge.md 1.3).
var revertQuantiles = []float64{.5, .75, .9, .95, .99, .995, .999}

// Calibrate chooses edges and centres from production's own requests; false when
// fewer than p.MinCalibration of them were seen, or none.
func Calibrate(p Policy, baseline *Counts) (Calibration, bool) {
	n := baseline.Latency.Total()
	if n < max(p.MinCalibration, 1) {
		return Calibration{}, false
	}
	c := Calibration{Requests: n, Scored: baseline.Scored}
	for _, q := range revertQuantiles {
		i, _ := baseline.Latency.Quantile(q)
		c.RevertEdges = append(c.RevertEdges, min(i+1, HistogramBuckets-1))
	}
	c.RevertEdges = slices.Compact(c.RevertEdges)
	for _, q := range p.Latency.At {
		c.PromoteEdges = append(c.PromoteEdges, nearestEdge(&baseline.Latency, q))
	}
	y := moments{float64(baseline.Scored), baseline.ScoreSum.Float(), baseline.ScoreSq.Float()}
	c.ScoreCentre, c.ScoreSD = y.mean(), y.sd()
	for i := range p.Cutoffs {
		c.Shares = append(c.Shares, aboveOf(baseline, i).mean())
	}
	return c, true
}

// nearestEdge returns the edge whose exceedance is nearest to 1-q in proportion.
// It is never one that no request exceeded: without events on stable's side
// nothing could be shown.
func nearestEdge(h *Histogram, q float64) int {
	i, ok := h.Quantile(q)
	if !ok {
		return 0
	}
	n := float64(h.Total())
	at, after := float64(h.AtLeast(i))/n, float64(h.AtLeast(i+1))/n
	if after > 0 && math.Log((1-q)/after) <= math.Log(at/(1-q)) {
		return i + 1
	}
	return i
}
