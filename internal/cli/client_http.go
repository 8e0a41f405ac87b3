package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/local"
	"github.com/serin-dev/serin/internal/server"
	"github.com/serin-dev/serin/internal/spec"
)

// client speaks to the API.
type client struct {
	http     *http.Client
	base     string
	token    string
	away     error // what to say when nobody listens
	where    string
	endpoint string
}

func noServe(state, socket string) error {
	return exit{ExitNotFound, away{fmt.Errorf("no `serin serve` runs with the state folder %q (nobody listens on %s), and no cluster was named\nTry: serin serve -f endpoint.yaml, or --state FOLDER; for a cluster: --namespace NAMESPACE, or --context NAME", state, socket)}}
}

// openHTTP speaks to serin serve.
func (c *connection) openHTTP() (*client, error) {
	if c.url != "" {
		return c.openURL()
	}
	socket := local.SocketPath(c.state)
	if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
		return nil, noServe(c.state, socket)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://serin", away: noServe(c.state, socket), where: socket, endpoint: c.endpoint}, nil
}

func (c *connection) openURL() (*client, error) {
	u, err := url.Parse(c.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--server %q: must look like http://127.0.0.1:8081", c.url)
	}
	if c.tokenFile == "" {
		return nil, usageError("--server needs --token-file FILE: the API on TCP wants a bearer token")
	}
	token, err := os.ReadFile(filepath.Clean(c.tokenFile))
	if err != nil {
		return nil, usageError("--token-file: %w", err)
	}
	gone := exit{ExitNotFound, away{fmt.Errorf("nobody listens at %s\nTry: serin serve -f endpoint.yaml --api %s --tokens FILE", c.url, u.Host)}}
	return &client{http: &http.Client{}, base: strings.TrimRight(c.url, "/"), token: strings.TrimSpace(string(token)), away: gone, where: c.url, endpoint: c.endpoint}, nil
}

// answerWithin bounds one request. None waits for a rollout: `wait` asks again and again.
const answerWithin = time.Minute

// call sends one request and decodes the answer into out. An action that is not
// possible now (409) has an answer of its own, which goes into out too.
func (c *client) call(ctx context.Context, method, path string, body []byte, out any) error {
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	status, data, err := c.exchange(within, method, path, body)
	switch {
	case err == nil:
	case ctx.Err() == nil && within.Err() != nil:
		undecided := ""
		if method != http.MethodGet {
			undecided = " What was asked may still be carried out."
		}
		return exit{ExitError, away{fmt.Errorf("%s gave no answer within %s: does `serin serve` hang?%s\nTry: its log; a restart of serin serve keeps its state", c.where, answerWithin, undecided)}}
	default:
		return err
	}
	if _, isAction := out.(*engine.ActionResult); status >= 300 && !(isAction && status == http.StatusConflict) {
		return apiError(status, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it the API of a serin of this version?", c.where, err)
	}
	return nil
}

// exchange sends one request and reads the whole answer.
func (c *client) exchange(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return 0, nil, away{fmt.Errorf("reading the answer of %s: %w", c.where, err)}
	}
	return resp.StatusCode, data, nil
}

func (c *client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.where, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil, c.away
	case errors.Is(err, os.ErrPermission):
		return nil, exit{ExitForbidden, fmt.Errorf("asking %s: %w\nTry: the user who runs `serin serve`, or --server with a token", c.where, err)}
	}
	return nil, exit{ExitError, away{fmt.Errorf("asking %s: %w\nIs `serin serve` running? Try: serin status", c.where, err)}}
}

