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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// Control is what the API drives: one scoring endpoint.
type Control interface {
	Name() string
	Status() engine.Status
	Apply(ctx context.Context, document []byte, by string, dryRun bool) (engine.ApplyResult, error)
	Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error)
	Delete(ctx context.Context, by string, dryRun bool) (engine.ApplyResult, error)
	Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error)
	Audit(ctx context.Context, limit int) ([]engine.Entry, error)
	Subscribe() (events <-chan engine.Event, cancel func())
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
	heartbeat   = 15 * time.Second
	maxWatchers = 100
)

// Options are the server's parts.
type Options struct {
	Control   Control
	Tokens    []Token
	PeerRoles map[string][]Role // of users on the Unix socket, besides the owner
	Metrics   http.Handler
	Logger    *slog.Logger
}

// Server answers the API.
type Server struct {
	control   Control
	tokens    []Token
	peerRoles map[string][]Role
	logger    *slog.Logger
	mux       *http.ServeMux
	watchers  chan struct{}
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{control: o.Control, tokens: o.Tokens, peerRoles: o.PeerRoles, logger: o.Logger, mux: http.NewServeMux(), watchers: make(chan struct{}, maxWatchers)}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	s.mux.HandleFunc("GET /openapi.json", s.openAPI)
	s.handle("GET /v1/whoami", Viewer, s.whoami)
	s.handle("GET /v1/endpoints", Viewer, s.list)
	s.handle("GET /v1/endpoints/{name}", Viewer, s.status)
	s.handle("PUT /v1/endpoints/{name}", Operator, s.apply)
	s.handle("DELETE /v1/endpoints/{name}", Operator, s.remove)
	s.handle("POST /v1/endpoints/{name}/actions", Viewer, s.act) // the action decides the role
	s.handle("GET /v1/endpoints/{name}/rollouts", Viewer, s.rollouts)
	s.handle("GET /v1/endpoints/{name}/audit", Viewer, s.audit)
	s.handle("GET /v1/endpoints/{name}/events", Viewer, s.events)
	if o.Metrics != nil {
		s.mux.Handle("GET /metrics", o.Metrics)
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

type handler func(w http.ResponseWriter, r *http.Request, who Identity) error

// handle registers h for callers that have the role.
func (s *Server) handle(pattern string, need Role, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.identify(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.fail(w, failure{http.StatusUnauthorized, "Unauthenticated", err.Error(), nil})
			return
		}
		if !who.May(need) {
			s.fail(w, forbidden(who, need, r.Method+" "+r.URL.Path))
			return
		}
		if name := r.PathValue("name"); name != "" && name != s.control.Name() {
			s.fail(w, failure{http.StatusNotFound, "NotFound", fmt.Sprintf("there is no endpoint %q here; the one served is %q", name, s.control.Name()), nil})
			return
		}
		if err := h(w, r, who); err != nil {
			s.fail(w, err)
		}
	})
}

func forbidden(who Identity, need Role, what string) failure {
	return failure{http.StatusForbidden, "Forbidden", fmt.Sprintf("%q has the roles %v, but %s needs %q", who.Name, who.Roles, what, need), nil}
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
	result, err := s.control.Apply(r.Context(), doc, who.Name, dry)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, result)
	return nil
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
	s.write(w, http.StatusOK, result)
	return nil
}

// needs maps each action to the role that may ask for it.
var needs = map[string]Role{
	"Approve": Approver, "Reject": Approver, "Promote": Approver, "Abort": Approver, "Rollback": Approver,
	"Pause": Operator, "Resume": Operator, "Retry": Operator,
}

func (s *Server) act(w http.ResponseWriter, r *http.Request, who Identity) error {
	body, err := readBody(w, r, maxAction)
	if err != nil {
		return err
	}
	var a engine.ActionRequest
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return failure{http.StatusBadRequest, "BadRequest", "the body is not an action: " + err.Error(), nil}
	}
	need, known := needs[a.Action]
	switch {
	case !known:
		return failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("`action`: %q is none of Approve, Reject, Promote, Abort, Rollback, Pause, Resume, Retry", a.Action), nil}
	case !who.May(need):
		return forbidden(who, need, a.Action)
	case a.By != "" && a.By != who.Name:
		return failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("`by` is set from your identity (%q); state another person in `onBehalfOf`", who.Name), nil}
	}
	a.By = who.Name
	result, err := s.control.Act(r.Context(), a)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !result.Accepted {
		status = http.StatusConflict
	}
	s.write(w, status, result)
	return nil
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

// events sends server-sent events: `status` now and at every change, `entry`
// for each line of the audit.
func (s *Server) events(w http.ResponseWriter, r *http.Request, _ Identity) error {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return failure{http.StatusTooManyRequests, "TooManyWatchers", fmt.Sprintf("%d clients watch already; close one", maxWatchers), nil}
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	entries, cancel := s.control.Subscribe()
	defer cancel()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	if !send(w, rc, "status", 0, s.control.Status()) {
		return nil
	}
	for {
		select {
		case <-r.Context().Done():
			return nil
		case e, open := <-entries:
			if !open || !send(w, rc, "entry", e.Seq, e.Entry) || !send(w, rc, "status", e.Seq, s.control.Status()) {
				return nil
			}
		case <-tick.C:
			if _, err := io.WriteString(w, ": still here\n\n"); err != nil || rc.Flush() != nil {
				return nil
			}
		}
	}
}

func send(w io.Writer, rc *http.ResponseController, name string, seq uint64, v any) bool {
	data, err := json.Marshal(v)
	if err != nil {
		return false
	}
	_, err = fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n", name, seq, data)
	return err == nil && rc.Flush() == nil
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
