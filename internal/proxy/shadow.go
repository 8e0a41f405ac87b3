package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// echo is a copy of a request that stable has answered: the candidate gets it, off the request's path, and sometimes
// stable once more.
type echo struct {
	g       *Gateway
	route   *route
	primary Exchange
	copied  []byte // the request for the candidate
	again   []byte // the request for stable; nil: not asked again
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
	size := int64(len(k.held) + len(k.x.Body))
	if !g.room(size) {
		g.stats.dropped.Add(1)
		return
	}
	r.candidate.flight.Add(1)
	r.stable.flight.Add(1)
	e := &echo{g: g, route: r, primary: k.x, isHead: k.isHead, size: size}
	if g.route.Load() != r { // the candidate may be stopped already
		g.stats.dropped.Add(1)
		e.done()
		return
	}
	e.primary.Body = slices.Clone(k.x.Body)
	e.copied = k.request(nil, r.candidate)
	if k.x.Failure == None && r.repeats() {
		e.again = k.request(nil, r.stable)
	}
	g.stats.sent.Add(1)
	g.running.Go(e.run)
}

// repeats reports whether stable is asked this shadowed request once more: each of the first of a rollout, then a share.
func (r *route) repeats() bool {
	first := r.repeated.Load() < int64(r.RepeatFirst) && r.repeated.Add(1) <= int64(r.RepeatFirst)
	return first || split.ByCoin(r.RepeatBP, rand.Uint64()) == split.Candidate
}

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
	e.route.candidate.flight.Add(-1)
	e.route.stable.flight.Add(-1)
	e.g.shadowed.Add(-e.size)
	<-e.g.shadows
}

func (e *echo) run() {
	defer e.done()
	x := e.ask(e.route.candidate, e.copied)
	x.Arm = split.Candidate
	if e.g.cfg.Tap == nil {
		return
	}
	e.g.cfg.Tap.Pair(&e.primary, &x)
	if e.again != nil {
		again := e.ask(e.route.stable, e.again)
		e.g.cfg.Tap.Again(&e.primary, &again)
	}
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
