package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/engine/enginetest"
	"github.com/serin-dev/serin/internal/rollout"
)

func TestBlindEngineHoldsAndRecovers(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	before := w.platform.Routing()
	w.platform.Blind = errors.New("the API server does not answer")
	for range 50 {
		w.round(1000, 0)
	}
	if got := w.platform.Routing(); got != before {
		t.Errorf("routes %+v became %+v while nothing could be observed", before, got)
	}
	w.degraded(true)
	w.platform.Blind = nil
	w.until("the gate", 200, 0, func() bool { return w.Status().Rollout.Decision.Reason == string(rollout.WaitingForApproval) })
	w.degraded(false)
}

// TestFailedActionsAreRepeatedInOrder: routes that cannot be set are asked for until
// they are, and nothing that depends on them goes first.
func TestFailedActionsAreRepeatedInOrder(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	w.platform.Applied()
	w.platform.Refuse = refuse(isRouting)
	if r := w.act("Abort", ""); !r.Accepted {
		t.Fatalf("abort: %+v", r)
	}
	for range 20 {
		w.round(0, 0)
	}
	w.degraded(true)
	if got := w.platform.Applied(); len(got) != 0 {
		t.Fatalf("%+v overtook the routes that take the traffic away", got)
	}
	w.platform.Refuse = nil
	w.round(0, 0)
	w.round(0, 0)
	w.degraded(false)
	got := w.platform.Applied()
	if len(got) != 2 || !isRouting(got[0]) {
		t.Fatalf("applied %+v, want the routes, then the stop", got)
	}
	if s, ok := got[1].(rollout.StopRevision); !ok || s.Revision.Version != "v2" {
		t.Errorf("applied %+v, want the stop of v2", got[1])
	}
}

// TestPromise7RevertNeedsNothingButTheRouter: a platform that can start and stop
// nothing any more still takes the traffic away from a bad version.
func TestPromise7RevertNeedsNothingButTheRouter(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	w.platform.Refuse = refuse(func(a rollout.Action) bool { return !isRouting(a) })
	w.until("the revert", 100, 1, func() bool { return w.platform.Routing().WeightBP == 0 })
	if o := w.Status().Rollout.Outcome; o != "Reverted" {
		t.Errorf("outcome %q", o)
	}
	w.degraded(true) // v2 cannot be stopped, and that is said
	w.platform.Refuse = nil
	w.round(0, 0)
	w.round(0, 0)
	w.degraded(false)
}

// TestPromise7RevertOvertakesRoutesThatFailed: of routes only the latest count.
func TestPromise7RevertOvertakesRoutesThatFailed(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.atGate("v2")
	w.platform.Refuse = refuse(isRouting)
	w.act("Approve", "50%")
	for range 5 {
		w.round(100, 0)
	}
	if got := w.Status().Weights; got.PlannedBP != 5000 || got.InForceBP != 1000 {
		t.Errorf("weights %+v; want 50 %% planned and 10 %% in force", got)
	}
	w.until("the revert to be recorded", 100, 1, func() bool { return w.Status().Rollout.Outcome == "Reverted" })
	w.platform.Applied()
	w.platform.Refuse = nil
	w.round(0, 0)
	for _, a := range w.platform.Applied() {
		if r, ok := a.(rollout.SetRouting); ok && r.Routing.WeightBP != 0 {
			t.Errorf("routes of before the revert were put in force: %+v", r.Routing)
		}
	}
	if got := w.platform.Routing(); got.WeightBP != 0 || got.Epoch != w.Record().State.Routing.Epoch {
		t.Errorf("routes %+v in force, want the recorded ones", got)
	}
}

// TestPromise6CrashBetweenRecordAndAct: what was recorded and not done is done
// after the restart, on a platform that forgets with us and on one that does not.
func TestPromise6CrashBetweenRecordAndAct(t *testing.T) {
	for _, forgets := range []bool{true, false} {
		for _, end := range []string{"promoted", "reverted"} {
			t.Run(fmt.Sprintf("%s, platform forgets %v", end, forgets), func(t *testing.T) {
				w := newWorld(t)
				w.inProduction("v1")
				w.atGate("v2")
				failing := 0.0
				if end == "reverted" {
					failing = 1
				} else {
					w.act("Approve", "50%")
					w.until("50%", 10, 0, func() bool { return w.platform.Routing().WeightBP == 5000 })
				}
				w.platform.Refuse = refuse(func(rollout.Action) bool { return true })
				w.until(end+" on record", 200, failing, func() bool { return w.Status().Rollout.Outcome != "" })
				w.platform.Refuse = nil
				if forgets {
					w.platform = enginetest.NewPlatform()
				}
				w.open()
				if got, want := w.platform.Routing(), w.Record().State.Routing; got != want {
					t.Errorf("routes %+v in force after the restart, %+v are recorded", got, want)
				}
				w.round(10, 0)
				o, err := w.platform.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := map[string][]string{"promoted": {"ep-r1", "ep-r2"}, "reverted": {"ep-r1"}}[end]
				for name := range o.Revisions {
					if !slices.Contains(want, name) {
						t.Errorf("%s still runs; want %v", name, want)
					}
				}
				if len(o.Revisions) != len(want) {
					t.Errorf("%d revisions run, want %v", len(o.Revisions), want)
				}
			})
		}
	}
}

