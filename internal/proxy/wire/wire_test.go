package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsThatAreRefused(t *testing.T) {
	const host = "Host: a\r\n"
	for name, c := range map[string]struct {
		head string
		want error
	}{
		"length and coding":            {"POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLength},
		"coding and length":            {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", ErrLength},
		"two lengths":                  {"POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", ErrLength},
		"two equal lengths":            {"POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", ErrLength},
		"a list of lengths":            {"POST / HTTP/1.1\r\n" + host + "Content-Length: 3, 3\r\n\r\n", ErrLength},
		"a signed length":              {"POST / HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\n", ErrLength},
		"a length in hex":              {"POST / HTTP/1.1\r\n" + host + "Content-Length: 0x3\r\n\r\n", ErrLength},
		"no length's value":            {"POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", ErrLength},
		"a length beyond 64 bits":      {"POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", ErrLength},
		"another coding":               {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", ErrUnsupported},
		"an obfuscated coding":         {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n", ErrUnsupported},
		"coding twice":                 {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLength},
		"coding in HTTP/1.0":           {"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", ErrLength},
		"a blank before the colon":     {"POST / HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\n", ErrMalformed},
		"a continuation line":          {"POST / HTTP/1.1\r\n" + host + "X: 1\r\n 2\r\n\r\n", ErrMalformed},
		"a continuation line first":    {"POST / HTTP/1.1\r\n X: 1\r\n" + host + "\r\n", ErrMalformed},
		"a bare LF between fields":     {"POST / HTTP/1.1\r\n" + host + "X: 1\nY: 2\r\n\r\n", ErrMalformed},
		"a bare LF after the line":     {"POST / HTTP/1.1\n" + host + "\r\n", ErrMalformed},
		"a bare CR in a value":         {"POST / HTTP/1.1\r\n" + host + "X: 1\rY: 2\r\n\r\n", ErrMalformed},
		"a NUL in a value":             {"POST / HTTP/1.1\r\n" + host + "X: 1\x00\r\n\r\n", ErrMalformed},
		"no name":                      {"POST / HTTP/1.1\r\n" + host + ": 1\r\n\r\n", ErrMalformed},
		"no colon":                     {"POST / HTTP/1.1\r\n" + host + "X\r\n\r\n", ErrMalformed},
		"a name that is no token":      {"POST / HTTP/1.1\r\n" + host + "X(: 1\r\n\r\n", ErrMalformed},
		"no Host":                      {"POST / HTTP/1.1\r\n\r\n", ErrHost},
		"two Hosts":                    {"POST / HTTP/1.1\r\n" + host + host + "\r\n", ErrHost},
		"a Host with a path":           {"POST / HTTP/1.1\r\nHost: a/b\r\n\r\n", ErrHost},
		"a Host with userinfo":         {"POST / HTTP/1.1\r\nHost: a@b\r\n\r\n", ErrHost},
		"an absolute target, two more": {"POST http://b/ HTTP/1.1\r\n" + host + host + "\r\n", ErrHost},
		"an absolute target, userinfo": {"POST http://u@b/ HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"an absolute target, escaped":  {"POST http://b% HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"an absolute target, no port":  {"POST http://b:x/ HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"an absolute target, brackets": {"POST http://[b/ HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"an absolute target, IPv6":     {"POST http://[:::]/ HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"an absolute target, no host":  {"POST http://:80/ HTTP/1.1\r\n" + host + "\r\n", ErrHost},
		"another scheme":               {"POST ftp://b/ HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"a target without slash":       {"POST score HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"a target with a blank":        {"POST /a b HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"a target with a fragment":     {"POST /a#b HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"a broken escape":              {"POST /a%2 HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"an asterisk":                  {"POST * HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"two blanks":                   {"POST  / HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"no version":                   {"POST /\r\n" + host + "\r\n", ErrMalformed},
		"HTTP/1.2":                     {"POST / HTTP/1.2\r\n" + host + "\r\n", ErrVersion},
		"HTTP/2.0":                     {"POST / HTTP/2.0\r\n" + host + "\r\n", ErrVersion},
		"a version in lower case":      {"POST / http/1.1\r\n" + host + "\r\n", ErrMalformed},
		"a method that is no token":    {"PO\"ST / HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"an empty line first":          {"\r\n\r\nPOST / HTTP/1.1\r\n" + host + "\r\n", ErrMalformed},
		"too many fields":              {"POST / HTTP/1.1\r\n" + host + strings.Repeat("X: 1\r\n", maxFields) + "\r\n", ErrTooMany},
	} {
		var r Request
		if _, err := r.ParseRequest([]byte(c.head), 0); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestRequestIsRead(t *testing.T) {
	const text = "POST http://other:80/score?x=1 HTTP/1.1\r\nHost: a\r\nX-Api-Version: \t blue \r\ncontent-LENGTH: 12\r\nConnection: X-Hop , close\r\nX-Hop: 1\r\nX-Request-ID:\r\n\r\n"
	var r Request
	for i := range len(text) {
		if n, err := r.ParseRequest([]byte(text[:i]), max(0, i-1)); n != 0 || err != nil {
			t.Fatalf("a head cut at %d: %d, %v; want it to wait", i, n, err)
		}
	}
	n, err := r.ParseRequest([]byte(text+"a body"), len(text)-1)
	if n != len(text) || err != nil {
		t.Fatalf("got %d, %v; want %d", n, err, len(text))
	}
	type seen struct {
		Method, Target, Authority, Version string
		Length                             int64
		Close, Hop, Empty                  bool
	}
	got := seen{string(r.Method), string(r.Target), string(r.Authority), string(r.Find("x-api-version")), r.Length, r.Close, r.Named(&r.Fields[4]), r.Has(RequestID) && len(r.Get(RequestID)) == 0}
	if diff := cmp.Diff(seen{"POST", "/score?x=1", "other:80", "blue", 12, true, true, true}, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
}

func TestKnownNamesAreFound(t *testing.T) {
	for n := Connection; int(n) < len(known); n++ {
		if got := Lookup([]byte(strings.ToUpper(known[n]))); got != n {
			t.Errorf("%q: got %d, want %d", known[n], got, n)
		}
	}
	for _, name := range []string{"", "x", "hosts", strings.Repeat("x", 40)} {
		if got := Lookup([]byte(name)); got != Other {
			t.Errorf("%q: got %d, want Other", name, got)
		}
	}
}

func TestHTTP10ClosesUnlessAsked(t *testing.T) {
	for head, want := range map[string]bool{
		"GET / HTTP/1.0\r\n\r\n":                                                  true,
		"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n":                        false,
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                       false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                  true,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: CLOSE\r\n\r\n": true,
	} {
		var r Request
		if _, err := r.ParseRequest([]byte(head), 0); err != nil || r.Close != want {
			t.Errorf("%q: close %v (%v), want %v", head, r.Close, err, want)
		}
	}
}

func TestResponses(t *testing.T) {
	for head, want := range map[string]error{
		"HTTP/1.1 200 OK\r\n\r\n":                             nil,
		"HTTP/1.1 200\r\n\r\n":                                nil,
		"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n": nil,
		"HTTP/1.1 200OK\r\n\r\n":                              ErrMalformed,
		"HTTP/1.1 20 OK\r\n\r\n":                              ErrMalformed,
		"HTTP/1.1 099 OK\r\n\r\n":                             ErrMalformed,
		"HTTP/2.0 200 OK\r\n\r\n":                             ErrVersion,
		"HTTP/1.1 200 O\rK\r\n\r\n":                           ErrMalformed,
		"HTTP/1.1 200 OK\nX: 1\r\n\r\n":                       ErrMalformed,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": ErrLength,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n":                         ErrUnsupported,
		"SSH-2.0-x\r\n\r\n": ErrMalformed,
	} {
		var r Response
		if _, err := r.ParseResponse([]byte(head), 0); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", head, err, want)
		}
	}
}

// dechunk feeds a body in pieces of size step.
func dechunk(b []byte, step int) (data []byte, used int, done bool, err error) {
	var c Chunked
	for used < len(b) && !c.Done() {
		part := b[used:min(len(b), used+step)]
		d, n, err := c.Next(part)
		if err != nil {
			return data, used, false, err
		}
		data, used = append(data, d...), used+n
	}
	return data, used, c.Done(), nil
}

func TestChunks(t *testing.T) {
	for body, want := range map[string]string{
		"5\r\nhello\r\n0\r\n\r\nrest":                    "hello",
		"2\r\nhe\r\n003;x=\"y\"\r\nllo\r\n0\r\n\r\nrest": "hello",
		"5\r\nhello\r\n0\r\nX: 1\r\nY: 2\r\n\r\nrest":    "hello",
		"A\r\n0123456789\r\n0\r\n\r\nrest":               "0123456789",
	} {
		for step := 1; step <= len(body); step++ {
			data, used, done, err := dechunk([]byte(body), step)
			if err != nil || string(data) != want || !done || body[used:] != "rest" {
				t.Errorf("%q by %d: %q, left %q, done %v, %v", body, step, data, body[used:], done, err)
			}
		}
	}
	for _, body := range []string{
		"\r\n", " 5\r\nhello", "5 \r\nhello", "+5\r\nhello", "-5\r\n", "0x5\r\nhello", "5\nhello", "5\r\nhello0\r\n", "5\r\nhello\n0\r\n", "5;\nx\r\nhello",
		"fffffffffffffffff\r\n", "5;" + strings.Repeat("x", maxExtra+1), "0\r\n X: 1\r\n\r\n", "0\r\nX 1\r\n\r\n", "0\r\n" + strings.Repeat("X: 1\r\n", maxExtra), "0\r\n:\r\n\r\n",
	} {
		if data, _, done, err := dechunk([]byte(body), len(body)); err == nil {
			t.Errorf("%.40q: accepted as %q (done %v), want an error", body, data, done)
		}
	}
}

// FuzzRequest: what we accept, net/http accepts, and reads the same in it.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"POST /score?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", "GET / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n",
		"POST http://h/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"GET http://[::1]:80/x HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET http://a.b_c-d:8080 HTTP/1.0\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nab\r\n00A\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\nGET / HTTP/1.1\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		n, err := r.ParseRequest(b, 0)
		if err != nil || n == 0 || string(r.Method) == "CONNECT" {
			return
		}
		twin, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("accepted, but net/http says: %v", err)
		}
		if twin.Method != string(r.Method) || twin.Host != string(r.Authority) || twin.ProtoMinor != r.Minor {
			t.Fatalf("method %q, host %q, minor %d; net/http: %q, %q, %d", r.Method, r.Authority, r.Minor, twin.Method, twin.Host, twin.ProtoMinor)
		}
		if want := max(r.Length, 0); !r.Chunked && twin.ContentLength != want || r.Chunked && twin.ContentLength != -1 {
			t.Fatalf("length %d, chunked %v; net/http %d", r.Length, r.Chunked, twin.ContentLength)
		}
		sameFields(t, &r.Head, twin.Header)
		want, err := io.ReadAll(twin.Body)
		if sameBody(t, &r.Head, b[n:], want, err); !r.Chunked && !r.Close != !twin.Close {
			t.Fatalf("close %v, net/http %v", r.Close, twin.Close)
		}
	})
}

// FuzzResponse: the same for answers.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 204 No\r\n\r\n", "HTTP/1.1 304\r\nDate: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Response
		n, err := r.ParseResponse(b, 0)
		if err != nil || n == 0 {
			return
		}
		twin, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			t.Fatalf("accepted, but net/http says: %v", err)
		}
		defer twin.Body.Close()
		if twin.StatusCode != r.Status || twin.ProtoMinor != r.Minor {
			t.Fatalf("status %d, minor %d; net/http: %d, %d", r.Status, r.Minor, twin.StatusCode, twin.ProtoMinor)
		}
		sameFields(t, &r.Head, twin.Header)
		if r.Bodiless(false) || !r.Chunked && r.Length < 0 {
			return
		}
		want, err := io.ReadAll(twin.Body)
		sameBody(t, &r.Head, b[n:], want, err)
	})
}

// sameFields checks that every field but those of framing is in net/http's map.
func sameFields(t *testing.T, h *Head, twin http.Header) {
	t.Helper()
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Name {
		case Host, ContentLength, TransferEncoding, Trailer, Connection:
			continue
		}
		name, value := http.CanonicalHeaderKey(string(h.NameOf(f))), string(h.ValueOf(f))
		found := false
		for _, v := range twin[name] {
			found = found || v == value
		}
		if !found {
			t.Fatalf("%s: %q; net/http: %q", name, value, twin[name])
		}
	}
}

// sameBody checks that a body which we read to its end is the one that net/http reads.
func sameBody(t *testing.T, h *Head, rest, want []byte, err error) {
	t.Helper()
	var got []byte
	switch {
	case h.Chunked:
		data, _, done, broken := dechunk(rest, max(1, len(rest)))
		if slow, _, slowDone, slowBroken := dechunk(rest, 1); slowDone != done || (slowBroken == nil) != (broken == nil) || done && !bytes.Equal(slow, data) {
			t.Fatalf("at once %q (done %v, %v), byte by byte %q (done %v, %v)", data, done, broken, slow, slowDone, slowBroken)
		}
		if broken != nil || !done {
			return
		}
		got = data
	case int64(len(rest)) < h.Length:
		return
	default:
		got = rest[:max(h.Length, 0)]
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("body %q; net/http: %q, %v", got, want, err)
	}
}
