//go:build linux

// Command gateway measures Serin's gateway beside HAProxy, nginx, Envoy and Go's
// ReverseProxy: CPU time per request on one core, same requests, same scorers,
// 90/10 split. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	root, only, connections, serin  string
	rounds, gatewayCore, othersCore int
	seconds, warm                   float64
}

// Hidden modes: the programs that the benchmark starts besides the gateways.
type role struct {
	scorer, reverse string
	sink            bool
}

// The main goroutine keeps its thread: the load runs there, pinned to a core, and
// the kernel ties our children's lives to the thread that started them.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	var r role
	flag.StringVar(&o.root, "root", "../..", "the repository")
	flag.StringVar(&o.only, "only", "", "contenders, for instance serin,envoy (default: "+strings.Join(names(contenders), ",")+")")
	flag.StringVar(&o.connections, "connections", "8,64", "clients, each sends its next request when it has its answer; one table each")
	flag.StringVar(&o.serin, "serin", "", "a serin binary to measure (default: built from -root)")
	flag.IntVar(&o.rounds, "rounds", 5, "runs of each contender, interleaved")
	flag.Float64Var(&o.seconds, "seconds", 3, "length of one run (at most 60)")
	flag.Float64Var(&o.warm, "warm", 0.5, "seconds of load before each run that are not measured")
	flag.IntVar(&o.gatewayCore, "gateway-core", 0, "core of the gateway")
	flag.IntVar(&o.othersCore, "others-core", 1, "core of the load generator and the scorers")
	flag.StringVar(&r.scorer, "scorer", "", "internal: be the scorer of this arm on $PORT")
	flag.StringVar(&r.reverse, "reverse", "", "internal: be Go's ReverseProxy before STABLE,CANDIDATE on $PORT")
	flag.BoolVar(&r.sink, "sink", false, "internal: take Envoy's access log on $PORT")
	flag.Parse()
	if err := run(o, r); err != nil {
		fmt.Fprintln(os.Stderr, "bench/gateway:", err)
		os.Exit(1)
	}
}

func run(o options, r role) error {
	port := os.Getenv("PORT")
	switch {
	case r.scorer != "":
		return serveScorer(r.scorer, port)
	case r.reverse != "":
		return serveReverse(r.reverse, port)
	case r.sink:
		return serveSink(port)
	}
	connections, err := o.check()
	if err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	return compare(o, chosen, connections)
}

func (o options) check() ([]int, error) {
	if o.rounds < 1 || o.rounds > 100 || o.seconds <= 0 || o.seconds > 60 || o.warm < 0 || o.warm > 60 {
		return nil, errors.New("-rounds must be 1 to 100, -seconds more than 0 and at most 60, -warm 0 to 60")
	}
	if n := runtime.NumCPU(); n < 2 || o.gatewayCore == o.othersCore {
		return nil, fmt.Errorf("needs two different cores (-gateway-core, -others-core) and may use %d: scorers and load on the gateway's own core would disturb it", n)
	}
	var out []int
	for text := range strings.SplitSeq(o.connections, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 200 {
			return nil, fmt.Errorf("-connections %q: must be numbers from 1 to 200, for instance 8,64", o.connections)
		}
		out = append(out, n)
	}
	return out, nil
}

func names(list []contender) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.name)
	}
	return out
}

func choose(only string) ([]contender, error) {
	if only == "" {
		return contenders, nil
	}
	var out []contender
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(names(contenders), name)
		if i < 0 {
			return nil, fmt.Errorf("-only %q: must be some of %s", name, strings.Join(names(contenders), ","))
		}
		out = append(out, contenders[i])
	}
	return out, nil
}

// compare starts every gateway once, then measures them in turn.
func compare(o options, chosen []contender, connections []int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) // so that what we started ends, and our folder goes
	defer stop()
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, c := range chosen {
		fmt.Fprintf(os.Stderr, "starting %s\n", c.title)
		g, err := c.start(b)
		if err != nil {
			return fmt.Errorf("starting %s: %w", c.title, err)
		}
		g.name, g.title = c.name, c.title
		b.gateways = append(b.gateways, g)
		if err := g.waitForBothArms(30 * time.Second); err != nil {
			return fmt.Errorf("waiting for %s: %w", c.title, err)
		}
	}
	if err := pinThread(o.othersCore); err != nil {
		return err
	}
	for _, n := range connections {
		if err := b.measure(n); err != nil {
			return err
		}
	}
	return b.checkRecords()
}
