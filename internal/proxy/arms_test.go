package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// mute takes requests and never answers. It tells of each connection.
func mute(seen chan<- struct{}) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return
		}
		seen <- struct{}{}
		_, _ = io.Copy(io.Discard, c) // until the gateway gives up
	}
}

// TestSlowCandidateLeavesTimeForStable: the client is answered by stable within the time-out, the judge sees a time-out.
func TestSlowCandidateLeavesTimeForStable(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	seen := make(chan struct{}, 10)
	table := Table{Rollout: "x", WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: scripted(t, "r2", mute(seen)), Fallback: true, CandidateTimeout: 30 * time.Millisecond, Timeout: 20 * time.Second}
	swap(t, g, table)
	if status, body, header := ask(t, url); status != 200 || body != "r1:x" || header.Get("x-serin-fallback") != "stable" || header.Get("x-serin-route") != "x.0.r1" {
		t.Errorf("%d %q %v, want stable's answer, marked", status, body, header)
	}
	tap.await(t, "the time-out", func() bool { return tap.fellBack == 1 })
	if x := tap.last; x.Failure != Timeout || x.Arm != split.Candidate || x.Revision != "r2" || x.Latency < 30*time.Millisecond {
		t.Errorf("recorded %+v", x)
	}
	table.Fallback, table.Timeout = false, 30*time.Millisecond
	swap(t, g, table)
	if status, body, header := ask(t, url); status != 504 || !strings.Contains(body, "ScorerTimeout") || header.Get("x-serin-route") != "x.0.r2" {
		t.Errorf("without fallback: %d %q %v, want 504 with the candidate's stamp", status, body, header)
	}
}

// TestSlowUploadIsNobodysFault: the time that a client takes for its body is not taken from the candidate's.
func TestSlowUploadIsNobodysFault(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	const limit = time.Second
	swap(t, g, Table{Rollout: "x", WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200), Fallback: true, CandidateTimeout: limit})
	client, begun := dial(t, url), time.Now()
	client.send(post + "Content-Length: 2\r\n\r\nx")
	others := 0
	for ; time.Since(begun) < limit+100*time.Millisecond; others++ {
		ask(t, url)
	}
	tap.await(t, "the others' exchanges", func() bool { return tap.primaries() == others })
	whole := time.Now()
	client.send("y")
	if resp, body := client.answer("POST"); body != "r2:xy" || resp.Header.Get("x-serin-fallback") != "" {
		t.Errorf("%d %q %v, want the candidate's answer", resp.StatusCode, body, resp.Header)
	}
	tap.await(t, "all exchanges", func() bool { return tap.primaries() == others+1 })
	if x := tap.last; x.Start.Before(whole) {
		t.Errorf("its time began %v before it was whole", whole.Sub(x.Start))
	}
}

// TestClientThatLeaves is no failure of the revision that it did not wait for.
func TestClientThatLeaves(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	seen := make(chan struct{}, 10)
	swap(t, g, Table{Rollout: "x", WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: scripted(t, "r2", mute(seen)), Fallback: true})
	client := dial(t, url)
	client.send(post + "Content-Length: 1\r\n\r\nx")
	<-seen
	if n := g.InFlight("r2"); n != 1 {
		t.Errorf("%d in flight, want 1", n)
	}
	client.Close()
	tap.await(t, "the exchange", func() bool { return tap.primaries() == 1 })
	if x := tap.last; x.Failure != ClientGone || x.FellBack {
		t.Errorf("recorded %+v, want a client that left", x)
	}
	if h := &g.route.Load().candidate.health; h.failures.Load() != 0 {
		t.Error("it counts against the candidate's health")
	}
}

// TestDeadCandidateIsSpared: after five failures in a row only a probe now and then is tried; the tap hears of no more
// failures than were tried; when the candidate is back, it is asked again.
func TestDeadCandidateIsSpared(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	var alive atomic.Bool
	candidate := scripted(t, "r2", func(n int, c net.Conn) {
		if alive.Load() {
			says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nr2", false)(n, c)
		}
	})
	swap(t, g, Table{Rollout: "x", WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: candidate, Fallback: true})
	health := &g.route.Load().candidate.health
	for i := range 20 {
		if i >= failMost {
			health.until.Store(time.Now().Add(time.Hour).UnixNano())
		}
		if status, body, header := ask(t, url); status != 200 || body != "r1:x" || header.Get("x-serin-fallback") == "" {
			t.Fatalf("request %d: %d %q %v, want stable's answer, marked", i, status, body, header)
		}
	}
	tap.await(t, "all requests", func() bool { return tap.primaries() == 20 })
	if tap.failed[split.Candidate] != failMost || tap.spared != 20-failMost || g.Stats().Spared != 20-failMost {
		t.Errorf("%d failures, %d spared, stats %+v; want %d and %d", tap.failed[split.Candidate], tap.spared, g.Stats(), failMost, 20-failMost)
	}
	if x := tap.last; !x.Spared || x.Revision != "r1" || x.Arm != split.Candidate {
		t.Errorf("recorded %+v, want a spared request, answered by r1", x)
	}
	alive.Store(true)
	health.until.Store(time.Now().UnixNano()) // the rest is over: the next one is the probe
	for range 2 {
		if _, body, _ := ask(t, url); body != "r2" {
			t.Errorf("%q, want the candidate asked again", body)
		}
	}
}

