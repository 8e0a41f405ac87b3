// Package server is the HTTP JSON API over an endpoint's engine: documents,
// actions, status, history and events, each with an authenticated identity.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/metrics"
)

// Control is what the API drives: one scoring endpoint.
type Control interface {
	Name() string
	Status() engine.Status
	Glance() engine.Status // Status, for a program that looks all the time
	Apply(ctx context.Context, document []byte, by string, dryRun bool) (engine.ApplyResult, error)
	Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error)
	Delete(ctx context.Context, by string, dryRun bool) (engine.ApplyResult, error)
	Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error)
	Audit(ctx context.Context, limit int) ([]engine.Entry, error)
	Subscribe() (events <-chan engine.Event, cancel func())
	Counters() engine.Counters
}

// Refused is an error that the caller can mend: it becomes a 4xx.
type Refused interface {
	error
	HTTPStatus() int
	Reason() string
	Details() []string
}

const (
	maxDocument = 1 << 20
	maxAction   = 64 << 10
	historyMost = 1000
)

// Options are the server's parts.
type Options struct {
	Control   Control
	Tokens    []Token
	PeerRoles map[string][]Role // of users on the Unix socket, besides the owner
	Build     metrics.Build
	Logger    *slog.Logger
}

// Server answers the API.
type Server struct {
	control   Control
	tokens    []Token
	peerRoles map[string][]Role
	logger    *slog.Logger
	mux       *http.ServeMux
	routes    []string // patterns, for the test that the document names them all
	applying  sync.Mutex
	watch     watching
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{control: o.Control, tokens: o.Tokens, peerRoles: o.PeerRoles, logger: o.Logger, mux: http.NewServeMux(), watch: newWatching()}
	s.open("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	s.open("GET /openapi.json", s.openAPI)
	s.handle("GET /metrics", Viewer, s.metrics(o.Build))
	s.handle("GET /v1/whoami", Viewer, s.whoami)
	s.handle("GET /v1/endpoints", Viewer, s.list)
	s.handle("GET /v1/endpoints/{name}", Viewer, s.status)
	s.handle("PUT /v1/endpoints/{name}", Operator, s.apply, "dryRun")
	s.handle("DELETE /v1/endpoints/{name}", Operator, s.remove, "dryRun")
	s.handle("POST /v1/endpoints/{name}/actions", Viewer, s.act) // the action decides the role
	s.handle("GET /v1/endpoints/{name}/rollouts", Viewer, s.rollouts, "limit")
	s.handle("GET /v1/endpoints/{name}/audit", Viewer, s.audit, "limit")
	s.handle("GET /v1/endpoints/{name}/events", Viewer, s.events)
	s.mux.HandleFunc("/", s.elsewhere)
	return s
}

// open registers what needs no identity: it tells no secret.
func (s *Server) open(pattern string, h http.HandlerFunc) {
	s.routes = append(s.routes, pattern)
	s.mux.HandleFunc(pattern, h)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

type handler func(w http.ResponseWriter, r *http.Request, who Identity) error

// handle registers h for callers that have the role. A query parameter that is
// not named is refused: ?dryrun=true must not apply for real.
func (s *Server) handle(pattern string, need Role, h handler, parameters ...string) {
	s.routes = append(s.routes, pattern)
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.identify(r)
		if err != nil {
			s.unauthenticated(w, err)
			return
		}
		if err := s.admit(r, who, need, parameters); err != nil {
			s.fail(w, err)
			return
		}
		if err := h(w, r, who); err != nil {
			s.fail(w, err)
		}
	})
}

func (s *Server) admit(r *http.Request, who Identity, need Role, parameters []string) error {
	if !who.May(need) {
		return forbidden(who, need, r.Method+" "+r.URL.Path)
	}
	if name := r.PathValue("name"); name != "" && name != s.control.Name() {
		return failure{http.StatusNotFound, "NotFound", fmt.Sprintf("there is no endpoint %q here; the one served is %q", name, s.control.Name()), nil}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure{http.StatusBadRequest, "BadRequest", "the query cannot be read: " + err.Error(), nil}
	}
	for p, values := range query {
		if !slices.Contains(parameters, p) {
			return failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("query parameter %q is not known here; known: %s", p, orNone(parameters)), nil}
		}
		if len(values) > 1 {
			return failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("query parameter %s is given %d times; give it once", p, len(values)), nil}
		}
	}
	return nil
}

func orNone[T ~string](words []T) string {
	if len(words) == 0 {
		return "none"
	}
	text := make([]string, len(words))
	for i, w := range words {
		text[i] = string(w)
	}
	return strings.Join(text, ", ")
}

func (s *Server) unauthenticated(w http.ResponseWriter, err error) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	s.fail(w, failure{http.StatusUnauthorized, "Unauthenticated", err.Error(), nil})
}

