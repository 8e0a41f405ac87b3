package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/metrics"
	"github.com/serin-dev/serin/internal/rollout"
)

// fake is an endpoint that remembers what it was asked.
type fake struct {
	mu       sync.Mutex
	changes  []engine.Change
	applied  []string // by whom, dry runs left out
	acted    []engine.ActionRequest
	accept   bool
	entries  chan engine.Event
	status   engine.Status
	counters engine.Counters
}

type refusal struct {
	status  int
	word    string
	details []string
}

func (r refusal) Error() string     { return "the document is refused" }
func (r refusal) HTTPStatus() int   { return r.status }
func (r refusal) Reason() string    { return r.word }
func (r refusal) Details() []string { return r.details }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func newFake() *fake {
	return &fake{accept: true, entries: make(chan engine.Event), status: fullStatus(), counters: engine.Counters{
		Requests: []engine.RequestCount{{Arm: "stable", Revision: "m-r1", Code: "200", N: 90}, {Arm: "candidate", Revision: "m-r2", Code: "none", N: 1}},
		FellBack: 1, ShadowSent: 5, Gateway: &engine.GatewayCounts{ShadowDropped: 2, Refused: 3, TooLarge: 4},
		Notifications: []engine.NotifyCount{{Receiver: "example.com", Sent: 7, Failed: 1, Dropped: 2, Waiting: 3}},
	}}
}

// fullStatus has every field set, so that a field without a schema is found.
func fullStatus() engine.Status {
	rev := func(name string) *engine.RevisionView {
		return &engine.RevisionView{Name: name, Version: "1", Digest: "d", Image: "r.example/m@sha256:aa", Ready: true, ReadyReplicas: 1, WantReplicas: 2, Restarts: 2, Failure: "exit status 1"}
	}
	return engine.Status{
		Endpoint: "m", Namespace: "ns", At: noon, Address: "http://127.0.0.1:8080/score", Stable: rev("m-r1"), Candidate: rev("m-r2"), Previous: rev("m-r0"),
		Weights: engine.Weights{Epoch: 3, PlannedBP: 1000, InForceBP: 900, ShadowBP: 10}, Traffic: engine.Traffic{RequestsPerSecond: 10, CandidatePerSecond: 1},
		Rollout: &engine.RolloutView{
			ID: "m-1", Number: 1, From: "1", To: "2", StartedAt: noon, EndedAt: &noon, Outcome: "Reverted", Step: 0, StepName: "10%", Paused: true,
			Steps:    []engine.StepView{{Name: "10%", WeightBP: 1000, ShadowBP: 1, Approval: true, State: "Current"}},
			Decision: engine.DecisionView{Action: "Hold", Reason: "WaitingForRequests", Message: "needs 3 more", At: noon},
			Verdict: judge.Verdict{Action: judge.Hold, Promotable: true, Unjudged: []string{"agreement"}, Reason: judge.TooLittleData, Message: "m", LogE: 1.5, LogERevertAt: 4.6, ExtraErrorRate: 0.1, Digest: "x",
				Metrics: []judge.Metric{{Name: "errors", Outcome: judge.Pass, Reason: judge.WithinBounds, Value: 1, Lower: 0.5, Upper: 1.5, Open: true, Threshold: 2, Unit: "x", N: [2]uint64{9, 1}, Required: true, ShadowOnly: true, EvidenceRevert: 0.5, EvidencePromote: 3, Needed: 7, Message: "ok"}}},
			Evidence:  engine.EvidenceView{Digest: "abc", StableRequests: 9, CandidateRequests: 1, Dropped: 1},
			Approvals: []rollout.Approval{{Step: "10%", By: "ann", OnBehalfOf: "bob", At: noon, EvidenceDigest: "abc"}},
		},
		Conditions: []engine.Condition{{Type: "Ready", Status: "True", Reason: "Serving", Message: "m", Since: noon}, {Type: "Degraded", Status: "False", Reason: "AsExpected", Message: "m", Since: noon}},
	}
}

