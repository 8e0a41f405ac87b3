package e2e_test

import (
	"testing"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
)

// TestA12A13PauseAndScale: a rollout is paused for longer than its progress deadline and
// is not ended by it (A12). In the pause the document asks for two replicas: both
// revisions get them, no other rollout begins, and it goes on from where it was (A13).
func TestA12A13PauseAndScale(t *testing.T) {
	t.Parallel()
	const deadline = 40 * time.Second // the pods of a busy machine take half of it
	w, quiet := begin(t, "pause", 60, plan{})
	p := plan{Version: "v2", Deadline: deadline.String(), Steps: "{weight: 10%, minDuration: 2s}, {weight: 50%, minDuration: 1s}, {weight: 100%}"}
	w.apply(p)
	id := w.awaitStep("v2", 0).Rollout.ID
	if got := w.act("otto", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Pause"}, 10*time.Second); !got.Accepted {
		t.Fatalf("the pause was refused: %+v", got)
	}
	paused := time.Now()
	w.await("Paused", 10*time.Second, func(s engine.Status) bool { return s.Rollout.Decision.Reason == "Paused" })
	p.Scaling = "{replicas: 2}"
	w.apply(p)
	w.await("two pods each, longer than the deadline", 3*time.Minute, func(s engine.Status) bool {
		if s.Rollout.ID != id || s.Rollout.Outcome != "" || s.Weights.PlannedBP != 1000 {
			t.Fatalf("in the pause: %s %q at %d basis points, want %s at 1000", s.Rollout.ID, s.Rollout.Outcome, s.Weights.PlannedBP, id)
		}
		return s.Stable.ReadyReplicas == 2 && s.Candidate.ReadyReplicas == 2 && time.Since(paused) > deadline+3*time.Second
	})
	if got := w.act("otto", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Resume"}, 10*time.Second); !got.Accepted {
		t.Fatalf("going on was refused: %+v", got)
	}
	if st := w.awaitOutcome("v2", "Promoted", time.Minute); st.Rollout.ID != id {
		t.Errorf("rollout %s was promoted, want %s", st.Rollout.ID, id)
	}
	quiet()
}

// TestA16VersionAndReplicasTogether: one document brings a new version and more
// replicas: one rollout, both revisions have them, and at half of the traffic the
// candidate has as many as stable.
func TestA16VersionAndReplicasTogether(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "both", 60, plan{})
	w.apply(plan{Version: "v2", Scaling: "{replicas: 2}", Steps: "{weight: 50%, minDuration: 3s}, {weight: 100%}"})
	w.await("two pods each", 2*time.Minute, func(s engine.Status) bool {
		return s.Stable.ReadyReplicas == 2 && s.Candidate != nil && s.Candidate.ReadyReplicas == 2
	})
	if st := w.awaitOutcome("v2", "Promoted", time.Minute); st.Rollout.Number != 2 {
		t.Errorf("attempt %d was promoted, want the second one", st.Rollout.Number)
	}
	quiet()
}

// TestA15RollbackOutsideTheWindow: once the old version is gone a rollback is refused,
// says why, and changes nothing.
func TestA15RollbackOutsideTheWindow(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "window", 60, plan{})
	w.apply(plan{Version: "v2", KeepOld: "1s"})
	st := w.awaitOutcome("v2", "Promoted", time.Minute)
	w.await("the old version gone", 2*time.Minute, func(s engine.Status) bool { return s.Previous == nil && len(w.pods("window-r1")) == 0 })
	got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Rollback"}, 10*time.Second)
	if got.Accepted || got.Reason != "NotPossibleNow" {
		t.Errorf("rollback after the window: %+v, want NotPossibleNow", got)
	}
	w.onlyTo("window-r2", st)
	t.Logf("%s: %s", got.Reason, got.Message)
	quiet()
}