// elsewhere answers what no route takes: 401 to strangers, 405 where another
// method would do, else 404.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	if _, err := s.identify(r); err != nil {
		s.unauthenticated(w, err)
		return
	}
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
		if _, pattern := s.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); strings.HasPrefix(pattern, method+" ") {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		s.fail(w, failure{http.StatusMethodNotAllowed, "MethodNotAllowed", fmt.Sprintf("%s is not possible on %s; possible: %s", r.Method, r.URL.Path, strings.Join(allow, ", ")), nil})
		return
	}
	s.fail(w, failure{http.StatusNotFound, "NotFound", fmt.Sprintf("there is nothing at %s; GET /openapi.json lists what there is", r.URL.Path), nil})
}

func forbidden(who Identity, need Role, what string) failure {
	return failure{http.StatusForbidden, "Forbidden", fmt.Sprintf("%q has the roles %s, but %s needs %s; ask someone who has it, or whoever runs `serin serve` to change --tokens", who.Name, orNone(who.Roles), what, need), nil}
}

// failure is an error with its HTTP status.
type failure struct {
	status  int
	reason  string
	message string
	details []string
}

func (f failure) Error() string     { return f.message }
func (f failure) HTTPStatus() int   { return f.status }
func (f failure) Reason() string    { return f.reason }
func (f failure) Details() []string { return f.details }

// ErrorBody is the JSON of every error.
type ErrorBody struct {
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Details []string `json:"details,omitempty"`
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	var refused Refused
	if !errors.As(err, &refused) {
		s.logger.Error("answering the API failed", "error", err)
		refused = failure{http.StatusInternalServerError, "Internal", err.Error(), nil}
	}
	s.write(w, refused.HTTPStatus(), ErrorBody{refused.Reason(), refused.Error(), refused.Details()})
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		s.logger.Debug("writing an API answer failed", "error", err)
	}
}

func (s *Server) whoami(w http.ResponseWriter, _ *http.Request, who Identity) error {
	s.write(w, http.StatusOK, who)
	return nil
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request, _ Identity) error {
	s.write(w, http.StatusOK, map[string][]engine.Status{"items": {s.control.Status()}})
	return nil
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request, _ Identity) error {
	s.write(w, http.StatusOK, s.control.Status())
	return nil
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request, who Identity) error {
	doc, err := readBody(w, r, maxDocument)
	if err != nil {
		return err
	}
	dry, err := flag(r, "dryRun")
	if err != nil {
		return err
	}
	s.applying.Lock() // what was looked at must be what is applied
	defer s.applying.Unlock()
	if err := s.mayConfigure(r.Context(), doc, who); err != nil {
		return err
	}
	result, err := s.control.Apply(r.Context(), doc, who.Name, dry)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, listed(result))
	return nil
}

// mayConfigure refuses a change of plan or judge by whoever may only push
// versions: else they could drop the gate that their version has to pass.
func (s *Server) mayConfigure(ctx context.Context, doc []byte, who Identity) error {
	if who.May(Configurer) {
		return nil
	}
	would, err := s.control.Apply(ctx, doc, who.Name, true)
	if err != nil {
		return err
	}
	var guarded []string
	for _, c := range would.Changes {
		if strings.HasPrefix(c.Path, "spec.rollout.") || strings.HasPrefix(c.Path, "spec.judge.") {
			guarded = append(guarded, fmt.Sprintf("%s: %q to %q", c.Path, c.Old, c.New))
		}
	}
	if len(guarded) == 0 {
		return nil
	}
	f := forbidden(who, Configurer, "changing the plan or the judge")
	f.details = guarded
	return f
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, who Identity) error {
	dry, err := flag(r, "dryRun")
	if err != nil {
		return err
	}
	result, err := s.control.Delete(r.Context(), who.Name, dry)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, listed(result))
	return nil
}

// listed writes no list as an empty one: scripts need not ask for null.
func listed(r engine.ApplyResult) engine.ApplyResult {
	if r.Changes == nil {
		r.Changes = []engine.Change{}
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	return r
}

func (s *Server) rollouts(w http.ResponseWriter, r *http.Request, _ Identity) error {
	n, err := limit(r)
	if err != nil {
		return err
	}
	items, err := s.control.Rollouts(r.Context(), n)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request, _ Identity) error {
	n, err := limit(r)
	if err != nil {
		return err
	}
	items, err := s.control.Audit(r.Context(), n)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, failure{http.StatusRequestEntityTooLarge, "TooLarge", fmt.Sprintf("the body is larger than %d bytes", most), nil}
	}
	if err != nil {
		return nil, failure{http.StatusBadRequest, "BadRequest", "reading the body: " + err.Error(), nil}
	}
	return body, nil
}

func flag(r *http.Request, name string) (bool, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	if !slices.Contains([]string{"true", "false"}, v) {
		return false, failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("query parameter %s: %q: must be true or false", name, v), nil}
	}
	return v == "true", nil
}

func limit(r *http.Request) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return 100, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > historyMost {
		return 0, failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("query parameter limit: %q: must be a number from 1 to %d", v, historyMost), nil}
	}
	return n, nil
}