func (f *fake) Name() string              { return "m" }
func (f *fake) Status() engine.Status     { return f.status }
func (f *fake) Glance() engine.Status     { return f.status }
func (f *fake) Counters() engine.Counters { return f.counters }
func (f *fake) Apply(_ context.Context, doc []byte, by string, dry bool) (engine.ApplyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(doc) == "bad" {
		return engine.ApplyResult{}, refusal{422, "InvalidDocument", []string{"line 1: spec.scorer: is missing; write it"}}
	}
	if string(doc) == "broken disk" {
		return engine.ApplyResult{}, errors.New("saving the record: disk full")
	}
	if !dry {
		f.applied = append(f.applied, by)
	}
	return engine.ApplyResult{Endpoint: "m", DryRun: dry, NewVersion: true, Message: "version 2 starts a rollout", Changes: f.changes, Notes: []string{"n"}}, nil
}

func (f *fake) Act(_ context.Context, a engine.ActionRequest) (engine.ActionResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acted = append(f.acted, a)
	return engine.ActionResult{ID: "1", Accepted: f.accept, Reason: "Accepted", Message: "done"}, nil
}

func (f *fake) Delete(_ context.Context, _ string, dry bool) (engine.ApplyResult, error) {
	return engine.ApplyResult{Endpoint: "m", DryRun: dry, Message: "stops"}, nil
}

func (f *fake) Rollouts(context.Context, int) ([]engine.RolloutRecord, error) {
	return []engine.RolloutRecord{{ID: "m-1", EndedAt: noon, Verdict: fullStatus().Rollout.Verdict, Calibration: &judge.Calibration{}, Bake: &judge.Window{}, Decisions: []engine.Judgement{{}}}}, nil
}

func (f *fake) Audit(context.Context, int) ([]engine.Entry, error) {
	yes := true
	return []engine.Entry{{At: noon, Kind: engine.EntryAction, Rollout: "m-1", Action: "Hold", By: "ann", OnBehalf: "bob", Reason: "Accepted", Message: "m", EvidenceDigest: "abc", Accepted: &yes}}, nil
}
func (f *fake) Subscribe() (<-chan engine.Event, func()) { return f.entries, func() {} }

const secret = "-0123456789abcdef" // after the name of the role

// tokens has one token for each role, and one for a person with two.
func tokens(t *testing.T) []Token {
	t.Helper()
	var all []Token
	for name, roles := range map[string][]Role{"viewer": {Viewer}, "operator": {Operator}, "approver": {Approver}, "lead": {Operator, Configurer}, "nobody": {}} {
		tok, err := NewToken(name, name+secret, roles...)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tok)
	}
	return all
}

func newServer(t *testing.T, f *fake) *Server {
	t.Helper()
	return New(Options{Control: f, Tokens: tokens(t), Build: metrics.Build{Version: "v1", Revision: "abc"}, Logger: slog.New(slog.DiscardHandler)})
}

// ask sends one request as the holder of a token, or as nobody.
func ask(s http.Handler, as, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+as+secret)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func action(word string) string {
	return `{"action":"` + word + `","evidenceDigest":"abc"}`
}

// TestRoles is the table of role × route.
func TestRoles(t *testing.T) {
	const all = "viewer operator approver lead"
	for _, c := range []struct{ method, path, body, may string }{
		{"GET", "/metrics", "", all},
		{"GET", "/v1/whoami", "", all},
		{"GET", "/v1/endpoints", "", all},
		{"GET", "/v1/endpoints/m", "", all},
		{"GET", "/v1/endpoints/m/rollouts", "", all},
		{"GET", "/v1/endpoints/m/audit", "", all},
		{"PUT", "/v1/endpoints/m", "doc", "operator lead"},
		{"DELETE", "/v1/endpoints/m", "", "operator lead"},
		{"POST", "/v1/endpoints/m/actions", action("Pause"), "operator lead"},
		{"POST", "/v1/endpoints/m/actions", action("Resume"), "operator lead"},
		{"POST", "/v1/endpoints/m/actions", action("Retry"), "operator lead"},
		{"POST", "/v1/endpoints/m/actions", action("Approve"), "approver"},
		{"POST", "/v1/endpoints/m/actions", action("Reject"), "approver"},
		{"POST", "/v1/endpoints/m/actions", action("Promote"), "approver"},
		{"POST", "/v1/endpoints/m/actions", action("Abort"), "approver"},
		{"POST", "/v1/endpoints/m/actions", action("Rollback"), "approver"},
	} {
		for _, who := range []string{"viewer", "operator", "approver", "lead", "nobody"} {
			f := newFake()
			w := ask(newServer(t, f), who, c.method, c.path, c.body)
			want := http.StatusForbidden
			if slices.Contains(strings.Fields(c.may), who) {
				want = http.StatusOK
			}
			if w.Code != want {
				t.Errorf("%s %s %s as %s: %d, want %d: %s", c.method, c.path, c.body, who, w.Code, want, w.Body)
			}
			if want == http.StatusForbidden && len(f.applied)+len(f.acted) > 0 {
				t.Errorf("%s %s as %s was refused and yet carried out", c.method, c.path, who)
			}
		}
	}
}

