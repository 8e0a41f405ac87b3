package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
)

const (
	demoRate = 300
	demoMost = 110 * time.Second
	demoPoll = 50 * time.Millisecond
)

// trial is one version that the demo rolls out.
type trial struct {
	name, about string
	scorer      string // spec.scorer.local
	shadow      bool
	fallback    string
	want        string // outcome
}

var demoTrials = []trial{
	{"swapped", "two columns swapped in the training pipeline", "{model: models/swapped.txt}", true, "Stable", "Reverted"},
	{"broken", "answers nothing but errors; a plan without shadow", "{command: [serin, scorer, --model, models/v2.txt, --fail-all, --listen, \"127.0.0.1:$PORT\"]}", false, "Stable", "Reverted"},
	{"broken-no-fallback", "the same, with fallback: None", "{command: [serin, scorer, --model, models/v2.txt, --fail-all, --timeout, 59s, --listen, \"127.0.0.1:$PORT\"]}", false, "None", "Reverted"},
	{"some-rows", "fails when ps_reg_03 is missing", "{command: [serin, scorer, --model, models/v2.txt, --fail-on-missing, ps_reg_03, --listen, \"127.0.0.1:$PORT\"]}", false, "Stable", "Reverted"},
	{"slow", "right, but 20 ms slower", "{command: [serin, scorer, --model, models/v2.txt, --delay, 20ms, --listen, \"127.0.0.1:$PORT\"]}", false, "Stable", "Reverted"},
	{"v2", "a better model", "{model: models/v2.txt}", true, "Stable", "Promoted"},
}

const demoDocument = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: safe-driver}
spec:
  scorer: {version: %q, local: %s}
  traffic: {listen: "127.0.0.1:0", fallback: %s}
  rollout:
    steps: [%s{weight: 10%%, minDuration: 2s}, {weight: 50%%, minDuration: 2s}, {weight: 100%%}]
    warmup: 1s
    keepFailed: 0s
    keepOld: 30s
  judge:
    errors: {orWithin: 1pp}
    latency: {revertAbove: 2x, promoteBelow: 4x}
    scores: {mean: {revertAbove: 15%%, promoteBelow: 30%%}}
