package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a scorer that does with its connections what a test says. n counts them from 0.
func scripted(t *testing.T, revision string, play func(n int, c net.Conn)) *Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				play(n, c)
			}()
		}
	}()
	return &Target{Revision: revision, Addr: ln.Addr().String()}
}

// says answers every request with the same bytes, and closes if asked to.
func says(answer string, closes bool) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(c, answer); err != nil || closes {
				return
			}
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

type rawClient struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func dial(t *testing.T, url string) *rawClient {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/score"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &rawClient{c, bufio.NewReader(c), t}
}

func (c *rawClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// answer reads one answer to a request with this method.
func (c *rawClient) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("reading the answer's body: %v (%q so far)", err, body)
	}
	return resp, string(body)
}

// ended checks that the gateway closed the connection.
func (c *rawClient) ended(what string) {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: %q, %v; want the connection closed", what, rest, err)
	}
}

const post = "POST /score HTTP/1.1\r\nHost: a\r\n"

// TestNothingIsSmuggled sends what two parsers could read in two ways: each is refused, its connection is closed, and
// not a byte of it reaches a scorer.
func TestNothingIsSmuggled(t *testing.T) {
	var reached atomic.Int64
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", func(int, net.Conn) { reached.Add(1) })})
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"length and coding":        {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"two lengths":              {post + "Content-Length: 0\r\nContent-Length: 40\r\n\r\n", 400},
		"a folded coding":          {post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 501},
		"a blank before the colon": {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
		"bare LFs":                 {"POST /score HTTP/1.1\nHost: a\n\n\r\n\r\n", 400},
		"a bad chunk size":         {post + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400},
		"a chunk too long":         {post + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", 400},
		"another coding":           {post + "Transfer-Encoding: gzip\r\n\r\n", 501},
		"no host":                  {"POST /score HTTP/1.1\r\n\r\n", 400},
		"two hosts":                {post + "Host: b\r\n\r\n", 400},
		"a version of its own":     {"POST /score HTTP/1.9\r\nHost: a\r\n\r\n", 505},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501},
		"h2c by upgrade":           {post + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 501},
		"a tunnel":                 {"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501},
		"another expectation":      {post + "Expect: the-unexpected\r\nContent-Length: 1\r\n\r\nx", 417},
		"a head too large":         {post + "X: " + strings.Repeat("x", headMost) + "\r\n\r\n", 431},
		"too many fields":          {post + strings.Repeat("X: x\r\n", 200) + "\r\n", 431},
		"TLS":                      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	} {
		client := dial(t, url)
		client.send(c.text)
		resp, body := client.answer("POST")
		if resp.StatusCode != c.status || resp.Header.Get("x-serin-route") != "" || !strings.Contains(body, `"reason":`) {
			t.Errorf("%s: %d %q, want %d with a reason", name, resp.StatusCode, body, c.status)
		}
		client.ended(name)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections to the scorer, want none", n)
	}
	if s := g.Stats(); s.Malformed == 0 || s.Refused != 3 {
		t.Errorf("stats %+v: want malformed requests and three refused protocols", s)
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	g, url := serveWith(t, Config{limits: limits{head: 50 * time.Millisecond, body: 50 * time.Millisecond, idle: 50 * time.Millisecond, write: time.Second, linger: time.Second}})
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(okAnswer, false))})
	for name, text := range map[string]string{"a head": "POST /score HT", "a body": post + "Content-Length: 5\r\n\r\nhe", "chunks": post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"} {
		client := dial(t, url)
		client.send(text)
		if resp, body := client.answer("POST"); resp.StatusCode != 408 {
			t.Errorf("%s that does not end: %d %q, want 408", name, resp.StatusCode, body)
		}
		client.ended(name)
	}
	dial(t, url).ended("a connection without a request")
}