// apiError turns an error answer into text and an exit code.
func apiError(status int, data []byte) error {
	var body server.ErrorBody
	if json.Unmarshal(data, &body) != nil || body.Message == "" {
		body.Message = fmt.Sprintf("the API answered %d: %s", status, bytes.TrimSpace(data[:min(len(data), 300)]))
	}
	text := body.Message
	for _, d := range body.Details {
		text += "\n  " + d
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return exit{ExitUsage, errors.New(text)}
	case http.StatusNotFound:
		return exit{ExitNotFound, errors.New(text)}
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict:
		return exit{ExitForbidden, errors.New(text)}
	}
	return exit{ExitError, away{fmt.Errorf("%s\nThe log of `serin serve` may say more", text)}}
}

// path returns the path of the endpoint, asking for its name where none was given.
func (c *client) path(ctx context.Context, rest string) (string, error) {
	if c.endpoint == "" {
		var list struct{ Items []engine.Status }
		if err := c.call(ctx, http.MethodGet, "/v1/endpoints", nil, &list); err != nil {
			return "", err
		}
		if len(list.Items) != 1 {
			return "", exit{ExitNotFound, fmt.Errorf("%d endpoints are served here; name one with --endpoint", len(list.Items))}
		}
		c.endpoint = list.Items[0].Endpoint
	}
	return "/v1/endpoints/" + url.PathEscape(c.endpoint) + rest, nil
}

// Hint says what to look at when nobody answers.
func (c *client) Hint() string { return "Is `serin serve` running?" }

// Status asks for the status.
func (c *client) Status(ctx context.Context) (engine.Status, error) {
	var s engine.Status
	err := c.ask(ctx, http.MethodGet, "", nil, &s)
	return s, err
}

// every is how often the status is asked for by those who watch.
const every = time.Second

// Next asks again after a while.
func (c *client) Next(ctx context.Context) (engine.Status, error) {
	if err := rest(ctx, every); err != nil {
		return engine.Status{}, err
	}
	return c.Status(ctx)
}

// Apply sends a document to the endpoint that it names.
func (c *client) Apply(ctx context.Context, document []byte, dryRun, force bool) (engine.ApplyResult, error) {
	var r engine.ApplyResult
	if force {
		return r, usageError("--force-conflicts is for a cluster: nobody else writes the document of serin serve")
	}
	doc, _, err := spec.Load(document)
	if err != nil {
		return r, exit{ExitUsage, err}
	}
	err = c.call(ctx, http.MethodPut, "/v1/endpoints/"+url.PathEscape(doc.Name())+dry(dryRun), document, &r)
	return r, err
}

// Delete stops serving.
func (c *client) Delete(ctx context.Context, dryRun bool) (engine.ApplyResult, error) {
	var r engine.ApplyResult
	err := c.ask(ctx, http.MethodDelete, dry(dryRun), nil, &r)
	return r, err
}

func dry(run bool) string {
	if run {
		return "?dryRun=true"
	}
	return ""
}

// Act sends an action; one that is refused is no error.
func (c *client) Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error) {
	var r engine.ActionResult
	body, err := json.Marshal(a)
	if err != nil {
		return r, fmt.Errorf("writing the action: %w", err)
	}
	err = c.ask(ctx, http.MethodPost, "/actions", body, &r)
	return r, err
}

// Rollouts asks for rollouts that ended.
func (c *client) Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error) {
	var list items[engine.RolloutRecord]
	err := c.list(ctx, "/rollouts", limit, &list)
	return list.Items, err
}

// Audit asks for lines of the audit.
func (c *client) Audit(ctx context.Context, limit int) ([]engine.Entry, error) {
	var list items[engine.Entry]
	err := c.list(ctx, "/audit", limit, &list)
	return list.Items, err
}

// items is a list as JSON has it.
type items[T any] struct {
	Items []T `json:"items"`
}

func (c *client) list(ctx context.Context, what string, limit int, out any) error {
	return c.ask(ctx, http.MethodGet, fmt.Sprintf("%s?limit=%d", what, limit), nil, out)
}

func (c *client) ask(ctx context.Context, method, rest string, body []byte, out any) error {
	path, err := c.path(ctx, rest)
	if err != nil {
		return err
	}
	return c.call(ctx, method, path, body, out)
}
