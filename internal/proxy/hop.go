package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/proxy/wire"
)

const (
	answerBuffer = 32 << 10 // an answer that fits is held whole until it is complete
	pieceLeast   = 4 << 10  // what a head must leave of it
	interimMost  = 8
)

// hop is one request to one revision and its answer.
type hop struct {
	to    *upstream
	link  *link
	until time.Time
	gone  func() bool // has the client left? nil: nobody waits

	buf     []byte // buf[:n] was read; the head is buf[:body]
	n, body int
	head    wire.Response
	ready   bool // the head is there
	heads   int  // interim ones
	interim func(*wire.Response)

	kind   bodyKind
	left   int64
	chunks wire.Chunked
	at     int    // what is not handed out yet begins here
	whole  []byte // of an answer that is held: its body
	held   bool
	ended  bool // the body was read to its end
	unsent bool // the request was not sent to its end

	pumping *atomic.Bool // a body is being streamed: until moves on
	limit   time.Duration
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	byLength
	byChunks
	byClose
)

var hops = sync.Pool{New: func() any { return &hop{buf: make([]byte, answerBuffer)} }}

func newHop(to *upstream, until time.Time, gone func() bool) *hop {
	h := hops.Get().(*hop)
	buf, fields := h.buf, h.head.Fields[:0]
	*h = hop{buf: buf, to: to, until: until, gone: gone}
	h.head.Fields = fields
	return h
}

// free gives back the connection, if it may be used again, and the hop.
func (h *hop) free(now time.Time) {
	if l := h.link; l != nil {
		if h.ended && !h.unsent && h.at == h.n && !h.head.Close && h.head.Minor == 1 && h.kind != byClose {
			h.to.give(l, now)
		} else {
			l.Close()
		}
	}
	h.link, h.to, h.gone, h.interim, h.whole = nil, nil, nil, nil, nil
	hops.Put(h)
}

// send sends a whole request and reads the head of the answer. A connection that was idle may turn out to be closed
// before a byte of the answer: then a fresh one is tried, once.
func (h *hop) send(req []byte, isHead bool, now time.Time) Failure {
	if l := h.to.take(now); l != nil {
		h.link = l
		f := h.exchange(req, isHead, now)
		if f != Reset || h.n > 0 {
			return f
		}
		l.Close()
	}
	if f := h.connect(time.Now()); f != None {
		return f
	}
	return h.exchange(req, isHead, now)
}

func (h *hop) connect(now time.Time) Failure {
	left := h.until.Sub(now)
	if left <= 0 {
		return Timeout
	}
	l, err := h.to.dial(left)
	if h.link = l; err != nil {
		if h.link = nil; left < dialTime && !time.Now().Before(h.until) {
			return Timeout
		}
		return Connect
	}
	return None
}

func (h *hop) exchange(req []byte, isHead bool, now time.Time) Failure {
	h.link.arm(now, h.until)
	sent, n, err := h.link.ask(req, h.buf)
	if sent < len(req) && (err == nil || timedOut(err)) {
		err = h.push(req[sent:])
	}
	if h.unsent = sent < len(req) && err != nil; h.unsent && !errors.Is(err, errStop) {
		// A scorer may answer before it has read all, and close.
		n, _ = h.link.Read(h.buf)
	}
	return h.await(n, err, isHead)
}

var errStop = errors.New("not waited for any longer")

// push writes to the scorer as long as there is time and somebody waits.
func (h *hop) push(b []byte) error {
	for len(b) > 0 {
		n, err := h.link.Write(b)
		b = b[n:]
		if err == nil {
			continue
		}
		if !timedOut(err) {
			return err
		}
		if h.stop() != None {
			return errStop
		}
	}
	return nil
}

// stop says why waiting is over: no time left, or nobody there. Otherwise the next glance is armed.
func (h *hop) stop() Failure {
	now := time.Now()
	if h.pumping != nil && h.pumping.Load() {
		h.until = now.Add(h.limit)
	}
	if !now.Before(h.until) {
		return Timeout
	}
	if h.gone != nil && h.gone() {
		return ClientGone
	}
	h.link.arm(now, h.until)
	return None
}

