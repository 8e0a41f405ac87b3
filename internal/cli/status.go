package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/report"
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
		Long: "Show the endpoint as a tree: weights as planned and in force, the rollout's steps, evidence, and one line\nfor each metric with value, bound and n. --watch keeps it on the screen. -o markdown is what an\napprover has to see, for a pipeline's summary: the screen of serin report --gate.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c, "markdown")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "follow changes until interrupted; with -o json one object per line")
	return c
}

func runStatus(ctx context.Context, o statusOptions, stdio IO) error {
	asMarkdown := o.out.format == "markdown"
	if asMarkdown && o.watch {
		return usageError("-o markdown is written once: leave out --watch")
	}
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
	st, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case asJSON:
		return printJSON(stdio.Out, st)
	case asMarkdown:
		fmt.Fprint(stdio.Out, statusMarkdown(st, o.conn.words()))
	default:
		tree(stdio.Out, st, paintFor(stdio.Out))
	}
	return nil
}

// statusMarkdown is the screen of an approver for a pipeline's summary.
func statusMarkdown(st engine.Status, flags string) string {
	if st.Rollout == nil {
		return fmt.Sprintf("No rollout has run on `%s`.\n", st.Endpoint)
	}
	f := factsOf(st, *st.Rollout, nil)
	f.Flags = flags
	return fenced(report.Build(f))
}

// watchStatus keeps the status on a screen until interrupted; elsewhere it writes
// each change once. An API that is away for a while is said so and asked again.
func watchStatus(ctx context.Context, cl api, stdio IO, asJSON bool) error {
	st, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	draw := plainly(stdio, asJSON)
	if f, ok := stdio.Out.(*os.File); ok && isTerminal(f) && !asJSON {
		fmt.Fprint(f, enterScreen)
		defer func() { fmt.Fprint(f, leaveScreen); tree(f, st, paintFor(f)) }()
		draw = onScreen(f)
	}
	for note := ""; ; {
		draw(st, note)
		next, err := cl.Next(ctx)
		switch {
		case err == nil:
			st, note = next, ""
		case ctx.Err() != nil:
			return nil
		case isAway(err):
			note = fmt.Sprintf("no answer since %s; what follows is old. %s", st.At.Local().Format(time.TimeOnly), cl.Hint())
		default:
			return err
		}
	}
}

// plainly writes what has changed since the last time, for a file or a pipe.
func plainly(stdio IO, asJSON bool) func(engine.Status, string) {
	last, said := "", ""
	return func(st engine.Status, note string) {
		if note != "" && said == "" {
			fmt.Fprintln(stdio.Err, "serin: "+note)
		}
		said = note
		var b bytes.Buffer
		if asJSON {
			_ = printJSONLine(&b, st)
		} else {
			tree(&b, st, paint{})
		}
		if text := b.String(); text != last {
			_, _ = stdio.Out.Write(b.Bytes())
			last = text
		}
	}
}
