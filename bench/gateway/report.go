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
	fmt.Println("| gateway | CPU µs/request | lowest–highest | of Envoy | of Envoy with log | requests/s per core | requests/s seen | p50 µs | p99 µs |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, g := range b.gateways {
		rs := all[g.name]
		costs := values(rs, func(r result) float64 { return r.cpu })
		cost := median(costs)
		fmt.Printf("| %s | %.1f | %.1f–%.1f | %s | %s | %.0f | %.0f | %.0f | %.0f |\n", g.title, cost, costs[0], costs[len(costs)-1],
			ratio(cost, all["envoy"]), ratio(cost, all["envoy-als"]), 1e6/cost,
			median(values(rs, func(r result) float64 { return r.rate })), median(values(rs, func(r result) float64 { return r.p50 })), median(values(rs, func(r result) float64 { return r.p99 })))
	}
	fmt.Println()
}

func ratio(cost float64, of []result) string {
	if len(of) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", cost/median(values(of, func(r result) float64 { return r.cpu })))
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
