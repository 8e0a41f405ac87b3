package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// stream sends a body that is too large to be held while it comes, and reads the head of the answer. There is no second
// try, on no connection: so a fresh one is used, which cannot have been closed meanwhile. The scorer may answer before
// it has read all: then the rest is not sent, and the client's connection ends with the answer.
func (k *call) stream(h *hop, now time.Time) Failure {
	if f := h.connect(now); f != None {
		k.c.last, k.c.unread = true, true
		return f
	}
	h.limit = k.route.timeout
	h.pumping = new(atomic.Bool)
	h.pumping.Store(true)
	h.link.arm(now, h.until)
	k.out = k.requestHead(k.out[:0], h.to)
	if len(k.held) > 0 {
		k.out = appendPiece(k.out, k.held, k.c.req.Chunked)
	}
	stop := now.Add(k.c.g.cfg.limits.body)
	done := make(chan struct{})
	var whole bool
	var broken error // by the client
	go func() {
		defer close(done)
		whole, broken = k.pump(h, k.out, stop)
		h.pumping.Store(false)
		if broken != nil {
			h.link.Close() // wakes who waits for an answer
		}
	}()
	f := h.await(0, nil, k.isHead)
	early := h.pumping.Swap(false) // an answer, or a failure, before all was sent
	if early {
		_ = k.c.link.SetReadDeadline(time.Now()) // wakes the pump; linger sets another
	}
	<-done
	if early && whole { // all was sent, the pump had only not said so yet
		early = false
		k.c.readWithin(time.Now(), k.c.g.cfg.limits.body)
	}
	if early || !whole {
		h.unsent, k.c.last, k.c.unread = true, true, true
	} else {
		k.body.giveBack()
	}
	if f != None && broken != nil && !early {
		k.fault = broken
		return ClientGone
	}
	return f
}

// pump sends the head, what is held and the rest of the body as it comes. It says whether all was sent, and what went
// wrong at the client's side; what goes wrong at the scorer's is met by who waits for its answer.
func (k *call) pump(h *hop, begun []byte, stop time.Time) (whole bool, err error) {
	if !h.pour(begun, stop) {
		return false, nil
	}
	chunked := k.c.req.Chunked
	var out []byte
	for {
		p, err := k.body.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		if out = appendPiece(out[:0], p, chunked); !h.pour(out, stop) {
			return false, nil
		}
	}
	return !chunked || h.pour([]byte("0\r\n\r\n"), stop), nil
}

// pour writes all of b; false: the scorer does not take it, the time is over, or the answer is there.
func (h *hop) pour(b []byte, stop time.Time) bool {
	for {
		n, err := h.link.Write(b)
		if b = b[n:]; len(b) == 0 {
			return true
		}
		if err != nil && (!timedOut(err) || !h.pumping.Load() || time.Now().After(stop)) {
			return false
		}
	}
}
