package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// script is an API whose answers to GET of the endpoint are given one by one; the
// last one is repeated. It counts everything that is not a GET.
func script(t *testing.T, answers ...func(http.ResponseWriter)) (flags []string, writes *atomic.Int32) {
	t.Helper()
	var n, w atomic.Int32
	ts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Add(1)
		}
		i := min(int(n.Add(1)), len(answers)) - 1
		answers[i](rw)
	}))
	t.Cleanup(ts.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--server", ts.URL, "--token-file", token, "--endpoint", "safe-driver"}, &w
}

func answering(change func(*engine.Status)) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		st := onTrial()
		change(&st)
		_ = json.NewEncoder(w).Encode(st)
	}
}

func failing(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"reason":"X","message":"it hurts"}`))
	}
}

func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func running(s *engine.Status) { s.Rollout.Decision.Reason = "WaitingForRequests" }
func promoted(s *engine.Status) {
	s.Rollout.Outcome = string(rollout.Promoted)
}

func TestWaitBearsBlips(t *testing.T) {
	flags, writes := script(t, answering(running), failing(500), cut, answering(running), answering(promoted))
	code, _, errs := run(t, append([]string{"wait"}, flags...)...)
	if code != ExitDone || !strings.Contains(errs, "no answer; asking again") || strings.Count(errs, "no answer") != 1 || strings.Count(errs, "WaitingForRequests; needs about 1187 more candidate requests to decide on latency; 2 min at the present 8.0/s") != 2 {
		t.Errorf("exit code %d, stderr:\n%s", code, errs)
	}
	if writes.Load() != 0 {
		t.Errorf("waiting changed something: %d requests that were no GET", writes.Load())
	}
}

func TestWaitEndsWhenTheAPIRefuses(t *testing.T) {
	for status, want := range map[int]int{http.StatusUnauthorized: ExitForbidden, http.StatusNotFound: ExitNotFound} {
		flags, _ := script(t, answering(running), failing(status))
		if code, _, errs := run(t, append([]string{"wait"}, flags...)...); code != want || !strings.Contains(errs, "it hurts") {
			t.Errorf("%d: exit code %d, want %d: %s", status, code, want, errs)
		}
	}
}

func TestResultOfWaiting(t *testing.T) {
	with := func(change func(*engine.Status)) engine.Status {
		st := onTrial()
		change(&st)
		return st
	}
	reason := func(r rollout.Reason) func(*engine.Status) {
		return func(s *engine.Status) { s.Rollout.Decision.Reason = string(r) }
	}
	for _, c := range []struct {
		name   string
		change func(*engine.Status)
		step   string
		result string // empty: goes on waiting
		code   int
	}{
		{"runs", running, "", "", 0},
		{"waits for approval, no step asked for", func(*engine.Status) {}, "", "", 0},
		{"entered long ago", running, "shadow", "Entered", ExitDone},
		{"entered", running, "10%", "Entered", ExitDone},
		{"lacks only its approval", func(*engine.Status) {}, "50%", "ReadyToEnter", ExitDone},
		{"lacks more than its approval", running, "50%", "", 0},
		{"another step's approval", func(*engine.Status) {}, "100%", "", 0},
		{"held for lack of approval", reason(rollout.ApprovalTimedOut), "", "Held", ExitHeld},
		{"held at the deadline", reason(rollout.MaxDurationReached), "100%", "Held", ExitHeld},
		{"held, but that step was entered", reason(rollout.MaxDurationReached), "10%", "Entered", ExitDone},
		{"promoted", promoted, "", "Promoted", ExitDone},
		{"promoted, step asked for", promoted, "50%", "Promoted", ExitDone},
		{"reverted", func(s *engine.Status) { s.Rollout.Outcome = "Reverted" }, "50%", "Reverted", ExitReverted},
		{"superseded", func(s *engine.Status) { s.Rollout.Outcome = "Superseded" }, "", "Superseded", ExitReverted},
		{"rolled back", func(s *engine.Status) { s.Rollout.Outcome = "RolledBack" }, "", "RolledBack", ExitReverted},
		{"before the first step", func(s *engine.Status) {
			running(s)
			s.Rollout.Step, s.Rollout.StepName, s.Rollout.Steps[0].State, s.Rollout.Steps[1].State = 0, "", "Waiting", "Waiting"
		}, "shadow", "", 0},
	} {
		w, over, err := result(with(c.change), waitOptions{step: c.step})
		if err != nil || over != (c.result != "") || w.Result != c.result || w.ExitCode != c.code {
			t.Errorf("%s: %q, exit code %d, over %v (%v); want %q, %d", c.name, w.Result, w.ExitCode, over, err, c.result, c.code)
		}
	}
}
