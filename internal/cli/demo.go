package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

const (
	demoRate = 300
	demoMost = 110 * time.Second
	demoPoll = 50 * time.Millisecond
	// demoFirst is how much production answers before the first rollout: from then on it is
	// known how fast it is and how it scores.
	demoFirst = 1000
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
	{"zero-filled", "a feature is missing and something fills in 0", "{model: models/zero-filled.txt}", true, "Stable", "Reverted"},
	{"constant", "a bug in training: the same score for everybody", "{model: models/constant.txt}", true, "Stable", "Reverted"},
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
    scores: {mean: {revertAbove: 10%%, promoteBelow: 30%%}}
%s`

const demoAgreement = `    agreement: {tolerance: "0.015", revertBelow: 80%, promoteAbove: 85%}
`

func (t trial) document() []byte {
	shadow, agreement := "", ""
	if t.shadow {
		shadow, agreement = "{shadow: 100%, minDuration: 5s}, ", demoAgreement
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
	// Metrics are those that say why.
	Metrics      []demoMetric `json:"metrics"`
	began, first time.Time
}

// demoMetric is one metric's part in a verdict.
type demoMetric struct {
	Name    string  `json:"name"`
	Outcome string  `json:"outcome"`
	Value   float64 `json:"value"`
	LogE    float64 `json:"evidenceRevert"` // natural log
	Message string  `json:"message"`
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
