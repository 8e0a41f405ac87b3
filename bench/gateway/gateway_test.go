//go:build linux

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, first, body, rest, fails string }{
		{"an answer", "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 3\r\n\r\nabc", "HTTP/1.1 200 OK", "abc", "", ""},
		{"two requests", "POST / HTTP/1.1\r\nContent-Length:2\r\n\r\nabGET", "POST / HTTP/1.1", "ab", "GET", ""},
		{"no body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1", "", "", ""},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "", "", "-", ""},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", "", "", "-", ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", "", "", "Transfer-Encoding"},
		{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", "", "", "Content-Length"},
		{"an endless head", strings.Repeat("a", 65<<10), "", "", "", "64 KiB"},
	} {
		m, err := parse([]byte(c.in))
		switch {
		case c.fails != "":
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: got error %v, want one about %s", c.name, err, c.fails)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.rest == "-":
			if m.size != 0 {
				t.Errorf("%s: taken for a whole message of %d bytes", c.name, m.size)
			}
		case string(m.first) != c.first || string(m.body) != c.body || c.in[m.size:] != c.rest:
			t.Errorf("%s: got %q, %q and %q after it", c.name, m.first, m.body, c.in[m.size:])
		}
	}
}

func TestParseSeesClose(t *testing.T) {
	for in, want := range map[string]bool{"Connection: close": true, "connection: Close": true, "Connection: keep-alive": false} {
		m, err := parse([]byte("HTTP/1.1 200 OK\r\n" + in + "\r\n\r\n"))
		if err != nil || m.close != want {
			t.Errorf("%q: close %t (%v), want %t", in, m.close, err, want)
		}
	}
}

func TestCheckSplit(t *testing.T) {
	for _, c := range []struct {
		stable, candidate int
		good              bool
	}{
		{9000, 1000, true}, {9100, 900, true}, {9160, 840, false}, {8840, 1160, false}, {10000, 0, false}, {0, 10000, false}, {5000, 5000, false},
	} {
		split := tally{arms: [2]int{c.stable, c.candidate}}
		if err := split.checkSplit(); (err == nil) != c.good {
			t.Errorf("%d to %d: %v", c.stable, c.candidate, err)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{1, 3}, 2}, {[]float64{1, 2, 9}, 2}} {
		if got := median(c.in); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.in, got, c.want)
		}
	}
	var seen tally
	for i := 100; i > 0; i-- {
		seen.times = append(seen.times, time.Duration(i))
	}
	if p50, p99 := seen.quantile(50), seen.quantile(99); p50 != 50 || p99 != 99 {
		t.Errorf("of 1 to 100: p50 %d, p99 %d", p50, p99)
	}
}

// TestWrongAnswerEndsTheRun: a gateway that answers fast and wrong must not get a figure.
func TestWrongAnswerEndsTheRun(t *testing.T) {
	list, err := scores("stable")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status      int
		body, says  string
		wantsToQuit bool
	}{
		"the right one":           {200, list[3], "", false},
		"another body":            {200, `{"result": []}`, "not a scorer's answer", false},
		"the gateway's own error": {503, list[3], "not a scorer's answer", false},
		"no keep-alive after it":  {200, list[3], "keep-alive", true},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.wantsToQuit {
				w.Header().Set("Connection", "close")
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		l, err := newLoad(server.Listener.Addr().(*net.TCPAddr).Port, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.drive(t.Context(), 20*time.Millisecond)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got error %v, want %q", name, err, c.says)
		}
		l.close()
		server.Close()
	}
}

// TestScorerAnswersTheLoad keeps both ends of the benchmark to one language, and
// makes sure that no answer could be either arm's.
func TestScorerAnswersTheLoad(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	go func() { // until the test binary ends
		if err := serveScorer("candidate", strconv.Itoa(port)); err != nil {
			t.Errorf("serving: %v", err)
		}
	}()
	g := gateway{port: port, process: &process{log: "none"}}
	if err := g.waitForAnswer(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	l, err := newLoad(port, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if len(l.arms) != 2*answers {
		t.Errorf("%d different answers, want %d", len(l.arms), 2*answers)
	}
	if n := len(l.requests[0]); n < 1100 || n > 1500 {
		t.Errorf("a request has %d bytes, want about 1.2 kB", n)
	}
	seen, err := l.drive(t.Context(), 20*time.Millisecond)
	if err != nil || seen.arms[0] != 0 || seen.arms[1] < 4 || len(seen.times) != seen.requests() {
		t.Errorf("got %v answers by arm, %d times, error %v; want the candidate's only", seen.arms, len(seen.times), err)
	}
	if seen.checkSplit() == nil && seen.requests() > 20 {
		t.Error("all answers from one arm pass for a 90/10 split")
	}
}
