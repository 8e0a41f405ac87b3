package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	patience = 30 * time.Second // a condition is met far sooner
	stable   = "safe-driver-r1"
	kandidat = "safe-driver-r2"
)

var key = mesh.Key{Namespace: "abtesting", Name: "safe-driver"}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		case <-tick.C:
		}
	}
}

// controller is the real end of the recorders' link, with faults.
type controller struct {
	said   sync.Map // by revision: its last order
	t      *testing.T
	hub    *mesh.Hub
	source *observe.Source
	server *httptest.Server
	seq    atomic.Uint64

	mu      sync.Mutex
	batches []wire.Batch // heard, repeated ones too
	tokens  map[string]bool
	answer  func(w http.ResponseWriter, r *http.Request, next http.Handler) // of frames; nil: as they come
}

func newController(t *testing.T) *controller {
	t.Helper()
	c := &controller{t: t, tokens: map[string]bool{"good": true}}
	t.Cleanup(func() { nothingLeft(t) }) // after all that begins later has ended
	c.start("127.0.0.1:0")
	t.Cleanup(c.stop)
	return c
}

// nothingLeft sees to it that no goroutine is left that works for a recorder.
func nothingLeft(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	left := func() string {
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if (strings.Contains(g, "internal/recorder.") || strings.Contains(g, "internal/proxy.")) && !strings.Contains(g, "testing.tRunner") {
				return g
			}
		}
		return ""
	}
	until(t, "goroutines to end", func() bool { return left() == "" })
}

