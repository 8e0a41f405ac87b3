package rollout

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// world plays the platform: it does at once what Step asks for.
type world struct {
	t     *testing.T
	state State
	in    Input
	last  Decision
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, state: NewState("ep"), in: Input{
		Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Calibrated: true, Observed: Observed{Revisions: map[string]RevisionStatus{}},
		Plan: Plan{Steps: []PlanStep{{Name: "shadow", ShadowBP: 10000}, {Name: "10%", WeightBP: 1000}, {Name: "50%", WeightBP: 5000, Approval: true}, {Name: "100%", WeightBP: 10000}},
			MinRequests: 10, HarmBudget: 50, MaxDuration: time.Hour, ApprovalTimeout: time.Hour, ProgressDeadline: time.Minute, KeepFailed: time.Minute, KeepOld: time.Minute},
		Verdict: judge.Verdict{Action: judge.Advance, Promotable: true}, CandidateRequests: 100,
	}}
	w.wish("v1")
	w.ticks(3)
	return w
}

func (w *world) wish(v string) { w.in.Wish = Wish{Digest: v, Version: v} }

// tick steps once, checks what must always hold, and plays the actions.
func (w *world) tick() {
	w.t.Helper()
	before, _ := json.Marshal(w.state)
	next, actions, d := Step(w.state, w.in)
	again, _, _ := Step(w.state, w.in)
	after, _ := json.Marshal(w.state)
	a, _ := json.Marshal(next)
	b, _ := json.Marshal(again)
	if string(before) != string(after) {
		w.t.Fatal("Step changed its argument")
	}
	if string(a) != string(b) {
		w.t.Fatal("Step answered the same input in two ways")
	}
	if r := next.Routing; r.WeightBP < 0 || r.WeightBP > 10000 || r.Epoch < w.state.Routing.Epoch {
		w.t.Fatalf("routing %+v is not valid after %+v", r, w.state.Routing)
	}
	w.state, w.last, w.in.Actions = next, d, nil
	for _, action := range actions {
		switch x := action.(type) {
		case StartRevision:
			w.in.Observed.Revisions[x.Revision.Name] = RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1}
		case StopRevision:
			delete(w.in.Observed.Revisions, x.Revision.Name)
		case SetRouting:
			w.in.Observed.InForce.Epoch = x.Routing.Epoch
		}
	}
	w.in.Now = w.in.Now.Add(time.Second)
}

func (w *world) ticks(n int) {
	w.t.Helper()
	for range n {
		w.tick()
	}
}

func (w *world) ask(kind ActionKind, step string) ActionResult {
	w.t.Helper()
	w.in.Actions = []ActionRequest{{ID: string(kind) + step + w.in.Now.String(), Kind: kind, Step: step, By: "anna", At: w.in.Now}}
	w.tick()
	return w.last.ActionResults[0]
}

func (w *world) expect(outcome Outcome, stable string, weight int) {
	w.t.Helper()
	if w.state.Attempt.Outcome != outcome || w.state.Stable.Version != stable || w.state.Routing.WeightBP != weight {
		w.t.Fatalf("outcome %q, stable %s, weight %d; want %q, %s, %d (%s: %s)", w.state.Attempt.Outcome, w.state.Stable.Version, w.state.Routing.WeightBP, outcome, stable, weight, w.last.Reason, w.last.Message)
	}
}

func TestFirstVersionServesUnjudged(t *testing.T) {
	w := newWorld(t)
	w.expect(Promoted, "v1", 0)
	if w.state.Attempt.Reason != FirstVersion {
		t.Errorf("reason %s, want %s", w.state.Attempt.Reason, FirstVersion)
	}
}

func TestRolloutWaitsForApprovalAndPromotes(t *testing.T) {
	w := newWorld(t)
	w.wish("v2")
	w.ticks(8)
	w.expect(Running, "v1", 1000)
	if w.last.Reason != WaitingForApproval {
		t.Fatalf("reason %s, want %s", w.last.Reason, WaitingForApproval)
	}
	if r := w.ask(Approve, "100%"); r.Accepted || r.Reason != WrongStep {
		t.Errorf("approving a step that is not next: %+v", r)
	}
	if r := w.ask(Approve, "50%"); !r.Accepted {
		t.Errorf("approving the next step: %+v", r)
	}
	if r := w.ask(Approve, "50%"); !r.Accepted || r.Reason != AlreadyDone {
		t.Errorf("approving twice: %+v", r)
	}
	w.ticks(4)
	w.expect(Promoted, "v2", 0)
	if w.state.Previous == nil {
		t.Fatal("the old version is not kept")
	}
	if r := w.ask(Rollback, ""); !r.Accepted {
		t.Errorf("rollback: %+v", r)
	}
	w.expect(RolledBack, "v1", 0)
}

