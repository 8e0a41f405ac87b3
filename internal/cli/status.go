package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
)

type statusOptions struct {
	conn  connection
	out   output
	watch bool
}

func newStatus(stdio IO) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use: "status", Short: "Show the endpoint, its weights, its rollout and why", Args: cobra.NoArgs,
		Long: "Show the endpoint as a tree: weights as planned and in force, the rollout's steps, evidence, and one line\nfor each metric with value, bound and n. --watch keeps it on the screen.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), o, stdio) },
	}
	o.conn.addTo(c)
	o.out.addTo(c)
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "follow changes until interrupted; with -o json one object per line")
	return c
}

func runStatus(ctx context.Context, o statusOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	if o.watch {
		return watchStatus(ctx, cl, stdio, asJSON)
	}
	st, err := cl.status(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(stdio.Out, st)
	}
	tree(stdio.Out, st, paintFor(stdio.Out))
	return nil
}

// watchStatus redraws on a screen once a second and at every change; elsewhere
// it writes each change once.
func watchStatus(ctx context.Context, cl *client, stdio IO, asJSON bool) error {
	screen := isTerminal(stdio.Out) && !asJSON
	every := time.NewTicker(time.Second)
	defer every.Stop()
	last := ""
	for {
		st, err := cl.status(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		text := render(st, stdio, asJSON)
		switch {
		case screen:
			fmt.Fprint(stdio.Out, "\x1b[H\x1b[2J"+text)
		case text != last:
			fmt.Fprint(stdio.Out, text)
		}
		last = text
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

func render(st engine.Status, stdio IO, asJSON bool) string {
	var b bytes.Buffer
	if asJSON {
		_ = printJSONLine(&b, st)
		return b.String()
	}
	tree(&b, st, paintFor(stdio.Out))
	return b.String()
}

type waitOptions struct {
	conn    connection
	out     output
	step    string
	rollout string
	timeout time.Duration
}

func newWait(stdio IO) *cobra.Command {
	var o waitOptions
	c := &cobra.Command{
		Use: "wait", Short: "Wait until the rollout ends, or reaches a step", Args: cobra.NoArgs,
		Long: "Wait until the rollout ends, or until it is ready to enter (or has entered) the step named by --step.\nPrints one line for each change, which reads well in a log. Never changes anything.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runWait(c.Context(), o, stdio) },
	}
	o.conn.addTo(c)
	o.out.addTo(c)
	c.Flags().StringVar(&o.step, "step", "", "stop waiting when the rollout is in this step or a later one")
	c.Flags().StringVar(&o.rollout, "rollout", "", "id of the rollout meant (default: the running or last one)")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after this long, with exit code 7 (0: never)")
	return c
}

func runWait(ctx context.Context, o waitOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	st, err := cl.status(ctx)
	if err != nil {
		return err
	}
	if st.Rollout == nil {
		return exit{ExitNotFound, fmt.Errorf("no rollout has run on %q", st.Endpoint)}
	}
	if o.rollout == "" {
		o.rollout = st.Rollout.ID
	}
	final, err := follow(ctx, cl, st, o, stdio)
	if errors.Is(err, context.DeadlineExceeded) {
		err = exit{ExitTimeout, fmt.Errorf("%s passed; rollout %s still runs at step %s (%s). Nothing was changed", o.timeout, o.rollout, final.Rollout.StepName, final.Rollout.Decision.Message)}
	} else if err == nil {
		err = waitExit(final, o)
	}
	if asJSON {
		if perr := printJSON(stdio.Out, final); perr != nil {
			return perr
		}
	}
	return err
}

// follow watches until the wait is over and returns the last status seen.
func follow(ctx context.Context, cl *client, st engine.Status, o waitOptions, stdio IO) (engine.Status, error) {
	last, line := st, ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if now := progress(last); now != line {
			fmt.Fprintf(stdio.Err, "%s  %s\n", time.Now().Format(time.TimeOnly), now)
			line = now
		}
		if over(last, o) {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
		}
		next, err := cl.status(ctx)
		switch {
		case err == nil && next.Rollout != nil:
			last = next
		case ctx.Err() != nil:
			return last, ctx.Err()
		default:
			line = "" // an API blip: say where we are again afterwards
		}
	}
}

// progress is one line that changes when something happened.
func progress(st engine.Status) string {
	r := st.Rollout
	if r.Outcome != "" {
		return fmt.Sprintf("%s  %s: %s", r.ID, r.Outcome, r.Decision.Message)
	}
	return fmt.Sprintf("%s  step %s (%d/%d), candidate %s: %s", r.ID, r.StepName, r.Step+1, len(r.Steps), percent(st.Weights.InForceBP), r.Decision.Reason)
}

func over(st engine.Status, o waitOptions) bool {
	r := st.Rollout
	if r.ID != o.rollout || r.Outcome != "" {
		return true
	}
	if held(r) {
		return true
	}
	if o.step == "" {
		return false
	}
	for i, s := range r.Steps {
		if strings.EqualFold(s.Name, o.step) {
			return r.Step >= i
		}
	}
	return false
}

// held reports that the rollout will not move by itself any more.
func held(r *engine.RolloutView) bool {
	return r.Decision.Reason == "MaxDuration" || r.Decision.Reason == "ApprovalTimeout"
}

func waitExit(st engine.Status, o waitOptions) error {
	r := st.Rollout
	switch {
	case r.ID != o.rollout:
		return exit{ExitReverted, fmt.Errorf("rollout %s was superseded by %s", o.rollout, r.ID)}
	case r.Outcome == "Promoted" || r.Outcome == "":
		if r.Outcome == "" && held(r) {
			return exit{ExitHeld, fmt.Errorf("%s: %s", r.Decision.Reason, r.Decision.Message)}
		}
		return nil
	}
	return exit{ExitReverted, fmt.Errorf("rollout %s: %s: %s", r.ID, r.Outcome, r.Decision.Message)}
}
