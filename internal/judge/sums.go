package judge

import (
	"cmp"
	"math"
	"slices"
)

// weightSums is the evidence of all judged epochs that had one routing probability.
type weightSums struct {
	w       float64
	arms    [2]Counts
	latency [2]Histogram // of epochs whose edges were frozen
}

// sums is the evidence as the metrics need it: by routing probability, never
// pooled across probabilities (judge.md 1.1, Simpson's paradox).
type sums struct {
	byWeight        []weightSums
	shadow          Pairs
	units           [2]uint64
	stableAll       uint64 // requests of stable in any epoch, and their errors
	stableAllErrors uint64
	candidateScored uint64
	candidateRange  Range
	stableRange     Range
	sampleRatio     float64
}

func gather(e Evidence, p Policy) sums {
	var s sums
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		if ep.Info.Tampered {
			continue
		}
		s.stableAll += ep.Arms[Stable].Requests
		s.stableAllErrors += ep.Arms[Stable].Errors
		if ep.Info.Warmup {
			continue
		}
		s.shadow.Add(&ep.Shadow)
		s.ranges(ep)
		if ep.Info.WeightBP > 0 && ep.Info.WeightBP < 10000 {
			s.addWeight(ep)
		}
	}
	slices.SortFunc(s.byWeight, func(a, b weightSums) int { return cmp.Compare(a.w, b.w) })
	for _, w := range s.byWeight {
		for a := range w.arms {
			s.units[a] += w.arms[a].Units
		}
		s.sampleRatio += logDirichlet(w.arms[Candidate].Units, w.arms[Candidate].Units+w.arms[Stable].Units, w.w)
	}
	return s
}

func (s *sums) ranges(ep *EpochEvidence) {
	s.candidateScored += ep.Arms[Candidate].Scored + ep.Shadow.Scored
	s.candidateRange = s.candidateRange.Union(ep.Arms[Candidate].ScoreRange).Union(ep.Shadow.CandidateRange)
	s.stableRange = s.stableRange.Union(ep.Arms[Stable].ScoreRange).Union(ep.Shadow.StableRange)
}

func (s *sums) addWeight(ep *EpochEvidence) {
	w := float64(ep.Info.WeightBP) / 10000
	i := slices.IndexFunc(s.byWeight, func(x weightSums) bool { return x.w == w })
	if i < 0 {
		s.byWeight = append(s.byWeight, weightSums{w: w})
		i = len(s.byWeight) - 1
	}
	for a := range ep.Arms {
		s.byWeight[i].arms[a].Add(&ep.Arms[a])
		if !ep.Info.Calibrating {
			s.byWeight[i].latency[a].Add(&ep.Arms[a].Latency)
		}
	}
}

// constant reports a candidate whose every score is the same while stable's vary.
func (s *sums) constant() bool {
	c, st := s.candidateRange, s.stableRange
	return s.candidateScored >= constantLeast && c.Seen && c.Min == c.Max && st.Seen && st.Min < st.Max
}

// events returns strata of an event counted by pick.
func (s *sums) events(pick func(*Counts) uint64) []stratum {
	var out []stratum
	for i := range s.byWeight {
		w := &s.byWeight[i]
		c := pick(&w.arms[Candidate])
		out = append(out, stratum{w: w.w, candidate: c, all: c + pick(&w.arms[Stable])})
	}
	return out
}

// revertQuantiles are the edges at which a slower candidate is looked for.
var revertQuantiles = []float64{.5, .75, .9, .95, .99}

// Calibration holds what is chosen from stable's own requests before any judged
// one, and then frozen: the latency edges (bucket indices).
type Calibration struct {
	Revert  []int     `json:"revert"`  // edges for "slower", ascending
	Promote []int     `json:"promote"` // edges at the policy's quantiles
	At      []float64 `json:"at"`
	N       uint64    `json:"n"` // requests they were chosen from
}

// Calibrate chooses the edges from stable's counts; false while there are fewer
// than the policy's MinCalibration.
func Calibrate(p Policy, baseline *Counts) (Calibration, bool) {
	n := baseline.Latency.Total()
	if n == 0 || n < p.MinCalibration {
		return Calibration{}, false
	}
	c := Calibration{At: slices.Clone(p.Latency.At), N: n}
	for _, q := range revertQuantiles {
		c.Revert = append(c.Revert, edgeAt(&baseline.Latency, q))
	}
	c.Revert = slices.Compact(c.Revert)
	for _, q := range p.Latency.At {
		c.Promote = append(c.Promote, edgeAt(&baseline.Latency, q))
	}
	return c, true
}

// edgeAt returns the first edge above the q-quantile.
func edgeAt(h *Histogram, q float64) int {
	b, _ := h.Quantile(q)
	return min(b+1, HistogramBuckets-1)
}

// shiftUp and shiftDown turn a latency ratio into whole buckets: up for what may
// revert and down for what may promote, so that bucketing never weakens a bound.
func shiftUp(ratio float64) int   { return int(math.Ceil(8*math.Log2(ratio) - 1e-9)) }
func shiftDown(ratio float64) int { return int(math.Floor(8*math.Log2(ratio) + 1e-9)) }
