package proxy

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// notes is a log that several goroutines write.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) { n.mu.Lock(); defer n.mu.Unlock(); return n.buf.Write(b) }
func (n *notes) String() string              { n.mu.Lock(); defer n.mu.Unlock(); return n.buf.String() }

// TestTooManyClientsAreTurnedAway: connections are bounded. Who comes beyond is told so
// and counted, those who are there go on, and there is room again when one leaves.
func TestTooManyClientsAreTurnedAway(t *testing.T) {
	tap, log := newCounter(), &notes{}
	g, url := serveWith(t, Config{Tap: tap, MaxConnections: 3, Logger: slog.New(slog.NewTextHandler(log, nil))})
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(okAnswer, false))})
	const score = post + "Content-Length: 1\r\n\r\nx"
	served := func(c *rawClient) {
		t.Helper()
		c.send(score)
		if resp, body := c.answer("POST"); resp.StatusCode != 200 {
			t.Fatalf("%d %q, want 200", resp.StatusCode, body)
		}
	}
	var inside []*rawClient
	for range 3 {
		c := dial(t, url)
		served(c)
		inside = append(inside, c)
	}
	const beyond = 5
	for range beyond {
		c := dial(t, url)
		c.send(score)
		resp, body := c.answer("POST")
		if resp.StatusCode != 503 || resp.Header.Get("x-serin-error") != "TooManyConnections" || resp.Header.Get("Retry-After") == "" || !resp.Close || !strings.Contains(body, "3 connections") {
			t.Errorf("beyond the most: %d %v %q, want 503 with the reason, and the end of the connection", resp.StatusCode, resp.Header, body)
		}
		c.ended("one that is turned away")
	}
	for _, c := range inside {
		served(c)
	}
	if s := g.Stats(); s.TurnedAway != beyond || s.Connections != 3 {
		t.Errorf("stats %+v, want %d turned away and 3 connections", s, beyond)
	}
	if n := strings.Count(log.String(), "too many connections"); n != 1 || !strings.Contains(log.String(), "most=3") {
		t.Errorf("the log says it %d times, want once for a while:\n%s", n, log)
	}
	inside[0].Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c := dial(t, url)
		c.send(score)
		resp, body := c.answer("POST")
		if resp.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a client that left still takes room: %d %q", resp.StatusCode, body)
		}
	}
	tap.await(t, "all that were served", func() bool { return tap.primaries() == 7 })
}

// TestConnectionsFitTheFilesThatMayBeOpen: each takes two, and some are the process's own.
func TestConnectionsFitTheFilesThatMayBeOpen(t *testing.T) {
	for files, want := range map[uint64]int{0: 10_000, 64: 64, 1024: 384, 4096: 1920, 20_256: 10_000, 1 << 63: 10_000} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
