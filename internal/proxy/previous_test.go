package proxy

import (
	"net"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// TestVersionBeforeAnswersWhatStableFails, whatever the failure; it stays the failure of stable.
func TestVersionBeforeAnswersWhatStableFails(t *testing.T) {
	seen := make(chan struct{}, 10)
	for name, stable := range map[string]*Target{"500": backend(t, "r2", 500), "hung up": scripted(t, "r2", func(int, net.Conn) {}), "slow": scripted(t, "r2", mute(seen))} {
		t.Run(name, func(t *testing.T) {
			tap := newCounter()
			g, url := serve(t, tap)
			swap(t, g, Table{Rollout: "x", Epoch: 7, Stable: stable, Previous: backend(t, "r1", 200), Fallback: true, CandidateTimeout: 50 * time.Millisecond, Timeout: 20 * time.Second})
			if status, body, header := ask(t, url); status != 200 || body != "r1:x" || header.Get("x-serin-fallback") != "previous" || header.Get("x-serin-route") != "x.7.r1" {
				t.Errorf("%d %q %v, want the answer of the version before, marked", status, body, header)
			}
			tap.await(t, "the failure", func() bool { return tap.failed[split.Stable] == 1 })
			if x := tap.last; !x.FellBack || x.Arm != split.Stable || x.Revision != "r2" || x.Spared || x.Direct {
				t.Errorf("recorded %+v, want a failure of stable", x)
			}
		})
	}
}

// TestWhoTheVersionBeforeDoesNotAnswerFor: nobody who wants it otherwise, and no candidate: that has stable behind it, and
// nothing is asked three times.
func TestWhoTheVersionBeforeDoesNotAnswerFor(t *testing.T) {
	table := Table{
		Rollout: "x", Stable: backend(t, "r2", 500), Previous: backend(t, "r1", 200), Candidate: backend(t, "r3", 502), Fallback: true,
		Header: HeaderRoute{Name: "x-api-version", Stable: "green", Candidate: "blue"},
	}
	for name, do := range map[string]struct {
		change func(*Table)
		header []string
		status int
		body   string
		why    string
	}{
		"without fallback":       {change: func(t *Table) { t.Fallback = false }, status: 500, body: "r2:x"},
		"it is not kept":         {change: func(t *Table) { t.Previous = nil }, status: 500, body: "r2:x"},
		"stable by header":       {header: []string{"x-api-version", "green"}, status: 500, body: "r2:x"},
		"candidate by header":    {header: []string{"x-api-version", "blue"}, status: 502, body: "r3:x"},
		"candidate, then stable": {change: func(t *Table) { t.WeightBP = split.Buckets }, status: 500, body: "r2:x", why: "stable"},
	} {
		g, url := serve(t, newCounter())
		now := table
		if do.change != nil {
			do.change(&now)
		}
		swap(t, g, now)
		if status, body, header := ask(t, url, do.header...); status != do.status || body != do.body || header.Get("x-serin-fallback") != do.why {
			t.Errorf("%s: %d %q %v, want %d %q", name, status, body, header, do.status, do.body)
		}
	}
}

// TestVersionBeforeIsNotStoppedWhileItMayBeAsked: who drains it must wait for what stable may still fail.
func TestVersionBeforeIsNotStoppedWhileItMayBeAsked(t *testing.T) {
	g, url := serve(t, newCounter())
	seen := make(chan struct{}, 1)
	table := Table{Rollout: "x", Stable: scripted(t, "r2", mute(seen)), Previous: backend(t, "r1", 200), Fallback: true, Timeout: 20 * time.Second}
	swap(t, g, table)
	client := dial(t, url)
	client.send(post + "Content-Length: 1\r\n\r\nx")
	<-seen
	table.Previous = nil
	swap(t, g, table)
	if n := g.InFlight("r1"); n != 1 {
		t.Errorf("%d requests may still come to the version before, want 1", n)
	}
	client.Close()
	soon(t, "the request to end", func() bool { return g.InFlight("r1") == 0 })
}

// TestWhereTheVersionBeforeCannotAnswer the client is no worse off, and nobody counts it as answered.
func TestWhereTheVersionBeforeCannotAnswer(t *testing.T) {
	gone := nobody(t, "r1")
	for name, c := range map[string]struct {
		stable, previous *Target
		status           int
		body, why        string
	}{
		"both fail":          {backend(t, "r2", 500), backend(t, "r1", 503), 500, "r2:x", ""},
		"no answer, failure": {scripted(t, "r2", func(int, net.Conn) {}), backend(t, "r1", 503), 503, "r1:x", "previous"},
		"nobody is there":    {backend(t, "r2", 500), gone, 500, "r2:x", ""},
		"nobody at all":      {scripted(t, "r2", func(int, net.Conn) {}), gone, 502, "", "previous"},
		"it knows no better": {backend(t, "r2", 500), backend(t, "r1", 400), 400, "r1:x", "previous"},
	} {
		t.Run(name, func(t *testing.T) {
			tap := newCounter()
			g, url := serve(t, tap)
			swap(t, g, Table{Rollout: "x", Stable: c.stable, Previous: c.previous, Fallback: true})
			status, body, header := ask(t, url)
			if status != c.status || c.body != "" && body != c.body || header.Get("x-serin-fallback") != c.why {
				t.Errorf("%d %q %v, want %d %q", status, body, header, c.status, c.body)
			}
			tap.await(t, "the failure", func() bool { return tap.failed[split.Stable] == 1 })
			if x := tap.last; x.FellBack != (c.status < 500) {
				t.Errorf("recorded %+v", x)
			}
		})
	}
}

// TestVersionBeforeThatIsGoneIsLeftAlone: after a few tries stable has its whole time again, and once a second somebody looks
// whether it is back.
func TestVersionBeforeThatIsGoneIsLeftAlone(t *testing.T) {
	g, url := serve(t, newCounter())
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r2", func(int, net.Conn) {}), Previous: nobody(t, "r1"), Fallback: true})
	soon(t, "it to be left alone", func() bool {
		_, _, header := ask(t, url)
		return header.Get("x-serin-fallback") == ""
	})
	var h health
	now := time.Now()
	for range failMost {
		if h.down(now) {
			t.Fatal("left alone too early")
		}
		h.note(Connect, now)
	}
	if !h.down(now) || !h.down(now.Add(restTime-1)) || h.down(now.Add(restTime)) {
		t.Error("not left alone for a second")
	}
	if h.note(None, now); h.down(now) {
		t.Error("left alone though it is back")
	}
}

// nobody is where nobody listens.
func nobody(t *testing.T, revision string) *Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return &Target{Revision: revision, Addr: ln.Addr().String()}
}
