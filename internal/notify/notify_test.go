package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// soon bounds how long a test waits for what has to happen.
const soon = 20 * time.Second

// receiver is a real HTTP server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	answer func(n int) int // status of the n-th request, from 1
	hold   chan struct{}   // every request waits for it, if set
}

type received struct{ path, contentType, body string }

func newReceiver(t *testing.T, ln net.Listener) *receiver {
	t.Helper()
	r := &receiver{answer: func(int) int { return 200 }}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.URL.Path, req.Header.Get("Content-Type"), string(body)})
		status, hold := r.answer(len(r.got)), r.hold
		r.mu.Unlock()
		if hold != nil {
			<-hold
		}
		w.WriteHeader(status)
	}))
	if ln != nil {
		r.Listener.Close()
		r.Listener = ln
	}
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

// safe is a buffer that several goroutines log to.
type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func notifier(t *testing.T, cfg Config, to ...Receiver) (*Notifier, *safe) {
	t.Helper()
	log := &safe{}
	cfg.Endpoint, cfg.Logger = "m", slog.New(slog.NewTextHandler(log, nil))
	if cfg.FirstPause == 0 {
		cfg.FirstPause = time.Millisecond
	}
	n := New(cfg)
	n.Set(to)
	t.Cleanup(n.Close)
	return n, log
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func transition(i int) engine.Entry {
	return engine.Entry{At: noon.Add(time.Duration(i)), Kind: engine.EntryTransition, Rollout: "m-1", Action: "Advance", Reason: "StepEntered", Message: fmt.Sprintf("step %d <&>", i), EvidenceDigest: "abc"}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %s: %s", soon, what)
		}
	}
}

func (n *Notifier) count() engine.NotifyCount {
	var sum engine.NotifyCount
	for _, c := range n.Counts() {
		sum.Sent, sum.Failed, sum.Dropped, sum.Waiting = sum.Sent+c.Sent, sum.Failed+c.Failed, sum.Dropped+c.Dropped, sum.Waiting+c.Waiting
	}
	return sum
}

func TestEachIsDeliveredOnceInOrder(t *testing.T) {
	a, b := newReceiver(t, nil), newReceiver(t, nil)
	n, _ := notifier(t, Config{}, Receiver{a.URL, CloudEvents}, Receiver{b.URL, Slack})
	const many = 50
	for i := range many {
		n.Tell(transition(i))
	}
	n.Tell(engine.Entry{Kind: engine.EntryAction, Reason: "Accepted"}) // not told
	eventually(t, "all sent", func() bool { return n.count().Sent == 2*many })
	for _, r := range []*receiver{a, b} {
		got := r.all()
		if len(got) != many {
			t.Fatalf("%d requests, want %d", len(got), many)
		}
		for i, g := range got {
			if !strings.Contains(g.body, fmt.Sprintf("step %d ", i)) {
				t.Errorf("request %d is %s", i, g.body)
			}
		}
	}
}

func TestCloudEvent(t *testing.T) {
	r := newReceiver(t, nil)
	n, _ := notifier(t, Config{Namespace: "abtesting"}, Receiver{r.URL + "/hook", CloudEvents})
	n.Tell(transition(1))
	n.Tell(engine.Entry{At: noon, Kind: engine.EntryFault, Reason: "Degraded", Message: "disk full"})
	eventually(t, "two", func() bool { return n.count().Sent == 2 })
	var e map[string]any
	got := r.all()
	if err := json.Unmarshal([]byte(got[0].body), &e); err != nil {
		t.Fatal(err)
	}
	if got[0].contentType != "application/cloudevents+json; charset=utf-8" || got[0].path != "/hook" {
		t.Errorf("content type %q at %q", got[0].contentType, got[0].path)
	}
	for k, want := range map[string]any{
		"specversion": "1.0", "type": "dev.serin.rollout.StepEntered", "source": "/namespaces/abtesting/endpoints/m", "subject": "m-1", "time": "2026-01-02T12:00:00.000000001Z", "datacontenttype": "application/json",
	} {
		if e[k] != want {
			t.Errorf("%s is %v, want %v", k, e[k], want)
		}
	}
	d, _ := e["data"].(map[string]any)
	if e["id"] == "" || d["reason"] != "StepEntered" || d["action"] != "Advance" || d["message"] != "step 1 <&>" || d["evidenceDigest"] != "abc" {
		t.Errorf("event %v", e)
	}
	if !strings.Contains(got[1].body, "dev.serin.rollout.Degraded") || !strings.Contains(got[1].body, `"subject":"m"`) {
		t.Errorf("fault %s", got[1].body)
	}
}