%s`

const demoAgreement = `    agreement: {tolerance: "0.03", revertBelow: 85%, promoteAbove: 92%}
`

func (t trial) document() []byte {
	shadow, agreement := "", ""
	if t.shadow {
		shadow, agreement = "{shadow: 100%, minDuration: 3s}, ", demoAgreement
	}
	return fmt.Appendf(nil, demoDocument, t.name, t.scorer, t.fallback, shadow, agreement)
}

// trialResult is what one rollout of the demo came to.
type trialResult struct {
	Version  string  `json:"version"`
	About    string  `json:"about"`
	Want     string  `json:"want"`
	Outcome  string  `json:"outcome"`
	Step     string  `json:"step"`
	Reason   string  `json:"reason"`
	Message  string  `json:"message"`
	Seconds  float64 `json:"seconds"`
	Exposed  uint64  `json:"candidateRequests"`
	Failed   int     `json:"failedForClients"`
	FellBack int     `json:"answeredByStable"`
	// HarmToRevert is the time from the candidate's first failure to its revert.
	HarmToRevert float64 `json:"secondsFromFirstHarmToRevert,omitempty"`
	first        time.Time
}

type demoSummary struct {
	OK       bool           `json:"ok"`
	Trials   []*trialResult `json:"rollouts"`
	Requests *tally         `json:"requests"`
	Address  string         `json:"address,omitempty"`
}

type demoOptions struct {
	out  output
	keep bool
}

func newDemo(stdio IO) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo", Short: "See it: a good version promoted and bad ones reverted, in under two minutes", Args: cobra.NoArgs,
		Long: "Starts the safe-driver model behind an endpoint on loopback, sends it traffic, and rolls out versions that real\nteams ship: one with two columns swapped, one that fails, one that is slow, and a better one. Needs nothing else.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), o, stdio) },
	}
	o.out.addTo(c)
	c.Flags().BoolVar(&o.keep, "keep", false, "leave it running afterwards, with its address, until interrupted")
	return c
}

func runDemo(ctx context.Context, o demoOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	folder, err := demoFolder()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	d := &demo{stdio: stdio, folder: folder, sum: newTally()}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, demoMost)
	defer cancel()
	summary := &demoSummary{OK: true, Requests: d.sum, Address: d.address}
	for _, t := range demoTrials {
		r, err := d.try(limited, t)
		if err != nil {
			return fmt.Errorf("rolling out %q: %w", t.name, err)
		}
		summary.Trials = append(summary.Trials, r)
		summary.OK = summary.OK && r.Outcome == t.want
	}
	d.stopTraffic()
	summary.OK = summary.OK && d.sum.Serin == 0
	if err := d.report(summary, asJSON); err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintf(stdio.Err, "still serving %s; state in %s; end with Ctrl-C\n", d.address, filepath.Join(folder, "state"))
		<-ctx.Done()
	}
	if !summary.OK {
		return errors.New("the demo did not go as it should (see above)")
	}
	return nil
}

// demoFolder writes the embedded models where scorers can read them.
func demoFolder() (string, error) {
	folder, err := os.MkdirTemp("", "serin-demo-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the demo: %w", err)
	}
	if err := os.Mkdir(filepath.Join(folder, "models"), 0o700); err != nil {
		return "", fmt.Errorf("making a folder for the demo: %w", err)
	}
	for _, name := range safedriver.ModelNames() {
		text, err := safedriver.Model(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "models", name+".txt"), text, 0o600)
		}
		if err != nil {
			return "", fmt.Errorf("writing the demo's models: %w", err)
		}
	}
	return folder, nil
}

// demo is a running endpoint with traffic.
type demo struct {
	stdio   IO
	folder  string
	service *service
	address string

	mu     sync.Mutex
	sum    *tally
	result *trialResult

	cancelServe, cancelTraffic context.CancelFunc
	served, sent               chan struct{}
	serveErr                   error
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.stdio.Err, format+"\n", args...)
}

func (d *demo) start(ctx context.Context) error {
	first := trial{name: "v1", scorer: "{model: models/v1.txt}", fallback: "Stable", shadow: true}
	d.service = &service{document: first.document(), base: d.folder, state: filepath.Join(d.folder, "state"), logger: slog.New(slog.DiscardHandler)}
	serve, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancelServe, d.served = cancel, make(chan struct{})
	ready := make(chan string, 1)
	go func() {
		defer close(d.served)
		d.serveErr = d.service.run(serve, func(address string) { ready <- address })
	}()
	select {
	case d.address = <-ready:
	case <-d.served:
		return fmt.Errorf("serving the demo: %w", d.serveErr)
	case <-ctx.Done():
		return ctx.Err()
	}
	d.say("production: safe-driver v1, LightGBM, at %s", d.address)
	wait, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	if _, err := d.until(wait, func(s engine.Status) bool { return s.Stable != nil && s.Stable.Ready }); err != nil {
		return err
	}
	d.startTraffic()
	return nil
}

func (d *demo) startTraffic() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancelTraffic, d.sent = cancel, make(chan struct{})
	g := safedriver.NewGenerator(7)
	t := traffic{url: d.address, header: http.Header{"Content-Type": {"application/json"}}, rate: demoRate, concurrency: 16, timeout: 10 * time.Second,
		next: func() []byte { return g.RequestBody(nil, 2) }, seen: d.seen}
	began := time.Now()
	go func() {
		defer close(d.sent)
		t.run(ctx)
		d.mu.Lock()
		d.sum.finish(time.Since(began))
		d.mu.Unlock()
	}()
	d.say("traffic: %d requests a second, 2 rows each", demoRate)
}

func (d *demo) seen(s shot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum.add(s)
	if d.result == nil {
		return
	}
	if s.failed() {
		d.result.Failed++
	}
	if s.fellBack {
		d.result.FellBack++
	}
	if (s.failed() || s.fellBack) && d.result.first.IsZero() {
		d.result.first = s.at
	}
}

func (d *demo) stopTraffic() {
	if d.cancelTraffic != nil {
		d.cancelTraffic()
		<-d.sent
	}
}

func (d *demo) close() {
	d.stopTraffic()
	if d.cancelServe != nil {
		d.cancelServe()
		<-d.served
	}
}

func (d *demo) until(ctx context.Context, ok func(engine.Status) bool) (engine.Status, error) {
	tick := time.NewTicker(demoPoll)
	defer tick.Stop()
	for {
		st := d.service.endpoint.Status()
		if ok(st) {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("it took too long: %w", ctx.Err())
		case <-d.served:
			return st, fmt.Errorf("the endpoint ended: %w", d.serveErr)
		case <-tick.C:
		}
	}
}

// try rolls one version out and waits for its end.
func (d *demo) try(ctx context.Context, t trial) (*trialResult, error) {
	before := 0
	if r := d.service.endpoint.Status().Rollout; r != nil {
		before = r.Number
	}
	r := &trialResult{Version: t.name, About: t.about, Want: t.want}
	d.mu.Lock()
	d.result = r
	d.mu.Unlock()
	began := time.Now()
	d.say("\n▶ version %s: %s", t.name, t.about)
	if _, err := d.service.endpoint.Apply(ctx, t.document(), "demo", false); err != nil {
		return nil, err
	}
	last := ""
	st, err := d.until(ctx, func(s engine.Status) bool {
		if s.Rollout == nil || s.Rollout.Number <= before {
			return false
		}
		if line := s.Rollout.StepName; line != last && s.Rollout.Outcome == "" {
			d.say("  %4.1f s  step %s (candidate %s)", time.Since(began).Seconds(), line, percent(s.Weights.PlannedBP))
			last = line
		}
		return s.Rollout.Outcome != ""
	})
	if err != nil {
		return nil, fmt.Errorf("%w (last: %s)", err, progressOrNothing(st))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v := st.Rollout
	r.Outcome, r.Step, r.Reason, r.Message, r.Seconds, r.Exposed = v.Outcome, v.StepName, v.Decision.Reason, v.Decision.Message, time.Since(began).Seconds(), v.Evidence.CandidateRequests
	if !r.first.IsZero() && v.EndedAt != nil && r.Outcome == "Reverted" {
		r.HarmToRevert = v.EndedAt.Sub(r.first).Seconds()
	}
	p := paintFor(d.stdio.Err)
	d.say("  %4.1f s  %s %s at step %s — %s: %s", r.Seconds, p.outcome(r.Outcome), r.Outcome, r.Step, r.Reason, r.Message)
	d.say("          %d requests reached it by weight; %d were answered by stable in its place; clients saw %d failures", r.Exposed, r.FellBack, r.Failed)
	return r, nil
}

func progressOrNothing(st engine.Status) string {
	if st.Rollout == nil {
		return "no rollout"
	}
	return progress(st) + ": " + st.Rollout.Decision.Message
}

func (d *demo) report(s *demoSummary, asJSON bool) error {
	if asJSON {
		return printJSON(d.stdio.Out, s)
	}
	fmt.Fprintln(d.stdio.Out)
	for _, r := range s.Trials {
		harm := ""
		if r.HarmToRevert > 0 {
			harm = fmt.Sprintf(", %.2f s from first harm to revert", r.HarmToRevert)
		}
		fmt.Fprintf(d.stdio.Out, "%-20s %-9s at %-7s %-18s %5.1f s, %d failures for clients%s\n", r.Version, r.Outcome, r.Step, r.Reason, r.Seconds, r.Failed, harm)
	}
	printTally(d.stdio.Out, d.sum)
	return nil
}
