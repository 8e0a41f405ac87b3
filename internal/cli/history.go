package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
)

// mostListed bounds a list.
const mostListed = 1000

type historyOptions struct {
	conn  connection
	out   output
	limit int
	audit bool
}

func newHistory(stdio IO) *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use: "history", Short: "Show past rollouts, or with --audit every decision and action", Args: cobra.NoArgs,
		Long: "Show past rollouts, latest first: outcome, reason, when. --audit shows every line of the audit: documents applied,\nactions with the identity behind them, transitions, faults.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runHistory(c.Context(), o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c)
	c.Flags().IntVar(&o.limit, "limit", 20, fmt.Sprintf("how many, at most %d", mostListed))
	c.Flags().BoolVar(&o.audit, "audit", false, "the audit, line by line")
	return c
}

func runHistory(ctx context.Context, o historyOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	if o.audit {
		list, err := cl.Audit(ctx, o.limit)
		return show(list, err, asJSON, stdio, "nothing is in the audit yet", func(e engine.Entry) { printEntry(stdio, e) })
	}
	p := paintFor(stdio.Out)
	list, err := cl.Rollouts(ctx, o.limit)
	return show(list, err, asJSON, stdio, "no rollout has ended yet", func(r engine.RolloutRecord) {
		fmt.Fprintf(stdio.Out, "%s  %s %s %s  %s: %s\n", r.EndedAt.Format(time.RFC3339), p.outcome(string(r.Attempt.Outcome)), r.ID, r.Attempt.Outcome, r.Attempt.Reason, r.Attempt.Message)
	})
}

func show[T any](list []T, err error, asJSON bool, stdio IO, none string, line func(T)) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(stdio.Out, items[T]{append([]T{}, list...)})
	case len(list) == 0:
		fmt.Fprintln(stdio.Err, none)
	}
	for _, x := range list {
		line(x)
	}
	return nil
}

func printEntry(stdio IO, e engine.Entry) {
	who := ""
	if e.By != "" {
		who = "  by " + e.By + behalf(e.OnBehalf)
	}
	if e.Accepted != nil && !*e.Accepted {
		who += "  REFUSED"
	}
	fmt.Fprintf(stdio.Out, "%s  %-10s %s  %s: %s%s\n", e.At.Format(time.RFC3339), e.Kind, e.Rollout, e.Reason, e.Message, who)
}
