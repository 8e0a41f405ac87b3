// Package wire reads the heads and bodies of HTTP/1.1 messages in place: strictly, without maps, without allocation.
//
// It accepts less than net/http does, never more, because what two parsers read differently is how requests are
// smuggled: lines end in CRLF and nothing else, a field has no blank before its colon and no continuation line, a length
// is stated once, in digits or as "chunked" and never both. Anything else is an error, and the connection that it came
// on is of no more use.
package wire

import (
	"bytes"
	"errors"
)

// The reasons for which a message is not read. ErrUnsupported and ErrVersion are well-formed and not carried.
var (
	ErrMalformed   = errors.New("malformed")
	ErrTooMany     = errors.New("more than 128 fields")
	ErrHost        = errors.New("there must be one Host")
	ErrLength      = errors.New("ambiguous or malformed length")
	ErrUnsupported = errors.New("transfer coding other than chunked")
	ErrVersion     = errors.New("version other than HTTP/1.0 and HTTP/1.1")
)

const maxFields = 128

// Name tells the fields that a gateway must know from all others.
type Name uint8

// The known names.
const (
	Other Name = iota
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Host
	HTTP2Settings
	InferenceLength
	KeepAlive
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	RequestID
	SerinFallback
	SerinHandedBy
	SerinRevision
	SerinRoute
	TE
	Traceparent
	Trailer
	TransferEncoding
	Upgrade
)

var known = [...]string{
	Connection: "connection", ContentEncoding: "content-encoding", ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie", Date: "date",
	Expect: "expect", Host: "host", HTTP2Settings: "http2-settings", InferenceLength: "inference-header-content-length", KeepAlive: "keep-alive",
	ProxyAuthenticate: "proxy-authenticate", ProxyAuthorization: "proxy-authorization", ProxyConnection: "proxy-connection", RequestID: "x-request-id",
	SerinFallback: "x-serin-fallback", SerinHandedBy: "x-serin-handed-by", SerinRevision: "x-serin-revision", SerinRoute: "x-serin-route", TE: "te", Traceparent: "traceparent", Trailer: "trailer", TransferEncoding: "transfer-encoding", Upgrade: "upgrade",
}

// byLength lists the known names of each length: a name is compared with two others at most.
var byLength = func() (lists [32][]Name) {
	for n := Connection; int(n) < len(known); n++ {
		lists[len(known[n])] = append(lists[len(known[n])], n)
	}
	return lists
}()

// HopByHop says whether a field belongs to one connection and is never passed on (RFC 9110, 7.6.1).
func (n Name) HopByHop() bool { return n < 64 && hopByHop>>n&1 == 1 }

const hopByHop = uint64(1)<<Connection | 1<<HTTP2Settings | 1<<KeepAlive | 1<<ProxyAuthenticate | 1<<ProxyAuthorization | 1<<ProxyConnection | 1<<TE | 1<<Trailer | 1<<TransferEncoding | 1<<Upgrade

// Field is one line of a head: offsets into it. The line runs from Line to End, its CRLF included.
type Field struct {
	Line, Colon, Value, ValueEnd, End int32
	Name                              Name
}

// Head is what requests and responses have in common. Its bytes are the reader's own: they hold until the buffer moves.
type Head struct {
	Raw     []byte // from the first line to the empty one
	Fields  []Field
	Minor   int   // HTTP/1.Minor
	Length  int64 // -1: none stated
	Chunked bool
	Close   bool // the sender will not use the connection again
	keep    bool // keep-alive is named
	at      [len(known)]int16
}

// NameOf returns the name of a field as it was sent.
func (h *Head) NameOf(f *Field) []byte { return h.Raw[f.Line:f.Colon] }

// ValueOf returns the value of a field without the blanks around it.
func (h *Head) ValueOf(f *Field) []byte { return h.Raw[f.Value:f.ValueEnd] }

// Get returns the value of the first field of this known name.
func (h *Head) Get(n Name) []byte {
	if i := h.at[n]; i > 0 {
		return h.ValueOf(&h.Fields[i-1])
	}
	return nil
}

// Has says whether a known field is there.
func (h *Head) Has(n Name) bool { return h.at[n] > 0 }

// Find returns the value of the first field of any name, which is given in lower case.
func (h *Head) Find(name string) []byte {
	for i := range h.Fields {
		if f := &h.Fields[i]; EqualFold(h.NameOf(f), name) {
			return h.ValueOf(f)
		}
	}
	return nil
}

