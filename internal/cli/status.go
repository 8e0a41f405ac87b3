package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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

// watchStatus keeps the status on a screen until interrupted; elsewhere it writes
// each change once. An API that is away for a while is said so and asked again.
func watchStatus(ctx context.Context, cl *client, stdio IO, asJSON bool) error {
	st, err := cl.status(ctx)
	if err != nil {
		return err
	}
	draw := plainly(stdio, asJSON)
	if f, ok := stdio.Out.(*os.File); ok && isTerminal(f) && !asJSON {
		fmt.Fprint(f, enterScreen)
		defer func() { fmt.Fprint(f, leaveScreen); tree(f, st, paintFor(f)) }()
		draw = onScreen(f)
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for note := ""; ; {
		draw(st, note)
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		next, err := cl.status(ctx)
		switch {
		case err == nil:
			st, note = next, ""
		case ctx.Err() != nil:
			return nil
		case isAway(err):
			note = fmt.Sprintf("no answer since %s; what follows is old. Is `serin serve` running?", st.At.Local().Format(time.TimeOnly))
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

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the other screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// onScreen draws over what was there, without a flicker, and no more than fits.
func onScreen(f *os.File) func(engine.Status, string) {
	return func(st engine.Status, note string) {
		var b bytes.Buffer
		p := paintFor(f)
		if note != "" {
			fmt.Fprintf(&b, "%s%s%s\n", p.bad, note, p.off)
		}
		tree(&b, st, p)
		fmt.Fprintf(&b, "%s%s · Ctrl-C ends watching, not the rollout%s\n", p.dim, st.At.Local().Format(time.TimeOnly), p.off)
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		_, _ = f.WriteString("\x1b[H" + fit(b.String(), width, height) + "\x1b[J")
	}
}

// fit cuts a text to a screen: rows that wrap count as many, and the last line
// says how much is missing. Each line clears the rest of its row.
func fit(text string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	rows := 0
	for i, l := range lines {
		n := max(1, (columns(l)+width-1)/max(width, 1))
		if rows+n > height-1 && i < len(lines)-1 {
			lines = append(lines[:i:i], fmt.Sprintf("… %d more lines: make the window larger, or serin status | less", len(lines)-i))
			break
		}
		rows += n
	}
	return strings.Join(lines, "\x1b[K\r\n") + "\x1b[K"
}

// columns counts what a line takes on the screen, colours left out.
func columns(line string) (n int) {
	escape := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}
