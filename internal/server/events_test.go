package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// soon bounds how long a test waits for what has to happen.
const soon = 20 * time.Second

// watch opens a stream of events.
func watch(t *testing.T, s *Server) (*bufio.Reader, *httptest.Server) {
	t.Helper()
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	t.Cleanup(s.StopWatching) // before the server waits for its streams
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", ts.URL+"/v1/endpoints/m/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer viewer"+secret)
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("watching: %s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	return bufio.NewReader(resp.Body), ts
}

// event reads one event, comments included.
func event(t *testing.T, r *bufio.Reader) (name, data string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("reading the stream: %v", err)
		}
		switch line = strings.TrimSpace(line); {
		case line == "":
			return name, data
		case strings.HasPrefix(line, ":"):
			name = "comment"
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		}
	}
}

func TestEventsStatusFirstThenEntries(t *testing.T) {
	f := newFake()
	r, _ := watch(t, newServer(t, f))
	name, data := event(t, r)
	var st engine.Status
	if err := json.Unmarshal([]byte(data), &st); err != nil || name != "status" || st.Endpoint != "m" {
		t.Fatalf("first event %s %s (%v), want the status", name, data, err)
	}
	f.entries <- engine.Event{Seq: 1, Entry: engine.Entry{Kind: engine.EntryTransition, Reason: "StepEntered", Message: "10%"}}
	if name, data = event(t, r); name != "entry" || !strings.Contains(data, "StepEntered") {
		t.Errorf("second event %s %s, want the entry", name, data)
	}
	if name, _ = event(t, r); name != "status" {
		t.Errorf("third event %s, want the status after the entry", name)
	}
}

func TestEventsHeartbeat(t *testing.T) {
	s := newServer(t, newFake())
	s.watch.heartbeat = time.Millisecond
	r, _ := watch(t, s)
	event(t, r)
	if name, _ := event(t, r); name != "comment" {
		t.Errorf("got %s, want a heartbeat", name)
	}
}

func TestEventsEndWhenTheServerStops(t *testing.T) {
	s := newServer(t, newFake())
	r, _ := watch(t, s)
	event(t, r)
	s.StopWatching()
	s.StopWatching() // twice is no error
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("the stream broke instead of ending: %v", err)
	}
}

func TestWatchersAreLimited(t *testing.T) {
	s := newServer(t, newFake())
	s.watch.room = make(chan struct{}, 1)
	r, _ := watch(t, s)
	event(t, r)
	if w := ask(s, "viewer", "GET", "/v1/endpoints/m/events", ""); w.Code != 429 || !strings.Contains(w.Body.String(), "TooManyWatchers") {
		t.Errorf("the second watcher got %d %s, want 429", w.Code, w.Body)
	}
	if w := ask(s, "viewer", "GET", "/v1/endpoints/m", ""); w.Code != 200 {
		t.Errorf("the status got %d while the watchers' places are taken, want 200", w.Code)
	}
}

// TestSlowReaderIsCutOff: a client that does not read keeps nobody waiting, and
// gives its place back.
func TestSlowReaderIsCutOff(t *testing.T) {
	f := newFake()
	f.status.Rollout.Decision.Message = strings.Repeat("x", 1<<20) // no buffer of a socket holds many of these
	f.entries = make(chan engine.Event, 1)
	s := newServer(t, f)
	s.watch.patience = 50 * time.Millisecond
	s.watch.room = make(chan struct{}, 1)
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	t.Cleanup(s.StopWatching)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/endpoints/m/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer"+secret+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(soon)
	for taken := false; ; {
		select {
		case f.entries <- engine.Event{Seq: 1}: // the handler reads until the socket is full
			taken = true
		case s.watch.room <- struct{}{}:
			if taken {
				return // the place is free again: it was cut off
			}
			<-s.watch.room // it had not come yet
		case <-deadline:
			t.Fatal("the reader that does not read still holds its place")
		}
	}
}
