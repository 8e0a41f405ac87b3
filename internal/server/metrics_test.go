package server

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func scrape(t *testing.T, f *fake) string {
	t.Helper()
	w := ask(newServer(t, f), "viewer", "GET", "/metrics", "")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("GET /metrics: %d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	return w.Body.String()
}

func TestMetricsTellWhatIs(t *testing.T) {
	text := scrape(t, newFake())
	for _, line := range []string{
		`serin_build_info{goversion="go`,
		`serin_requests_total{arm="candidate",endpoint="m",namespace="ns",response_code="none",revision="m-r2"} 1`,
		`serin_requests_total{arm="stable",endpoint="m",namespace="ns",response_code="200",revision="m-r1"} 90`,
		`serin_candidate_weight_planned_ratio{endpoint="m",namespace="ns"} 0.1`,
		`serin_candidate_weight_ratio{endpoint="m",namespace="ns"} 0.09`,
		`serin_shadow_ratio{endpoint="m",namespace="ns"} 0.001`,
		`serin_requests_per_second{arm="stable",endpoint="m",namespace="ns"} 9`,
		`serin_shadow_dropped_total{endpoint="m",namespace="ns"} 2`,
		`serin_fallback_total{endpoint="m",namespace="ns"} 1`,
		`serin_verdict_log_evidence{direction="promote",endpoint="m",metric="errors",namespace="ns"} 3`,
		`serin_verdict_log_evidence{direction="revert",endpoint="m",metric="combined",namespace="ns"} 1.5`,
		`serin_verdict_outcome{endpoint="m",metric="errors",namespace="ns",outcome="Pass",reason="WithinBounds"} 1`,
		`serin_evidence{count="stable_requests",endpoint="m",namespace="ns"} 9`,
		`serin_revision_restarts_total{arm="candidate",endpoint="m",namespace="ns",revision="m-r2",version="1"} 2`,
		`serin_rollout_info{endpoint="m",from="1",namespace="ns",outcome="Reverted",reason="WaitingForRequests",rollout="m-1",to="2"} 1`,
		`serin_rollout_step{endpoint="m",namespace="ns"} 1`,
		`serin_condition{endpoint="m",namespace="ns",reason="Serving",type="Ready"} 1`,
		`serin_notifications_total{endpoint="m",namespace="ns",receiver="example.com",result="dropped"} 2`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the exposition lacks %s", line)
		}
	}
}

func TestMetricsWithoutARollout(t *testing.T) {
	f := newFake()
	f.status.Rollout, f.status.Candidate, f.status.Previous, f.status.Stable = nil, nil, nil, nil
	if text := scrape(t, f); strings.Contains(text, "serin_rollout") || !strings.Contains(text, "serin_candidate_weight_ratio") {
		t.Error("without a rollout its metrics must be gone, and the endpoint's be there")
	}
}

// TestMetricsAreDocumented: each metric has a row in docs/api.md, and the other way round.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, exposed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(serin_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^# TYPE (serin_[a-z_]+) ").FindAllStringSubmatch(scrape(t, newFake()), -1) {
		exposed = append(exposed, m[1])
	}
	slices.Sort(documented)
	slices.Sort(exposed)
	if !slices.Equal(documented, exposed) {
		t.Errorf("documented: %v\nexposed:    %v", documented, exposed)
	}
}
