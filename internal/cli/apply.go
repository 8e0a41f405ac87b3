package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/spec"
)

const maxDocument = 1 << 20

// readDocument reads a document from a file or, for "-", from stdin.
func readDocument(file string, stdin io.Reader) ([]byte, error) {
	if file == "" {
		return nil, usageError("-f FILE is needed: the document (serin init writes one)")
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(filepath.Clean(file))
		if err != nil {
			return nil, usageError("reading the document: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return nil, usageError("reading the document: %w", err)
	}
	if len(text) > maxDocument {
		return nil, usageError("reading the document: %q is larger than %d bytes", file, maxDocument)
	}
	return text, nil
}

type applyOptions struct {
	conn   connection
	out    output
	file   string
	dryRun bool
	force  bool
	set    scorerFields
	gates  []string
}

func newApply(stdio IO) *cobra.Command {
	var o applyOptions
	c := &cobra.Command{
		Use: "apply", Short: "Apply a document: a new version starts a rollout", Args: cobra.NoArgs,
		Long: `Apply a document to the running endpoint. Only a change of spec.scorer starts a rollout; other changes hold
from the next rollout on, or at once where that is safe. A refused document changes nothing.

A pipeline fills in the image it built with --image and --version, and with --gates makes sure that no step is entered
without it. -o name prints the id of the rollout that tries the version, or that brought it into production if it was
the last; nothing where neither is so. A version that is not tried, because it failed before or because no controller
takes the document, ends with exit code 4.

` + exitTable,
		Example: "  serin apply -f endpoint-v2.yaml --dry-run\n  serin apply -f endpoint-v2.yaml && serin wait\n  rollout=$(serin apply -o name -f endpoint-v2.yaml)\n  serin apply -f endpoint.yaml --image registry.example/safe-driver@sha256:… --version 20261125.3 --gates shadow,10%,100%",
		RunE:    func(c *cobra.Command, _ []string) error { return runApply(c.Context(), o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c, "name")
	c.Flags().StringVarP(&o.file, "file", "f", "", "the document; - for stdin")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would change, and change nothing")
	c.Flags().BoolVar(&o.force, "force-conflicts", false, "cluster: take over fields that somebody else wrote")
	o.set.addTo(c)
	c.Flags().StringSliceVar(&o.gates, "gates", nil, "refuse unless the plan has just these `STEPS`, in this order, and every one asks for approval")
	return c
}

func runApply(ctx context.Context, o applyOptions, stdio IO) error {
	if err := o.out.check(); err != nil {
		return err
	}
	text, err := readDocument(o.file, stdio.In)
	if err != nil {
		return err
	}
	if text, err = o.set.into(text); err != nil {
		return err
	}
	if _, _, _, err := spec.Read(text, o.conn.mode()); err != nil {
		return exit{ExitUsage, fmt.Errorf("%s is refused, nothing was changed:\n%w", o.file, err)}
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	abs, err := absoluteModel(text, o.file)
	if err != nil {
		return err
	}
	result, err := o.apply(ctx, cl, abs)
	if err != nil {
		return err
	}
	if err := o.print(stdio, result); err != nil {
		return err
	}
	if result.Held != "" {
		return exit{ExitHeld, errors.New(result.Held)}
	}
	return nil
}

// print writes the result; with -o name what people read goes to stderr.
func (o applyOptions) print(stdio IO, r engine.ApplyResult) error {
	if o.out.format != "name" {
		return printApply(stdio, r, o.out.format == "json")
	}
	if err := printApply(IO{Out: stdio.Err, Err: stdio.Err}, r, false); err != nil {
		return err
	}
	if r.Rollout != "" {
		fmt.Fprintln(stdio.Out, r.Rollout)
	}
	return nil
}

// apply asks first what the document would come to where gates are wanted, then
// applies it.
func (o applyOptions) apply(ctx context.Context, cl api, text []byte) (engine.ApplyResult, error) {
	if len(o.gates) > 0 {
		would, err := cl.Apply(ctx, text, true, o.force)
		if err != nil {
			return would, err
		}
		if err := gated(would.Steps, o.gates); err != nil {
			return would, exit{ExitUsage, fmt.Errorf("%s is refused, nothing was changed: %w", o.file, err)}
		}
	}
	return cl.Apply(ctx, text, o.dryRun, o.force)
}

func printApply(stdio IO, r engine.ApplyResult, asJSON bool) error {
	if asJSON {
		return printJSON(stdio.Out, r)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(stdio.Out, "  %s: %s → %s\n", c.Path, orNone(c.Old), orNone(c.New))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(stdio.Err, "note: %s\n", n)
	}
	fmt.Fprintln(stdio.Out, r.Message)
	if r.Rollout != "" {
		fmt.Fprintln(stdio.Out, "rollout "+r.Rollout)
	}
	return nil
}

type deleteOptions struct {
	conn   connection
	out    output
	dryRun bool
}

func newDelete(stdio IO) *cobra.Command {
	var o deleteOptions
	c := &cobra.Command{
		Use: "delete", Short: "Stop serving the endpoint and end its scorers; the record stays", Args: cobra.NoArgs,
		Long: "Drain the gateway, end the scorers and stop `serin serve`. The record and the audit stay in the state folder.\nIn a cluster: remove the endpoint; traffic goes to stable first, then routes, scorers and record go.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error {
			asJSON, err := o.out.json()
			if err != nil {
				return err
			}
			cl, err := o.conn.open()
			if err != nil {
				return err
			}
			result, err := cl.Delete(c.Context(), o.dryRun)
			if err != nil {
				return err
			}
			return printApply(stdio, result, asJSON)
		},
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c)
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would end, and end nothing")
	return c
}

func newValidate(stdio IO) *cobra.Command {
	var file, mode string
	var set scorerFields
	var out output
	c := &cobra.Command{
		Use: "validate", Short: "Check a document: every problem with its field and the remedy", Args: cobra.NoArgs,
		Long:    "Check a document without anything else running. Prints every problem with its place, and what to write instead.\n\n" + exitTable,
		Example: "  serin validate -f endpoint.yaml\n  serin validate -f endpoint.yaml --mode cluster",
		RunE: func(_ *cobra.Command, _ []string) error {
			asJSON, err := out.json()
			if err != nil {
				return err
			}
			text, err := readDocument(file, stdio.In)
			if err != nil {
				return err
			}
			if text, err = set.into(text); err != nil {
				return err
			}
			notes, err := validate(text, mode)
			if asJSON {
				return validateJSON(stdio, notes, err)
			}
			if err != nil {
				return exit{ExitUsage, fmt.Errorf("%s is refused:\n%w", file, err)}
			}
			for _, n := range notes {
				fmt.Fprintf(stdio.Err, "note: %s\n", n)
			}
			fmt.Fprintf(stdio.Out, "%s is valid\n", file)
			return nil
		},
	}
	out.addTo(c)
	c.Flags().StringVarP(&file, "file", "f", "", "the document; - for stdin")
	set.addTo(c)
	c.Flags().StringVar(&mode, "mode", "local", "check for this mode: local (one machine) or cluster")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"local", "cluster"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func validateJSON(stdio IO, notes []string, err error) error {
	if notes == nil {
		notes = []string{}
	}
	result := map[string]any{"valid": err == nil, "notes": notes, "problems": problems(err)}
	if perr := printJSON(stdio.Out, result); perr != nil {
		return perr
	}
	if err != nil {
		return exit{ExitUsage, nil}
	}
	return nil
}