func TestHealth(t *testing.T) {
	var h health
	now := time.Unix(1000, 0)
	for range failMost - 1 {
		h.note(Connect, now)
	}
	h.note(ClientGone, now)
	if h.resting(now) {
		t.Error("rests after four failures")
	}
	h.note(Reset, now)
	if !h.resting(now) || !h.resting(now.Add(restTime-1)) {
		t.Error("does not rest after five failures")
	}
	if h.resting(now.Add(restTime)) {
		t.Error("no probe after a second")
	}
	if !h.resting(now.Add(restTime)) {
		t.Error("two probes at once")
	}
	h.note(None, now)
	if h.resting(now) {
		t.Error("rests after a success")
	}
}

// TestShadowsUnderBackpressure: a candidate that never answers takes its room and no more; clients do not wait for it.
func TestShadowsUnderBackpressure(t *testing.T) {
	seen := make(chan struct{}, 100)
	g, url := serveWith(t, Config{Tap: newCounter(), ShadowConcurrency: 2})
	swap(t, g, Table{Rollout: "x", ShadowBP: 10000, Stable: backend(t, "r1", 200), Candidate: scripted(t, "r2", mute(seen)), Timeout: 500 * time.Millisecond})
	client := dial(t, url)
	const n = 20
	for range n {
		client.send(post + "Content-Length: 1\r\n\r\nx")
		if resp, body := client.answer("POST"); resp.StatusCode != 200 || body != "r1:x" {
			t.Fatalf("%d %q, want stable's answer", resp.StatusCode, body)
		}
	}
	client.send(post + "Content-Length: 1\r\nConnection: close\r\n\r\nx") // its copy is decided when the connection ends
	client.answer("POST")
	client.ended("the connection")
	if s := g.Stats(); s.ShadowDropped == 0 || s.ShadowSent+s.ShadowDropped != n+1 {
		t.Errorf("stats %+v: want drops, and each of %d requests copied or dropped", s, n+1)
	}
	if got := g.shadowed.Load(); got > int64(2*len("xr1:x")) {
		t.Errorf("%d bytes of copies held, want those of two", got)
	}
}

func TestShadowMemoryIsBounded(t *testing.T) {
	tap := newCounter()
	g, url := serveWith(t, Config{Tap: tap, ShadowQueueBytes: 3})
	swap(t, g, Table{Rollout: "x", ShadowBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200)})
	ask(t, url)
	tap.await(t, "the exchange", func() bool { return tap.primaries() == 1 && g.Stats().ShadowDropped == 1 || tap.pairs > 0 })
	if s := g.Stats(); s.ShadowDropped != 1 || s.ShadowSent != 0 || g.shadowed.Load() != 0 {
		t.Errorf("stats %+v, %d bytes: want a drop", s, g.shadowed.Load())
	}
}

func TestSticky(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	table := Table{Rollout: "x", WeightBP: 5000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200), Sticky: Sticky{Cookie: "serin"}}
	swap(t, g, table)
	for range 20 {
		_, first, header := ask(t, url)
		set, err := http.ParseSetCookie(header.Get("Set-Cookie"))
		if err != nil || set.Name != "serin" || len(set.Value) != 32 || !set.HttpOnly || set.Path != "/" || set.SameSite != http.SameSiteLaxMode {
			t.Fatalf("cookie %q, %v", header.Get("Set-Cookie"), err)
		}
		if _, again, header := ask(t, url, "Cookie", "a=b; serin="+set.Value+"; c"); again != first || header.Get("Set-Cookie") != "" {
			t.Errorf("first %q, then %q (cookie %q)", first, again, header.Get("Set-Cookie"))
		}
	}
	table.Sticky = Sticky{Header: "X-Client"}
	swap(t, g, table)
	want := map[split.Arm]string{split.Stable: "r1:x", split.Candidate: "r2:x"}
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		if _, body, _ := ask(t, url, "x-client", key); body != want[split.ByKey(5000, "x", []byte(key))] {
			t.Errorf("key %q: %q", key, body)
		}
	}
	tap.await(t, "all requests", func() bool { return tap.primaries() == 45 })
	if x := tap.last; !x.Keyed || x.Key != split.Hash("x", []byte("e")) {
		t.Errorf("recorded %+v, want the key's hash", x)
	}
}

