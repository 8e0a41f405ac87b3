package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// soon bounds how long a test waits for what has to happen.
const soon = 60 * time.Second

// within receives what has to come soon.
func within[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(soon):
		t.Errorf("not within %s: %s", soon, what)
	}
	return got
}

// safeBuffer may be written and read by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// live is a `serin serve` in this process, with dummy scorers in processes of
// their own, its API on the socket and on TCP.
type live struct {
	t             *testing.T
	folder, state string
	address, api  string
	log           *safeBuffer
	code          int
	ended         chan struct{}
	stop          context.CancelFunc
}

const tokenLines = "watcher viewer 0123456789abcdef-watcher\npusher operator 0123456789abcdef-pusher\nsigner approver 0123456789abcdef-signer\n"

// document is one with dummy scorers; more is added to spec.rollout.
func document(version, more string) string {
	return fmt.Sprintf(`apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: m}
spec:
  scorer: {version: %q, local: {command: [serin, scorer, --dummy, A, --listen, "127.0.0.1:$PORT"]}}
  traffic: {listen: "127.0.0.1:0"}
  rollout:
    steps: [{name: first, weight: 10%%, approval: Required}, {name: second, weight: 50%%}, {weight: 100%%}]
    warmup: 0s
    keepFailed: 0s
%s`, version, more)
}

// serveLive starts it and waits until the first version serves.
func serveLive(t *testing.T, text string) *live {
	t.Helper()
	l := &live{t: t, folder: t.TempDir(), log: &safeBuffer{}, ended: make(chan struct{})}
	l.state = filepath.Join(l.folder, "state")
	file := l.write("v1.yaml", text, 0o600)
	tokens := l.write("tokens", tokenLines, 0o600)
	for _, line := range strings.Split(strings.TrimSpace(tokenLines), "\n") {
		f := strings.Fields(line)
		l.write("token-"+f[0], f[2], 0o600)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go func() {
		defer close(l.ended)
		l.code = Run(ctx, []string{"serve", "-f", file, "--state", l.state, "--api", "127.0.0.1:0", "--tokens", tokens}, IO{In: strings.NewReader(""), Out: l.log, Err: l.log})
	}()
	t.Cleanup(l.end)
	l.until("the gateway serves", func() bool { return l.said("serving ") && l.said("API on ") })
	l.address, l.api = l.find(`serving (http://\S+)`), l.find(`API on (http://[^,\s]+)`)
	l.status("the first version serves", func(s engine.Status) bool { return s.Stable != nil && s.Stable.Ready })
	return l
}

// end tells serve to end, and waits until it has.
func (l *live) end() {
	l.t.Helper()
	l.stop()
	within(l.t, "serve has ended", l.ended)
}

func (l *live) write(name, text string, mode os.FileMode) string {
	l.t.Helper()
	path := filepath.Join(l.folder, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *live) said(text string) bool { return strings.Contains(l.log.String(), text) }

func (l *live) find(pattern string) string {
	l.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(l.log.String())
	if m == nil {
		l.t.Fatalf("serve did not say %s:\n%s", pattern, l.log)
	}
	return m[1]
}

func (l *live) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-l.ended:
			l.t.Fatalf("serve ended before %s:\n%s", what, l.log)
		default:
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("not within %s: %s\n%s", soon, what, l.log)
		}
	}
}

// status waits for a status and returns it.
func (l *live) status(what string, ok func(engine.Status) bool) engine.Status {
	l.t.Helper()
	c := connection{state: l.state}
	cl, err := c.openHTTP()
	if err != nil {
		l.t.Fatal(err)
	}
	var st engine.Status
	l.until(what, func() bool {
		st, err = cl.Status(l.t.Context())
		return err == nil && ok(st)
	})
	return st
}

// as adds the flags that speak to the API: over the socket, or on TCP with
// somebody's token.
func (l *live) as(who string, args ...string) []string {
	if who == "" {
		return append(args, "--state", l.state)
	}
	return append(args, "--server", l.api, "--token-file", filepath.Join(l.folder, "token-"+who))
}

// waitFor waits for a condition, whether serve runs or not.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", soon, what)
		}
	}
}