// start begins a new life of the controller, which remembers nothing.
func (c *controller) start(addr string) {
	c.t.Helper()
	c.hub = mesh.NewHub(slog.New(slog.DiscardHandler), time.Now)
	var err error
	if c.source, err = c.hub.Watch(key, observe.Contract{Protocol: contract.Auto}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.source.Configure(judge.Policy{Agreement: &judge.AgreementMargin{Tolerance: .01}}, 0); err != nil {
		c.t.Fatal(err)
	}
	c.source.Begin(judge.EpochInfo{ID: 4, ShadowBP: 10000})
	c.source.Begin(judge.EpochInfo{ID: 5, Step: 1, WeightBP: 1000})
	c.hub.Arms(key, 4, stable, kandidat, true)
	c.hub.Arms(key, 5, stable, kandidat, false)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = &httptest.Server{Listener: ln, Config: &http.Server{Handler: c.handler()}}
	c.server.Start()
}

func (c *controller) addr() string { return c.server.Listener.Addr().String() }

func (c *controller) stop() {
	c.hub.Forget(key)
	c.server.CloseClientConnections()
	c.server.Close()
}

func (c *controller) handler() http.Handler {
	next := c.hub.Handler(func(_ context.Context, token string) (mesh.Peer, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.tokens[token] {
			return mesh.Peer{Namespace: key.Namespace}, nil
		}
		return mesh.Peer{}, errors.New("unknown token")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.FramesPath {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		heard := httptest.NewRecorder()
		c.mu.Lock()
		answer := c.answer
		c.mu.Unlock()
		if answer != nil {
			answer(w, r, next)
			return
		}
		next.ServeHTTP(heard, r)
		var b wire.Batch
		if heard.Code == http.StatusNoContent && json.Unmarshal(body, &b) == nil {
			c.mu.Lock()
			c.batches = append(c.batches, b)
			c.mu.Unlock()
		}
		w.WriteHeader(heard.Code)
	})
}

func (c *controller) fault(answer func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// order tells a revision's recorders what to do.
func (c *controller) order(revision string, o wire.Order) {
	if o.Role == "" {
		o.Role = wire.Candidate
	}
	if was, ok := c.said.Swap(revision, o); ok && was == o {
		return // the hub tells nobody the same twice
	}
	o.Seq = c.seq.Add(1)
	c.hub.Order(key, revision, o)
}

// frames returns what was heard of a revision, and its last batch.
func (c *controller) frames(revision string) (frames []wire.Frame, last wire.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.batches {
		if b.Revision == revision {
			frames, last = append(frames, b.Frames...), b
		}
	}
	return frames, last
}

// awaitFrames waits until n frames of a revision were heard.
func (c *controller) awaitFrames(revision string, n int) []wire.Frame {
	c.t.Helper()
	until(c.t, fmt.Sprintf("%d frames of %s", n, revision), func() bool { f, _ := c.frames(revision); return len(f) >= n })
	f, _ := c.frames(revision)
	if len(f) != n {
		c.t.Errorf("%d frames of %s, want %d: %+v", len(f), revision, n, f)
	}
	return f
}

func (c *controller) evidence(epoch uint32) judge.EpochEvidence {
	s := c.source.Snapshot()
	for i := range s.Epochs {
		if s.Epochs[i].Info.ID == epoch {
			return s.Epochs[i]
		}
	}
	c.t.Fatalf("no epoch %d", epoch)
	return judge.EpochEvidence{}
}

// scorer is what a recorder stands beside.
type scorer struct {
	*httptest.Server
	ready atomic.Bool
	asked atomic.Int64
	last  atomic.Pointer[http.Request]
}

// newScorer answers scoring requests by do; it is ready unless told otherwise.
func newScorer(t *testing.T, do http.HandlerFunc) *scorer {
	t.Helper()
	s := &scorer{}
	s.ready.Store(true)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			if !s.ready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		s.asked.Add(1)
		s.last.Store(r)
		do(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// says answers every request the same.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// recorderUnderTest is one that runs.
type recorderUnderTest struct {
	*Recorder
	t           *testing.T
	url, health string
	log         *logged
	end         context.CancelFunc
	ended       chan error
}

// run starts a recorder of a revision beside a scorer.
func run(t *testing.T, c *controller, revision, scorer string, change ...func(*Recorder)) *recorderUnderTest {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	u := &recorderUnderTest{t: t, log: log, ended: make(chan error, 1)}
	listening := make(chan struct{})
	r, err := New(Options{
		Listen: "127.0.0.1:0", Health: "127.0.0.1:0", Scorer: strings.TrimPrefix(scorer, "http://"), Readiness: "/ready", Endpoint: key.Name, Revision: revision,
		Pod: "pod-of-" + revision, Namespace: key.Namespace, Controller: "http://" + c.addr(), TokenFile: token, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Listening: func(data, health string) {
			u.url, u.health = "http://"+data, "http://"+health
			close(listening)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	u.Recorder = r
	ctx, cancel := context.WithCancel(context.Background())
	u.end = cancel
	go func() { u.ended <- r.Run(ctx) }()
	<-listening
	t.Cleanup(func() {
		cancel()
		if err := <-u.ended; err != nil {
			t.Errorf("running the recorder of %s: %v", revision, err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return u
}

// awaitOrder waits until the last order of the controller is obeyed.
func (u *recorderUnderTest) awaitOrder(c *controller) {
	u.t.Helper()
	until(u.t, "the order", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.Recorder.order.Seq == c.seq.Load()
	})
}

func (u *recorderUnderTest) awaitReady() {
	u.t.Helper()
	until(u.t, "the scorer", func() bool { return u.get("/readyz") == http.StatusOK })
}

func (u *recorderUnderTest) get(path string) int {
	resp, err := http.Get(u.health + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// reply is what a client got.
type reply struct {
	status                 int
	body                   string
	revision, fallback, id string
}

// ask sends a scoring request; stamp may be empty.
func (u *recorderUnderTest) ask(stamp string, header ...string) reply {
	u.t.Helper()
	r, err := u.try(stamp, header...)
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

func (u *recorderUnderTest) try(stamp string, header ...string) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, u.url+"/score", strings.NewReader(`{"data": [[1]]}`))
	if err != nil {
		return reply{}, err
	}
	if stamp != "" {
		req.Header.Set(wire.StampHeader, stamp)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(body), resp.Header.Get("x-serin-revision"), resp.Header.Get(wire.FallbackHeader), resp.Header.Get(wire.RequestIDHeader)}, err
}

// logged is a log that tests may read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