func TestWhoPushesAVersionCannotDropItsGate(t *testing.T) {
	f := newFake()
	f.changes = []engine.Change{{Path: "spec.scorer.version", Old: "1", New: "2", NewVersion: true}, {Path: "spec.rollout.steps[1].approval", Old: "Required", New: ""}}
	s := newServer(t, f)
	w := ask(s, "operator", "PUT", "/v1/endpoints/m", "doc")
	if w.Code != 403 || !strings.Contains(w.Body.String(), "configurer") || !strings.Contains(w.Body.String(), "spec.rollout.steps[1].approval") || len(f.applied) != 0 {
		t.Errorf("operator: %d %s, applied by %v; want 403 that names role and field", w.Code, w.Body, f.applied)
	}
	if w := ask(s, "lead", "PUT", "/v1/endpoints/m", "doc"); w.Code != 200 {
		t.Errorf("operator and configurer: %d %s, want 200", w.Code, w.Body)
	}
	f.changes = []engine.Change{{Path: "spec.judge.errors.orWithin", Old: "0.1pp", New: "50pp"}}
	if w := ask(s, "operator", "PUT", "/v1/endpoints/m?dryRun=true", "doc"); w.Code != 403 {
		t.Errorf("operator, looser judge, dry run: %d, want 403 as the real one gives", w.Code)
	}
	f.changes = []engine.Change{{Path: "spec.scorer.version", Old: "1", New: "2", NewVersion: true}}
	if w := ask(s, "operator", "PUT", "/v1/endpoints/m", "doc"); w.Code != 200 {
		t.Errorf("operator, version only: %d %s, want 200", w.Code, w.Body)
	}
}