// TestHalfABodyIsNoBody: a client that ends in the midst of its body has sent no request, whether it was to be held or
// streamed.
func TestHalfABodyIsNoBody(t *testing.T) {
	tap := newCounter()
	g, url := serveWith(t, Config{Tap: tap, HoldBodyBytes: 1000})
	whole := make(chan error, 10)
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, okAnswer)
		}
		whole <- err
	})})
	for name, text := range map[string]string{
		"held, by length": "Content-Length: 10\r\n\r\nhello", "held, by chunks": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"streamed, by length": "Content-Length: 10000\r\n\r\nhello", "streamed, by chunks": "Transfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("x", 0x2000) + "\r\n",
	} {
		client := dial(t, url)
		client.send(post + text)
		if err := client.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		client.ended(name)
		if strings.HasPrefix(name, "streamed") {
			if err := <-whole; err == nil {
				t.Errorf("%s: the scorer took half a body for a whole one", name)
			}
		}
	}
	select {
	case err := <-whole:
		t.Errorf("half a body that was held reached the scorer (%v)", err)
	default:
	}
	tap.await(t, "the streamed ones", func() bool { return tap.primaries() == 2 })
	if tap.last.Failure != ClientGone {
		t.Errorf("recorded %+v, want a client that left", tap.last)
	}
}

// TestRequestsInOrder sends three requests at once, one of them chunked.
func TestRequestsInOrder(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: backend(t, "r1", 200)})
	client := dial(t, url)
	client.send(post + "Content-Length: 1\r\n\r\na" + post + "Transfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1\r\nb\r\n1;x=y\r\nB\r\n0\r\nT: 1\r\n\r\n" + post + "Content-Length: 1\r\n\r\nc")
	for _, want := range []string{"r1:a", "r1:bB", "r1:c"} {
		if resp, body := client.answer("POST"); resp.StatusCode != 200 || body != want {
			t.Errorf("%d %q, want %q", resp.StatusCode, body, want)
		}
	}
	for part := range strings.SplitSeq(post+"Content-Length: 6\r\nConnection: close\r\n\r\n/byte/", "") { // byte by byte
		client.send(part)
	}
	if resp, body := client.answer("POST"); body != "r1:/byte/" || !resp.Close {
		t.Errorf("byte by byte: %q, close %v", body, resp.Close)
	}
	client.ended("Connection: close")
}

func TestExpectContinue(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: backend(t, "r1", 200), MaxBodyBytes: 10})
	client := dial(t, url)
	client.send(post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	line, _ := client.r.ReadString('\n')
	empty, _ := client.r.ReadString('\n')
	if line != "HTTP/1.1 100 Continue\r\n" || empty != "\r\n" {
		t.Fatalf("got %q %q, want 100 Continue", line, empty)
	}
	client.send("hello")
	if _, body := client.answer("POST"); body != "r1:hello" {
		t.Errorf("got %q", body)
	}
	client.send(post + "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n")
	if resp, _ := client.answer("POST"); resp.StatusCode != 413 {
		t.Errorf("a body that will be too large: %d, want 413 before it is sent", resp.StatusCode)
	}
}

// TestTooLargeCanBeRead sends a large body without reading: the answer must not be lost in a reset.
func TestTooLargeCanBeRead(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: backend(t, "r1", 200), MaxBodyBytes: 1 << 20})
	for name, text := range map[string]string{
		"by its length": post + "Content-Length: 8388608\r\n\r\n" + strings.Repeat("x", 8<<20),
		"by its chunks": post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 128) + "0\r\n\r\n",
	} {
		client := dial(t, url)
		client.send(text)
		if resp, body := client.answer("POST"); resp.StatusCode != 413 || !strings.Contains(body, "BodyTooLarge") {
			t.Errorf("%s: %d %q, want 413", name, resp.StatusCode, body)
		}
	}
	if s := g.Stats(); s.TooLarge != 2 {
		t.Errorf("%d too large, want 2", s.TooLarge)
	}
}

