package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/report"
	"github.com/serin-dev/serin/internal/rollout"
)

// actionOptions are the flags of approve, reject, pause and the like.
type actionOptions struct {
	conn       connection
	out        output
	step       string
	rollout    string
	reason     string
	onBehalfOf string
	evidence   string
	dryRun     bool
	ifRunning  bool
	timeout    time.Duration
}

type actionVerb struct {
	use, action, short, long string
	step                     bool
}

var actionTable = []actionVerb{
	{"approve", "Approve", "Let the rollout enter the next step", "An approval lets a rollout enter a step. It carries your identity and the digest of the evidence that you saw:\nwhat --evidence names, else what is there now. Evidence that was not shown in this step is refused.\nApproving twice is no error; approving a step that is not next is refused and says which one is.", true},
	{"reject", "Reject", "Refuse the next step: traffic goes back to stable", "A rejected rollout is reverted at once.", false},
	{"pause", "Pause", "Take no step forward until resume (reverts still happen)", "", false},
	{"resume", "Resume", "End a pause", "", false},
	{"promote", "Promote", "Give all traffic to the candidate now, without more evidence", "Skips the steps and the judge that remain. Recorded with your identity.", false},
	{"abort", "Abort", "Send all traffic back to stable and end the rollout", "The candidate stays for rollout.keepFailed, reachable by header.", false},
	{"rollback", "Rollback", "After a promotion: go back to the version before", "One change of routes while the old revision is still kept (rollout.keepOld).", false},
	{"retry", "Retry", "Try a reverted version again", "A version that failed is not started again by itself.", false},
}

func actionVerbs(stdio IO) []*cobra.Command {
	var all []*cobra.Command
	for _, v := range actionTable {
		all = append(all, newAction(v, stdio))
	}
	return all
}

func newAction(v actionVerb, stdio IO) *cobra.Command {
	var o actionOptions
	c := &cobra.Command{
		Use: v.use, Short: v.short, Long: strings.TrimSpace(v.short + ".\n" + v.long + "\n\n" + exitTable), Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runAction(c.Context(), v.action, o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c)
	c.Flags().StringVar(&o.rollout, "rollout", "", "id of the rollout meant; refused if another one runs (default: the running one)")
	c.Flags().StringVar(&o.reason, "reason", "", "why, for the audit")
	c.Flags().StringVar(&o.onBehalfOf, "on-behalf-of", "", "the person for whom a pipeline acts, for the audit")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would be asked, and ask nothing")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "ask again for this long while the API gives no answer, as during a restart; it is done once all the same")
	if v.action == "Abort" {
		c.Flags().BoolVar(&o.ifRunning, "if-running", false, "with --rollout: do nothing, with exit code 0, when that rollout has ended or is not the present one")
	}
	if v.step {
		c.Flags().StringVar(&o.step, "step", "", "name of the step to enter (default: the next one)")
		c.Flags().StringVar(&o.evidence, "evidence", "", "digest of the evidence that you saw, from serin status or wait (default: the present one)")
	}
	return c
}

func runAction(ctx context.Context, action string, o actionOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if o.ifRunning && o.rollout == "" {
		return usageError("--if-running: say which rollout is meant with --rollout ID")
	}
	cl, st, err := reach(ctx, o.conn.open, o.timeout, stdio)
	if o.ifRunning && codeOf(err) == ExitNotFound && !isAway(err) {
		fmt.Fprintf(stdio.Err, "nothing to do: %s\n", report.Plain(err.Error()))
		return nil
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return printDryRun(stdio, action, st, asJSON)
	}
	req := engine.ActionRequest{ID: newID(), Action: action, Rollout: o.rollout, Step: o.step, Reason: o.reason, OnBehalfOf: o.onBehalfOf, EvidenceDigest: o.evidence}
	if st.Rollout != nil && req.EvidenceDigest == "" {
		req.EvidenceDigest = st.Rollout.Evidence.Digest
	}
	if st.Rollout == nil && action == "Approve" {
		return exit{ExitForbidden, fmt.Errorf("no rollout has run on %q, so there is nothing to approve; serin apply -f FILE starts one", st.Endpoint)}
	}
	return o.ask(ctx, cl, req, asJSON, stdio)
}

// overReasons are refusals that say: that rollout does not run.
var overReasons = []string{string(rollout.NothingRuns), string(rollout.WrongRollout)}

// newID makes an action that is asked for twice one action.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// ask sends an action; one that is refused is printed and ends with exit code 6,
// but where it may be over already and is.
func (o actionOptions) ask(ctx context.Context, cl api, req engine.ActionRequest, asJSON bool, stdio IO) error {
	began := time.Now()
	result, err := cl.Act(ctx, req)
	for isAway(err) && time.Since(began) < o.timeout && rest(ctx, time.Second) == nil {
		result, err = cl.Act(ctx, req)
	}
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(stdio.Out, result); err != nil {
			return err
		}
	}
	switch {
	case !result.Accepted && o.ifRunning && slices.Contains(overReasons, result.Reason):
		fmt.Fprintf(stdio.Err, "nothing to do: %s\n", report.Plain(result.Message))
	case !result.Accepted:
		return exit{ExitForbidden, fmt.Errorf("refused (%s): %s", result.Reason, result.Message)}
	case !asJSON:
		fmt.Fprintln(stdio.Out, report.Plain(result.Message))
	}
	return nil
}

func printDryRun(stdio IO, action string, st engine.Status, asJSON bool) error {
	if asJSON {
		return printJSON(stdio.Out, map[string]any{"dryRun": true, "action": action, "status": st})
	}
	at := "no rollout runs"
	if r := st.Rollout; r != nil && r.Outcome == "" {
		at = fmt.Sprintf("rollout %s is at step %s with %s planned", r.ID, r.StepName, rollout.Percent(st.Weights.PlannedBP))
	}
	fmt.Fprintf(stdio.Out, "would ask endpoint %s: %s (%s). Nothing was asked.\n", st.Endpoint, action, at)
	return nil
}
