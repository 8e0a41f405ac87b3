// Package local runs a scoring endpoint on one machine: scorers as child
// processes, the gateway, the record in SQLite. It decides nothing.
package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/notify"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// DefaultState is the state folder where none is named.
const DefaultState = ".serin"

const (
	// restoreMost bounds how long a restart waits for stable before it listens.
	restoreMost = 2 * time.Minute
	// reaction is how long after a verdict traffic has left the candidate, in the
	// worst case on one machine: one round of the loop.
	reaction = 250 * time.Millisecond
	// longestSocket is what the kernels take as a socket's path.
	longestSocket = 100
)

// SocketPath returns where `serve` with this state folder has its socket. A path
// that is too long for a socket is replaced by one in the temporary folder.
func SocketPath(state string) string {
	abs, err := filepath.Abs(state)
	if err != nil {
		abs = state
	}
	path := filepath.Join(abs, "serin.sock")
	if len(path) <= longestSocket {
		return path
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(os.TempDir(), "serin-"+hex.EncodeToString(sum[:8])+".sock")
}

// Refusal is an error that the caller can mend.
type Refusal struct {
	Status   int
	Word     string
	Message  string
	Problems []string
}

func (r Refusal) Error() string     { return r.Message }
func (r Refusal) HTTPStatus() int   { return r.Status }
func (r Refusal) Reason() string    { return r.Word }
func (r Refusal) Details() []string { return r.Problems }

// Options say how an endpoint is served.
type Options struct {
	Document []byte
	Base     string // folder that relative paths of the document start from
	State    string // folder of the record
	Self     string // path of our own binary
	Logger   *slog.Logger
}

// Endpoint is one scoring endpoint on this machine.
type Endpoint struct {
	name     string
	base     string
	state    string
	self     string
	logger   *slog.Logger
	store    *Store
	lock     *os.File
	engine   *engine.Engine
	platform *platform
	gateway  *proxy.Gateway
	tap      *tap
	notifier *notify.Notifier
	stop     context.CancelFunc

	mu       sync.Mutex
	text     []byte
	document *spec.Document
	resolved spec.Resolved
	address  string
}

// Open reads document and record; nothing is served yet.
func Open(ctx context.Context, o Options) (*Endpoint, error) {
	doc, resolved, _, err := resolve(o.Document, o.Base)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder %q: %w", o.State, err)
	}
	lock, err := lockFolder(o.State)
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(ctx, o.State)
	if err != nil {
		lock.Close()
		return nil, err
	}
	e := &Endpoint{name: resolved.Name, base: o.Base, state: o.State, self: o.Self, logger: o.Logger, store: store, lock: lock, text: o.Document, document: doc, resolved: resolved, tap: &tap{}}
	if err := e.build(ctx); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// build puts the parts together.
func (e *Endpoint) build(ctx context.Context) error {
	collector, err := newCollector(e.resolved)
	if err != nil {
		return err
	}
	e.tap.collector.Store(collector)
	e.notifier = notify.New(notify.Config{Endpoint: e.name, Namespace: e.resolved.Namespace, Logger: e.logger})
	e.notifier.Set(receivers(e.resolved))
	e.gateway = proxy.New(proxy.Config{Tap: e.tap, Logger: e.logger})
	e.platform = newPlatform(e.self, e.gateway, e.logger, func() {
		if e.engine != nil {
			e.engine.Wake()
		}
	})
	eng, found, err := engine.Open(ctx, engine.Config{Endpoint: e.name, Platform: e.platform, Source: collector, Recorder: e.store, Logger: e.logger, Lag: reaction})
	if err != nil {
		return err
	}
	e.engine = eng
	if err := e.platform.setTraffic(trafficOf(e.resolved)); err != nil {
		return err
	}
	if found {
		return e.recall(eng.Record())
	}
	return nil
}

// recall tells the platform how every revision of the record is run.
func (e *Endpoint) recall(rec engine.Record) error {
	for digest, text := range rec.Revisions {
		var c Command
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return fmt.Errorf("reading how version %s is run: %w", digest, err)
		}
		e.platform.prepare(digest, c)
	}
	return nil
}

func newCollector(r spec.Resolved) (*observe.Collector, error) {
	extractor, err := contract.New(contract.Protocol(r.Contract.Protocol), r.Contract.JSONPath)
	if err != nil {
		return nil, fmt.Errorf("reading spec.contract: %w", err)
	}
	cfg := observe.Config{Extractor: extractor}
	for _, c := range r.Policy.Cutoffs {
		cfg.Cutoffs = append(cfg.Cutoffs, c.Value)
	}
	if a := r.Policy.Agreement; a != nil {
		cfg.Tolerance = a.Tolerance
	}
	return observe.New(cfg), nil
}

// resolve reads a document for this mode and digests its model.
func resolve(text []byte, base string) (*spec.Document, spec.Resolved, []string, error) {
	doc, report, err := spec.Load(text)
	if err != nil {
		return nil, spec.Resolved{}, nil, refused(err)
	}
	r, more, err := doc.For(spec.Local)
	if err != nil {
		return nil, spec.Resolved{}, nil, refused(err)
	}
	if r.Scorer.Model != "" {
		sum, err := fileDigest(absolute(base, r.Scorer.Model))
		if err != nil {
			return nil, spec.Resolved{}, nil, Refusal{422, "InvalidDocument", fmt.Sprintf("spec.scorer.local.model: %v", err), nil}
		}
		r = r.WithModelDigest(sum)
	}
	if a := r.Policy.Agreement; a != nil {
		a.RepeatBP = repeatBP
	}
	return doc, r, append(report.Lines(), more.Lines()...), nil
}

