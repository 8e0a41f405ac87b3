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

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/local"
	"github.com/serin-dev/serin/internal/server"
)

// connection says where the API is and as whom to speak.
type connection struct {
	state, url, tokenFile string
	endpoint              string
}

func (c *connection) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.state, "state", envOr("SERIN_STATE", local.DefaultState), "state `FOLDER` of serin serve, which holds its socket (SERIN_STATE)")
	f.StringVar(&c.url, "server", os.Getenv("SERIN_SERVER"), "`ADDRESS` of the API, such as http://127.0.0.1:8081, instead of the socket (SERIN_SERVER)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("SERIN_TOKEN_FILE"), "`FILE` with the bearer token for --server (SERIN_TOKEN_FILE)")
	f.StringVar(&c.endpoint, "endpoint", "", "`NAME` of the endpoint (default: the one served)")
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// client speaks to the API.
type client struct {
	http     *http.Client
	base     string
	token    string
	away     error // what to say when nobody listens
	where    string
	endpoint string
}

// away is an error that says nothing of the endpoint: the API did not answer, or
// had a fault of its own. Whoever waits may ask again.
type away struct{ error }

func (a away) Unwrap() error { return a.error }

func isAway(err error) bool {
	var a away
	return errors.As(err, &a)
}

func noServe(state, socket string) error {
	return exit{ExitNotFound, away{fmt.Errorf("no `serin serve` runs with the state folder %q (nobody listens on %s)\nTry: serin serve -f endpoint.yaml, or --state FOLDER", state, socket)}}
}

func (c *connection) open() (*client, error) {
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

// call sends one request and decodes the answer into out. An action that is not
// possible now (409) has an answer of its own, which goes into out too.
func (c *client) call(ctx context.Context, method, path string, body []byte, out any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return away{fmt.Errorf("reading the answer of %s: %w", c.where, err)}
	}
	if _, isAction := out.(*engine.ActionResult); resp.StatusCode >= 300 && !(isAction && resp.StatusCode == http.StatusConflict) {
		return apiError(resp.StatusCode, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it the API of a serin of this version?", c.where, err)
	}
	return nil
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

func (c *client) status(ctx context.Context) (engine.Status, error) {
	var s engine.Status
	path, err := c.path(ctx, "")
	if err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodGet, path, nil, &s)
}