func TestRevertsAtAGateAndDoesNotTryAgain(t *testing.T) {
	w := newWorld(t)
	w.wish("v2")
	w.ticks(8)
	w.in.Verdict = judge.Verdict{Action: judge.Revert, Reason: judge.ErrorRate, Message: "too many errors"}
	w.ticks(5)
	w.expect(Reverted, "v1", 0)
	w.in.Verdict = judge.Verdict{Action: judge.Advance, Promotable: true}
	w.ticks(5)
	w.expect(Reverted, "v1", 0)
	if w.last.Reason != VersionFailedBefore {
		t.Errorf("reason %s, want %s", w.last.Reason, VersionFailedBefore)
	}
	w.ask(Retry, "")
	w.ticks(6)
	w.expect(Running, "v1", 1000)
}

func TestPromise4TooLittleDataHolds(t *testing.T) {
	w := newWorld(t)
	w.in.CandidateRequests = 3
	w.wish("v2")
	w.ticks(100)
	w.expect(Running, "v1", 0)
	if w.last.Reason != WaitingForRequests {
		t.Errorf("reason %s, want %s", w.last.Reason, WaitingForRequests)
	}
}

func TestPromise2NoReadyCapacityGetsNoTraffic(t *testing.T) {
	w := newWorld(t)
	w.wish("v2")
	w.ticks(8)
	w.expect(Running, "v1", 1000)
	name := w.state.Candidate.Name
	for i := range 100 { // readiness oscillates: the progress deadline counts on
		w.in.Observed.Revisions[name] = RevisionStatus{Started: true, Ready: i%3 == 0, ReadyReplicas: 1}
		w.tick()
		if i%3 != 0 && w.state.Routing.WeightBP != 0 {
			t.Fatal("a candidate that is not ready has weight")
		}
	}
	w.expect(Reverted, "v1", 0)
	if w.state.Attempt.Reason != ProgressDeadline {
		t.Errorf("reason %s, want %s", w.state.Attempt.Reason, ProgressDeadline)
	}
}

func TestCrashLoopPauseRejectAndSupersede(t *testing.T) {
	w := newWorld(t)
	w.wish("v2")
	w.ticks(4)
	w.ask(Pause, "")
	w.in.Observed.Revisions[w.state.Candidate.Name] = RevisionStatus{Started: true, CrashLooping: true, Restarts: 3, Failure: "boom"}
	w.ticks(2)
	w.expect(Reverted, "v1", 0)
	w.wish("v3")
	w.ticks(3)
	first := w.state.Attempt.ID
	w.wish("v4")
	w.ticks(3)
	if w.state.Attempt.ID == first || w.state.Attempt.To.Version != "v4" {
		t.Fatalf("a newer version did not supersede: %+v", w.state.Attempt)
	}
	if r := w.ask(Reject, ""); !r.Accepted {
		t.Errorf("reject: %+v", r)
	}
	w.expect(Rejected, "v1", 0)
}

func TestOverwrittenWeightsArePutBack(t *testing.T) {
	w := newWorld(t)
	epoch := w.state.Routing.Epoch
	w.in.Observed.InForce.Overwritten = true
	w.tick()
	if w.state.Routing.Epoch != epoch+1 || w.last.Reason != WeightsOverwritten {
		t.Errorf("epoch %d, reason %s; want %d, %s", w.state.Routing.Epoch, w.last.Reason, epoch+1, WeightsOverwritten)
	}
}

func TestUnreadableStateHoldsTheLastWeights(t *testing.T) {
	w := newWorld(t)
	w.in.Observed.StateUnreadable = true
	next, actions, d := Step(w.state, w.in)
	if len(actions) != 0 || next.Routing != w.state.Routing || d.Reason != StateUnreadable {
		t.Errorf("actions %v, decision %+v; want none and %s", actions, d, StateUnreadable)
	}
}
