package contract

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
)

// byteReader reads a slice; it is kept in the Answer to save an allocation.
type byteReader struct{ bytes.Reader }

// decode undoes the content encoding. On failure it ends the answer and
// returns false. It never holds more than limit+1 bytes of output.
func (a *Answer) decode(encoding string, body []byte, limit int) (plain []byte, ok bool) {
	if len(body) > limit {
		a.end(Unparsed, detailTooLarge)
		return nil, false
	}
	if encoding == "" {
		return body, true
	}
	src, err := a.decompressor(strings.ToLower(strings.TrimSpace(encoding)), body)
	switch {
	case err != nil:
		a.end(Invalid, detailDecode)
		return nil, false
	case src == nil:
		a.end(Unparsed, detailEncoding)
		return nil, false
	case src == io.Reader(&a.source):
		return body, true
	}
	a.limit = io.LimitedReader{R: src, N: int64(limit) + 1}
	buf := bytes.NewBuffer(a.plain[:0])
	_, err = buf.ReadFrom(&a.limit)
	a.plain = buf.Bytes()
	a.source.Reset(nil) // body is not ours to keep
	switch {
	case len(a.plain) > limit:
		a.end(Unparsed, detailTooLarge)
		return nil, false
	case err != nil:
		a.end(Invalid, detailDecode)
		return nil, false
	}
	return a.plain, true
}

// decompressor returns a reader of the decoded body: the raw source for
// identity, nil for an encoding that is not supported.
func (a *Answer) decompressor(encoding string, body []byte) (io.Reader, error) {
	a.source.Reset(body)
	switch encoding {
	case "identity", "":
		return &a.source, nil
	case "gzip", "x-gzip":
		if a.unzip == nil {
			zr, err := gzip.NewReader(&a.source)
			if err != nil {
				return nil, err
			}
			a.unzip = zr
			return zr, nil
		}
		return a.unzip, a.unzip.Reset(&a.source)
	case "deflate": // zlib by the standard, raw by habit of some servers
		if len(body) >= 2 && body[0]&0x0f == 8 && (int(body[0])<<8|int(body[1]))%31 == 0 {
			return zlib.NewReader(&a.source)
		}
		return flate.NewReader(&a.source), nil
	}
	return nil, nil
}

// jsonType says whether a content type promises JSON, or at least may hide it:
// servers that set none, or let a library guess, send JSON as plain text or HTML.
func jsonType(contentType string) (promised, possible bool) {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.TrimSpace(kind)
	switch {
	case kind == "application/json":
		return true, true
	case kind == "", strings.EqualFold(kind, "text/plain"), strings.EqualFold(kind, "text/html"):
		return false, true
	}
	kind = strings.ToLower(kind)
	promised = kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
	return promised, promised
}

func blank(b []byte) bool { return len(trim(b)) == 0 }

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// failed reads an answer whose status says that it is an error.
func (e *Extractor) failed(a *Answer, m Meta, body []byte) {
	plain, ok := a.decode(m.ContentEncoding, body, e.maxBody)
	a.end(Error, detailStatus)
	if !ok {
		return
	}
	plain = trim(plain)
	if len(plain) == 0 {
		return
	}
	if validate(plain) == sound {
		a.Message = bounded(a.message(plain))
		return
	}
	a.Message = bounded(plain)
}

// message finds an error's text in sound JSON: `message`, `error`,
// `error.message`, `detail`, or the same in the first element of an array; else the
// whole body.
func (a *Answer) message(b []byte) []byte {
	s := scanner{b: b}
	if b[0] == '[' && s.enter() {
		from := s.i
		s.skip()
		if b[from] == '{' {
			return a.message(b[from:s.i])
		}
		return a.spoken(b[from:s.i])
	}
	if b[0] != '{' {
		return a.spoken(b)
	}
	k := a.locate(b)
	for _, at := range [...]span{k.message, k.failure, k.detail} {
		if at.to == 0 {
			continue
		}
		v := at.of(b)
		if v[0] == '{' {
			in := scanner{b: v}
			if in.find("message") && in.b[in.i] == '"' {
				return a.spoken(in.b[in.i:])
			}
			return v
		}
		if v[0] != 'n' {
			return a.spoken(v)
		}
	}
	return b
}

// spoken returns the text of a string, or any other value as it stands.
func (a *Answer) spoken(v []byte) []byte {
	if v[0] != '"' {
		return v
	}
	s := scanner{b: v}
	return a.decoded(s.quoted())
}

// bounded makes a message of at most MaxText bytes of valid UTF-8.
func bounded(b []byte) string {
	if len(b) > MaxText {
		b = b[:MaxText]
	}
	return strings.ToValidUTF8(string(b), "")
}
