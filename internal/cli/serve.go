package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/local"
	"github.com/serin-dev/serin/internal/server"
)

// apiFarewell bounds how long answers of the API may take at the end.
const apiFarewell = 2 * time.Second

type serveOptions struct {
	file, state, api, tokens, logFormat string
	verbose                             bool
	connections                         int
}

func newServe(stdio IO) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use: "serve", Short: "Serve an endpoint on this machine: scorers, gateway, judge, API", Args: cobra.NoArgs,
		Long:    "Serve the endpoint of a document on this machine until interrupted. State lives in one folder; after a crash the\nsame command goes on where it was. The API is on a Unix socket in that folder (your user is your identity), and with\n--api and --tokens on TCP too.\n\n" + exitTable,
		Example: "  serin serve -f examples/safe-driver/endpoint.yaml\n  serin status --watch            # in another terminal, same folder",
		RunE:    func(c *cobra.Command, _ []string) error { return runServe(c.Context(), o, stdio) },
	}
	f := c.Flags()
	f.StringVarP(&o.file, "file", "f", "", "the document")
	f.StringVar(&o.state, "state", envOr("SERIN_STATE", local.DefaultState), "folder of the record (SERIN_STATE)")
	f.StringVar(&o.api, "api", "", "serve the API on this loopback address too, such as 127.0.0.1:8081; needs --tokens")
	f.StringVar(&o.tokens, "tokens", "", "`FILE` of lines NAME ROLE[,ROLE] SECRET (viewer, operator, approver, configurer)")
	f.IntVar(&o.connections, "max-connections", 0, "connections of clients at most; who comes beyond is answered 503 (default 10000, or less where few files may be open)")
	f.StringVar(&o.logFormat, "log", "text", "log format: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return c
}

func (o *serveOptions) logger(stdio IO) (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(stdio.Err, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(stdio.Err, options)), nil
	}
	return nil, usageError("--log %q: must be text or json", o.logFormat)
}

func runServe(ctx context.Context, o serveOptions, stdio IO) error {
	logger, err := o.logger(stdio)
	if err != nil {
		return err
	}
	if o.connections < 0 {
		return usageError("--max-connections %d: must be at least 1, or 0 for the default", o.connections)
	}
	text, err := readDocument(o.file, stdio.In)
	if err != nil {
		return err
	}
	base, err := filepath.Abs(filepath.Dir(o.file))
	if err != nil {
		return fmt.Errorf("finding the folder of %q: %w", o.file, err)
	}
	s := service{connections: o.connections, document: text, base: base, state: o.state, api: o.api, logger: logger}
	if s.tokens, err = o.readTokens(); err != nil {
		return err
	}
	return s.run(ctx, func(address string) {
		if s.tcp != "" {
			fmt.Fprintf(stdio.Err, "API on http://%s, with a token of %s\n", s.tcp, o.tokens)
		}
		fmt.Fprintf(stdio.Err, "serving %s\nin another terminal: serin status --watch --state %s\n", address, o.state)
	})
}

func (o *serveOptions) readTokens() ([]server.Token, error) {
	if o.api == "" {
		if o.tokens != "" {
			return nil, usageError("--tokens has no use without --api: on the socket your user is your identity\nTry: --api 127.0.0.1:8081")
		}
		return nil, nil
	}
	host, _, err := net.SplitHostPort(o.api)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return nil, usageError("--api %q: must be a loopback address such as 127.0.0.1:8081", o.api)
	}
	if o.tokens == "" {
		return nil, usageError("--api needs --tokens FILE: nobody reaches the API on TCP without a token")
	}
	tokens, err := server.ReadTokens(o.tokens)
	if err != nil {
		return nil, usageError("--tokens: %w", err)
	}
	return tokens, nil
}

// service is an endpoint with its API.
type service struct {
	document         []byte
	base, state, api string
	connections      int // of clients, at most
	tokens           []server.Token
	logger           *slog.Logger
	endpoint         *local.Endpoint
	tcp              string // where the API listens on TCP
}

// run serves until the context ends.
func (s *service) run(ctx context.Context, ready func(address string)) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding our own binary: %w", err)
	}
	e, err := local.Open(ctx, local.Options{Document: s.document, Base: s.base, State: s.state, Self: self, MaxConnections: s.connections, Logger: s.logger})
	if err != nil {
		return serveError(err)
	}
	defer e.Close()
	s.endpoint = e
	answers := server.New(server.Options{Control: e, Tokens: s.tokens, Build: buildInfo(), Logger: s.logger})
	api := &http.Server{Handler: answers, ConnContext: server.ConnContext, ReadHeaderTimeout: 10 * time.Second}
	api.RegisterOnShutdown(answers.StopWatching)
	defer farewell(api)
	if err := s.listen(api); err != nil {
		return err
	}
	return serveError(e.Run(ctx, ready))
}

// farewell lets the API finish what it is answering: `delete` gets its answer.
func farewell(api *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), apiFarewell)
	defer cancel()
	if api.Shutdown(ctx) != nil {
		_ = api.Close()
	}
}

// serveError gives a refusal its exit code and details.
func serveError(err error) error {
	var r local.Refusal
	if !errors.As(err, &r) {
		return err
	}
	text := r.Message
	for _, p := range r.Problems {
		text += "\n  " + p
	}
	code := ExitUsage
	if r.Status == http.StatusConflict {
		code = ExitForbidden
	}
	return exit{code, errors.New(text)}
}

// listen opens the API's socket, and its TCP address if one is asked for. We
// hold the lock of the state folder, so a socket that is there is a dead one's.
func (s *service) listen(api *http.Server) error {
	socket := local.SocketPath(s.state)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the old socket: %w", err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("opening the API's socket: %w", err)
	}
	if err := os.Chmod(socket, 0o666); err != nil { // the folder is ours alone; the peer's user decides
		return fmt.Errorf("opening the API's socket: %w", err)
	}
	go func() { _ = api.Serve(ln) }()
	if s.api == "" {
		return nil
	}
	tcp, err := net.Listen("tcp", s.api)
	if err != nil {
		return fmt.Errorf("listening on --api: %w\nTry: another port", err)
	}
	s.tcp = tcp.Addr().String()
	go func() { _ = api.Serve(tcp) }()
	return nil
}