func refused(err error) error {
	return Refusal{422, "InvalidDocument", "the document is refused; nothing was changed", strings.Split(err.Error(), "\n")}
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

func fileDigest(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the model: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// command says how the scorer of a document is run. The model is copied into the
// state folder first: a revision is immutable, whatever becomes of the file.
func (e *Endpoint) command(r spec.Resolved) (Command, error) {
	c := Command{Dir: e.base, Env: r.Scorer.Env, Readiness: r.Readiness.Path}
	if r.Scorer.Model == "" {
		c.Args = slices.Clone(r.Scorer.Command)
		if c.Args[0] == "serin" {
			c.Args[0] = e.self
		}
		return c, nil
	}
	model, err := e.keepModel(absolute(e.base, r.Scorer.Model))
	if err != nil {
		return c, err
	}
	c.Args = []string{e.self, "scorer", "--model", model, "--listen", "127.0.0.1:$PORT"}
	return c, nil
}

func (e *Endpoint) keepModel(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the model: %w", err)
	}
	sum := sha256.Sum256(text)
	kept := filepath.Join(e.state, "models", hex.EncodeToString(sum[:])+".txt")
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	return kept, writeAtomically(kept, text)
}

// writeAtomically writes a file so that it is there whole or not at all.
func writeAtomically(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

func trafficOf(r spec.Resolved) Traffic {
	t := r.Traffic
	return Traffic{
		Header:   proxy.HeaderRoute{Name: t.Header.Name, Stable: t.Header.Stable, Candidate: t.Header.Candidate},
		Sticky:   proxy.Sticky{Cookie: t.Sticky.Cookie, Header: t.Sticky.Header},
		Fallback: t.Fallback, CandidateTimeout: t.CandidateTimeout, Timeout: t.Timeout, MaxBodyBytes: t.MaxBodyBytes,
		RepeatBP: repeats(r),
	}
}

// repeats is the share of shadowed requests that stable is asked twice.
func repeats(r spec.Resolved) int {
	if r.Policy.Agreement == nil {
		return 0
	}
	return r.Policy.Agreement.RepeatBP
}

// Run serves until the context ends, then drains. ready is called with the
// address once requests are taken.
func (e *Endpoint) Run(ctx context.Context, ready func(address string)) error {
	ctx, e.stop = context.WithCancel(ctx)
	defer e.stop()
	defer e.tell()()
	if err := e.begin(ctx); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", e.resolved.Traffic.Listen)
	if err != nil {
		return fmt.Errorf("listening on spec.traffic.listen: %w", err)
	}
	e.mu.Lock()
	e.address = "http://" + ln.Addr().String() + e.resolved.Contract.Path
	e.mu.Unlock()
	loop := make(chan struct{})
	go func() { defer close(loop); e.engine.Run(ctx) }()
	served := make(chan error, 1)
	go func() { served <- e.gateway.Serve(ln) }()
	ready(e.address)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-served:
		e.stop()
	}
	<-loop
	drain, cancel := context.WithTimeout(context.Background(), drainMost)
	defer cancel()
	return errors.Join(err, e.gateway.Shutdown(drain))
}

// begin restores what the record says and applies the document. After a restart
// the gateway listens only when stable answers again: clients see no more than
// the time that the process was down.
func (e *Endpoint) begin(ctx context.Context) error {
	w, err := e.wish(e.resolved, e.text)
	if err != nil {
		return err
	}
	if err := e.engine.Restore(ctx, w); err != nil {
		return err
	}
	if s := e.engine.Record().State.Stable; s != nil {
		wait, cancel := context.WithTimeout(ctx, restoreMost)
		defer cancel()
		if err := e.platform.waitReady(wait, s.Name); err != nil {
			e.logger.Error("stable is not ready after the restart; listening all the same", "error", err)
		}
	}
	_, err = e.Apply(ctx, e.text, "serve", false)
	return err
}

// wish turns a document into what the engine is asked for.
func (e *Endpoint) wish(r spec.Resolved, text []byte) (engine.Wish, error) {
	c, err := e.command(r)
	if err != nil {
		return engine.Wish{}, Refusal{422, "InvalidDocument", err.Error(), nil}
	}
	run, err := json.Marshal(c)
	if err != nil {
		return engine.Wish{}, fmt.Errorf("recording how %q is run: %w", r.Name, err)
	}
	e.platform.prepare(r.Digest, c)
	return engine.Wish{Document: string(text), Run: string(run), Target: rollout.Wish{Digest: r.Digest, Version: r.Version}, Plan: r.Plan, Policy: r.Policy}, nil
}

// Close ends the scorers and closes the record.
func (e *Endpoint) Close() {
	if e.platform != nil {
		e.platform.close()
	}
	if c := e.tap.collector.Load(); c != nil {
		c.Close()
	}
	if e.notifier != nil {
		e.notifier.Close()
	}
	e.store.Close()
	e.lock.Close()
}

// tell passes the audit on to whoever is to be notified, until the function
// returned is called.
func (e *Endpoint) tell() (end func()) {
	events, unsubscribe := e.engine.Subscribe()
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { e.notifier.Follow(ctx, events) })
	return func() { cancel(); following.Wait(); unsubscribe() }
}

func receivers(r spec.Resolved) []notify.Receiver {
	var out []notify.Receiver
	for _, n := range r.Notify {
		out = append(out, notify.Receiver{URL: n.URL, Format: n.Format})
	}
	return out
}
