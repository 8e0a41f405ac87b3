package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// turn is a step of the plan in which a candidate goes bad.
type turn struct {
	step, name string
	mode       string
	reason     string // of the revert; empty: any
}

// TestRevertByEvidenceAtEveryStep: a candidate that was good until then goes bad in
// shadow, at 1, 10 and 50 %. Nobody is needed to revert it, and no request fails.
func TestRevertByEvidenceAtEveryStep(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "turns", 120, plan{})
	turns := []turn{
		{"shadow: 100%", "shadow", "fail", ""},
		{"shadow: 100%", "shadow", "wrong", ""},
		{"weight: 1%", "1%", "fail", ""},
		{"weight: 10%", "10%", "half", ""},
		{"weight: 50%", "50%", "half", ""},
	}
	for i, c := range turns {
		version, candidate := fmt.Sprint("turn-", i), fmt.Sprintf("turns-r%d", i+2)
		p := acting(version, "")
		p.Judge, p.Steps = scoresJudged, "{"+c.step+", minDuration: 10m}, {weight: 60%}, {weight: 100%}"
		w.apply(p)
		w.awaitStep(version, 0)
		w.await("some evidence that it is good", 2*time.Minute, func(s engine.Status) bool {
			return s.Rollout.Evidence.Pairs > 150 || s.Rollout.Evidence.CandidateRequests > 3
		})
		turned := time.Now()
		w.tells(candidate, c.mode)
		st := w.awaitOutcome(version, "Reverted", 3*time.Minute)
		if st.Rollout.StepName != c.name {
			t.Errorf("%s reverted at step %s, want %s", version, st.Rollout.StepName, c.name)
		}
		w.onlyTo("turns-r1", st)
		t.Logf("%s at %s: reverted %.1f s after it began: %s: %s", c.mode, c.name, st.Rollout.Decision.At.Sub(turned).Seconds(), st.Rollout.Decision.Reason, st.Rollout.Decision.Message)
	}
	for _, a := range quiet() {
		if r := a.revision(); r == "turns-r2" || r == "turns-r3" {
			t.Errorf("a client was routed to a version in shadow: %+v", a)
		}
	}
}

// TestRevertAfterPromotion: a version that goes bad when it has all of the traffic is
// taken back without a person as long as the old one is kept, and until then that one
// answers in its place. Without fallback clients see its failures until ten seconds of
// nothing else have passed.
func TestRevertAfterPromotion(t *testing.T) {
	t.Parallel()
	for name, fallback := range map[string]string{"bake": "Stable", "bake-none": "None"} {
		t.Run(fallback, func(t *testing.T) {
			t.Parallel()
			goesBadAfterPromotion(t, name, fallback)
		})
	}
}

func goesBadAfterPromotion(t *testing.T, name, fallback string) {
	t.Helper()
	const perSecond = 60
	w := newWorld(t, name)
	w.apply(plan{Version: "v1", Fallback: fallback})
	w.awaitStable("v1")
	stop := w.traffic(perSecond)
	t.Cleanup(func() { stop() })
	p := acting("good-at-first", "")
	p.KeepOld, p.Fallback = "5m", fallback
	w.apply(p)
	w.awaitOutcome("good-at-first", "Promoted", 3*time.Minute)
	if bad := failures(w.answers()); len(bad) > 0 {
		t.Errorf("%d requests failed before it went bad, want none; the first: %+v", len(bad), bad[0])
	}
	turned := time.Now()
	w.tells(name+"-r2", "fail")
	said := false
	st := w.await("the rollback", time.Minute, func(s engine.Status) bool {
		said = said || slices.ContainsFunc(s.Conditions, func(c engine.Condition) bool { return c.Type == engine.FallingBack && c.Status == "True" })
		return s.Rollout.Outcome == "RolledBack"
	})
	if said != (fallback == "Stable") {
		t.Errorf("the status said FallingBack: %v, with fallback %s", said, fallback)
	}
	if st.Rollout.Decision.Reason != "BakeFailed" {
		t.Errorf("reason %s, want BakeFailed", st.Rollout.Decision.Reason)
	}
	w.onlyTo(name+"-r1", st)
	all := stop()
	bad, rescued := failures(all), 0
	for _, a := range all {
		if a.fallback == "previous" {
			rescued++
		}
	}
	switch most := 20 * perSecond; fallback {
	case "Stable":
		if len(bad) > 0 || rescued == 0 {
			t.Errorf("%d requests failed, want none; the version before answered %d in the place of the one promoted", len(bad), rescued)
		}
	default:
		if len(bad) == 0 || len(bad) > most || rescued > 0 {
			t.Errorf("%d requests failed, want some and at most %d; %d were answered by the version before, want none", len(bad), most, rescued)
		}
	}
	t.Logf("rolled back %.1f s after it went bad; %d of %d requests failed, %d were answered by the version before", st.Rollout.EndedAt.Sub(turned).Seconds(), len(bad), len(all), rescued)
}
