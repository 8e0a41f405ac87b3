package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	// blipMost is how long `wait` bears an API that gives no answer.
	blipMost = 5 * time.Minute
	// sayAgain is how often `wait` says what is missing although nothing changed.
	sayAgain = time.Minute
)

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
		Long:    "Wait until the rollout ends, or with --step until it has entered that step, or lacks nothing but the approval to\nenter it. Prints one line for each change, which reads well in a log. Bears an API that is away for up to 5 minutes.\nNever changes anything.\n\n" + exitTable,
		Example: "  serin apply -f endpoint-v2.yaml && serin wait --timeout 2h\n  serin wait --step 50% && serin approve --step 50%",
		RunE:    func(c *cobra.Command, _ []string) error { return runWait(c.Context(), o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c)
	c.Flags().StringVar(&o.step, "step", "", "stop waiting when the rollout is in this step or a later one, or lacks only its approval")
	c.Flags().StringVar(&o.rollout, "rollout", "", "id of the rollout meant (default: the running or last one)")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after this long, with exit code 7 (0: never)")
	return c
}

// waited is what came of waiting; -o json prints it.
type waited struct {
	Rollout  string         `json:"rollout"`
	Result   string         `json:"result"` // an outcome, or Entered, ReadyToEnter, Held, TimedOut
	Step     string         `json:"step"`
	Reason   string         `json:"reason"`
	Message  string         `json:"message"`
	ExitCode int            `json:"exitCode"`
	Status   *engine.Status `json:"status,omitempty"` // the last one seen; absent for a rollout that ended before
}

func runWait(ctx context.Context, o waitOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if o.timeout < 0 {
		return usageError("--timeout %s: must not be negative", o.timeout)
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	st, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	if st.Rollout == nil {
		return exit{ExitNotFound, fmt.Errorf("no rollout has run on %q; serin apply -f FILE starts one", st.Endpoint)}
	}
	if o.rollout == "" {
		o.rollout = st.Rollout.ID
	}
	w, err := wait(ctx, cl, st, o, stdio)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(stdio.Out, w); err != nil {
			return err
		}
	}
	if w.ExitCode != ExitDone {
		return exit{w.ExitCode, errors.New(w.Message)}
	}
	return nil
}

// wait watches until the wait is over.
func wait(ctx context.Context, cl api, st engine.Status, o waitOptions, stdio IO) (waited, error) {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	last, line, said, answered := st, "", time.Now(), time.Now()
	for {
		if last.Rollout == nil || last.Rollout.ID != o.rollout {
			return past(ctx, cl, o.rollout, last)
		}
		if now := progress(last); now != line || time.Since(said) >= sayAgain {
			fmt.Fprintf(stdio.Err, "%s  %s%s\n", time.Now().Format(time.TimeOnly), now, missing(last))
			line, said = now, time.Now()
		}
		if w, over, err := result(last, o); over || err != nil {
			return w, err
		}
		next, err := cl.Next(ctx)
		switch {
		case err == nil:
			last, answered = next, time.Now()
		case ctx.Err() != nil:
			return timedOut(ctx, last, o)
		case !isAway(err) || time.Since(answered) > blipMost:
			return waited{}, err
		case line != "":
			fmt.Fprintf(stdio.Err, "%s  no answer; asking again\n", time.Now().Format(time.TimeOnly))
			line = "" // say where we are again afterwards
		}
	}
}

func timedOut(ctx context.Context, st engine.Status, o waitOptions) (waited, error) {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return waited{}, exit{ExitError, errors.New("interrupted; the rollout goes on")}
	}
	w := newWaited(st, "TimedOut", ExitTimeout)
	w.Message = fmt.Sprintf("%s passed; rollout %s still runs at step %s (%s: %s)%s. Nothing was changed; serin wait goes on waiting", o.timeout, w.Rollout, orNone(w.Step), w.Reason, w.Message, missing(st))
	return w, nil
}

func newWaited(st engine.Status, result string, code int) waited {
	r := st.Rollout
	return waited{r.ID, result, r.StepName, r.Decision.Reason, r.Decision.Message, code, &st}
}

