package cli

import (
	"context"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/report"
	"github.com/serin-dev/serin/internal/rollout"
)

type reportOptions struct {
	conn    connection
	out     output
	rollout string
	gate    bool
}

func newReport(stdio IO) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use: "report", Short: "Report on a rollout: decision, traffic by step, metrics, approvals", Args: cobra.NoArgs,
		Long: `Report on the running rollout, or the last, or the one named: the decision and what it stands on, weights planned
and seen with requests and errors by step, what clients saw, each metric with value, bound and n, approvals, and what
happened. Markdown is made for the summary of a pipeline's job; the JSON is described in docs/report.md.
--gate is for whoever has to approve: one screen of plain text, with the command to type; with -o markdown the same
screen for the summary of a job.

` + exitTable,
		Example: "  serin report >> \"$GITHUB_STEP_SUMMARY\"\n  serin report --gate\n  serin report --rollout safe-driver-7 -o json",
		RunE:    func(c *cobra.Command, _ []string) error { return runReport(c.Context(), o, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.only(c, "markdown", "json", "text")
	c.Flags().StringVar(&o.rollout, "rollout", "", "id of the rollout meant (default: the running or last one)")
	c.Flags().BoolVar(&o.gate, "gate", false, "one screen of plain text for an approver")
	return c
}

func runReport(ctx context.Context, o reportOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if o.gate && o.conn.given("output") == "" {
		o.out.format = "text"
	}
	if o.out.format == "text" && !o.gate {
		return usageError("-o text is for --gate; the whole report is markdown or json")
	}
	cl, err := o.conn.open()
	if err != nil {
		return err
	}
	r, err := reportOf(ctx, cl, o.rollout, o.conn.words())
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(stdio.Out, r)
	}
	_, err = io.WriteString(stdio.Out, o.write(r))
	return err
}

func (o reportOptions) write(r report.Report) string {
	switch {
	case !o.gate:
		return r.Markdown()
	case o.out.format == "markdown":
		return fenced(r)
	}
	return r.Screen()
}

// fenced is the screen of an approver in a page of Markdown.
func fenced(r report.Report) string { return "```text\n" + r.Screen() + "```\n" }

// reportOf reports on a rollout; without an id on the running or last one.
func reportOf(ctx context.Context, cl api, id, flags string) (report.Report, error) {
	st, err := cl.Status(ctx)
	if err != nil {
		return report.Report{}, err
	}
	v, err := viewOf(ctx, cl, id, st)
	if err != nil {
		return report.Report{}, err
	}
	audit, err := cl.Audit(ctx, mostListed)
	if err != nil {
		return report.Report{}, err
	}
	f := factsOf(st, v, audit)
	f.Flags = flags
	return report.Build(f), nil
}

// viewOf finds a rollout. What is kept of one that ended is what it was judged by;
// the status goes on counting requests after its end.
func viewOf(ctx context.Context, cl api, id string, st engine.Status) (engine.RolloutView, error) {
	present := st.Rollout != nil && (id == "" || id == st.Rollout.ID)
	switch {
	case id == "" && st.Rollout == nil:
		return engine.RolloutView{}, noRollout(st)
	case present && st.Rollout.Outcome == "":
		return *st.Rollout, nil
	case present:
		id = st.Rollout.ID
	}
	list, err := cl.Rollouts(ctx, mostListed)
	if err != nil {
		return engine.RolloutView{}, err
	}
	at := slices.IndexFunc(list, func(r engine.RolloutRecord) bool { return r.ID == id })
	switch {
	case at >= 0:
		return list[at].View(), nil
	case present: // in a cluster the record is filed a moment later
		return *st.Rollout, nil
	}
	return engine.RolloutView{}, noSuchRollout(id, st)
}

func factsOf(st engine.Status, v engine.RolloutView, audit []engine.Entry) report.Facts {
	e := v.Evidence
	f := report.Facts{
		Endpoint: st.Endpoint, Namespace: st.Namespace, Address: st.Address, At: st.At, ID: v.ID, Number: v.Number,
		From: v.FromRevision, To: rollout.Revision{Version: v.To}, Images: imagesOf(st), StartedAt: v.StartedAt, EndedAt: v.EndedAt,
		Outcome: rollout.Outcome(v.Outcome), Paused: v.Paused,
		Decision: report.Decision{Action: v.Decision.Action, Reason: v.Decision.Reason, Message: v.Decision.Message, At: v.Decision.At},
		Weights:  report.Weights{PlannedBP: st.Weights.PlannedBP, InForceBP: st.Weights.InForceBP, ShadowBP: st.Weights.ShadowBP},
		Verdict:  v.Verdict, Digest: e.Digest,
		Counts: report.Counts{
			StableRequests: e.StableRequests, StableErrors: e.StableErrors, CandidateRequests: e.CandidateRequests, CandidateErrors: e.CandidateErrors,
			FellBack: e.FellBack, Pairs: e.Pairs, Compared: e.Compared, Disagreed: e.Disagreed, Dropped: e.Dropped,
		},
	}
	if v.ToRevision != nil {
		f.To = *v.ToRevision
	}
	if f.From == nil && v.From != "" { // told by a server that is older than this
		f.From = &rollout.Revision{Version: v.From}
	}
	for _, s := range v.Steps {
		f.Steps = append(f.Steps, stepOf(s))
	}
	f.Approvals = v.Approvals
	for _, x := range audit {
		if x.Rollout == v.ID {
			f.Events = append(f.Events, report.Event{At: x.At, Kind: x.Kind, By: x.By, OnBehalfOf: x.OnBehalf, Reason: x.Reason, Message: x.Message, EvidenceDigest: x.EvidenceDigest, Accepted: x.Accepted})
		}
	}
	slices.Reverse(f.Events) // the audit has the latest first
	return f
}

func stepOf(s engine.StepView) report.Step {
	out := report.Step{Name: s.Name, WeightBP: s.WeightBP, ShadowBP: s.ShadowBP, Approval: s.Approval, State: s.State, EnteredAt: s.EnteredAt}
	if c := s.Counts; c != nil {
		out.Counts = report.StepCounts{StableRequests: c.StableRequests, StableErrors: c.StableErrors, CandidateRequests: c.CandidateRequests, CandidateErrors: c.CandidateErrors, FellBack: c.FellBack, Pairs: c.Pairs, Disagreed: c.Disagreed}
		if c.StableRequests+c.CandidateRequests > 0 {
			out.SeenBP = &c.SeenBP
		}
	}
	return out
}

// imagesOf are the images of the revisions that are still there.
func imagesOf(st engine.Status) map[string]string {
	images := map[string]string{}
	for _, r := range []*engine.RevisionView{st.Stable, st.Candidate, st.Previous} {
		if r != nil {
			images[r.Name] = r.Image
		}
	}
	return images
}
