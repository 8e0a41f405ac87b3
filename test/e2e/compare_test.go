package e2e_test

import (
	"strings"
	"testing"
	"time"
)

const shadowFirst = "{shadow: 100%, minDuration: 5s}, " + shortSteps

// TestAnotherSchemaIsCaughtInShadow: a version that answers 200 in a form without
// scores is reverted before a client saw one of its answers.
func TestAnotherSchemaIsCaughtInShadow(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "schema", 60, plan{})
	p := acting("other-form", "schema")
	p.Steps, p.Judge = shadowFirst, scoresJudged
	w.apply(p)
	st := w.awaitOutcome("other-form", "Reverted", 2*time.Minute)
	if st.Rollout.StepName != "shadow" {
		t.Errorf("reverted at step %s, want shadow", st.Rollout.StepName)
	}
	t.Logf("%s: %s", st.Rollout.Decision.Reason, st.Rollout.Decision.Message)
	for _, a := range quiet() {
		if strings.HasSuffix(a.revision(), "-r2") {
			t.Fatalf("a client was routed to the version with another schema: %+v", a)
		}
	}
}
