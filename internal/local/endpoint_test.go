package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
)

// document asks for a stub; steps default to one that never ends by itself.
func document(version, listen, steps string) string {
	if steps == "" {
		steps = "{shadow: 100%, minDuration: 1h}, {weight: 100%}"
	}
	return fmt.Sprintf(`apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: ep}
spec:
  scorer: {version: %q, local: {command: [%q, stub, serves, %q]}}
  traffic: {listen: %q, header: {name: x-api-version, stable: green, candidate: blue}}
  rollout: {steps: [%s], minRequests: 1, warmup: 0s, keepFailed: 0s}
`, version, os.Args[0], version, listen, steps)
}

func options(t *testing.T, state, doc string) Options {
	t.Helper()
	return Options{Document: []byte(doc), Base: t.TempDir(), State: state, Self: testBinary(t), Logger: logger(t)}
}

// running is an endpoint that serves in this process.
type running struct {
	*Endpoint
	t       *testing.T
	address string
	stop    context.CancelFunc
	ended   chan error
}

func serve(t *testing.T, state, doc string) *running {
	t.Helper()
	e, err := Open(t.Context(), options(t, state, doc))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Endpoint: e, t: t, stop: stop, ended: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() { r.ended <- e.Run(ctx, func(address string) { ready <- address }) }()
	select {
	case r.address = <-ready:
	case err := <-r.ended:
		t.Fatalf("serving: %v", err)
	}
	t.Cleanup(r.end)
	r.until("stable ready", func(s engine.Status) bool { return s.Stable != nil && s.Stable.Ready })
	return r
}

// end stops serving, once.
func (r *running) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Errorf("serving ended with %v", err)
	}
	r.Close()
	r.stop = nil
}

func (r *running) until(what string, ok func(engine.Status) bool) engine.Status {
	r.t.Helper()
	var s engine.Status
	until(r.t, what, func() bool { s = r.Status(); return ok(s) })
	return s
}

func (r *running) apply(doc string) engine.ApplyResult {
	r.t.Helper()
	result, err := r.Apply(r.t.Context(), []byte(doc), "anna", false)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r *running) answeredBy(header string) string {
	r.t.Helper()
	return ask(r.t, http.DefaultClient, strings.TrimSuffix(strings.TrimPrefix(r.address, "http://"), "/score"), header)
}

func onTrial(version string) func(engine.Status) bool {
	return func(s engine.Status) bool {
		return s.Rollout.To == version && s.Candidate != nil && s.Candidate.Ready && s.Rollout.StepName != "" && s.Weights.ShadowBP+s.Weights.PlannedBP > 0
	}
}

func TestBadDocumentLeavesTheRolloutUntouched(t *testing.T) {
	r := serve(t, t.TempDir(), document("1", "127.0.0.1:0", ""))
	r.apply(document("2", "127.0.0.1:0", ""))
	before := r.until("2 on trial", onTrial("2"))
	for name, doc := range map[string]string{
		"no YAML":       "}{",
		"bad weight":    document("3", "127.0.0.1:0", "{weight: 120%}"),
		"another name":  strings.Replace(document("3", "127.0.0.1:0", ""), "name: ep}", "name: other}", 1),
		"missing model": "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: ep}\nspec: {scorer: {local: {model: gone.txt}}}\n",
	} {
		_, err := r.Apply(t.Context(), []byte(doc), "anna", false)
		var refusal Refusal
		if !errors.As(err, &refusal) || refusal.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: error %v, want a refusal", name, err)
		}
	}
	after := r.Status()
	if after.Rollout.ID != before.Rollout.ID || after.Rollout.Outcome != "" || after.Weights.PlannedBP != before.Weights.PlannedBP || after.Candidate.Name != before.Candidate.Name {
		t.Errorf("%+v became %+v", before.Rollout, after.Rollout)
	}
}

