//go:build linux

package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// report prints one table, ready for the README.
func (b *bench) report(connections int, all map[string][]result) {
	fmt.Printf("\n%s, %d cores, %s, %s; medians of %d runs of %g s, %d connections\n\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), describeMachine(), runtime.Version(), b.o.rounds, b.o.seconds, connections)
	fmt.Println("| gateway | CPU µs/request | lowest–highest | in the kernel | of Envoy | of Envoy with log | requests/s per core | requests/s seen | p50 µs | p99 µs |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, g := range b.gateways {
		rs := all[g.name]
		costs := values(rs, func(r result) float64 { return r.cpu })
		middle := func(pick func(result) float64) float64 { return median(values(rs, pick)) }
		cost := median(costs)
		fmt.Printf("| %s | %.1f | %.1f–%.1f | %.1f | %s | %s | %.0f | %.0f | %.0f | %.0f |\n", g.title, cost, costs[0], costs[len(costs)-1],
			middle(func(r result) float64 { return r.system }), ratio(rs, all["envoy"]), ratio(rs, all["envoy-als"]), 1e6/cost,
			middle(func(r result) float64 { return r.rate }), middle(func(r result) float64 { return r.p50 }), middle(func(r result) float64 { return r.p99 }))
	}
	fmt.Println()
}

// ratio is the median of the rounds' own ratios: what a neighbour does to one round
// it does to both.
func ratio(rs, of []result) string {
	if len(of) != len(rs) {
		return "–" // not measured
	}
	var out []float64
	for i := range rs {
		out = append(out, rs[i].cpu/of[i].cpu)
	}
	slices.Sort(out)
	return fmt.Sprintf("%.2f", median(out))
}

// values returns one figure of every run, sorted.
func values(rs []result, pick func(result) float64) []float64 {
	var out []float64
	for _, r := range rs {
		out = append(out, pick(r))
	}
	slices.Sort(out)
	return out
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
