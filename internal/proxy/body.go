package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/serin-dev/serin/internal/proxy/wire"
)

const pieceSize = 16 << 10

// The reasons for which a body is not read to its end.
var (
	errTooLarge = errors.New("body too large")
	errBroken   = errors.New("malformed body")
)

// body reads a request's body, piece by piece.
type body struct {
	c       *conn
	chunked bool
	left    int64
	chunks  wire.Chunked
	total   int64
	most    int64
	piece   []byte // piece[r:n] was read and is not handed out yet
	r, n    int
}

func (b *body) start(c *conn, most int64) {
	*b = body{c: c, chunked: c.req.Chunked, left: max(c.req.Length, 0), most: most, piece: b.piece}
}

func (b *body) done() bool {
	if b.chunked {
		return b.chunks.Done()
	}
	return b.left == 0
}

// next returns the next piece; io.EOF when there is none. It holds until the next call.
func (b *body) next() ([]byte, error) {
	for !b.done() {
		from, pos, end := b.source()
		if pos == end {
			if err := b.read(); err != nil {
				return nil, err
			}
			continue
		}
		data, used, err := b.take(from[pos:end])
		if err != nil {
			return nil, errBroken
		}
		b.use(used)
		if b.total += int64(len(data)); b.total > b.most {
			return nil, errTooLarge
		}
		if len(data) > 0 {
			return data, nil
		}
	}
	return nil, io.EOF
}

// source is what came with the head, and then what was read since.
func (b *body) source() (from []byte, pos, end int) {
	if c := b.c; c.r < c.n {
		return c.buf, c.r, c.n
	}
	return b.piece, b.r, b.n
}

func (b *body) use(n int) {
	if c := b.c; c.r < c.n {
		c.r += n
		return
	}
	b.r += n
}

func (b *body) take(p []byte) (data []byte, used int, err error) {
	if b.chunked {
		return b.chunks.Next(p)
	}
	most := int(min(int64(len(p)), b.left))
	b.left -= int64(most)
	return p[:most], most, nil
}

func (b *body) read() error {
	if b.piece == nil {
		b.piece = make([]byte, pieceSize)
	}
	most := len(b.piece)
	if !b.chunked {
		most = int(min(int64(most), b.left)) // not a byte of the next request
	}
	n, err := b.c.link.Read(b.piece[:most])
	if b.r, b.n = 0, n; n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF // not the body's end: the client's
	}
	return err
}

// giveBack leaves what was read beyond the body to the next request.
func (b *body) giveBack() {
	c := b.c
	if b.r < b.n {
		c.buf = append(c.buf[:c.n], b.piece[b.r:b.n]...)
		c.n = len(c.buf)
		c.buf = c.buf[:cap(c.buf)]
	}
	b.r, b.n = 0, 0
}

// hold reads the body, so that it can be sent again to stable or as a copy; one that is too large to be held is left to
// be streamed.
func (k *call) hold() bool {
	c, most := k.c, k.route.maxBody
	if c.req.Length > most {
		k.tooLarge()
		return false
	}
	if n := int(max(c.req.Length, 0)); !c.req.Chunked && n <= c.n-c.r {
		k.held = c.buf[c.r : c.r+n]
		c.r += n
		return true
	}
	k.body.start(c, most)
	c.wide = true
	c.readWithin(time.Now(), c.g.cfg.limits.body)
	if c.req.Has(wire.Expect) && c.req.Minor == 1 && c.r == c.n {
		if c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) != nil {
			c.last = true
			return false
		}
	}
	k.store = k.store[:0]
	bound := c.g.cfg.HoldBodyBytes
	for c.req.Length <= bound {
		p, err := k.body.next()
		switch {
		case errors.Is(err, io.EOF):
			k.held, k.start = k.store, time.Now() // how long a client takes is held against nobody
			k.body.giveBack()
			return true
		case err != nil:
			k.noBody(err)
			return false
		}
		if k.store = append(k.store, p...); int64(len(k.store)) > bound {
			break
		}
	}
	k.held, k.streamed, k.start = k.store, true, time.Now()
	c.g.stats.streamed.Add(1)
	return true
}

func (k *call) tooLarge() {
	k.c.g.stats.large.Add(1)
	k.c.refuse(413, "BodyTooLarge", "the body is larger than "+decimal(k.route.maxBody)+" bytes (spec.traffic.maxBodyBytes)")
}

// noBody answers a request whose body did not come.
func (k *call) noBody(err error) {
	c := k.c
	c.last = true
	switch {
	case errors.Is(err, errTooLarge):
		k.tooLarge()
	case timedOut(err):
		c.refuse(408, "BodyTimeout", "the body did not come to its end in time")
	case errors.Is(err, errBroken):
		c.g.stats.malformed.Add(1)
		c.refuse(400, "BadBody", "the body could not be read to its end")
	} // else the client is gone
}
