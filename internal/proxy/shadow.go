package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// echo is what is asked once more of a request that its client has the answer to, off the client's path: the candidate
// gets a copy, and sometimes who answered is asked again.
type echo struct {
	g       *Gateway
	route   *route
	primary Exchange
	copied  []byte // the request for the candidate; nil: it gets none from here
	again   []byte // the request for who answered; nil: not asked again
	isHead  bool
	size    int64
}

// shadow sends a copy to the candidate, if the share and the room allow. It begins when stable has answered: so it takes
// nothing from the client, and both answers are known when its own comes.
func (k *call) shadow() {
	r, g := k.route, k.c.g
	if r.HandOver || k.streamed || split.ByCoin(r.ShadowBP, rand.Uint64()) != split.Candidate {
		return
	}
	e := k.echo()
	if e == nil {
		g.stats.dropped.Add(1)
		return
	}
	e.copied = k.request(nil, r.candidate)
	if k.x.Failure == None && (r.isFirst() || r.repeats()) {
		e.again = k.request(nil, r.stable)
	}
	g.stats.sent.Add(1)
	g.running.Go(e.run)
}

// repeat asks the scorer beside a relay once more what a client asked it by weight in the present epoch. The gateway in
// front sends the copies and draws for which requests; how far a scorer's answers differ by themselves does not depend
// on whether the candidate got one of them, so this one draws the same share for itself.
func (k *call) repeat() {
	r, s, g := k.route, &k.stamp, k.c.g
	if s.Chosen != ByWeight || s.Epoch != r.Epoch || s.Copy || s.Handed || k.arm != split.Candidate || k.streamed || k.x.Failure != None {
		return
	}
	if g.cfg.Tap == nil || split.ByCoin(r.ShadowBP, rand.Uint64()) != split.Candidate {
		return
	}
	first := r.isFirst()
	if !first && !r.repeats() {
		return
	}
	e := k.echo()
	if e == nil {
		g.stats.dropped.Add(1)
		if first {
			r.repeated.Add(-1) // another request will be the one
		}
		return
	}
	e.again = k.request(nil, r.candidate)
	g.stats.sent.Add(1)
	g.running.Go(e.run)
}

// echo makes one, if there is room and the table still holds; run gives the room back.
func (k *call) echo() *echo {
	r, g := k.route, k.c.g
	size := int64(len(k.held) + len(k.x.Body))
	if !g.room(size) {
		return nil
	}
	r.occupy(1)
	e := &echo{g: g, route: r, primary: k.x, isHead: k.isHead, size: size}
	if g.route.Load() != r { // the candidate may be stopped already
		e.done()
		return nil
	}
	e.primary.Body = slices.Clone(k.x.Body)
	return e
}

// occupy marks both revisions as working, n more.
func (r *route) occupy(n int64) {
	r.candidate.flight.Add(n)
	if r.stable != nil {
		r.stable.flight.Add(n)
	}
}

// isFirst counts the first shadowed requests of a rollout: each of them is asked twice.
func (r *route) isFirst() bool {
	return r.repeated.Load() < int64(r.RepeatFirst) && r.repeated.Add(1) <= int64(r.RepeatFirst)
}

// repeats draws whether a later one is asked twice.
func (r *route) repeats() bool { return split.ByCoin(r.RepeatBP, rand.Uint64()) == split.Candidate }

// room takes room for a copy of this size, if there is any.
func (g *Gateway) room(size int64) bool {
	select {
	case g.shadows <- struct{}{}:
	default:
		return false
	}
	if g.shadowed.Add(size) > g.cfg.ShadowQueueBytes {
		g.shadowed.Add(-size)
		<-g.shadows
		return false
	}
	return true
}

func (e *echo) done() {
	e.route.occupy(-1)
	e.g.shadowed.Add(-e.size)
	<-e.g.shadows
}

func (e *echo) run() {
	defer e.done()
	tap, r := e.g.cfg.Tap, e.route
	if e.copied != nil {
		x := e.ask(r.candidate, e.copied)
		x.Arm = split.Candidate
		if tap != nil {
			tap.Pair(&e.primary, &x)
		}
	}
	if e.again == nil || tap == nil {
		return
	}
	who := r.stable
	if r.Relay != nil {
		who = r.candidate
	}
	x := e.ask(who, e.again)
	tap.Again(&e.primary, &x)
}

// ask sends the copy and reads the whole answer.
func (e *echo) ask(to *upstream, req []byte) (x Exchange) {
	start := time.Now()
	h := newHop(to, start.Add(e.route.timeout), nil)
	f := h.send(req, e.isHead, start)
	if f == None {
		f = h.settle(true)
	}
	var kept []byte
	var cut bool
	for f == None && !h.held {
		p, broken, err := h.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var more bool
		kept, more = keep(kept, p, e.g.cfg.RecordBodyBytes)
		f, cut = broken, cut || more
	}
	now := time.Now()
	usual := e.primary.ContentType
	e.g.describe(&x, e.route, h, f, now.Sub(start), &usual)
	if h.held {
		kept = slices.Clone(x.Body)
	} else {
		x.BodyTruncated = cut || f != None
	}
	x.Body, x.Start, x.Shadow, x.RequestID = kept, start, true, e.primary.RequestID
	x.Keyed, x.Key = e.primary.Keyed, e.primary.Key
	h.free(now)
	return x
}