// progress is one line that changes when something happened.
func progress(st engine.Status) string {
	r := st.Rollout
	if r.Outcome != "" {
		return fmt.Sprintf("%s  %s: %s", r.ID, r.Outcome, r.Decision.Message)
	}
	line := fmt.Sprintf("%s  step %s, candidate %s: %s", r.ID, stepLine(r), rollout.Percent(st.Weights.InForceBP), r.Decision.Reason)
	if r.Decision.Reason == string(rollout.WaitingForApproval) {
		line += fmt.Sprintf(" (evidence %s)", r.Evidence.Digest)
	}
	return line
}

// missing says how much more evidence is needed.
func missing(st engine.Status) string {
	if lines := remaining(st); st.Rollout.Outcome == "" && len(lines) > 0 {
		return "; needs " + strings.Join(lines, ", and ")
	}
	return ""
}

func stepLine(r *engine.RolloutView) string {
	if r.StepName == "" {
		return fmt.Sprintf("0/%d", len(r.Steps))
	}
	return fmt.Sprintf("%s (%d/%d)", r.StepName, r.Step+1, len(r.Steps))
}

// result says whether the wait is over, and how.
func result(st engine.Status, o waitOptions) (waited, bool, error) {
	r := st.Rollout
	at := -1
	if o.step != "" {
		at = slices.IndexFunc(r.Steps, func(s engine.StepView) bool { return strings.EqualFold(s.Name, o.step) })
		if at < 0 {
			return waited{}, false, usageError("--step %q: the plan of %s has the steps %s", o.step, r.ID, stepNames(r))
		}
	}
	switch {
	case r.Outcome != "":
		w := newWaited(st, r.Outcome, outcomeExit(r.Outcome))
		w.Message = fmt.Sprintf("rollout %s: %s (%s): %s", r.ID, r.Outcome, r.Decision.Reason, r.Decision.Message)
		return w, true, nil
	case at >= 0 && r.Steps[at].State != "Waiting":
		return newWaited(st, "Entered", ExitDone), true, nil
	case at >= 0 && at == next(r) && r.Decision.Reason == string(rollout.WaitingForApproval):
		return newWaited(st, "ReadyToEnter", ExitDone), true, nil
	case held(r):
		w := newWaited(st, "Held", ExitHeld)
		w.Message = fmt.Sprintf("rollout %s is held (%s): %s", r.ID, r.Decision.Reason, r.Decision.Message)
		return w, true, nil
	}
	return waited{}, false, nil
}

func stepNames(r *engine.RolloutView) string {
	names := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// next is the index of the step that would be entered next.
func next(r *engine.RolloutView) int {
	return slices.IndexFunc(r.Steps, func(s engine.StepView) bool { return s.State == "Waiting" })
}

// held reports that the rollout will not move by itself any more.
func held(r *engine.RolloutView) bool {
	return r.Outcome == "" && (r.Decision.Reason == string(rollout.MaxDurationReached) || r.Decision.Reason == string(rollout.ApprovalTimedOut))
}

func outcomeExit(outcome string) int {
	if outcome == string(rollout.Promoted) {
		return ExitDone
	}
	return ExitReverted
}

// past tells of a rollout that is not the present one.
func past(ctx context.Context, cl api, id string, st engine.Status) (waited, error) {
	list, err := cl.Rollouts(ctx, mostListed)
	if err != nil {
		return waited{}, err
	}
	for _, r := range list {
		if a := r.Attempt; r.ID == id {
			w := waited{Rollout: id, Result: string(a.Outcome), Reason: string(a.Reason), ExitCode: outcomeExit(string(a.Outcome))}
			if a.Step >= 0 && a.Step < len(a.Plan.Steps) {
				w.Step = a.Plan.Steps[a.Step].Name
			}
			w.Message = fmt.Sprintf("rollout %s: %s (%s): %s", id, a.Outcome, a.Reason, a.Message)
			return w, nil
		}
	}
	return waited{}, noSuchRollout(id, st)
}

func noSuchRollout(id string, st engine.Status) error {
	return exit{ExitNotFound, fmt.Errorf("there is no rollout %q on %q; serin history lists those that ended, and %s is the last", id, st.Endpoint, lastRollout(st))}
}

func lastRollout(st engine.Status) string {
	if st.Rollout == nil {
		return "none"
	}
	return st.Rollout.ID
}
