package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/report"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	// blipMost is how long `wait` bears an API that gives no answer, where no --timeout
	// says how long; firstMost if it never gave one: then the address may be wrong.
	blipMost  = 5 * time.Minute
	firstMost = time.Minute
	// sayAgain is how often `wait` says where it stands although nothing changed.
	sayAgain = 30 * time.Second
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
		Long: `Wait until the rollout ends, or with --step until it has entered that step, or lacks nothing but the approval to
enter it. Prints a line for each change, and else one in 30 s: that reads well in a log. An API that is away, as during a
restart, is borne until --timeout, or without one for 5 minutes; one that never answered for a minute, with --timeout.
Never changes anything: when the time is over the rollout goes on as its document says (rollout.maxDuration,
approvalTimeout, onTimeout).

` + exitTable,
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
	cl, st, err := reach(ctx, o.conn.open, o.timeout, stdio)
	if err != nil {
		return err
	}
	if st.Rollout == nil {
		return noRollout(st)
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

// reach opens the API and asks for the status. With a timeout, one that does not
// answer yet is asked again for a while.
func reach(ctx context.Context, open func() (api, error), timeout time.Duration, stdio IO) (api, engine.Status, error) {
	began, said := time.Now(), false
	for {
		cl, err := open()
		if err == nil {
			var st engine.Status
			if st, err = cl.Status(ctx); err == nil {
				return cl, st, nil
			}
		}
		if !isAway(err) || time.Since(began) >= min(timeout, firstMost) || ctx.Err() != nil {
			return nil, engine.Status{}, err
		}
		if !said {
			fmt.Fprintf(stdio.Err, "%s  no answer; asking again\n", time.Now().Format(time.TimeOnly))
			said = true
		}
		if rest(ctx, time.Second) != nil {
			return nil, engine.Status{}, err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// wait watches until the wait is over.
func wait(ctx context.Context, cl api, st engine.Status, o waitOptions, stdio IO) (waited, error) {
	bears := blipMost
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
		bears = o.timeout
	}
	says := teller{out: stdio.Err}
	last, answered, silent := st, time.Now(), false
	for {
		if last.Rollout == nil || last.Rollout.ID != o.rollout {
			return past(ctx, cl, o.rollout, last)
		}
		if !silent {
			says.tell(progress(last), missing(last))
		}
		if w, over, err := result(last, o); over || err != nil {
			return w, err
		}
		next, err := cl.Next(ctx)
		silent = err != nil
		switch {
		case err == nil:
			last, answered = next, time.Now()
		case ctx.Err() != nil:
			return timedOut(ctx, last, answered, o)
		case !isAway(err) || time.Since(answered) > bears:
			return waited{}, err
		default:
			says.tell("no answer; asking again", "")
		}
	}
}

// teller writes the lines of a log: each change at once, and else one now and then.
type teller struct {
	out  io.Writer
	line string
	at   time.Time
}

// tell writes a line if it says something new, or nothing was said for a while; what
// comes after it may change all the time.
func (t *teller) tell(line, more string) {
	now := time.Now()
	if line == t.line && now.Sub(t.at) < sayAgain {
		return
	}
	t.line, t.at = line, now
	fmt.Fprintf(t.out, "%s  %s\n", now.Format(time.TimeOnly), report.Plain(line+more))
}

func timedOut(ctx context.Context, st engine.Status, answered time.Time, o waitOptions) (waited, error) {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return waited{}, exit{ExitError, errors.New("interrupted; the rollout goes on")}
	}
	w := newWaited(st, "TimedOut", ExitTimeout)
	verb := "still runs"
	if silent := time.Since(answered); silent > 2*sayAgain {
		verb = fmt.Sprintf("has given no answer for %s, and when it did was", ago(silent))
	}
	w.Message = fmt.Sprintf("%s passed; rollout %s %s at step %s (%s: %s)%s. Nothing was changed; serin wait goes on waiting", o.timeout, w.Rollout, verb, orNone(w.Step), w.Reason, w.Message, missing(st))
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
	return r.Outcome == "" && rollout.TimedOut(rollout.Reason(r.Decision.Reason))
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

func noRollout(st engine.Status) error {
	return exit{ExitNotFound, fmt.Errorf("no rollout has run on %q; serin apply -f FILE starts one", st.Endpoint)}
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