// TestPromise5ClockJumpsDecideNothing: neither the way forward nor back ends or
// advances a rollout by itself.
func TestPromise5ClockJumpsDecideNothing(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.atGate("v2")
	before := w.platform.Routing()
	for _, jump := range []time.Duration{90 * time.Hour, -200 * time.Hour, 1000 * time.Hour, -time.Millisecond} {
		w.clock.move(jump)
		for range 10 {
			w.round(10, 0)
		}
		if s := w.Status(); s.Rollout.Outcome != "" || w.platform.Routing() != before {
			t.Fatalf("after a jump of %s: %+v", jump, s.Rollout)
		}
	}
}

// TestPromise9OverwrittenWeightsArePutBack, and what was routed by them is no
// evidence: not after a restart either.
func TestPromise9OverwrittenWeightsArePutBack(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		w := newWorld(t)
		w.inProduction("v1")
		w.onTrial("v2")
		w.round(100, 0)
		if restarted {
			w.open()
		}
		epoch := w.platform.Routing().Epoch
		w.platform.Overwrite()
		w.round(100, 0)
		w.round(0, 0)
		if got := w.platform.Routing(); got.Epoch != epoch+1 || got.WeightBP != 1000 {
			t.Errorf("restarted %v: routes %+v, want those of epoch %d again, as a new one", restarted, got, epoch)
		}
		w.open()
		w.round(0, 0)
		before, _ := w.Record().Evidence.Epoch(epoch)
		after, _ := w.Record().Evidence.Epoch(epoch + 1)
		if !before.Info.Tampered || after.Info.Tampered {
			t.Errorf("restarted %v: epochs %+v and %+v; want the first tampered", restarted, before.Info, after.Info)
		}
	}
}

// TestPromise12EveryDecisionIsRecomputed bit for bit, from what was filed alone.
func TestPromise12EveryDecisionIsRecomputed(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.promoted("v2")
	if r := w.act("Rollback", ""); !r.Accepted {
		t.Fatalf("rollback: %+v", r)
	}
	w.inProductionAgain()
	w.onTrial("v3")
	w.until("the revert", 100, 1, func() bool { return w.Status().Rollout.Outcome == "Reverted" })
	w.onTrial("v4")
	w.apply("v5")
	w.until("v5 on trial", 100, 0, func() bool { return w.Status().Rollout.To == "v5" })
	all := w.rollouts()
	want := []rollout.Outcome{rollout.Superseded, rollout.Reverted, rollout.RolledBack, rollout.Promoted}
	if len(all) != len(want) {
		t.Fatalf("%d rollouts are filed, want %d", len(all), len(want))
	}
	for i, r := range all {
		if r.Attempt.Outcome != want[i] {
			t.Errorf("rollout %s came to %s, want %s", r.ID, r.Attempt.Outcome, want[i])
		}
		last := engine.Judgement{Calibrated: r.Calibration != nil, Evidence: r.Evidence, Window: r.Window, Verdict: r.Verdict}
		for n, j := range append(r.Decisions, last) {
			if diff := cmp.Diff(j.Verdict, j.Recompute(r.Policy, r.Calibration)); diff != "" {
				t.Errorf("%s, decision %d (%s): recorded -, recomputed +\n%s", r.ID, n, j.Reason, diff)
			}
		}
	}
	if n := len(all[1].Decisions); n < 2 || all[1].Window.Errors[1] == 0 {
		t.Errorf("the revert has %d decisions and window %+v; want its step, its revert, and what the breaker saw", n, all[1].Window)
	}
	if all[2].Bake == nil || len(all[2].Evidence.Epochs) == 0 {
		t.Errorf("the rollback lost what its promotion stood on: %+v", all[2])
	}
}

func (w *world) inProductionAgain() {
	for range 5 {
		w.round(200, 0)
	}
}