// TestLargeBodiesAreStreamed: beyond the bound a body is passed on as it comes, without fallback and copy, and counted.
func TestLargeBodiesAreStreamed(t *testing.T) {
	tap := newCounter()
	g, url := serveWith(t, Config{Tap: tap, HoldBodyBytes: 1000})
	table := Table{Rollout: "x", WeightBP: 10000, ShadowBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 500), Fallback: true, MaxBodyBytes: 1 << 20}
	swap(t, g, table)
	body := strings.Repeat("0123456789", 50_000)
	client := dial(t, url)
	for range 2 {
		client.send(post + "Content-Length: 500000\r\n\r\n" + body)
		if resp, got := client.answer("POST"); resp.StatusCode != 500 || got != "r2:"+body || resp.Header.Get("x-serin-fallback") != "" {
			t.Fatalf("by length: %d, %d bytes; want the candidate's own answer", resp.StatusCode, len(got))
		}
		client.send(post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 50_000) + "0\r\n\r\n")
		if resp, got := client.answer("POST"); resp.StatusCode != 500 || got != "r2:"+body {
			t.Fatalf("by chunks: %d, %d bytes; want the candidate's own answer", resp.StatusCode, len(got))
		}
	}
	client.send(post + "Content-Length: 1\r\n\r\nx") // the connection is fit for more
	if resp, got := client.answer("POST"); resp.StatusCode != 200 || got != "r1:x" {
		t.Errorf("then %d %q", resp.StatusCode, got)
	}
	client.send(post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 20) + "0\r\n\r\n")
	if resp, _ := client.answer("POST"); resp.StatusCode != 413 {
		t.Errorf("chunks beyond the limit: %d, want 413", resp.StatusCode)
	}
	if s := g.Stats(); s.Streamed != 5 || s.ShadowSent != 0 || s.TooLarge != 1 {
		t.Errorf("stats %+v, want 5 streamed, none copied, one too large", s)
	}
	tap.await(t, "all exchanges", func() bool { return tap.primaries() == 6 })
	if x := tap.last; x.Failure != ClientGone {
		t.Errorf("recorded %+v, want it not held against the candidate", x)
	}
}

// TestAnswerBeforeTheBodyIsRead: the scorer refuses a large body by its head, and closes.
func TestAnswerBeforeTheBodyIsRead(t *testing.T) {
	g, url := serveWith(t, Config{HoldBodyBytes: 1000})
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, c)
		}
	})})
	client := dial(t, url)
	client.send(post + "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 2000)) // and waits
	if resp, body := client.answer("POST"); resp.StatusCode != 403 || body != "no" || !resp.Close {
		t.Errorf("%d %q, close %v; want the scorer's answer at once, and the end of the connection", resp.StatusCode, body, resp.Close)
	}
}

// TestShutdownDrains: a request under way is answered, an idle connection is closed, a new one is not taken.
func TestShutdownDrains(t *testing.T) {
	g := New(Config{})
	seen, release := make(chan struct{}, 1), make(chan struct{})
	if err := g.Swap(&Table{Rollout: "x", Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			seen <- struct{}{}
			<-release
			_, _ = io.WriteString(c, okAnswer)
		}
	})}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, down := make(chan error, 1), make(chan error, 1)
	go func() { served <- g.Serve(ln) }()
	url := "http://" + ln.Addr().String()
	idler, client := dial(t, url), dial(t, url)
	client.send(post + "\r\n")
	<-seen
	go func() { down <- g.Shutdown(context.Background()) }()
	idler.ended("an idle connection")
	if err := <-served; err != nil {
		t.Errorf("serving: %v", err)
	}
	close(release)
	if resp, body := client.answer("POST"); body != "ok" {
		t.Errorf("%d %q, want the answer", resp.StatusCode, body)
	}
	client.ended("the connection")
	if err := <-down; err != nil {
		t.Errorf("shutting down: %v", err)
	}
	if err := g.Serve(ln); err != nil {
		t.Errorf("serving afterwards: %v", err)
	}
}

func TestShutdownCutsAtTheEnd(t *testing.T) {
	g := New(Config{})
	seen := make(chan struct{}, 1)
	if err := g.Swap(&Table{Rollout: "x", Stable: scripted(t, "r1", mute(seen)), Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(ln) }()
	client := dial(t, "http://"+ln.Addr().String())
	client.send(post + "\r\n")
	<-seen
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Shutdown(ctx); err == nil {
		t.Error("no error, though a request was cut")
	}
	client.ended("the connection")
}