func TestSlackAndTeams(t *testing.T) {
	r := newReceiver(t, nil)
	n, _ := notifier(t, Config{}, Receiver{r.URL + "/slack", Slack}, Receiver{r.URL + "/teams", Teams})
	n.Tell(transition(1))
	eventually(t, "two", func() bool { return n.count().Sent == 2 })
	for _, g := range r.all() {
		var v any
		if err := json.Unmarshal([]byte(g.body), &v); err != nil || g.contentType != "application/json" {
			t.Errorf("%s got %q as %s (%v)", g.path, g.body, g.contentType, err)
		}
		var want string
		if g.path == "/slack" {
			want = "m-1 Advance (StepEntered): step 1 &lt;&amp;&gt;"
			v = v.(map[string]any)["text"]
		} else {
			want = "m-1 Advance (StepEntered): step 1 <&>"
			content := v.(map[string]any)["attachments"].([]any)[0].(map[string]any)["content"].(map[string]any)
			v = content["body"].([]any)[0].(map[string]any)["text"]
		}
		if v != want {
			t.Errorf("%s got %q, want %q", g.path, v, want)
		}
	}
}

func TestReceiverDownThenUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	n, log := notifier(t, Config{LongestPause: 5 * time.Millisecond}, Receiver{"http://" + addr + "/services/SECRET?sig=SECRET", CloudEvents})
	n.Tell(transition(1))
	eventually(t, "it has failed at least once", func() bool { return strings.Contains(log.String(), "trying again") })
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Skipf("someone else took the port meanwhile: %v", err)
	}
	r := newReceiver(t, ln)
	n.Tell(transition(2))
	eventually(t, "both sent", func() bool { return n.count().Sent == 2 })
	if got := r.all(); len(got) != 2 || !strings.Contains(got[0].body, "step 1 ") {
		t.Errorf("got %v, want both in order", got)
	}
	if strings.Contains(log.String(), "SECRET") || !strings.Contains(log.String(), addr) {
		t.Errorf("the log must name the host and tell no secret: %s", log)
	}
}

func TestAnswersOfTheReceiver(t *testing.T) {
	for _, c := range []struct {
		name         string
		answers      []int
		requests     int
		sent, failed uint64
		giveUp       time.Duration
	}{
		{name: "busy, then well", answers: []int{503, 429, 204}, requests: 3, sent: 1},
		{name: "refused for good", answers: []int{400}, requests: 1, failed: 1},
		{name: "no redirect is followed", answers: []int{302}, requests: 1, failed: 1},
		{name: "given up at last", answers: []int{500}, requests: 1, failed: 1, giveUp: time.Nanosecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, nil)
			r.answer = func(n int) int { return c.answers[min(n, len(c.answers))-1] }
			n, log := notifier(t, Config{GiveUp: c.giveUp}, Receiver{r.URL + "/SECRET", CloudEvents})
			n.Tell(transition(1))
			eventually(t, "decided", func() bool { x := n.count(); return x.Sent == c.sent && x.Failed == c.failed })
			got := r.all()
			if len(got) != c.requests {
				t.Errorf("%d requests, want %d", len(got), c.requests)
			}
			for _, g := range got {
				if g.body != got[0].body {
					t.Error("a repetition differs from the first attempt: the receiver cannot tell that it is one")
				}
			}
			if strings.Contains(log.String(), "SECRET") {
				t.Errorf("the log tells the secret: %s", log)
			}
		})
	}
}