// TestFrozenPolicy: what is applied during a rollout counts for the next one, and a
// restart does not change that.
func TestFrozenPolicy(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	frozen := w.Record().Policy
	w.wish.Policy.FalseRevert, w.wish.Plan.MinRequests = 0.2, 1
	if err := w.SetWish(t.Context(), w.wish, "anna", "another policy"); err != nil {
		t.Fatal(err)
	}
	w.round(10, 0)
	w.open()
	w.round(10, 0)
	if diff := cmp.Diff(frozen, w.Record().Policy); diff != "" {
		t.Errorf("the policy of a running rollout changed:\n%s", diff)
	}
	if got := w.source.Configured(); len(got) != 1 || !cmp.Equal(got[0], frozen) {
		t.Errorf("after the restart it counts for %+v, want the frozen policy", got)
	}
	w.act("Abort", "")
	w.apply("v3")
	w.wish.Policy.FalseRevert = 0.2
	if err := w.SetWish(t.Context(), w.wish, "anna", "another policy"); err != nil {
		t.Fatal(err)
	}
	w.round(10, 0)
	if got := w.Record().Policy.FalseRevert; got != 0.2 {
		t.Errorf("the next rollout is judged at %v, want 0.2", got)
	}
}

func TestSlowSubscriberLosesTheOldestLines(t *testing.T) {
	w := newWorld(t)
	events, cancel := w.Subscribe()
	defer cancel()
	const told = 1000
	for i := range told {
		if err := w.SetWish(t.Context(), w.wish, "anna", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	var last engine.Event
	n := 0
	for ; len(events) > 0; n++ {
		e := <-events
		if e.Seq <= last.Seq {
			t.Errorf("line %d came after %d", e.Seq, last.Seq)
		}
		last = e
	}
	if n == 0 || n >= told || last.Entry.Message != fmt.Sprint(told-1) {
		t.Errorf("%d lines, the last %q; want fewer than %d, the latest last", n, last.Entry.Message, told)
	}
}

// TestRunEndsWithItsContext and answers meanwhile, in time that is not real.
func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.apply("v1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		time.Sleep(time.Second) // of the bubble
		if s := w.Status(); s.Stable == nil || s.Stable.Version != "v1" {
			t.Errorf("after a second: %+v", s.Stable)
		}
		if r, err := w.Act(ctx, engine.ActionRequest{Action: "Pause", By: "anna"}); err != nil || r.Accepted {
			t.Errorf("pausing when nothing runs: %+v, %v", r, err)
		}
		cancel()
		<-ended
	})
}

// TestAStableThatNobodyRecordsIsSaid: scores are not judged against one that was
// adopted as it runs, and everybody is told, until the next version is in production.
func TestAStableThatNobodyRecordsIsSaid(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	limited := func() bool {
		return slices.ContainsFunc(w.Status().Conditions, func(c engine.Condition) bool { return c.Type == "EvidenceLimited" && c.Status == "True" })
	}
	if limited() {
		t.Error("evidence is said to be limited, though everything is recorded")
	}
	w.platform.Set("ep-r1", rollout.RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1, Unrecorded: true})
	w.round(0, 0)
	if !limited() {
		t.Errorf("conditions %+v, want one that says what is not judged", w.Status().Conditions)
	}
	w.onTrial("v2")
	if !w.Record().Policy.Unrecorded {
		t.Error("the frozen policy does not say that production is not recorded")
	}
	w.promoted("v2")
	if limited() {
		t.Error("evidence is still said to be limited, though the new version is recorded")
	}
	w.onTrial("v3")
	if w.Record().Policy.Unrecorded {
		t.Error("the next rollout is judged as if production were not recorded")
	}
}

// TestConditionSaysWhyNothingServes: whoever sees that an endpoint is not ready sees
// there why, when its first version failed.
func TestConditionSaysWhyNothingServes(t *testing.T) {
	w := newWorld(t)
	w.apply("v1")
	w.round(0, 0)
	if c := w.Status().Conditions[0]; c.Status != "False" || c.Reason != "NoStable" || c.Message != "no version serves yet" {
		t.Errorf("while the first version starts: %+v", c)
	}
	w.platform.Set("ep-r1", rollout.RevisionStatus{Started: true, CrashLooping: true, Restarts: 3, Failure: "exit code 1"})
	w.until("the first version given up", 0, 0, func() bool { return w.Status().Rollout.Outcome == "Reverted" })
	if c := w.Status().Conditions[0]; c.Status != "False" || c.Reason != "NoStable" || !strings.Contains(c.Message, "exit code 1") {
		t.Errorf("after it: %+v, want why nothing serves", c)
	}
}