// await reads until the head is whole; n bytes came and err was met already.
func (h *hop) await(n int, err error, isHead bool) Failure {
	for {
		seen := h.n
		if h.n += n; n > 0 {
			if err := h.parse(seen, isHead); err != nil {
				return BadAnswer
			}
			if h.ready {
				return None
			}
		}
		if f := h.failure(err); f != None {
			return f
		}
		if h.n == len(h.buf) {
			return BadAnswer // a head without end
		}
		n, err = h.link.Read(h.buf[h.n:])
	}
}

// failure says what an error at the connection means; None: go on.
func (h *hop) failure(err error) Failure {
	switch {
	case err == nil:
		return None
	case timedOut(err), errors.Is(err, errStop):
		return h.stop()
	}
	return Reset
}

// parse looks for the final head in what was read.
func (h *hop) parse(seen int, isHead bool) error {
	for {
		n, err := h.head.ParseResponse(h.buf[:h.n], seen)
		if err != nil || n == 0 {
			return err
		}
		if n > answerBuffer-pieceLeast {
			return wire.ErrMalformed
		}
		if h.head.Status >= 200 {
			h.begin(n, isHead)
			return nil
		}
		if h.heads++; h.head.Status == 101 || h.heads > interimMost {
			return wire.ErrMalformed
		}
		if h.interim != nil && h.head.Status != 100 {
			h.interim(&h.head)
		}
		h.n, seen = copy(h.buf, h.buf[n:h.n]), 0
	}
}

func (h *hop) begin(n int, isHead bool) {
	h.ready, h.body, h.at = true, n, n
	switch {
	case h.head.Bodiless(isHead) || h.head.Length == 0:
		h.kind, h.ended = noBody, true
	case h.head.Chunked:
		h.kind = byChunks
	case h.head.Length > 0:
		h.kind, h.left = byLength, h.head.Length
	default:
		h.kind = byClose
	}
}

// settle holds the answer whole, if it is small. wait: also if that takes more reads.
func (h *hop) settle(wait bool) Failure {
	switch h.kind {
	case noBody:
		h.held, h.whole = true, nil
	case byChunks:
		h.unchunk()
	case byLength:
		end := h.body + int(min(h.left, answerBuffer))
		if end > len(h.buf) {
			return None
		}
		for wait && h.n < end {
			n, err := h.link.Read(h.buf[h.n:end])
			if h.n += n; h.n < end {
				if f := h.failure(err); f != None {
					return f
				}
			}
		}
		if h.n >= end {
			h.held, h.ended, h.whole, h.at = true, true, h.buf[h.body:end], end
		}
	}
	return None
}

// unchunk takes the coding off in place, if the whole body is there.
func (h *hop) unchunk() {
	var look wire.Chunked
	at := h.at
	for at < h.n && !look.Done() {
		_, n, err := look.Next(h.buf[at:h.n])
		if at += n; err != nil {
			return // the stream will meet it
		}
	}
	if !look.Done() {
		return
	}
	to := h.body
	for !h.chunks.Done() {
		data, n, err := h.chunks.Next(h.buf[h.at:h.n])
		if err != nil {
			return
		}
		to += copy(h.buf[to:], data)
		h.at += n
	}
	h.held, h.ended, h.whole = true, true, h.buf[h.body:to]
}

// next returns the next piece of a body that is passed on as it comes; io.EOF at its end.
func (h *hop) next() ([]byte, Failure, error) {
	for !h.ended {
		if h.at < h.n {
			data, err := h.piece()
			if err != nil {
				return nil, BadAnswer, err
			}
			if len(data) > 0 {
				return data, None, nil
			}
			continue
		}
		h.at, h.n = h.body, h.body
		n, err := h.link.Read(h.buf[h.n:])
		h.n += n
		if n > 0 || err == nil {
			continue
		}
		if h.kind == byClose && errors.Is(err, io.EOF) {
			h.ended = true
			continue
		}
		if f := h.failure(err); f != None {
			return nil, f, io.ErrUnexpectedEOF // in its midst
		}
	}
	return nil, None, io.EOF
}

func (h *hop) piece() ([]byte, error) {
	from := h.at
	switch h.kind {
	case byChunks:
		data, n, err := h.chunks.Next(h.buf[h.at:h.n])
		h.at += n
		h.ended = h.chunks.Done()
		return data, err
	case byLength:
		most := int(min(h.left, int64(h.n-h.at)))
		h.at, h.left = h.at+most, h.left-int64(most)
		h.ended = h.left == 0
	default:
		h.at = h.n
	}
	return h.buf[from:h.at], nil
}
