package judge

import (
	"fmt"
	"math"
	"time"
)

// TestedLatency returns the ratios that are really tested: whole buckets of ratio
// 2^(1/8), the revert margin rounded up and the promote margin rounded down, so
// that both error bounds hold for the margins asked for. 1.1x and 1.25x are both
// tested at two buckets, 1.189x.
func TestedLatency(m LatencyMargin) (revertAbove, promoteBelow float64) {
	up, down := latencyShifts(m)
	return math.Exp2(float64(up) / bucketsPerDoubling), math.Exp2(float64(down) / bucketsPerDoubling)
}

func latencyShifts(m LatencyMargin) (up, down int) {
	const slack = 1e-9 // a margin of whole buckets is not rounded
	up = int(math.Ceil(bucketsPerDoubling*math.Log2(m.RevertAbove) - slack))
	down = int(math.Floor(bucketsPerDoubling*math.Log2(m.PromoteBelow) + slack))
	return up, down
}

// latencyUsual is the number of the candidate's requests that a pass usually takes
// at 1.2x (judge.md 2.4: 13,100 in all at 10 %).
const latencyUsual = 1300

// latency compares exceedances of edges frozen beforehand (judge.md 1.3): an event
// is a stable request beyond the edge, or a candidate's beyond the edge shifted by
// the margin. Without calibration it is Inconclusive.
func latency(p Policy, c *Calibration, s *sums) Metric {
	m := Metric{Name: nameLatency, Reason: Latency, Required: true, Unit: "x"}
	if c == nil || len(p.Latency.At) == 0 || len(c.PromoteEdges) != len(p.Latency.At) {
		m.Reason = Calibrating
		m.Message = fmt.Sprintf("calibrating: %d requests of stable fix the edges before anything is compared", p.MinCalibration)
		return m
	}
	up, down := latencyShifts(p.Latency)
	_, m.Threshold = TestedLatency(p.Latency)
	var terms []float64
	for _, edge := range c.RevertEdges {
		terms = append(terms, logRatio(s.slower(edge, up), 1, revertGrid))
	}
	m.EvidenceRevert = logMeanExp(terms)
	m.EvidencePromote = math.Inf(1)
	for _, edge := range c.PromoteEdges {
		m.EvidencePromote = math.Min(m.EvidencePromote, logRatio(s.slower(edge, down), 1, promoteGrid))
	}
	var h [2]Histogram
	for i := range s.strata {
		for a := range h {
			h[a].Add(&s.strata[i].settled[a].Latency)
		}
	}
	m.N = [2]uint64{h[Stable].Total(), h[Candidate].Total()}
	var text string
	m.Value, text = quantileRatios(&h, p.Latency.At)
	m.Message = text + fmt.Sprintf("; tested in whole buckets: reverts beyond %.3fx, passes below %.3fx", math.Exp2(float64(up)/bucketsPerDoubling), m.Threshold)
	m.Needed = needed(p, m, latencyUsual)
	return m
}

func (s *sums) slower(edge, shift int) []coins {
	out := make([]coins, 0, len(s.strata))
	for i := range s.strata {
		t := &s.strata[i]
		out = append(out, coins{t.w, t.settled[Candidate].Latency.AtLeast(edge + shift), t.settled[Stable].Latency.AtLeast(edge)})
	}
	return out
}

// quantileRatios describes both arms' quantiles and returns the greatest ratio:
// for display only, to a bucket, and pooled over the weights.
func quantileRatios(h *[2]Histogram, at []float64) (worst float64, text string) {
	for _, q := range at {
		a, ok := h[Stable].Quantile(q)
		b, ok2 := h[Candidate].Quantile(q)
		if !ok || !ok2 {
			return 0, "no requests compared yet"
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("p%g %s against %s", 100*q, short(EdgeOf(b)), short(EdgeOf(a)))
		worst = math.Max(worst, math.Exp2(float64(b-a)/bucketsPerDoubling))
	}
	return worst, fmt.Sprintf("%s over %d and %d requests", text, h[Candidate].Total(), h[Stable].Total())
}

func short(d time.Duration) time.Duration {
	unit := time.Microsecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
