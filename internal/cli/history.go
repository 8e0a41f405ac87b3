package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
)

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
	o.conn.addTo(c)
	o.out.addTo(c)
	c.Flags().IntVar(&o.limit, "limit", 20, "how many, at most 1000")
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
		var list struct {
			Items []engine.Entry `json:"items"`
		}
		return show(ctx, cl, "/audit", o.limit, &list, asJSON, stdio, func() {
			for _, e := range list.Items {
				printEntry(stdio, e)
			}
		})
	}
	var list struct {
		Items []engine.RolloutRecord `json:"items"`
	}
	return show(ctx, cl, "/rollouts", o.limit, &list, asJSON, stdio, func() {
		p := paintFor(stdio.Out)
		for _, r := range list.Items {
			fmt.Fprintf(stdio.Out, "%s  %s %s %s  %s: %s\n", r.EndedAt.Format(time.RFC3339), p.outcome(string(r.Attempt.Outcome)), r.ID, r.Attempt.Outcome, r.Attempt.Reason, r.Attempt.Message)
		}
		if len(list.Items) == 0 {
			fmt.Fprintln(stdio.Err, "no rollout has ended yet")
		}
	})
}

func show(ctx context.Context, cl *client, what string, limit int, list any, asJSON bool, stdio IO, text func()) error {
	path, err := cl.path(ctx, fmt.Sprintf("%s?limit=%d", what, limit))
	if err != nil {
		return err
	}
	if err := cl.call(ctx, http.MethodGet, path, nil, list); err != nil {
		return err
	}
	if asJSON {
		return printJSON(stdio.Out, list)
	}
	text()
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
