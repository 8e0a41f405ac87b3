package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// says checks a condition, and that its message has all these words.
func (w *world) says(kind, status, reason string, words ...string) engine.Condition {
	w.t.Helper()
	c := w.condition(kind)
	if c.Status != status || c.Reason != reason {
		w.t.Errorf("condition %+v, want %s=%s %s", c, kind, status, reason)
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			w.t.Errorf("%s: %q does not say %q", kind, c.Message, word)
		}
	}
	return c
}

// trial is a world with version 2 at its first weight.
func trial(t *testing.T) *world {
	w := newWorld(t)
	w.inProduction("1")
	w.onTrial("2")
	return w
}

// TestLostEvidenceHoldsTheStepAndSaysSo, and lets it go when the counts agree again.
func TestLostEvidenceHoldsTheStepAndSaysSo(t *testing.T) {
	w := trial(t)
	w.says(engine.EvidenceLimited, "False", "AsExpected")
	w.platform.Losses = []rollout.Loss{{Revision: "ep-r2", Kind: rollout.LossLog, Missing: 50, Of: 200}}
	w.round(0, 0)
	began := w.says(engine.EvidenceLimited, "True", "AccessLogLacks", "50 of 200", "25%", "5%", "access-log provider").Since
	for range 50 { // enough for the gate, if it were not for the loss
		w.round(200, 0)
	}
	if r := w.Status().Rollout; r.Decision.Reason != string(judge.EvidenceMissing) || r.Step != 0 {
		t.Errorf("step %d, decision %+v; want it held while evidence is missing", r.Step, r.Decision)
	}
	if c := w.says(engine.EvidenceLimited, "True", "AccessLogLacks"); c.Since != began {
		t.Errorf("since %s, want %s: it has not changed", c.Since, began)
	}
	w.platform.Losses = []rollout.Loss{{Revision: "ep-r2", Kind: rollout.LossLog, Missing: 2, Of: 200}, {Revision: "long-gone", Kind: rollout.LossLog, Missing: 200, Of: 200}}
	w.until("the gate", 200, 0, func() bool { return w.Status().Rollout.Decision.Reason == string(rollout.WaitingForApproval) })
	w.says(engine.EvidenceLimited, "False", "AsExpected")
}

// TestOverwrittenWeightsAreSaidForAWhile: they are put back before anybody could see it.
func TestOverwrittenWeightsAreSaidForAWhile(t *testing.T) {
	w := trial(t)
	w.says(engine.WeightsOverwritten, "False", "AsExpected")
	w.platform.Overwrite()
	w.until("the routes put back", 10, 0, func() bool { return w.Record().State.Overwritten != nil })
	w.until("it is over", 10, 0, func() bool {
		o, err := w.platform.Observe(t.Context())
		return err == nil && !o.InForce.Overwritten
	})
	w.says(engine.WeightsOverwritten, "True", "PutBack", "someone else", "2026-01-01T00:00:", "epoch", "must stop")
	w.open()
	w.round(0, 0)
	w.says(engine.WeightsOverwritten, "True", "PutBack") // a new leader says it too
	w.clock.move(11 * time.Minute)
	w.Tick(t.Context())
	w.says(engine.WeightsOverwritten, "False", "AsExpected", "since 2026-01-01T00:00:")
}

// TestRoutesThatStayAwayAreSaid if requests come in, and not if nobody asks.
func TestRoutesThatStayAwayAreSaid(t *testing.T) {
	w := trial(t)
	w.platform.Stale = rollout.RoutesDue - time.Second
	w.Tick(t.Context())
	w.says(engine.RouteNotInForce, "False", "AsExpected")
	w.platform.Stale = 45 * time.Second
	w.Tick(t.Context())
	w.says(engine.RouteNotInForce, "True", "OlderRoutesInUse", "45s", "at most 30s", "istioctl proxy-status")
	if r := w.Status().Rollout; r.Decision.Reason != string(rollout.WaitingForRoute) {
		t.Errorf("decision %+v, want it to wait for the routes", r.Decision)
	}
	w.platform.Stale = 0
	w.Tick(t.Context())
	w.says(engine.RouteNotInForce, "False", "AsExpected")
}

// TestRoutesThatNobodyAsksForAreNoReasonToHurry: no request shows that they are in
// force, so they are asked for again in each round, and rounds come by the clock.
func TestRoutesThatNobodyAsksForAreNoReasonToHurry(t *testing.T) {
	w := trial(t)
	w.platform.Stale = time.Second
	again := w.Tick(t.Context())
	for range 10 {
		again = w.Tick(t.Context())
	}
	if again != nil {
		t.Error("the next round does not wait, although nothing changed")
	}
	w.platform.Applied()
	w.Tick(t.Context())
	if n := len(w.platform.Applied()); n != 1 {
		t.Errorf("%d actions in a round, want the routes again", n)
	}
}

// TestFailuresThatClientsDoNotSeeAreSaid while the version before answers them, and no longer.
func TestFailuresThatClientsDoNotSeeAreSaid(t *testing.T) {
	w := newWorld(t)
	w.inProduction("1")
	w.says(engine.FallingBack, "False", "AsExpected", "no version before")
	w.promoted("2")
	w.round(50, 0)
	w.says(engine.FallingBack, "False", "AsExpected", "version 1")
	w.source.Fail(w.platform.Routing().Epoch, 3)
	w.round(47, 0)
	began := w.says(engine.FallingBack, "True", "PreviousAnswers", "version 2 failed 3 of ", "version 1 answered 3", "keepOld", "serin rollback").Since
	w.clock.move(time.Minute) // the evidence is written down
	w.round(0, 0)
	w.open()
	w.round(0, 0)
	w.says(engine.FallingBack, "True", "PreviousAnswers", "failed 3 of ") // a new leader says it too
	w.onTrial("3")
	w.says(engine.FallingBack, "True", "PreviousAnswers", "version 2 failed 3 of ", "serin abort")
	w.round(100, 0)
	if c := w.condition(engine.FallingBack); c.Since.Before(began) {
		t.Errorf("since %s, before it began at %s", c.Since, began)
	}
	if r := w.act("Abort", ""); !r.Accepted {
		t.Fatalf("aborting: %+v", r)
	}
	w.until("keepOld is over", 0, 0, func() bool { w.clock.move(time.Minute); return w.Status().Previous == nil })
	w.says(engine.FallingBack, "False", "AsExpected", "no version before")
}
