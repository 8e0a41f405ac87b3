package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/cli"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/report"
)

// serin runs the command line against the cluster, as its administrator.
func (w *world) serin(args ...string) (code int, out string) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	code = cli.Run(ctx, append(args, "--namespace", namespace, "--endpoint", w.name), cli.IO{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	if code != 0 {
		return code, stderr.String()
	}
	return code, stdout.String()
}

// TestReportInACluster: what an approver sees at a gate, and what is reported of a
// rollout that ended, from its ScoringRollout.
func TestReportInACluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "report")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{shadow: 100%, minDuration: 2s}, {weight: 10%, minDuration: 3s}, {weight: 50%, approval: Required}, {weight: 100%}"})
	st := w.await("the gate", 2*time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "v2" && s.Rollout.Decision.Reason == "WaitingForApproval"
	})
	code, screen := w.serin("report", "--gate")
	for _, says := range []string{"Waits for approval of step 50%; weight 10% planned, 10% in force", "serin approve --namespace abtesting", "--rollout " + st.Rollout.ID, "evidence   "} {
		if code != cli.ExitDone || !strings.Contains(screen, says) {
			t.Errorf("exit code %d; an approver does not see %q:\n%s", code, says, screen)
		}
	}
	t.Logf("the gate:\n%s", screen)
	if code, out := w.serin("approve", "--step", "50%", "--on-behalf-of", "Ann Lee"); code != cli.ExitDone {
		t.Fatalf("approve: exit code %d: %s", code, out)
	}
	w.awaitStep("v2", 2)
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Abort", Reason: "rehearsal | *over*"}, 10*time.Second); !got.Accepted {
		t.Fatalf("the abort was refused: %+v", got)
	}
	w.awaitOutcome("v2", "Aborted", 30*time.Second)
	w.record(st.Rollout.ID)
	code, text := w.serin("report", "-o", "json")
	var r report.Report
	if err := json.Unmarshal([]byte(text), &r); code != cli.ExitDone || err != nil {
		t.Fatalf("report: exit code %d, %v: %s", code, err, text)
	}
	ten := r.Steps[1]
	if r.Rollout != st.Rollout.ID || r.Result != report.Reverted || r.Outcome != "Aborted" || r.From.Version != "v1" || ten.Counts.CandidateRequests == 0 || ten.SeenBP == nil || *ten.SeenBP < 300 || *ten.SeenBP > 2500 || r.Evidence.Pairs == 0 {
		t.Errorf("the report: %s", text)
	}
	if len(r.Approvals) != 1 || r.Approvals[0].OnBehalfOf != "Ann Lee" || r.Approvals[0].EvidenceDigest == "" {
		t.Errorf("approvals %+v", r.Approvals)
	}
	if code, page := w.serin("report"); code != cli.ExitDone || !strings.Contains(page, `rehearsal &#124; \*over\*`) {
		t.Errorf("exit code %d, the page:\n%s", code, page)
	}
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
}