// TestAnswersOfEveryShape checks what the client gets for what the scorer says.
func TestAnswersOfEveryShape(t *testing.T) {
	for name, c := range map[string]struct {
		answer, method string
		closes         bool
		status         int
		body           string
	}{
		"by length":                {okAnswer, "POST", false, 200, "ok"},
		"chunks":                   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nT: 1\r\n\r\n", "POST", false, 200, "ok"},
		"until it closes":          {"HTTP/1.1 200 OK\r\n\r\nok", "POST", true, 200, "ok"},
		"HTTP/1.0":                 {"HTTP/1.0 200 OK\r\n\r\nok", "POST", true, 200, "ok"},
		"no reason":                {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "POST", false, 200, "ok"},
		"HEAD":                     {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", false, 200, ""},
		"HEAD, chunks":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", false, 200, ""},
		"204":                      {"HTTP/1.1 204 No Content\r\n\r\n", "POST", false, 204, ""},
		"304":                      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "GET", false, 304, ""},
		"100 and 103 first":        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okAnswer, "POST", false, 200, "ok"},
		"its own 404":              {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "POST", false, 404, "no"},
		"a switch of protocols":    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "POST", false, 502, "*BadAnswer"},
		"length and coding":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "POST", false, 502, "*BadAnswer"},
		"no HTTP":                  {"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n\r\n", "POST", false, 502, "*BadAnswer"},
		"nothing":                  {"", "POST", true, 502, "*Reset"},
		"half a head":              {"HTTP/1.1 200 OK\r\nConte", "POST", true, 502, "*Reset"},
		"half a body that is held": {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "POST", true, 502, "*Reset"},
	} {
		g, url := serve(t, nil)
		swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(c.answer, c.closes))})
		for range 2 {
			client := dial(t, url)
			client.send(c.method + " /score HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, body := client.answer(c.method)
			for resp.StatusCode == 103 {
				resp, body = client.answer(c.method)
			}
			ok := body == c.body
			if want, found := strings.CutPrefix(c.body, "*"); found {
				ok = strings.Contains(body, want)
			}
			if resp.StatusCode != c.status || !ok || resp.Header.Get("x-serin-route") != "x.0.r1" || resp.Header.Get("x-request-id") == "" {
				t.Errorf("%s: %d %q, fields %v; want %d %q", name, resp.StatusCode, body, resp.Header, c.status, c.body)
			}
		}
	}
}

// TestHTTP10Client gets an answer without a length to the end of the connection, and keeps it open only if it asks.
func TestHTTP10Client(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n"+strings.Repeat("x", 0x8000)+"\r\n0\r\n\r\n", false))})
	client := dial(t, url)
	client.send("GET /score HTTP/1.0\r\n\r\n")
	if resp, body := client.answer("GET"); len(body) != 0x8000 || len(resp.TransferEncoding) != 0 || !resp.Close {
		t.Errorf("%d bytes, coding %v, close %v", len(body), resp.TransferEncoding, resp.Close)
	}
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(okAnswer, false))})
	client = dial(t, url)
	for range 2 {
		client.send("GET /score HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if resp, body := client.answer("GET"); body != "ok" || resp.Header.Get("Connection") != "keep-alive" {
			t.Errorf("%q, fields %v; want the connection kept", body, resp.Header)
		}
	}
}

// TestFieldsThatArePassedOn sends every kind of field and looks at what the scorer gets.
func TestFieldsThatArePassedOn(t *testing.T) {
	got := make(chan *http.Request, 1)
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Epoch: 9, Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			got <- req
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Serin-Route: forged\r\nX-Serin-Fallback: forged\r\nX-Kept: 1\r\nX-Kept: 2\r\n\r\n")
		}
	})})
	client := dial(t, url)
	client.send("POST http://other/score?a=b HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nProxy-Authorization: x\r\nKeep-Alive: 1\r\nx-serin-route: forged\r\nX-Request-Id: mine\r\nTraceparent: 00-1-2-01\r\nX-Kept: 2\r\n\r\n")
	resp, _ := client.answer("POST")
	req := <-got
	for name, want := range map[string]string{"X-Kept": "1,2", "X-Hop": "", "Te": "", "Proxy-Authorization": "", "Keep-Alive": "", "Connection": "", "X-Serin-Route": "x.9.r1", "X-Request-Id": "mine", "Traceparent": "00-1-2-01"} {
		if have := strings.Join(req.Header[name], ","); have != want {
			t.Errorf("the scorer got %s: %q, want %q", name, have, want)
		}
	}
	if req.Host != "other" || req.RequestURI != "/score?a=b" {
		t.Errorf("the scorer got host %q, target %q", req.Host, req.RequestURI)
	}
	for name, want := range map[string]string{"X-Kept": "1,2", "X-Hop": "", "Keep-Alive": "", "X-Serin-Route": "x.9.r1", "X-Serin-Fallback": "", "X-Request-Id": "mine"} {
		if have := strings.Join(resp.Header[name], ","); have != want {
			t.Errorf("the client got %s: %q, want %q", name, have, want)
		}
	}
	if resp.Header.Get("Date") == "" {
		t.Error("the client got no date")
	}
}

