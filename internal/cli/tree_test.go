package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// onTrial is an endpoint in the second of four steps, waiting for approval.
func onTrial() engine.Status {
	return engine.Status{
		Endpoint: "safe-driver", At: noon, Address: "http://127.0.0.1:8080/score",
		Stable:    &engine.RevisionView{Name: "safe-driver-r1", Version: "1", Ready: true},
		Candidate: &engine.RevisionView{Name: "safe-driver-r2", Version: "2", Ready: true, Restarts: 2},
		Weights:   engine.Weights{PlannedBP: 1000, InForceBP: 1000},
		Traffic:   engine.Traffic{RequestsPerSecond: 80, CandidatePerSecond: 8},
		Rollout: &engine.RolloutView{
			ID: "safe-driver-2", From: "1", To: "2", StartedAt: noon.Add(-95 * time.Second), Step: 1, StepName: "10%",
			Steps: []engine.StepView{
				{Name: "shadow", ShadowBP: 10000, State: "Done"}, {Name: "10%", WeightBP: 1000, State: "Current"},
				{Name: "50%", WeightBP: 5000, Approval: true, State: "Waiting"}, {Name: "100%", WeightBP: 10000, State: "Waiting"},
			},
			Decision: engine.DecisionView{Action: "Hold", Reason: string(rollout.WaitingForApproval), Message: "step 50% asks for approval"},
			Evidence: engine.EvidenceView{Digest: "9e4b29e204c7", StableRequests: 1941, CandidateRequests: 113, CandidateErrors: 2, FellBack: 2, Pairs: 986, Disagreed: 18},
			Verdict: judge.Verdict{Metrics: []judge.Metric{
				{Name: "errors", Outcome: judge.Inconclusive, Required: true, Needed: 487, Message: "candidate failed 2 of 113, stable 0 of 955"},
				{Name: "latency", Outcome: judge.Inconclusive, Required: true, Needed: 1187, Message: "p50 349µs against 293µs"},
				{Name: "agreement", Outcome: judge.Pass, Required: true, ShadowOnly: true, Message: "98.03 % of 814 pairs agree"},
			}},
		},
		Conditions: []engine.Condition{{Type: "Ready", Status: "True"}, {Type: "Degraded", Status: "False"}},
	}
}

func drawn(st engine.Status, p paint) string {
	var b bytes.Buffer
	tree(&b, st, p)
	return b.String()
}

