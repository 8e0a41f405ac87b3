// Package cli is the command line: one file for each family of verbs, each an
// options struct and a run function. Data goes to stdout, all else to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/serin-dev/serin/internal/report"
)

// Exit codes: one table for all verbs.
const (
	ExitDone      = 0 // done, or advanced
	ExitError     = 1
	ExitUsage     = 2 // usage, or a refused document
	ExitReverted  = 3 // reverted, rejected or superseded
	ExitHeld      = 4 // held, or inconclusive at the deadline
	ExitNotFound  = 5
	ExitForbidden = 6 // not allowed, or refused by the state it is in
	ExitTimeout   = 7 // --timeout passed; the rollout still runs
)

const exitTable = `Exit codes: 0 done or advanced · 1 error · 2 usage or refused document · 3 reverted · 4 held or inconclusive · 5 not found · 6 refused (not allowed) · 7 --timeout passed, still running`

// IO is where a verb reads and writes.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	// Plugin: the program was called as kubectl serin, so a cluster is meant.
	Plugin bool
}

// IsPlugin says whether the program was called by kubectl: as kubectl-serin.
func IsPlugin(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == "kubectl-serin"
}

// exit is an error that carries an exit code; its message may be empty.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e exit) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return exit{ExitUsage, fmt.Errorf(format, args...)}
}

// Run executes one command line and returns its exit code.
func Run(ctx context.Context, args []string, stdio IO) int {
	root := newRoot(stdio)
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	c, err := root.ExecuteContextC(ctx)
	code := codeOf(err)
	if err != nil && err.Error() != "" {
		explain(stdio.Err, c, code, err)
	}
	return code
}

func codeOf(err error) int {
	var e exit
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &e):
		return e.code
	case isUsage(err):
		return ExitUsage
	}
	return ExitError
}

// failureJSON is what -o json puts on stderr when a verb fails.
type failureJSON struct {
	ExitCode int    `json:"exitCode"`
	Reason   string `json:"reason"` // one word for each exit code
	Message  string `json:"message"`
}

var exitWords = map[int]string{ExitError: "Error", ExitUsage: "Usage", ExitReverted: "Reverted", ExitHeld: "Held", ExitNotFound: "NotFound", ExitForbidden: "Refused", ExitTimeout: "TimedOut"}

// explain says what went wrong on stderr, as the verb was asked to.
func explain(w io.Writer, c *cobra.Command, code int, err error) {
	text := strings.TrimRight(err.Error(), "\n")
	if f := c.Flags().Lookup("output"); f != nil && f.Value.String() == "json" {
		_ = printJSONLine(w, failureJSON{code, exitWords[code], text})
		return
	}
	fmt.Fprintln(w, "serin: "+report.Defuse(text)) // a log of Azure DevOps takes orders
	var e exit
	if code == ExitUsage && !errors.As(err, &e) {
		fmt.Fprintf(w, "Try: %s --help\n", c.CommandPath())
	}
}

// isUsage recognises what cobra and pflag say of a wrong command line.
func isUsage(err error) bool {
	for _, s := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires at least", "required flag", "invalid argument", "flag needs an argument", "flags in the group"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

func newRoot(stdio IO) *cobra.Command {
	root := &cobra.Command{
		Use:   "serin",
		Short: "Roll out a new version of a machine-learning model safely",
		Long: `Serin rolls out a new version of a machine-learning model behind one scoring endpoint.
It compares the new version with production on live traffic, then promotes or reverts it,
and says how sure it is.

Begin with:   serin demo
By hand:      serin init > endpoint.yaml;  serin serve -f endpoint.yaml;  serin status --watch
In a cluster: serin apply -n NAMESPACE -f endpoint.yaml;  serin status -n NAMESPACE --watch

` + whereHelp + `

` + exitTable,
		SilenceUsage: true, SilenceErrors: true, Annotations: displayName(stdio),
	}
	root.CompletionOptions.DisableDefaultCmd = true
	addVerbs(root, stdio)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w\nTry: %s --help", err, c.CommandPath())
	})
	return root
}

// addVerbs gives the root its verbs, grouped as the help shows them.
func addVerbs(root *cobra.Command, stdio IO) {
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start here:"},
		&cobra.Group{ID: "drive", Title: "Drive a rollout:"},
		&cobra.Group{ID: "see", Title: "See and check:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("start", newDemo(stdio), newServe(stdio), newScorer(stdio), newInit(stdio), newLoad(stdio))
	add("drive", newApply(stdio), newDelete(stdio))
	add("drive", actionVerbs(stdio)...)
	add("see", newValidate(stdio), newStatus(stdio), newWait(stdio), newReport(stdio), newHistory(stdio))
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "The cluster's parts:"})
	add("cluster", newAdopt(stdio), newInstall(stdio), newController(stdio), newRecorder(stdio), newImage(stdio))
	root.AddCommand(newVersion(stdio), newCompletion(stdio), newDocs(stdio), newLeash(stdio))
}

// displayName is what help texts call the program.
func displayName(stdio IO) map[string]string {
	if stdio.Plugin {
		return map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl serin"}
	}
	return nil
}

// output is the -o flag.
type output struct {
	format  string
	formats []string
}

// addTo adds the flag: text and json, and what more the verb has.
func (o *output) addTo(c *cobra.Command, more ...string) {
	o.only(c, append([]string{"text", "json"}, more...)...)
}

// only adds the flag with these formats; the first is the default.
func (o *output) only(c *cobra.Command, formats ...string) {
	o.formats = formats
	c.Flags().StringVarP(&o.format, "output", "o", formats[0], orList(formats))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) check() error {
	if !slices.Contains(o.formats, o.format) {
		return usageError("-o %q: must be %s", o.format, orList(o.formats))
	}
	return nil
}

func (o *output) json() (bool, error) { return o.format == "json", o.check() }

// orList writes words as "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// isTerminal reports whether w is a screen, which colours and redrawing need.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
