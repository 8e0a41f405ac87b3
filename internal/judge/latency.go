package judge

import (
	"fmt"
	"math"
	"strings"
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
	revertAbove, promoteBelow := TestedLatency(p.Latency)
	m.Threshold = promoteBelow
	var terms []float64
	for _, edge := range c.RevertEdges {
		terms = append(terms, logRatio(s.slowerOrFailed(edge, up), 1, revertGrid))
	}
	m.EvidenceRevert = logMeanExp(terms)
	h := s.latencies()
	m.N = [2]uint64{h[Stable].Total(), h[Candidate].Total()}
	var text string
	m.Value, text = quantileRatios(&h, p.Latency.At)
	m.Message = fmt.Sprintf("%s; reverts beyond %.3fx, passes below %.3fx (margins in whole buckets)", text, revertAbove, promoteBelow)
	s.notSlower(p, c, &h, down, &m)
	return m
}

// notSlower fills in what speaks for promotion, and what is missing: every quantile
// has to pass.
func (s *sums) notSlower(p Policy, c *Calibration, h *[2]Histogram, down int, m *Metric) {
	bar := -math.Log(p.FalsePromote)
	m.EvidencePromote = math.Inf(1)
	var left float64
	var stuck []string
	for i, q := range p.Latency.At {
		t := s.quantileTest(&h[Stable], q, c.PromoteEdges[i], down)
		m.EvidencePromote = math.Min(m.EvidencePromote, t.evidence)
		if t.moved {
			m.Message += fmt.Sprintf("; production's p%g has moved since calibration: compared at %s, not at %s", 100*q, short(EdgeOf(t.edge)), short(EdgeOf(c.PromoteEdges[i])))
		}
		switch more := t.left(s, h, down, bar); {
		case t.evidence >= bar:
		case !t.known(&h[Stable]):
			left = math.Max(left, math.Max(latencyUsual, 2*t.least())-float64(m.N[Candidate]))
		case math.IsInf(more, 1):
			stuck = append(stuck, fmt.Sprintf("p%g: %s", 100*q, t.stuck(h, down)))
		default:
			left = math.Max(left, more)
		}
	}
	if m.N == [2]uint64{} {
		m.EvidencePromote = 0
	}
	if len(stuck) > 0 {
		m.Undecidable = strings.Join(stuck, "; ")
		return
	}
	if left > 0 {
		m.Needed = count(left)
	}
}

func (s *sums) latencies() (h [2]Histogram) {
	for i := range s.strata {
		for a := range h {
			h[a].Add(&s.strata[i].settled[a].Latency)
		}
	}
	return h
}

func (s *sums) slower(edge, shift int) []coins {
	out := make([]coins, 0, len(s.strata))
	for i := range s.strata {
		t := &s.strata[i]
		out = append(out, coins{t.w, t.settled[Candidate].Latency.AtLeast(edge + shift), t.settled[Stable].Latency.AtLeast(edge)})
	}
	return out
}

// slowerOrFailed is slower with every failed first request of stable as one more
// event of stable's: an error comes quickly, and a stable that answers some requests
// so would make an equal candidate look slow. Each event of stable's lowers what
// speaks against the candidate, so one counted twice (a time-out, beyond the edge
// as well) costs power and never the bound.
func (s *sums) slowerOrFailed(edge, shift int) []coins {
	out := s.slower(edge, shift)
	for i := range out {
		t := &s.strata[i].settled[Stable]
		out[i].stable += minus(t.ErrorUnits, t.LateErrorUnits)
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
		ratio := math.Exp2(float64(b-a) / bucketsPerDoubling)
		text += fmt.Sprintf("p%g %s, stable %s (%.3gx)", 100*q, short(EdgeOf(b)), short(EdgeOf(a)), ratio)
		worst = math.Max(worst, ratio)
	}
	return worst, fmt.Sprintf("%s; %d requests of the candidate, %d of stable", text, h[Candidate].Total(), h[Stable].Total())
}

// short rounds to three digits.
func short(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