// TestSlowReceiverHoldsUpNobody: a receiver that hangs costs its own messages only.
func TestSlowReceiverHoldsUpNobody(t *testing.T) {
	slow, quick := newReceiver(t, nil), newReceiver(t, nil)
	slow.hold = make(chan struct{})
	n, log := notifier(t, Config{Queue: 4, Timeout: time.Hour}, Receiver{slow.URL + "/SECRET", CloudEvents}, Receiver{quick.URL, CloudEvents})
	n.Tell(transition(0))
	eventually(t, "the slow one is busy", func() bool { return len(slow.all()) == 1 })
	const more = 10
	for i := range more {
		n.Tell(transition(1 + i))
		eventually(t, "the quick one got it", func() bool { return len(quick.all()) == 2+i })
	}
	if c := n.Counts()[0]; c.Dropped != more-4 || c.Waiting != 4 {
		t.Errorf("counts %+v, want 4 waiting and the rest dropped", c)
	}
	if s := log.String(); !strings.Contains(s, "queue is full") || strings.Contains(s, "SECRET") {
		t.Errorf("log %s: want the drops, and no secret", s)
	}
	close(slow.hold)
	eventually(t, "what waited arrives", func() bool { return len(slow.all()) == 5 })
}

func TestHangingReceiverIsGivenATimeLimit(t *testing.T) {
	r := newReceiver(t, nil)
	r.hold = make(chan struct{})
	n, _ := notifier(t, Config{Timeout: 10 * time.Millisecond, GiveUp: time.Nanosecond}, Receiver{r.URL, CloudEvents})
	n.Tell(transition(1))
	eventually(t, "given up", func() bool { return n.count().Failed == 1 })
	close(r.hold)
}

// TestFarewell: what still waits when Serin ends is tried once more, within bounds.
func TestFarewell(t *testing.T) {
	r := newReceiver(t, nil)
	r.answer = func(n int) int {
		if n == 1 {
			return 503
		}
		return 200
	}
	n, log := notifier(t, Config{FirstPause: time.Hour, LongestPause: time.Hour}, Receiver{r.URL, CloudEvents})
	n.Tell(transition(1))
	n.Tell(transition(2))
	eventually(t, "the first was refused", func() bool { return strings.Contains(log.String(), "trying again") })
	n.Close()
	n.Close() // twice is no error
	if got := r.all(); len(got) != 3 {
		t.Errorf("%d requests, want the refused one and both at the farewell", len(got))
	}
	n.Tell(transition(3))
	n.Set([]Receiver{{r.URL, Slack}})
	if got := r.all(); len(got) != 3 {
		t.Error("something was sent after the end")
	}
}

func TestReceiversChange(t *testing.T) {
	a, b := newReceiver(t, nil), newReceiver(t, nil)
	n, _ := notifier(t, Config{}, Receiver{a.URL, CloudEvents})
	n.Tell(transition(1))
	eventually(t, "a got it", func() bool { return len(a.all()) == 1 })
	n.Set([]Receiver{{b.URL, CloudEvents}})
	n.Tell(transition(2))
	eventually(t, "b got it", func() bool { return len(b.all()) == 1 })
	if len(a.all()) != 1 {
		t.Error("a receiver that was taken out is still told")
	}
}

// TestFollowTellsWhatCameBeforeTheEnd: the last line of the audit is told too.
func TestFollowTellsWhatCameBeforeTheEnd(t *testing.T) {
	r := newReceiver(t, nil)
	n, _ := notifier(t, Config{}, Receiver{r.URL, CloudEvents})
	events := make(chan engine.Event, 2)
	events <- engine.Event{Entry: transition(1)}
	events <- engine.Event{Entry: transition(2)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.Follow(ctx, events)
	eventually(t, "both", func() bool { return n.count().Sent == 2 })
}

// A receiver's name may stand for an address that is not to be called: it is given
// up at once, and the address is not in the log.
func TestForbiddenAddressesAreNotCalled(t *testing.T) {
	r := newReceiver(t, nil)
	var asked atomic.Pointer[netip.Addr]
	n, log := notifier(t, Config{Forbidden: func(a netip.Addr) bool { asked.Store(&a); return true }}, Receiver{r.URL + "/secret", CloudEvents})
	n.Tell(transition(1))
	eventually(t, "given up", func() bool { return n.count().Failed == 1 })
	if got := r.all(); len(got) > 0 || asked.Load() == nil || !asked.Load().IsLoopback() {
		t.Errorf("called %d times, asked about %v", len(got), asked.Load())
	}
	if text := log.String(); !strings.Contains(text, "does not call it") || strings.Contains(text, "secret") {
		t.Errorf("log: %s", text)
	}
}