func TestNewVersionSupersedesTheOneOnTrial(t *testing.T) {
	r := serve(t, t.TempDir(), document("1", "127.0.0.1:0", ""))
	r.apply(document("2", "127.0.0.1:0", ""))
	r.until("2 on trial", onTrial("2"))
	if result := r.apply(document("3", "127.0.0.1:0", "")); !result.NewVersion {
		t.Errorf("result %+v, want a new version", result)
	}
	s := r.until("3 on trial", onTrial("3"))
	all, err := r.Rollouts(t.Context(), 10)
	if err != nil || len(all) != 2 || all[0].Attempt.To.Version != "2" || all[0].Attempt.Outcome != "Superseded" {
		t.Errorf("history %+v, %v; want 2 superseded on top", all, err)
	}
	if got := r.answeredBy("blue"); got != s.Candidate.Name {
		t.Errorf("%q answers the candidate's header, want %s", got, s.Candidate.Name)
	}
}

// TestPromise3PromotedVersionThatFailsIsTakenBack without a person while the one before is kept. With fallback no client
// sees its failures: that one answers in its place.
func TestPromise3PromotedVersionThatFailsIsTakenBack(t *testing.T) {
	for _, fallback := range []string{"Stable", "None"} {
		t.Run(fallback, func(t *testing.T) {
			doc := strings.Replace(document("1", "127.0.0.1:0", ""), "traffic: {", "traffic: {fallback: "+fallback+", ", 1)
			r := serve(t, t.TempDir(), doc)
			r.apply(strings.NewReplacer(`version: "1"`, `version: "2"`, "serves", "fails").Replace(doc))
			r.until("2 on trial", onTrial("2"))
			if a, err := r.Act(t.Context(), engine.ActionRequest{Action: "Promote", By: "anna"}); err != nil || !a.Accepted {
				t.Fatalf("promote: %+v, %v", a, err)
			}
			answers := map[string]int{} // by who answered, "" for a failure
			s := r.until("the rollback", func(s engine.Status) bool {
				answers[r.answeredBy("")]++
				return s.Rollout.Outcome == "RolledBack"
			})
			if s.Rollout.Decision.Reason != "BakeFailed" || s.Stable.Name != "ep-r1" {
				t.Errorf("%+v with stable %s, want BakeFailed and ep-r1", s.Rollout.Decision, s.Stable.Name)
			}
			if rescued := fallback == "Stable"; rescued != (answers[""] == 0) || answers["ep-r1"] == 0 && rescued {
				t.Errorf("answers %v", answers)
			}
			if got := r.Counters().FellBack; (got > 0) != (fallback == "Stable") {
				t.Errorf("%d were answered by another version", got)
			}
		})
	}
}

// TestPromise6RestartComesBack in a shadow step, under weight, and after an abort.
func TestPromise6RestartComesBack(t *testing.T) {
	for _, c := range []struct {
		name, steps string
		abort       bool
	}{
		{"shadow", "{shadow: 100%, minDuration: 1h}, {weight: 100%}", false},
		{"weight", "{weight: 50%, minDuration: 1h}, {weight: 100%}", false},
		{"aborted", "{weight: 50%, minDuration: 1h}, {weight: 100%}", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, first := t.TempDir(), document("1", "127.0.0.1:0", "")
			r := serve(t, state, first)
			r.apply(document("2", "127.0.0.1:0", c.steps))
			before := r.until("2 on trial", onTrial("2"))
			if c.abort {
				if a, err := r.Act(t.Context(), engine.ActionRequest{Action: "Abort", By: "anna"}); err != nil || !a.Accepted {
					t.Fatalf("abort: %+v, %v", a, err)
				}
				before = r.until("the abort", func(s engine.Status) bool { return s.Rollout.Outcome == "Aborted" })
			}
			r.end()
			r = serve(t, state, first) // with the file that it was started with
			after := r.until("the routes of before", func(s engine.Status) bool {
				return s.Weights.PlannedBP == before.Weights.PlannedBP && s.Weights.ShadowBP == before.Weights.ShadowBP && s.Weights.InForceBP == s.Weights.PlannedBP
			})
			if after.Rollout.ID != before.Rollout.ID || after.Rollout.Outcome != before.Rollout.Outcome || after.Rollout.StepName != before.Rollout.StepName {
				t.Errorf("%+v became %+v", before.Rollout, after.Rollout)
			}
			if c.abort {
				for range 50 {
					if got := r.answeredBy(""); got != after.Stable.Name {
						t.Fatalf("%q answered after the abort and a restart, want %s", got, after.Stable.Name)
					}
				}
			}
		})
	}
}