// Named says whether the Connection field names this one, which makes it hop-by-hop.
func (h *Head) Named(f *Field) bool {
	if !h.Has(Connection) {
		return false
	}
	for i := range h.Fields {
		if c := &h.Fields[i]; c.Name == Connection && HasToken(h.ValueOf(c), h.NameOf(f)) {
			return true
		}
	}
	return false
}

// end returns the length of a head that begins b, or 0 while it is not whole. from is what was looked at before.
func end(b []byte, from int) int {
	from = max(0, from-3)
	if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return 0
}

// fields reads the field lines of a whole head, from offset pos.
func (h *Head) fields(pos int) error {
	h.Fields, h.Length, h.Chunked, h.Close, h.keep = h.Fields[:0], -1, false, false, false
	clear(h.at[:])
	for pos < len(h.Raw)-2 {
		if len(h.Fields) == maxFields {
			return ErrTooMany
		}
		f, err := line(h.Raw, pos)
		if err != nil {
			return err
		}
		h.Fields = append(h.Fields, f)
		if f.Name != Other {
			if err := h.learn(&f); err != nil {
				return err
			}
		}
		pos = int(f.End)
	}
	if h.Minor == 0 && !h.keep {
		h.Close = true
	}
	return nil
}

// line reads one field line, which ends in CRLF before the end of raw.
func line(raw []byte, pos int) (Field, error) {
	i := pos
	for i < len(raw) && class[raw[i]]&token != 0 {
		i++
	}
	if i == pos || i == len(raw) || raw[i] != ':' {
		return Field{}, ErrMalformed // no name, a blank before the colon, a continuation line
	}
	f := Field{Line: int32(pos), Colon: int32(i), Name: Lookup(raw[pos:i])}
	for i++; i < len(raw) && (raw[i] == ' ' || raw[i] == '\t'); i++ {
	}
	f.Value = int32(i)
	for i < len(raw) && class[raw[i]]&text != 0 {
		i++
	}
	if i+1 >= len(raw) || raw[i] != '\r' || raw[i+1] != '\n' {
		return Field{}, ErrMalformed // a bare CR or LF, or another control
	}
	last := i
	for last > int(f.Value) && (raw[last-1] == ' ' || raw[last-1] == '\t') {
		last--
	}
	f.ValueEnd, f.End = int32(last), int32(i+2)
	return f, nil
}

// learn keeps what the gateway must know of a field.
func (h *Head) learn(f *Field) error {
	v := h.ValueOf(f)
	again := h.Has(f.Name)
	if !again {
		h.at[f.Name] = int16(len(h.Fields))
	}
	switch f.Name {
	case ContentLength:
		n, ok := decimal(v)
		if !ok || again {
			return ErrLength
		}
		h.Length = n
	case TransferEncoding:
		switch {
		case again || h.Minor == 0:
			return ErrLength
		case !EqualFold(v, "chunked"):
			return ErrUnsupported
		}
		h.Chunked = true
	case Connection:
		h.Close = h.Close || HasToken(v, []byte("close"))
		h.keep = h.keep || HasToken(v, []byte("keep-alive"))
	}
	if h.Chunked && h.Length >= 0 {
		return ErrLength
	}
	return nil
}

// Lookup returns which known name this is, in any case.
func Lookup(name []byte) Name {
	if len(name) >= len(byLength) {
		return Other
	}
	for _, n := range byLength[len(name)] {
		if EqualFold(name, known[n]) {
			return n
		}
	}
	return Other
}

// EqualFold compares with an ASCII string in lower case.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		if fold(b[i]) != lower[i] {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// HasToken says whether a comma-separated list holds a token, in any case.
func HasToken(list, token []byte) bool {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if bytes.EqualFold(bytes.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// decimal reads a length: digits and nothing else, below 10^18.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// The classes of bytes.
const (
	token  = 1 << iota // RFC 9110, 5.6.2
	text               // of a field's value
	target             // of a request target
	host               // of a Host
	hexa
)

var class = func() (t [256]byte) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 128
		digit := '0' <= c && c <= '9'
		if letter || digit || c < 128 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0 {
			t[c] |= token
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= text
		}
		if c > ' ' && c < 0x7f && c != '#' {
			t[c] |= target
		}
		if letter || digit || c < 128 && bytes.IndexByte([]byte("-._~%!$&'()*+,;=:[]"), byte(c)) >= 0 {
			t[c] |= host
		}
		if digit || 'a' <= c|0x20 && c|0x20 <= 'f' && c < 128 {
			t[c] |= hexa
		}
	}
	return t
}()
