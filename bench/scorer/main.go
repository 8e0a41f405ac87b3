// Command scorer measures Serin's scorer beside azmlinfsrv with the same model: CPU time per request from /proc,
// requests per second per core, and latency, in interleaved runs over loopback. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/serin-dev/serin/internal/scorer"
)

type options struct {
	model, python, serve string
	rounds, warmup       int
	connections, threads int
	duration             time.Duration
	pin                  bool
}

func main() {
	var o options
	flag.StringVar(&o.model, "model", "../../examples/safe-driver/models/v1.txt", "LightGBM text model with 57 columns")
	flag.StringVar(&o.python, "venv", "../../.cache/scorer-venv", "virtual environment with azureml-inference-server-http and lightgbm")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each server")
	flag.IntVar(&o.warmup, "warmup", 200, "requests before a run is measured")
	flag.IntVar(&o.connections, "connections", 1, "clients, each sends its next request when it has its answer (1 to 64)")
	flag.IntVar(&o.threads, "threads", 0, "num_threads of LightGBM's predict in azmlinfsrv; 0 is its default, as in the original score.py")
	flag.BoolVar(&o.pin, "pin", false, "put each server on core 0 with taskset")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "length of one run (at most 1m)")
	flag.StringVar(&o.serve, "serve", "", "internal: be the scorer on this address")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/scorer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.serve != "" {
		text, err := os.ReadFile(o.model)
		if err != nil {
			return err
		}
		return scorer.Run(ctx, scorer.Options{Model: text, ModelName: filepath.Base(o.model), Listen: o.serve}, nil)
	}
	if o.connections < 1 || o.connections > 64 || o.duration <= 0 || o.duration > time.Minute || o.rounds < 1 {
		return errors.New("-connections must be 1 to 64, -duration at most 1m, -rounds at least 1")
	}
	return compare(ctx, o)
}

func (o options) pinned(command ...string) []string {
	if o.pin {
		return append([]string{"taskset", "-c", "0"}, command...)
	}
	return command
}

func compare(ctx context.Context, o options) error {
	model, err := filepath.Abs(o.model)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	serin, err := startServer(ctx, "serin scorer", nil, func(port int) []string {
		return o.pinned(self, "-model", model, "-serve", "127.0.0.1:"+strconv.Itoa(port))
	})
	if err != nil {
		return err
	}
	defer serin.stop()
	azure, err := startServer(ctx, "azmlinfsrv", []string{"MODEL_PATH=" + model, "PREDICT_THREADS=" + strconv.Itoa(o.threads)}, func(port int) []string {
		return o.pinned(filepath.Join(o.python, "bin", "azmlinfsrv"), "--entry_script", "score.py", "--port", strconv.Itoa(port))
	})
	if err != nil {
		return err
	}
	defer azure.stop()
	if err := sameScores(serin, azure); err != nil {
		return err
	}
	results := map[*server][]result{}
	for round := range o.rounds {
		for _, s := range []*server{serin, azure} {
			r, err := measure(ctx, s, o)
			if err != nil {
				return fmt.Errorf("measuring %q: %w", s.name, err)
			}
			results[s] = append(results[s], r)
			fmt.Printf("round %d  %-12s  %8d requests  %8.1f us CPU/request  p50 %8.1f us  p99 %8.1f us\n", round+1, s.name, r.requests, r.cpu, r.p50, r.p99)
		}
	}
	report(o, results[serin], results[azure])
	return nil
}