// TestIdsAreMade: a request gets an id and a trace, and an id that is not fit to be logged is replaced.
func TestIdsAreMade(t *testing.T) {
	got := make(chan http.Header, 2)
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			got <- req.Header
			_, _ = io.WriteString(c, okAnswer)
		}
	})})
	client := dial(t, url)
	id, trace := regexp.MustCompile("^[0-9a-f]{32}$"), regexp.MustCompile("^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
	for _, field := range []string{"", "X-Request-Id: not sane\r\n", "X-Request-Id:\r\nTraceparent:\r\n", "X-Request-Id: " + strings.Repeat("x", 129) + "\r\n"} {
		client.send(post + field + "\r\n")
		resp, _ := client.answer("POST")
		h := <-got
		if v := h.Values("X-Request-Id"); len(v) != 1 || !id.MatchString(v[0]) || resp.Header.Get("X-Request-Id") != v[0] {
			t.Errorf("%q: the scorer got the ids %q, the client %q", field, v, resp.Header.Get("X-Request-Id"))
		}
		if v := h.Values("Traceparent"); len(v) != 1 || !trace.MatchString(v[0]) {
			t.Errorf("%q: the scorer got the traces %q", field, v)
		}
	}
}

// TestIdleConnectionThatWasClosed: the scorer closes what the gateway keeps; no request suffers.
func TestIdleConnectionThatWasClosed(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(okAnswer, true))}) // closes without saying so
	client := dial(t, url)
	for i := range 20 {
		client.send(post + "Content-Length: 1\r\n\r\nx")
		if resp, body := client.answer("POST"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, resp.StatusCode, body)
		}
	}
}

// TestAnswerThatBreaksOff: once its head is out, a broken answer must not look whole.
func TestAnswerThatBreaksOff(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	for name, head := range map[string]string{"by length": "Content-Length: 100000", "chunks": "Transfer-Encoding: chunked"} {
		text := "HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n10\r\n0123456789abcdef\r\n"
		swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", says(text, true))})
		client := dial(t, url)
		client.send(post + "\r\n")
		resp, err := http.ReadResponse(client.r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v; want an unexpected end", name, body, err)
		}
	}
	tap.await(t, "two failures", func() bool { return tap.failed[0] == 2 })
	if x := tap.last; x.Failure != Reset || !x.BodyTruncated {
		t.Errorf("recorded %+v, want a reset", x)
	}
}

// TestAnswersPassOnAsTheyCome: the client reads the first part before the scorer sends the second.
func TestAnswersPassOnAsTheyCome(t *testing.T) {
	tap := newCounter()
	first := make(chan struct{})
	g, url := serveWith(t, Config{Tap: tap, RecordBodyBytes: 7})
	swap(t, g, Table{Rollout: "x", Stable: scripted(t, "r1", func(_ int, c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		<-first
		_, _ = io.WriteString(c, "6\r\n world\r\n0\r\n\r\n")
	})})
	client := dial(t, url)
	client.send(post + "\r\n")
	resp, err := http.ReadResponse(client.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "hello" {
		t.Fatalf("got %q, %v", part, err)
	}
	close(first)
	if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(rest, []byte(" world")) {
		t.Errorf("then %q, %v", rest, err)
	}
	tap.await(t, "the exchange", func() bool { return tap.primaries() == 1 })
	if x := tap.last; string(x.Body) != "hello w" || !x.BodyTruncated {
		t.Errorf("kept %q, truncated %v; want its first 7 bytes", x.Body, x.BodyTruncated)
	}
}