func TestTree(t *testing.T) {
	want := `safe-driver  http://127.0.0.1:8080/score
  traffic    80.0 requests/s, 8.0 of them to the candidate
  weights    candidate 10% planned, 10% in force
⟳ safe-driver-2  version 1 → 2  step 10% (2/4), started 1 min ago
│ ✔ shadow  ◌ 10%  • 50% (approval)  • 100%
│ WaitingForApproval: step 50% asks for approval
│   needs      about 1187 more candidate requests to decide on latency; 2 min at the present 8.0/s
│   → serin approve --step 50% --evidence 9e4b29e204c7, or serin reject
│   evidence   stable 1941 requests, 0 errors · candidate 113 requests, 2 errors · 2 answered by another version · 986 shadow pairs, 18 disagreed  9e4b29e204c7
│   ◷ errors         candidate failed 2 of 113, stable 0 of 955
│   ◷ latency        p50 349µs against 293µs
│   ✔ agreement      98.03 % of 814 pairs agree
⧉ safe-driver-r1  version 1  stable  ✔ ready
⧉ safe-driver-r2  version 2  candidate  ✔ ready  restarted 2 times
`
	if diff := cmp.Diff(want, drawn(onTrial(), paint{})); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// TestTreeSays looks for the words that somebody woken up needs.
func TestTreeSays(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*engine.Status)
		says []string
		not  string
	}{
		{"reverted", func(s *engine.Status) {
			ended := noon.Add(-3 * time.Hour)
			s.Rollout.Outcome, s.Rollout.EndedAt = "Reverted", &ended
			s.Rollout.Decision = engine.DecisionView{Action: "Revert", Reason: "Latency", Message: "too slow"}
			s.Rollout.Steps[1].State = ""
		}, []string{"✖ REVERTED, 3 h ago", "✖ 10%", "Latency: too slow", "all traffic is on stable", "kept for debugging"}, "needs"},
		{"promoted", func(s *engine.Status) {
			s.Rollout.Outcome, s.Previous, s.Candidate = "Promoted", s.Stable, nil
		}, []string{"✔ PROMOTED", "serin rollback goes back to version 1", "kept for rollback"}, "serin approve"},
		{"held", func(s *engine.Status) { s.Rollout.Decision.Reason = string(rollout.ApprovalTimedOut) }, []string{"HELD", "serin promote or serin abort ends it"}, "serin approve"},
		{"paused", func(s *engine.Status) { s.Rollout.Paused = true }, []string{"PAUSED", "serin resume"}, "serin approve"},
		{"routes lag", func(s *engine.Status) { s.Weights.InForceBP = 0 }, []string{"10% planned, 0% in force: the routes lag behind"}, "?"},
		{"degraded", func(s *engine.Status) {
			s.Conditions[1] = engine.Condition{Type: "Degraded", Status: "True", Reason: "HoldingLastWeights", Message: "disk full"}
		}, []string{"▲ Degraded=True HoldingLastWeights: disk full"}, "?"},
		{"evidence limited", func(s *engine.Status) {
			s.Conditions = append(s.Conditions, engine.Condition{Type: engine.EvidenceLimited, Status: "True", Reason: "AccessLogLacks", Message: "50 of 200"}, engine.Condition{Type: engine.RouteNotInForce, Status: "False", Reason: "AsExpected"})
		}, []string{"▲ EvidenceLimited=True AccessLogLacks: 50 of 200"}, "RouteNotInForce"},
		{"overwritten, and stuck", func(s *engine.Status) {
			s.Conditions = append(s.Conditions, engine.Condition{Type: engine.WeightsOverwritten, Status: "True", Reason: "PutBack", Message: "kubectl-edit"}, engine.Condition{Type: engine.RouteNotInForce, Status: "True", Reason: "OlderRoutesInUse", Message: "45s"})
		}, []string{"▲ WeightsOverwritten=True PutBack: kubectl-edit", "▲ RouteNotInForce=True OlderRoutesInUse: 45s"}, "?"},
		{"stable down", func(s *engine.Status) {
			s.Stable.Ready, s.Stable.Failure = false, "exit status 1"
			s.Conditions[0] = engine.Condition{Type: "Ready", Status: "False", Reason: "StableNotReady", Message: "safe-driver-r1 is not ready"}
		}, []string{"▲ Ready=False StableNotReady", "◌ not ready", "exit status 1"}, "?"},
		{"no traffic", func(s *engine.Status) { s.Traffic = engine.Traffic{} }, []string{"; none come at present"}, "at the present"},
		{"shadow", func(s *engine.Status) {
			s.Weights = engine.Weights{ShadowBP: 5000}
			s.Traffic.CandidatePerSecond = 0
			s.Rollout.Verdict.Metrics[2].Outcome, s.Rollout.Verdict.Metrics[2].Needed = judge.Inconclusive, 400
		}, []string{"about 400 more shadow pairs to decide on agreement; 10 s at the present 40.0/s", "they begin with the first weight step", "; shadow 50%"}, "?"},
		{"dropped", func(s *engine.Status) { s.Rollout.Evidence.Dropped = 7 }, []string{"7 answers were not recorded"}, "?"},
		{"nothing yet", func(s *engine.Status) { s.Rollout, s.Stable, s.Candidate = nil, nil, nil }, []string{"safe-driver"}, "⟳"},
		{"before the first step", func(s *engine.Status) {
			s.Rollout.StepName, s.Rollout.Step = "", 0
			s.Rollout.Decision = engine.DecisionView{Reason: "CandidateNotReady", Message: "not ready"}
		}, []string{"step 0/4"}, "serin approve"},
	} {
		st := onTrial()
		c.make(&st)
		text := drawn(st, paint{})
		for _, s := range c.says {
			if !strings.Contains(text, s) {
				t.Errorf("%s: %q is not in\n%s", c.name, s, text)
			}
		}
		if strings.Contains(text, c.not) {
			t.Errorf("%s: %q must not be in\n%s", c.name, c.not, text)
		}
	}
}

func TestFit(t *testing.T) {
	plain := strings.NewReplacer("\x1b[K", "", "\r\n", "\n")
	for _, c := range []struct {
		text, want    string
		width, height int
	}{
		{"a\nb\n", "a\nb", 80, 24},
		{"│ one two three four", "│ one two \n│       three \n│       four", 14, 24},
		{"one two three", "one two \n    three", 10, 24},
		{"\x1b[31mone\x1b[0m two", "\x1b[31mone\x1b[0m two", 7, 24},
		{"abcdefghij", "abcdefghij", 5, 24}, // no word fits: left to the terminal
		{"1\n2\n3\n4\n5", "1\n2\n… 3 more lines: make the window larger, or serin status | less", 80, 4},
	} {
		if got := plain.Replace(fit(c.text, c.width, c.height)); got != c.want {
			t.Errorf("fit(%q, %d, %d) = %q, want %q", c.text, c.width, c.height, got, c.want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 59 * time.Second: "59 s", 119 * time.Minute: "119 min", 47 * time.Hour: "47 h", 50 * time.Hour: "2 days"} {
		if got := ago(d); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
}
