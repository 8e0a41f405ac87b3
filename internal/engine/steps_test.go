package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestStepsShowTheirRequests: counts go to the step that routed them, whichever
// epoch; the share seen is that of the epochs with the step's own weight.
func TestStepsShowTheirRequests(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 25, 9, minute, 0, 0, time.UTC) }
	a := &rollout.Attempt{
		FirstEpoch: 5, Step: 1, Plan: rollout.Plan{ApprovalEvery: true, Steps: []rollout.PlanStep{{Name: "shadow", ShadowBP: 5000}, {Name: "10%", WeightBP: 1000}, {Name: "100%", WeightBP: 10000}}},
		History: []rollout.Transition{{At: at(0), Step: -1, Reason: rollout.Starting}, {At: at(1), Step: 0, Reason: rollout.StepEntered}, {At: at(2), Step: 1, Reason: rollout.StepEntered}, {At: at(3), Step: 1, Reason: rollout.WeightsOverwritten}},
	}
	epoch := func(id uint32, step, weight, shadow int, stable, candidate uint64) judge.EpochEvidence {
		e := judge.EpochEvidence{Info: judge.EpochInfo{ID: id, Step: step, WeightBP: weight, ShadowBP: shadow}}
		e.Arms[judge.Stable] = judge.Counts{Requests: stable, Errors: 1}
		e.Arms[judge.Candidate] = judge.Counts{Requests: candidate, Errors: 2, FellBack: 1}
		return e
	}
	shadow := epoch(5, 0, 0, 5000, 100, 0)
	shadow.Shadow = judge.Pairs{N: 48, Disagreed: 3}
	tampered := epoch(8, 1, 1000, 0, 10, 10)
	tampered.Info.Tampered = true
	ev := judge.Evidence{Epochs: []judge.EpochEvidence{epoch(4, 1, 1000, 0, 999, 999), shadow, epoch(6, 1, 0, 0, 50, 0), epoch(7, 1, 1000, 0, 88, 12), tampered}}
	at1, at2 := at(1), at(2)
	want := []StepView{
		{Name: "shadow", ShadowBP: 5000, Approval: true, State: "Done", EnteredAt: &at1, Counts: &StepCounts{StableRequests: 100, StableErrors: 1, CandidateErrors: 2, FellBack: 1, Pairs: 48, Disagreed: 3, SeenBP: 4800}},
		{Name: "10%", WeightBP: 1000, Approval: true, State: "Current", EnteredAt: &at2, Counts: &StepCounts{StableRequests: 148, StableErrors: 3, CandidateRequests: 22, CandidateErrors: 6, FellBack: 3, SeenBP: 1200}},
		{Name: "100%", WeightBP: 10000, Approval: true, State: "Waiting"},
	}
	if d := cmp.Diff(want, stepsOf(a, ev)); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
	a.Outcome, a.Reason, a.Step = rollout.Promoted, rollout.PromotedByPerson, 2
	a.History = append(a.History, rollout.Transition{At: at(4), Step: 2, Reason: rollout.PromotedByPerson})
	if last := stepsOf(a, ev)[2]; last.State != "Done" || last.EnteredAt == nil || !last.EnteredAt.Equal(at(4)) || *last.Counts != (StepCounts{}) {
		t.Errorf("promotion enters the last step: %+v", last)
	}
	a.Outcome, a.Reason = rollout.RolledBack, rollout.RolledBackByPerson
	if last := stepsOf(a, ev)[2]; last.EnteredAt == nil {
		t.Errorf("a promotion that was taken back is forgotten: %+v", last)
	}
}

// TestTrialOf: what becomes of a version that is applied.
func TestTrialOf(t *testing.T) {
	attempt := func(id, digest string, o rollout.Outcome) *rollout.Attempt {
		return &rollout.Attempt{ID: id, To: rollout.Revision{Digest: digest}, Outcome: o}
	}
	stable := &rollout.Revision{Digest: "s"}
	for what, c := range map[string]struct {
		state rollout.State
		want  Trial
	}{
		"nothing yet":                  {rollout.State{}, Trial{}},
		"tried":                        {rollout.State{Stable: stable, Attempt: attempt("m-2", "d", rollout.Running)}, Trial{Rollout: "m-2", Settled: true}},
		"applied again while it runs":  {rollout.State{Stable: stable, Attempt: attempt("m-1", "d", rollout.Running)}, Trial{Rollout: "m-1", Settled: true}},
		"began and failed at once":     {rollout.State{Stable: stable, Attempt: attempt("m-2", "d", rollout.Reverted), Blocked: []string{"d"}}, Trial{Rollout: "m-2", Settled: true}},
		"another has to end first":     {rollout.State{Stable: stable, Attempt: attempt("m-1", "x", rollout.Running)}, Trial{}},
		"back to production meanwhile": {rollout.State{Stable: &rollout.Revision{Digest: "d"}, Attempt: attempt("m-1", "x", rollout.Running)}, Trial{}},
		"in production":                {rollout.State{Stable: &rollout.Revision{Digest: "d"}, Attempt: attempt("m-1", "x", rollout.Aborted)}, Trial{Settled: true}},
		"brought there by the last":    {rollout.State{Stable: &rollout.Revision{Digest: "d"}, Attempt: attempt("m-1", "d", rollout.Promoted)}, Trial{Rollout: "m-1", Settled: true}},
		"the first, ready at once":     {rollout.State{Stable: &rollout.Revision{Digest: "d"}, Attempt: attempt("m-2", "d", rollout.Promoted)}, Trial{Rollout: "m-2", Settled: true}},
	} {
		if d := cmp.Diff(c.want, TrialOf(c.state, "d", "m-1")); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	failed := TrialOf(rollout.State{Stable: stable, Attempt: attempt("m-1", "d", rollout.Aborted), Blocked: []string{"d"}}, "d", "m-1")
	if !failed.Settled || failed.Held == "" || failed.Rollout != "" {
		t.Errorf("failed before: %+v", failed)
	}
}
