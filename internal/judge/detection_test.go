package judge

import (
	"slices"
	"testing"
)

// detection is one row of the table in docs/judge.md: how many requests a verdict
// takes at a fixed weight.
type detection struct {
	name    string
	bp      int
	promote bool
	change  func(*world)
}

func rates(stable, candidate float64) func(*world) {
	return func(w *world) {
		w.errorRate = func(a Arm, _ int) float64 { return [2]float64{stable, candidate}[a] }
	}
}

var detections = []detection{
	{"errors 0.5 to 1 %, weight 5 %", 500, false, rates(.005, .01)},
	{"errors 0.5 to 1 %, weight 50 %", 5000, false, rates(.005, .01)},
	{"errors 0.5 to 5 %, weight 10 %", 1000, false, rates(.005, .05)},
	{"errors 0 to 2 %, weight 10 %", 1000, false, rates(0, .02)},
	{"latency x1.3, weight 10 %", 1000, false, func(w *world) { w.latency[Candidate] = 1.3 }},
	{"latency x1.5, weight 10 %", 1000, false, func(w *world) { w.latency[Candidate] = 1.5 }},
	{"latency x2, weight 10 %", 1000, false, func(w *world) { w.latency[Candidate] = 2 }},
	{"1 % +500 ms, weight 10 %", 1000, false, func(w *world) { w.tail[Candidate] = .01 }},
	{"invalid 5 %, weight 10 %", 1000, false, func(w *world) { w.invalid[Candidate] = .05 }},
	{"constant 0.5, weight 10 %", 1000, false, func(w *world) {
		w.score = func(a Arm, b float64) float64 { return [2]float64{b, .5}[a] }
	}},
	{"promote, no errors, weight 10 %", 1000, true, rates(0, 0)},
	{"promote, no errors, weight 50 %", 5000, true, rates(0, 0)},
	{"promote, errors 0.5 %, weight 10 %", 1000, true, rates(.005, .005)},
	{"promote, errors 0.5 %, weight 50 %", 5000, true, rates(.005, .005)},
}

// until returns the requests that one rollout at a fixed weight takes until it is
// reverted (or promotable), or most.
func (d detection) until(seed uint64, most int) int {
	p, w := DefaultPolicy(), newWorld(seed)
	c := w.calibration(p, 1500)
	d.change(w)
	w.epoch(EpochInfo{WeightBP: d.bp})
	n := 0
	for n < most {
		step := 50 + n/20
		w.requests(step, n)
		n += step
		if v := Judge(p, c, w.evidence, w.window()); d.promote && v.Promotable || !d.promote && v.Action == Revert {
			return n
		}
	}
	return n
}

func TestDetectionsEnd(t *testing.T) {
	t.Parallel()
	for _, d := range detections {
		if n := d.until(1, 800_000); n >= 800_000 {
			t.Errorf("%s: undecided after %d requests", d.name, n)
		}
	}
}

// BenchmarkDetection prints the table: go test -bench Detection -benchtime 41x.
func BenchmarkDetection(b *testing.B) {
	for _, d := range detections {
		b.Run(d.name, func(b *testing.B) {
			var n []int
			for b.Loop() {
				n = append(n, d.until(uint64(len(n)), 800_000))
			}
			slices.Sort(n)
			b.ReportMetric(float64(n[len(n)/2]), "median-requests")
			b.ReportMetric(float64(n[len(n)*9/10]), "p90-requests")
		})
	}
}
