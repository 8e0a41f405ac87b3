package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
)

// Two answers of the noisy scorers to one request differ by more than 0.005 three times in ten, although 22 % are
// enough to revert a candidate.
const noiseJudged = `    agreement: {tolerance: "0.005", revertBelow: 78%, promoteAbove: 80%}
`

// TestNoisyScorersAgreeWithinTheirNoise: a candidate that disagrees with stable as often as stable does with itself is
// let past shadow; a wrong one is reverted there.
func TestNoisyScorersAgreeWithinTheirNoise(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "noisy")
	w.apply(plan{Version: "noisy"})
	w.awaitStable("noisy")
	stop := w.traffic(200)
	defer stop()
	steps := "{shadow: 100%, minDuration: 20s}, " + shortSteps // stable is asked twice there only, and less on a busy machine
	w.apply(plan{Version: "noisy-too", Judge: noiseJudged, Steps: steps})
	st := w.await("noisy-too past shadow", 3*time.Minute, func(s engine.Status) bool {
		r := s.Rollout
		return r != nil && r.To == "noisy-too" && (r.Outcome != "" || r.Step > 0)
	})
	if r := st.Rollout; r.Outcome != "" && r.Outcome != "Promoted" {
		t.Fatalf("the noisy candidate: %s in step %s: %s", r.Outcome, r.StepName, r.Decision.Message)
	}
	m := agreement(t, st)
	t.Logf("past shadow: %s", m.Message)
	if m.Outcome != judge.Pass || !strings.Contains(m.Message, "stable with itself") || m.Value <= .78 {
		t.Errorf("agreement %s at %.3f: %s; want it passed beyond stable's own noise", m.Outcome, m.Value, m.Message)
	}
	wrong := time.Now()
	w.apply(plan{Version: "noisy-swapped", Judge: noiseJudged, Steps: steps})
	st = w.awaitOutcome("noisy-swapped", "Reverted", 3*time.Minute)
	t.Logf("reverted: %s", st.Rollout.Decision.Message)
	if st.Rollout.StepName != "shadow" {
		t.Errorf("reverted at step %s, want shadow", st.Rollout.StepName)
	}
	if m := agreement(t, st); m.Outcome != judge.Fail || !strings.Contains(m.Message, "stable with itself") {
		t.Errorf("agreement %s: %s; want it failed beyond stable's own noise", m.Outcome, m.Message)
	}
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	for _, a := range all {
		if a.at.After(wrong) && strings.HasSuffix(a.revision(), "-r3") {
			t.Fatalf("a client was routed to the wrong version: %+v", a)
		}
	}
	t.Logf("%d requests, %d failed", len(all), len(failures(all)))
}

func agreement(t *testing.T, s engine.Status) judge.Metric {
	t.Helper()
	for _, m := range s.Rollout.Verdict.Metrics {
		if m.Name == "agreement" {
			return m
		}
	}
	t.Fatalf("agreement is not judged: %+v", s.Rollout.Verdict)
	return judge.Metric{}
}
