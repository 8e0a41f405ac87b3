package e2e_test

import (
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// TestStableBrokenAtTheStart: production has no ready pod when a new version is
// applied. Nothing can be compared, so the rollout waits and says for what; a person
// may go forward all the same, and from then on clients get answers.
func TestStableBrokenAtTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "down")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	w.scale("down-r1", "0")
	w.await("stable not ready", time.Minute, func(s engine.Status) bool { return s.Stable != nil && !s.Stable.Ready })
	stop := w.traffic(60)
	t.Cleanup(func() { stop() })
	w.apply(plan{Version: "v2"})
	st := w.await("StableNotReady", 2*time.Minute, func(s engine.Status) bool {
		return s.Rollout.To == "v2" && s.Candidate != nil && s.Candidate.Ready && s.Rollout.Decision.Reason == "StableNotReady"
	})
	if st.Weights.PlannedBP != 0 || st.Weights.ShadowBP != 0 {
		t.Errorf("%d basis points while stable is down, want none", st.Weights.PlannedBP)
	}
	t.Logf("%s: %s", st.Rollout.Decision.Reason, st.Rollout.Decision.Message)
	w.promote(st.Rollout.ID)
	in := w.awaitRoutes(w.awaitOutcome("v2", "Promoted", time.Minute).Weights.Epoch).Add(200 * time.Millisecond)
	time.Sleep(time.Second) // of traffic
	served := 0
	for _, a := range stop() {
		if a.at.Before(in) {
			continue
		}
		served++
		if a.failed() || a.revision() != "down-r2" {
			t.Errorf("after the promotion: %+v, want an answer of the new version", a)
		}
	}
	if served == 0 {
		t.Error("nobody asked after the promotion")
	}
	t.Logf("%d requests after the promotion, all answered by the new version", served)
}
