//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is everything that runs.
type bench struct {
	o                   options
	ctx                 context.Context
	self, cache, folder string
	scorers             []*process
	stable, candidate   int // ports of the scorers that all but Serin share
	gateways            []*gateway
}

// gateway is one contender under way.
type gateway struct {
	name, title string
	process     *process
	port        int
	tree        bool // its CPU time includes its children's
	stop        func() error
	recorded    func() (int, error) // requests on its record; nil: it keeps none
	sent        int                 // requests of the loads, to compare with the record
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{o: o, ctx: ctx}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("finding our own program: %w", err)
	}
	if b.cache, err = filepath.Abs(filepath.Join(o.root, ".cache", "bench-gateway")); err != nil {
		return nil, fmt.Errorf("finding the cache: %w", err)
	}
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	if b.folder, err = os.MkdirTemp("", "serin-bench-"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	if b.stable, err = b.startScorer("stable"); err == nil {
		b.candidate, err = b.startScorer("candidate")
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// scorerCommand is the same program for every gateway; Serin starts its own two.
func (b *bench) scorerCommand(arm string) []string {
	return []string{"taskset", "-c", strconv.Itoa(b.o.othersCore), b.self, "-scorer", arm}
}

func (b *bench) startScorer(arm string) (int, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	p, err := launch(b.folder, "scorer-"+arm, b.o.othersCore, []string{fmt.Sprintf("PORT=%d", port), "GOMAXPROCS=1"}, b.scorerCommand(arm)...)
	if err != nil {
		return 0, err
	}
	b.scorers = append(b.scorers, p)
	return port, p.waitForPort(port, 10*time.Second)
}

func (b *bench) close() error {
	var errs []error
	for _, g := range b.gateways {
		errs = append(errs, g.stop())
	}
	for _, s := range b.scorers {
		errs = append(errs, s.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.folder))...)
}

// waitForAnswer waits until a scorer answers through the gateway.
func (g *gateway) waitForAnswer(patience time.Duration) error {
	return g.waitFor(patience, func(t tally) bool { return t.requests() > 0 })
}

// waitForBothArms waits until both scorers do.
func (g *gateway) waitForBothArms(patience time.Duration) error {
	return g.waitFor(patience, func(t tally) bool { return t.arms[0] > 0 && t.arms[1] > 0 })
}

func (g *gateway) waitFor(patience time.Duration, enough func(tally) bool) (err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var l *load
		if l, err = newLoad(g.port, 1); err != nil {
			continue
		}
		var t tally
		t, err = l.drive(context.Background(), 50*time.Millisecond)
		l.close()
		if err == nil && enough(t) {
			return nil
		}
	}
	return fmt.Errorf("not within %s (last error: %v): %s", patience, err, g.process.lastWords()) //nolint:errorlint // nil where there were answers, but too few
}

// result is one run.
type result struct {
	cpu, system float64 // microseconds a request; system is part of cpu
	p50, p99    float64 // microseconds
	rate        float64 // requests per second of the run
	share       float64 // of the gateway's core that it used
	requests    int
}

func (b *bench) measure(connections int) error {
	all := map[string][]result{}
	for round := range b.o.rounds {
		for _, g := range b.gateways {
			r, err := b.run(g, connections)
			if err != nil {
				return fmt.Errorf("%s with %d connections, round %d: %w; its last words: %q", g.title, connections, round+1, err, g.process.lastWords())
			}
			all[g.name] = append(all[g.name], r)
			fmt.Fprintf(os.Stderr, "%3d connections, round %d  %-12s %7d requests  %6.1f us CPU/request (%5.1f in the kernel)  p50 %6.0f us  p99 %6.0f us  core %3.0f%% busy\n",
				connections, round+1, g.name, r.requests, r.cpu, r.system, r.p50, r.p99, 100*r.share)
		}
	}
	b.report(connections, all)
	return nil
}

func (b *bench) run(g *gateway, connections int) (result, error) {
	l, err := newLoad(g.port, connections)
	if err != nil {
		return result{}, err
	}
	defer l.close()
	warm, err := l.drive(b.ctx, time.Duration(b.o.warm*float64(time.Second)))
	g.sent += warm.requests()
	if err != nil {
		return result{}, err
	}
	before, err := cpu(g.process.cmd.Process.Pid, g.tree)
	if err != nil {
		return result{}, err
	}
	t, err := l.drive(b.ctx, time.Duration(b.o.seconds*float64(time.Second)))
	g.sent += t.requests()
	if err != nil {
		return result{}, err
	}
	after, err := cpu(g.process.cmd.Process.Pid, g.tree)
	if err != nil {
		return result{}, err
	}
	if err := t.checkSplit(); err != nil {
		return result{}, err
	}
	n, spent := float64(t.requests()), after.total()-before.total()
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return result{
		requests: t.requests(), cpu: us(spent) / n, system: us(after.system-before.system) / n, p50: us(t.quantile(50)), p99: us(t.quantile(99)),
		rate: n / t.took.Seconds(), share: spent.Seconds() / t.took.Seconds(),
	}, nil
}

// checkRecords compares what the recording gateways have on record with what the
// loads sent; the requests that waited for the start may stand there besides.
func (b *bench) checkRecords() error {
	var errs []error
	for _, g := range b.gateways {
		if g.recorded == nil {
			continue
		}
		n, err := g.recorded()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.title, err))
			continue
		}
		fmt.Printf("%s: %d requests sent, %d on record (with those that waited for its start)\n", g.title, g.sent, n)
		if n*100 < g.sent*99 {
			errs = append(errs, fmt.Errorf("%s has %d of %d requests on record: its figures above are not those of a gateway that records", g.title, n, g.sent))
		}
	}
	return errors.Join(errs...)
}

func describeMachine() string {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return model
	}
	return model + ", load average " + strings.Join(strings.Fields(string(load))[:3], " ")
}
