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
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/notify"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/spec"
)

// DefaultState is the state folder where none is named.
const DefaultState = ".serin"

const (
	// restoreMost bounds how long a restart waits for stable before it listens.
	restoreMost = 2 * time.Minute
	// restoreCandidate is the same for a candidate: clients wait for stable, not for
	// it. One that takes longer gets its share back when it is ready.
	restoreCandidate = 2 * time.Second
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
	// MaxConnections of clients; 0: the gateway's default.
	MaxConnections int
	Logger         *slog.Logger
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
	source   *observe.Source
	stopped  chan struct{} // closed by Delete
	stopOnce sync.Once
	started  string // the document that serve was started with

	mu       sync.Mutex
	text     []byte
	document *spec.Document
	resolved spec.Resolved
	address  string
}

// Open reads document and record; nothing is served yet.
func Open(ctx context.Context, o Options) (*Endpoint, error) {
	_, resolved, _, err := resolve(o.Document, o.Base)
	if err != nil {
		return nil, err
	}
	// Scorers run in the document's folder: what is relative to ours they would not find.
	for _, folder := range []*string{&o.State, &o.Base} {
		if *folder, err = filepath.Abs(*folder); err != nil {
			return nil, fmt.Errorf("looking for the folder %q: %w", *folder, err)
		}
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
	e := &Endpoint{name: resolved.Name, base: o.Base, state: o.State, self: o.Self, logger: o.Logger, store: store, lock: lock, tap: &tap{}, stopped: make(chan struct{})}
	if err := e.build(ctx, o); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// build puts the parts together.
func (e *Endpoint) build(ctx context.Context, o Options) error {
	e.gateway = proxy.New(proxy.Config{Tap: e.tap, MaxConnections: o.MaxConnections, Logger: e.logger})
	e.platform = newPlatform(e.self, e.gateway, e.logger, func() {
		if e.engine != nil {
			e.engine.Wake()
		}
	})
	if err := e.choose(ctx, o.Document); err != nil {
		return err
	}
	e.notifier = notify.New(notify.Config{Endpoint: e.name, Namespace: e.resolved.Namespace, Logger: e.logger})
	e.notifier.Set(receivers(e.resolved))
	var err error
	if e.source, err = observe.NewSource(observe.ContractOf(e.resolved.Contract.Protocol, e.resolved.Contract.JSONPath), e.tap.collector.Store); err != nil {
		return err
	}
	eng, found, err := engine.Open(ctx, engine.Config{Endpoint: e.name, Platform: e.platform, Source: e.source, Recorder: e.store, Logger: e.logger, Lag: reaction})
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

// choose says which document counts: the one that serve is started with, unless it
// is the same as at the last start and another was applied since. A restart after a
// crash must not undo what was applied.
func (e *Endpoint) choose(ctx context.Context, started []byte) error {
	last, err := e.store.Started(ctx, e.name)
	if err != nil {
		return err
	}
	rec, _, err := e.store.Load(ctx, e.name)
	if err != nil {
		return err
	}
	e.started, e.text = string(started), started
	if last == string(started) && rec.Document != "" && rec.Document != last {
		e.text = []byte(rec.Document)
		e.logger.Info("the document applied last counts: the file has not changed since serve was last started with it")
	}
	if e.document, e.resolved, _, err = resolve(e.text, e.base); err != nil {
		return err
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
// address once requests are taken. The address is taken first: that it is in use
// is said before anything is started, and clients wait instead of being refused
// while scorers start again.
func (e *Endpoint) Run(ctx context.Context, ready func(address string)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-e.stopped:
			stop()
		case <-ctx.Done():
		}
	}()
	listen := e.resolved.Traffic.Listen
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return Refusal{422, "InvalidDocument", fmt.Sprintf("spec.traffic.listen: %q cannot be listened on: %v; stop what uses it, or choose another address (port 0: any free one)", listen, err), nil}
	}
	defer ln.Close() // after Serve it does nothing
	defer e.tell()()
	if err := e.begin(ctx); err != nil {
		return err
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
		stop()
	}
	<-loop
	drain, cancel := context.WithTimeout(context.Background(), drainMost)
	defer cancel()
	return errors.Join(err, e.gateway.Shutdown(drain))
}

// begin restores what the record says and applies the document. After a restart
// nothing is answered before stable is ready again. A candidate that is still
// starting has no share: it must not count as one that fails.
func (e *Endpoint) begin(ctx context.Context) error {
	e.mu.Lock()
	text := e.text
	w, err := e.wish(e.resolved, text)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	if err := e.engine.Restore(ctx, w); err != nil {
		return err
	}
	s := e.engine.Record().State
	if s.Stable != nil {
		e.await(ctx, s.Stable.Name, restoreMost)
	}
	if s.Candidate != nil && s.Routing.WeightBP+s.Routing.ShadowBP > 0 {
		e.await(ctx, s.Candidate.Name, restoreCandidate)
	}
	_, err = e.Apply(ctx, text, "serve", false)
	if err == nil {
		err = e.store.SetStarted(ctx, e.name, e.started)
	}
	var refusal Refusal
	switch {
	case err == nil:
	case s.Stable == nil || errors.As(err, &refusal):
		return err
	default: // a disk that is full is no reason to serve nothing
		e.logger.Error("serving by the record as it is: it cannot be written", "error", err)
	}
	// One round before the first request: a candidate that is not ready has no share.
	e.engine.Tick(ctx)
	return nil
}

func (e *Endpoint) await(ctx context.Context, revision string, most time.Duration) {
	wait, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := e.platform.waitReady(wait, revision); err != nil {
		e.logger.Error("not ready after the restart; listening all the same", "error", err)
	}
}

// Close ends the scorers and closes the record.
func (e *Endpoint) Close() {
	if e.platform != nil {
		e.platform.close()
	}
	if e.source != nil {
		e.source.Close()
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
