package wire

import (
	"bytes"
	"net/netip"
)

// Request is the head of a request.
type Request struct {
	Head
	Method    []byte
	Target    []byte // path and query; "*" for OPTIONS
	Authority []byte // whom it is meant for: Host, or the host of a target in absolute form
}

// ParseRequest reads the head that begins b and returns its length; 0 while it is not whole. from is how much of b an
// earlier call has seen.
func (r *Request) ParseRequest(b []byte, from int) (int, error) {
	n := end(b, from)
	if n == 0 {
		return 0, nil
	}
	r.Raw = b[:n]
	first := bytes.IndexByte(r.Raw, '\n')
	pos := first + 1
	if first < 1 || r.Raw[first-1] != '\r' {
		return n, ErrMalformed
	}
	if err := r.requestLine(r.Raw[:first-1]); err != nil {
		return n, err
	}
	if err := r.fields(pos); err != nil {
		return n, err
	}
	return n, r.authority()
}

// Preface says whether b begins as HTTP/2 does without TLS.
func Preface(b []byte) bool { return bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n")) }

func (r *Request) requestLine(line []byte) error {
	i := bytes.IndexByte(line, ' ')
	if i < 1 {
		return ErrMalformed
	}
	r.Method = line[:i]
	for _, c := range r.Method {
		if class[c]&token == 0 {
			return ErrMalformed
		}
	}
	line = line[i+1:]
	if i = bytes.IndexByte(line, ' '); i < 1 {
		return ErrMalformed
	}
	r.Target, line = line[:i], line[i+1:]
	switch {
	case string(line) == "HTTP/1.1":
		r.Minor = 1
	case string(line) == "HTTP/1.0":
		r.Minor = 0
	case len(line) == 8 && string(line[:5]) == "HTTP/" && line[6] == '.':
		return ErrVersion
	default:
		return ErrMalformed
	}
	return r.target()
}

// target checks the request target and brings an absolute one into origin form.
func (r *Request) target() error {
	r.Authority = nil
	t := r.Target
	if string(t) == "*" {
		if string(r.Method) != "OPTIONS" {
			return ErrMalformed
		}
		return nil
	}
	if string(r.Method) == "CONNECT" {
		return nil // names a host; not carried, whatever it says
	}
	if t[0] != '/' {
		rest, ok := cutScheme(t)
		if !ok {
			return ErrMalformed
		}
		i := bytes.IndexAny(rest, "/?")
		if i < 0 {
			i = len(rest)
		}
		if r.Authority = rest[:i]; !validAuthority(r.Authority) {
			return ErrHost
		}
		switch r.Target = rest[i:]; {
		case i == len(rest):
			r.Target = []byte("/")
		case rest[i] == '?':
			return ErrMalformed // legal, sent by nobody, and it would have to be rewritten
		}
	}
	return checkTarget(r.Target)
}

func cutScheme(t []byte) ([]byte, bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if len(t) > len(scheme) && EqualFold(t[:len(scheme)], scheme) {
			return t[len(scheme):], true
		}
	}
	return nil, false
}

func checkTarget(t []byte) error {
	path := true
	for i := 0; i < len(t); i++ {
		c := t[i]
		switch {
		case class[c]&target == 0:
			return ErrMalformed
		case c == '?':
			path = false
		case c == '%' && path && (i+2 >= len(t) || class[t[i+1]]&class[t[i+2]]&hexa == 0):
			return ErrMalformed
		}
	}
	return nil
}

// authority sees to it that there is one Host and no doubt about it.
func (r *Request) authority() error {
	count := 0
	for i := range r.Fields {
		if r.Fields[i].Name == Host {
			count++
		}
	}
	value := r.Get(Host)
	if count > 1 || count == 0 && r.Minor == 1 || !validHost(value) {
		return ErrHost
	}
	if r.Authority == nil {
		r.Authority = value
	}
	return nil
}

func validHost(h []byte) bool {
	for _, c := range h {
		if class[c]&host == 0 {
			return false
		}
	}
	return true
}

// validAuthority takes a name or an address in brackets, and maybe a port: all that an absolute target needs.
func validAuthority(a []byte) bool {
	name, port := a, []byte(nil)
	if i := bytes.LastIndexByte(a, ':'); i > bytes.IndexByte(a, ']') {
		name, port = a[:i], a[i+1:]
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	if len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']' {
		addr, err := netip.ParseAddr(string(name[1 : len(name)-1]))
		return err == nil && addr.Is6() && !addr.Is4In6() && addr.Zone() == ""
	}
	for _, c := range name {
		if class[c]&host == 0 || bytes.IndexByte([]byte("!$%&'()*+,;=:[]~"), c) >= 0 {
			return false
		}
	}
	return len(name) > 0
}

// Response is the head of an answer.
type Response struct {
	Head
	Status int
	Reason []byte
}

// ParseResponse reads the head that begins b and returns its length; 0 while it is not whole.
func (r *Response) ParseResponse(b []byte, from int) (int, error) {
	n := end(b, from)
	if n == 0 {
		return 0, nil
	}
	r.Raw = b[:n]
	first := bytes.IndexByte(r.Raw, '\n')
	if first < 13 || r.Raw[first-1] != '\r' {
		return n, ErrMalformed
	}
	line := r.Raw[:first-1] // HTTP/1.1 200 OK
	switch string(line[:9]) {
	case "HTTP/1.1 ":
		r.Minor = 1
	case "HTTP/1.0 ":
		r.Minor = 0
	default:
		return n, ErrVersion
	}
	code, ok := decimal(line[9:12])
	if !ok || code < 100 || len(line) > 12 && line[12] != ' ' {
		return n, ErrMalformed
	}
	r.Status, r.Reason = int(code), line[min(13, len(line)):]
	for _, c := range r.Reason {
		if class[c]&text == 0 {
			return n, ErrMalformed
		}
	}
	return n, r.fields(first + 1)
}

// Bodiless says whether the answer has no body whatever its fields say.
func (r *Response) Bodiless(head bool) bool {
	return head || r.Status < 200 || r.Status == 204 || r.Status == 304
}
