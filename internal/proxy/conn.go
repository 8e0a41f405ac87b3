package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/serin-dev/serin/internal/proxy/wire"
)

const (
	headLeast = 4 << 10  // buffer of a connection: a small request fits
	headWide  = 16 << 10 // and of one whose requests turned out larger
	headMost  = 64 << 10 // of a request
)

// The states of a connection: an idle one may be closed at any time.
const (
	idle int32 = iota
	busy
	closed
)

// conn is a client's connection: requests are read and answered in order, one after the other.
type conn struct {
	g     *Gateway
	link  *link
	state atomic.Int32
	turn  func(uintptr) bool
	gone  func() bool

	buf    []byte // buf[r:n] is not used yet
	r, n   int
	seen   int // of buf[r:n], when a head was looked for in vain
	req    wire.Request
	wide   bool // a request did not fit
	last   bool // no request after this one
	unread bool // the client may still be sending when the last answer is given

	readBy, writeBy time.Time // deadlines in force
	contentType     string    // of the last answer: it is mostly the same
}

func newConn(g *Gateway, nc net.Conn) *conn {
	c := &conn{g: g, link: newLink(nc), buf: make([]byte, headLeast)}
	c.turn, c.gone = c.quick, c.link.left
	return c
}

// serve answers requests until the client leaves, errs or the gateway drains.
func (c *conn) serve() {
	defer c.g.farewell(c)
	defer c.linger()
	for !c.last {
		if c.r == c.n {
			c.compact()
			c.patience()
			if c.link.raw != nil {
				if err := c.link.raw.Read(c.turn); err != nil || c.last {
					return
				}
			}
		}
		c.slow()
	}
}

// quick takes part in the wait for the client: it reads once, answers what has come whole, and waits on. So a small
// request costs one read, and none that finds nothing. What needs more reading it leaves to slow.
func (c *conn) quick(fd uintptr) bool {
	n, err := tryRead(fd, c.buf[c.n:])
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	if err != nil || n == 0 {
		c.last = true
		return true
	}
	c.n += n
	full := c.n == len(c.buf)
	for c.r < c.n && c.complete() {
		if !c.state.CompareAndSwap(idle, busy) {
			c.last = true
			return true
		}
		if c.handle(); c.last {
			return true
		}
	}
	if full || c.r < c.n {
		return true
	}
	c.compact()
	c.patience()
	return false
}

// complete says whether a whole request without surprises is in the buffer.
func (c *conn) complete() bool {
	n, err := c.req.ParseRequest(c.buf[c.r:c.n], 0)
	if err != nil || n == 0 || c.req.Chunked || c.req.Length > int64(c.n-c.r-n) {
		return false
	}
	c.r += n
	return true
}

// slow reads one request by and by.
func (c *conn) slow() {
	if !c.readHead() {
		c.last = true
		return
	}
	c.handle()
}

// compact moves what is left to the front of the buffer.
func (c *conn) compact() {
	c.n = copy(c.buf, c.buf[c.r:c.n])
	c.r = 0
	if c.n > 0 {
		return
	}
	switch {
	case len(c.buf) > headWide:
		c.buf = make([]byte, headWide) // a large head was an exception
	case c.wide && len(c.buf) < headWide:
		c.buf = make([]byte, headWide)
	}
}

// patience sets the deadline for a client that may stay idle. It is set anew only when half of it is over.
func (c *conn) patience() {
	now := time.Now()
	if d := c.g.cfg.limits.idle; c.readBy.Before(now.Add(d / 2)) {
		c.readWithin(now, d)
	}
}

func (c *conn) readWithin(now time.Time, d time.Duration) {
	c.readBy = now.Add(d)
	_ = c.link.SetReadDeadline(c.readBy) // fails on a closed connection only, which the next read will tell
}

// readHead reads until a head is whole; false: there is none to answer.
func (c *conn) readHead() bool {
	c.seen = 0
	timed := false
	for {
		if c.n > c.r {
			if c.state.Load() == idle && !c.state.CompareAndSwap(idle, busy) {
				return false
			}
			n, err := c.req.ParseRequest(c.buf[c.r:c.n], c.seen)
			if err != nil || wire.Preface(c.buf[c.r:c.n]) {
				c.malformed(err)
				return false
			}
			if n > 0 {
				c.r += n
				return true
			}
			c.seen = c.n - c.r
			if !timed { // from the first byte on, a client must not dawdle
				timed = true
				c.readWithin(time.Now(), c.g.cfg.limits.head)
			}
		}
		if !c.room() {
			return false
		}
		n, err := c.link.Read(c.buf[c.n:])
		if c.n += n; err != nil && n == 0 {
			if timed && timedOut(err) {
				c.refuse(408, "HeadTimeout", "the head of the request did not come to its end in time")
			}
			return false
		}
	}
}

// room sees to it that more of a head can be read.
func (c *conn) room() bool {
	if c.n < len(c.buf) {
		return true
	}
	c.compact()
	if c.n < len(c.buf) {
		return true
	}
	if len(c.buf) >= headMost {
		c.g.stats.malformed.Add(1)
		c.refuse(431, "HeadTooLarge", "the head of the request is larger than 64 KiB")
		return false
	}
	bigger := make([]byte, 2*len(c.buf))
	copy(bigger, c.buf)
	c.buf = bigger
	return true
}

// malformed refuses what cannot be read in one way only. The connection is of no more use.
func (c *conn) malformed(err error) {
	switch {
	case wire.Preface(c.buf[c.r:c.n]):
		c.notCarried()
		return
	case errors.Is(err, wire.ErrVersion):
		c.refuse(505, "VersionNotCarried", "this gateway carries HTTP/1.1 and HTTP/1.0")
	case errors.Is(err, wire.ErrUnsupported):
		c.refuse(501, "CodingNotCarried", "this gateway carries no transfer coding but chunked")
	case errors.Is(err, wire.ErrTooMany):
		c.refuse(431, "HeadTooLarge", "the head of the request has more than 128 fields")
	case errors.Is(err, wire.ErrHost):
		c.refuse(400, "BadHost", "a request names one host, once")
	case errors.Is(err, wire.ErrLength):
		c.refuse(400, "BadLength", "the length of the body is stated more than once, or not in digits")
	default:
		c.refuse(400, "BadRequest", "the head of the request is malformed")
	}
	c.g.stats.malformed.Add(1)
}

func (c *conn) notCarried() {
	c.g.stats.refused.Add(1)
	c.refuse(501, "ProtocolNotCarried", "this gateway carries plain HTTP/1.1 requests; WebSocket, h2c and CONNECT are not carried")
}

// write writes to the client, who must read within the time for it.
func (c *conn) write(b []byte) error {
	now := time.Now()
	if d := c.g.cfg.limits.write; c.writeBy.Before(now.Add(d / 2)) {
		c.writeBy = now.Add(d)
		_ = c.link.SetWriteDeadline(c.writeBy) // see readWithin
	}
	return c.link.write(b)
}

// linger lets a client read an answer that came before its request was read: closing over unread bytes would reset the
// connection, and the answer would be lost.
func (c *conn) linger() {
	if !c.unread {
		return
	}
	if t, ok := c.link.Conn.(*net.TCPConn); !ok || t.CloseWrite() != nil {
		return
	}
	c.readWithin(time.Now(), c.g.cfg.limits.linger)
	_, _ = io.CopyN(io.Discard, onlyReader{c.link.Conn}, 64<<20) // what goes wrong here ends the connection either way
}

// onlyReader hides ReadFrom and the like.
type onlyReader struct{ io.Reader }
