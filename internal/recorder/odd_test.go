package recorder

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/serin-dev/serin/internal/observe/wire"
)

// raw sends a request as it is written here and returns the answers on that connection until it ends.
func (u *recorderUnderTest) raw(text string) []*http.Response {
	u.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(u.url, "http://"))
	if err != nil {
		u.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		u.t.Fatal(err)
	}
	var all []*http.Response
	from := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
		if err != nil {
			return all
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			u.t.Fatal(err)
		}
		resp.Body = io.NopCloser(strings.NewReader(string(body)))
		all = append(all, resp)
	}
}

// TestOddRequests: each is answered in one way only, whole, and told once; what could be read in two ways reaches no
// scorer. A candidate that fails shows that a body is there to be sent again.
func TestOddRequests(t *testing.T) {
	const head, end = "POST /score HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n", "\r\n"
	const stamped = head + wire.StampHeader + ": " + byWeight + "\r\n"
	body := func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "got "+string(text))
	}
	p := newPair(t, body)
	for name, do := range map[string]struct {
		request string
		want    []int
		says    string // the last answer
		told    uint64 // of requests that count
		asked   int64  // of the scorer
	}{
		"HTTP/1.0":            {"POST /score HTTP/1.0\r\n" + wire.StampHeader + ": " + byWeight + "\r\nContent-Length: 2\r\n\r\nhi", []int{200}, "got hi", 1, 1},
		"chunks":              {stamped + "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", []int{200}, "got hi", 1, 1},
		"chunks, again":       {strings.Replace(stamped, "/score", "/broken", 1) + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", []int{200}, `{"result": [0.1]}`, 1, 1},
		"asks first":          {stamped + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", []int{200}, "got hi", 1, 1},
		"two at once":         {strings.Replace(stamped, "Connection: close\r\n", "", 1) + "Content-Length: 1\r\n\r\nh" + stamped + "Content-Length: 1\r\n\r\ni", []int{200, 200}, "got i", 2, 2},
		"upgrade":             {strings.Replace(stamped, "close", "upgrade", 1) + "Upgrade: websocket\r\n" + end, []int{501}, "ProtocolNotCarried", 0, 0},
		"two lengths":         {stamped + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}, "", 0, 0},
		"lengths that differ": {stamped + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", []int{400}, "", 0, 0},
		"a stamp hidden":      {strings.Replace(stamped, "Connection: close", "Connection: close, "+wire.StampHeader+", "+wire.HandedByHeader, 1) + "Content-Length: 2\r\n\r\nhi", []int{200}, "got hi", 1, 1},
		"two stamps":          {stamped + wire.StampHeader + ": safe-driver-2.direct." + kandidat + "\r\nContent-Length: 2\r\n\r\nhi", []int{200}, "got hi", 1, 1},
	} {
		_, before := p.c.frames(kandidat)
		asked := p.own.asked.Load()
		got := p.candidate.raw(do.request)
		if len(got) != len(do.want) {
			t.Errorf("%s: %d answers, want %d", name, len(got), len(do.want))
			continue
		}
		for i, resp := range got {
			if resp.StatusCode != do.want[i] {
				t.Errorf("%s: answer %d is %d, want %d", name, i, resp.StatusCode, do.want[i])
			}
		}
		text, _ := io.ReadAll(got[len(got)-1].Body)
		if !strings.Contains(string(text), do.says) {
			t.Errorf("%s: %q, want %q", name, text, do.says)
		}
		if n := p.own.asked.Load() - asked; n != do.asked {
			t.Errorf("%s: the scorer was asked %d times, want %d", name, n, do.asked)
		}
		if do.told > 0 {
			until(t, name+" to be told", func() bool { _, b := p.c.frames(kandidat); return b.Served[5]-before.Served[5] >= do.told })
		}
		if _, b := p.c.frames(kandidat); b.Served[5]-before.Served[5] != do.told {
			t.Errorf("%s: %d requests were told, want %d", name, b.Served[5]-before.Served[5], do.told)
		}
	}
}

// TestConnectionsToStableEndWithTheOrder: when a revision becomes stable itself, it keeps no connection to the one
// before, which is about to be stopped.
func TestConnectionsToStableEndWithTheOrder(t *testing.T) {
	var open atomic.Int64
	old := httptest.NewUnstartedServer(says(200, `{"result": [0.1]}`))
	old.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	old.Start()
	t.Cleanup(old.Close)
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	r.awaitReady()
	c.order(kandidat, wire.Order{StableURL: old.URL, HandOver: true, Epoch: 5})
	r.awaitOrder(c)
	for range 3 {
		if got := r.ask(byWeight); got.fallback != "handed-over" || got.status != 200 {
			t.Fatalf("answer %+v", got)
		}
	}
	if n := open.Load(); n != 1 {
		t.Errorf("%d connections to stable, want one that is used again", n)
	}
	c.order(kandidat, wire.Order{Role: wire.Stable, Epoch: 6})
	r.awaitOrder(c)
	until(t, "the connections to end", func() bool { return open.Load() == 0 })
	if got := r.ask(byWeight); got.fallback != "" || got.revision != kandidat {
		t.Errorf("answer %+v", got)
	}
}