// TestRestartTakesTheDocumentAppliedLast, unless the file that serve is started
// with has changed since.
func TestRestartTakesTheDocumentAppliedLast(t *testing.T) {
	state, first := t.TempDir(), document("1", "127.0.0.1:0", "")
	r := serve(t, state, first)
	r.apply(document("2", "127.0.0.1:0", ""))
	r.until("2 on trial", onTrial("2"))
	for range 2 {
		r.end()
		r = serve(t, state, first)
		r.until("2 still on trial", onTrial("2"))
	}
	r.end()
	r = serve(t, state, document("3", "127.0.0.1:0", ""))
	r.until("3 on trial", onTrial("3"))
}

func TestOneProcessForAStateFolder(t *testing.T) {
	state := t.TempDir()
	r := serve(t, state, document("1", "127.0.0.1:0", ""))
	_, err := Open(t.Context(), options(t, state, document("1", "127.0.0.1:0", "")))
	var refusal Refusal
	if !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || !strings.Contains(refusal.Message, state) {
		t.Errorf("error %v; want that %s is in use", err, state)
	}
	r.end()
	serve(t, state, document("1", "127.0.0.1:0", ""))
}

func TestListenAddressInUseIsSaidBeforeAnythingStarts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	e, err := Open(t.Context(), options(t, t.TempDir(), document("1", ln.Addr().String(), "")))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	err = e.Run(t.Context(), func(string) { t.Error("it serves") })
	var refusal Refusal
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "spec.traffic.listen") || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v; want the field, the address and what to do", err)
	}
	if n := len(e.platform.running); n != 0 {
		t.Errorf("%d scorers were started", n)
	}
	if _, found, err := e.store.Load(t.Context(), "ep"); found || err != nil {
		t.Errorf("a record was begun (%v)", err)
	}
}

func TestDeleteStopsServing(t *testing.T) {
	r := serve(t, t.TempDir(), document("1", "127.0.0.1:0", ""))
	if _, err := r.Delete(t.Context(), "anna", true); err != nil {
		t.Fatal(err)
	}
	if got := r.answeredBy(""); got != "ep-r1" {
		t.Errorf("after a dry run %q answers", got)
	}
	for range 2 { // twice is no error
		if _, err := r.Delete(t.Context(), "anna", false); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-r.ended; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	r.Close()
	r.stop = nil
}

func TestSocketPathIsShortEnough(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if a, b := SocketPath(long), SocketPath(long+"er"); len(a) > longestSocket || a == b {
		t.Errorf("sockets %q and %q", a, b)
	}
}

// TestModelIsKept: a revision is immutable, whatever becomes of its file.
func TestModelIsKept(t *testing.T) {
	e := &Endpoint{state: t.TempDir()}
	file := filepath.Join(t.TempDir(), "model.txt")
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		kept, err := e.keepModel(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if got, err := os.ReadFile(kept); err != nil || string(got) != text {
				t.Errorf("kept %q, %v; want %q", got, err, text)
			}
		}()
	}
}

// TestModelIsFoundFromTheDocumentsFolder: scorers run there, and the state folder is
// named from where serve was started.
func TestModelIsFoundFromTheDocumentsFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	o := options(t, DefaultState, document("1", "127.0.0.1:0", ""))
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	model := filepath.Join(o.Base, "model.txt")
	if err := os.WriteFile(model, []byte("trees"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := e.keepModel(model)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(o.Base)
	if got, err := os.ReadFile(kept); err != nil || string(got) != "trees" {
		t.Errorf("kept as %q: from the document's folder %q, %v", kept, got, err)
	}
}
