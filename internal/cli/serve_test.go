package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestMetricsOfServe: what clients asked shows by arm, revision and status.
func TestMetricsOfServe(t *testing.T) {
	l := serveLive(t, document("1", ""))
	client := &http.Client{Timeout: soon}
	for range 7 {
		resp, err := client.Get(l.address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	get := func(token string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, l.api+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	secret, err := os.ReadFile(filepath.Join(l.folder, "token-watcher"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := get(""); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d, want 401", code)
	}
	waitFor(t, "all seven are counted", func() bool {
		_, text := get("Bearer " + string(secret))
		return strings.Contains(text, `serin_requests_total{arm="stable",endpoint="m",namespace="",response_code="200",revision="m-r1"} 7`)
	})
	_, text := get("Bearer " + string(secret))
	for _, line := range []string{`serin_revision_ready{arm="stable",endpoint="m",namespace="",revision="m-r1",version="1"} 1`, `outcome="Promoted",reason="FirstVersion"`, `serin_candidate_weight_ratio{endpoint="m",namespace=""} 0`} {
		if !strings.Contains(text, line) {
			t.Errorf("the exposition lacks %s", line)
		}
	}
}

// hook is a receiver of notifications.
type hook struct {
	mu    sync.Mutex
	types []string
}

func (h *hook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e struct{ Type, Subject string }
	if json.NewDecoder(r.Body).Decode(&e) == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.types = append(h.types, e.Subject+" "+strings.TrimPrefix(e.Type, "dev.serin.rollout."))
	}
}

func (h *hook) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.types)
}

// TestNotifyOfServe: every transition of a rollout reaches the receiver that the
// document names, once, and its address shows nowhere.
func TestNotifyOfServe(t *testing.T) {
	h := &hook{}
	receiver := httptest.NewServer(h)
	t.Cleanup(receiver.Close)
	with := func(version string) string {
		return document(version, "") + "  notify: [{url: \"" + receiver.URL + "/hook/SECRET\"}]\n"
	}
	l := serveLive(t, with("1"))
	said := func(what string) { t.Helper(); waitFor(t, what, func() bool { return slices.Contains(h.got(), what) }) }
	said("m-1 FirstVersion")
	apply := func(version string) {
		t.Helper()
		if code, out, errs := run(t, l.as("", "apply", "-f", l.write(version+".yaml", with(version), 0o600))...); code != ExitDone || strings.Contains(errs, "not used") {
			t.Fatalf("apply: %d %s%s", code, out, errs)
		}
	}
	waiting := func(s engine.Status) bool {
		return s.Rollout.Decision.Reason == string(rollout.WaitingForApproval)
	}
	apply("2")
	said("m-2 Starting")
	said("m-2 WaitingForApproval")
	run(t, l.as("", "approve")...)
	said("m-2 StepEntered")
	run(t, l.as("", "abort")...)
	said("m-2 Aborted")
	apply("3")
	l.status("the gate waits", waiting)
	run(t, l.as("", "promote")...)
	said("m-3 PromotedByPerson")
	l.end()
	seen := map[string]int{}
	for _, w := range h.got() {
		if seen[w]++; seen[w] > 1 {
			t.Errorf("%s was told %d times", w, seen[w])
		}
	}
	if strings.Contains(l.log.String(), "SECRET") {
		t.Errorf("the log tells the address:\n%s", l.log)
	}
}