func TestIdentity(t *testing.T) {
	f := newFake()
	s := newServer(t, f)
	w := ask(s, "operator", "GET", "/v1/whoami", "")
	var who Identity
	if err := json.Unmarshal(w.Body.Bytes(), &who); err != nil || who.Name != "operator" {
		t.Errorf("whoami answered %s (%v), want operator", w.Body, err)
	}
	ask(s, "operator", "PUT", "/v1/endpoints/m", "doc")
	if !slices.Equal(f.applied, []string{"operator"}) {
		t.Errorf("applied by %v, want the token's name", f.applied)
	}
	ask(s, "approver", "POST", "/v1/endpoints/m/actions", `{"action":"Approve","evidenceDigest":"abc","onBehalfOf":"ann"}`)
	if len(f.acted) != 1 || f.acted[0].By != "approver" || f.acted[0].OnBehalfOf != "ann" || f.acted[0].EvidenceDigest != "abc" {
		t.Errorf("acted %+v, want by approver for ann on evidence abc", f.acted)
	}
	w = ask(s, "approver", "POST", "/v1/endpoints/m/actions", `{"action":"Approve","evidenceDigest":"abc","by":"ceo"}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "onBehalfOf") || len(f.acted) != 1 {
		t.Errorf("a forged `by`: %d %s; want 400 that names onBehalfOf", w.Code, w.Body)
	}
}

// TestErrors: every refusal has a status, a reason and a message that says more.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, as, method, target, body string
		status                         int
		reason, says                   string
	}{
		{"no token", "", "GET", "/v1/endpoints", "", 401, "Unauthenticated", "Authorization: Bearer"},
		{"no token, metrics", "", "GET", "/metrics", "", 401, "Unauthenticated", "Authorization"},
		{"no token, unknown path", "", "GET", "/v2", "", 401, "Unauthenticated", "Authorization"},
		{"no token, wrong method", "", "PATCH", "/v1/endpoints/m", "", 401, "Unauthenticated", "Authorization"},
		{"unknown token", "stranger", "GET", "/v1/endpoints", "", 401, "Unauthenticated", "not known"},
		{"role", "viewer", "PUT", "/v1/endpoints/m", "doc", 403, "Forbidden", "needs operator"},
		{"no role", "nobody", "GET", "/v1/endpoints/m", "", 403, "Forbidden", "needs viewer"},
		{"endpoint", "viewer", "GET", "/v1/endpoints/other", "", 404, "NotFound", `"m"`},
		{"path", "viewer", "GET", "/v1/nonsense", "", 404, "NotFound", "/openapi.json"},
		{"method", "operator", "POST", "/v1/endpoints/m", "", 405, "MethodNotAllowed", "GET, PUT, DELETE"},
		{"action of no endpoint", "operator", "POST", "/v1/endpoints/other/actions", action("Pause"), 404, "NotFound", `"other"`},
		{"large document", "operator", "PUT", "/v1/endpoints/m", strings.Repeat("x", maxDocument+1), 413, "TooLarge", "1048576"},
		{"large action", "operator", "POST", "/v1/endpoints/m/actions", strings.Repeat("x", maxAction+1), 413, "TooLarge", "65536"},
		{"document", "lead", "PUT", "/v1/endpoints/m", "bad", 422, "InvalidDocument", "spec.scorer"},
		{"document, checked first", "operator", "PUT", "/v1/endpoints/m", "bad", 422, "InvalidDocument", "spec.scorer"},
		{"fault", "lead", "PUT", "/v1/endpoints/m", "broken disk", 500, "Internal", "disk full"},
		{"typing error in dryRun", "operator", "PUT", "/v1/endpoints/m?dryrun=true", "doc", 400, "BadRequest", "dryRun"},
		{"dryRun", "operator", "PUT", "/v1/endpoints/m?dryRun=yes", "doc", 400, "BadRequest", "true or false"},
		{"dryRun twice", "operator", "DELETE", "/v1/endpoints/m?dryRun=true&dryRun=false", "", 400, "BadRequest", "once"},
		{"query", "viewer", "GET", "/v1/endpoints?a=%zz", "", 400, "BadRequest", "query"},
		{"limit 0", "viewer", "GET", "/v1/endpoints/m/audit?limit=0", "", 400, "BadRequest", "from 1 to 1000"},
		{"limit 1001", "viewer", "GET", "/v1/endpoints/m/rollouts?limit=1001", "", 400, "BadRequest", "from 1 to 1000"},
		{"limit word", "viewer", "GET", "/v1/endpoints/m/rollouts?limit=all", "", 400, "BadRequest", "from 1 to 1000"},
		{"unknown field", "operator", "POST", "/v1/endpoints/m/actions", `{"action":"Pause","stepp":"10%"}`, 400, "BadRequest", "stepp"},
		{"no JSON", "operator", "POST", "/v1/endpoints/m/actions", `pause`, 400, "BadRequest", "not an action"},
		{"two actions", "operator", "POST", "/v1/endpoints/m/actions", `{"action":"Pause"}{"action":"Resume"}`, 400, "BadRequest", "one"},
		{"unknown action", "operator", "POST", "/v1/endpoints/m/actions", `{"action":"Yolo"}`, 400, "BadRequest", "Rollback"},
		{"approval of nothing seen", "approver", "POST", "/v1/endpoints/m/actions", `{"action":"Approve"}`, 400, "BadRequest", "evidenceDigest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			w := ask(newServer(t, f), c.as, c.method, c.target, c.body)
			var body ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("the answer is not JSON: %q", w.Body)
			}
			text := body.Message + strings.Join(body.Details, "\n")
			if w.Code != c.status || body.Reason != c.reason || !strings.Contains(text, c.says) {
				t.Errorf("answered %d %s, want %d %s that says %q", w.Code, w.Body, c.status, c.reason, c.says)
			}
			if len(f.applied)+len(f.acted) > 0 {
				t.Errorf("it was refused and yet carried out: %v %v", f.applied, f.acted)
			}
		})
	}
}

func TestRefusedActionIsConflict(t *testing.T) {
	f := newFake()
	f.accept = false
	w := ask(newServer(t, f), "operator", "POST", "/v1/endpoints/m/actions", action("Pause"))
	if w.Code != 409 || !strings.Contains(w.Body.String(), `"accepted": false`) {
		t.Errorf("answered %d %s, want 409 with accepted false", w.Code, w.Body)
	}
}

// TestOnlyTwoRoutesAreOpen: on TCP nobody reaches anything else without a token.
func TestOnlyTwoRoutesAreOpen(t *testing.T) {
	s := newServer(t, newFake())
	var open []string
	for _, route := range s.routes {
		method, path, _ := strings.Cut(route, " ")
		if ask(s, "", method, strings.Replace(path, "{name}", "m", 1), "").Code != 401 {
			open = append(open, route)
		}
	}
	if want := []string{"GET /healthz", "GET /openapi.json"}; !slices.Equal(open, want) {
		t.Errorf("open without a token: %v, want %v", open, want)
	}
}

func TestUnixSocketPeerIsTheIdentity(t *testing.T) {
	s := newServer(t, newFake())
	socket := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: s, ConnContext: ConnContext}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	resp, err := c.Get("http://serin/v1/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var who Identity
	if err := json.NewDecoder(resp.Body).Decode(&who); err != nil {
		t.Fatal(err)
	}
	if want := s.peer(uint32(os.Getuid())).Name; who.Name != want || !slices.Equal(who.Roles, allRoles) {
		t.Errorf("whoami answered %+v, want %q with every role", who, want)
	}
}

func TestOtherUsersOfTheSocketHaveTheRolesGiven(t *testing.T) {
	s := New(Options{Control: newFake(), PeerRoles: map[string][]Role{"uid:4242424": {Approver}}, Logger: slog.New(slog.DiscardHandler)})
	if who := s.peer(4242424); !who.May(Approver) || who.May(Operator) {
		t.Errorf("the peer is %+v, want approver only", who)
	}
	if who := s.peer(4242425); who.May(Viewer) {
		t.Errorf("an unknown peer is %+v, want no role", who)
	}
}

func TestReadTokens(t *testing.T) {
	good := "# people\nann approver,viewer 0123456789abcdef\n\nci operator fedcba9876543210\n"
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"good", good, 0o600, ""},
		{"read by others", good, 0o644, "chmod 600"},
		{"two fields", "ann approver", 0o600, ":1: want NAME ROLE"},
		{"role", "ann boss 0123456789abcdef", 0o600, "configurer"},
		{"short", "ann viewer 0123", 0o600, "16 characters"},
		{"same secret", "ann viewer 0123456789abcdef\nbob approver 0123456789abcdef", 0o600, ":2:"},
		{"empty", "# nobody yet\n", 0o600, "holds none"},
	} {
		file := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(file, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadTokens(file)
		if c.says == "" {
			if err != nil || len(got) != 2 || got[0].Name != "ann" || !slices.Equal(got[0].Roles, []Role{Approver, Viewer}) {
				t.Errorf("%s: %+v, %v", c.name, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %q in it", c.name, err, c.says)
		} else if strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error tells the secret: %v", c.name, err)
		}
	}
	if _, err := ReadTokens(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there: no error")
	}
}

func TestUnreadableBodyIsABadRequest(t *testing.T) {
	r := httptest.NewRequest("PUT", "/v1/endpoints/m", io.MultiReader(strings.NewReader("x"), badReader{}))
	r.Header.Set("Authorization", "Bearer operator"+secret)
	w := httptest.NewRecorder()
	newServer(t, newFake()).ServeHTTP(w, r)
	if w.Code != 400 {
		t.Errorf("answered %d %s, want 400", w.Code, w.Body)
	}
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errors.New("torn off") }
