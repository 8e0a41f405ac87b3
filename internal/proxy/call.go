package proxy

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/proxy/wire"
	"github.com/serin-dev/serin/internal/split"
)

const keepMost = 64 << 10 // of a buffer, when its request is over

// call is one client request on its way. Calls are used again.
type call struct {
	c      *conn
	route  *route
	start  time.Time // when it was whole, or began to be streamed
	isHead bool

	id, trace, cookie []byte
	held              []byte // the body, or what was read before it turned out too large
	streamed          bool   // there is more of it than is held
	body              body
	store             []byte // where a body is held that did not come with its head

	arm     split.Arm
	direct  bool
	keyed   bool
	key     uint64
	stamp   Stamp         // of a relay
	took    time.Duration // by the scorer beside a relay
	spared  bool          // due to a candidate that rests
	behind  *upstream     // may be asked in the place of the arm; nil: nobody may
	out     []byte        // what is sent next, to either side
	kept    []byte        // of an answer that was passed on as it came, for the tap
	cut     bool          // there was more
	x       Exchange
	fault   error // of a client whose body broke off while it was streamed
	interim func(*wire.Response)
}

var calls = sync.Pool{New: func() any {
	k := new(call)
	k.interim = k.pass
	return k
}}

// handle answers the request whose head was read.
func (c *conn) handle() {
	k := calls.Get().(*call)
	k.begin(c)
	if c.req.Close || c.g.draining.Load() {
		c.last = true
	}
	if c.carries() && k.ready() && k.hold() {
		k.identify()
		k.claim()
		k.forward()
		k.release()
	}
	k.end()
	c.state.Store(idle)
	if c.g.draining.Load() {
		c.last = true
	}
}

func (k *call) begin(c *conn) {
	k.c, k.start, k.isHead = c, time.Now(), string(c.req.Method) == "HEAD"
	k.cookie, k.held, k.kept, k.streamed, k.cut = k.cookie[:0], nil, k.kept[:0], false, false
	k.keyed, k.key, k.fault, k.stamp, k.took = false, 0, nil, Stamp{}, 0
}

func (k *call) end() {
	if cap(k.out) > keepMost {
		k.out = nil
	}
	if cap(k.store) > keepMost {
		k.store = nil
	}
	k.c, k.route, k.behind, k.held, k.body.c = nil, nil, nil, nil, nil
	k.x = Exchange{}
	calls.Put(k)
}

// carries refuses what is not a plain request.
func (c *conn) carries() bool {
	if string(c.req.Method) == "CONNECT" || c.req.Has(wire.Upgrade) {
		c.notCarried()
		return false
	}
	if c.req.Minor == 1 && c.req.Has(wire.Expect) && !wire.EqualFold(c.req.Get(wire.Expect), "100-continue") {
		c.refuse(417, "ExpectationFailed", "this gateway knows of no expectation but 100-continue")
		return false
	}
	return true
}

// ready says whether anybody serves the endpoint.
func (k *call) ready() bool {
	if k.route = k.c.g.route.Load(); k.route != nil && k.route.serves() {
		return true
	}
	k.c.refuse(503, "NoStable", "no version serves this endpoint yet; see serin status")
	return false
}

// claim routes the request and marks whom it may ask as working on it, by the table that is in force at that moment: who
// swaps the table and then sees a revision without requests may stop it.
func (k *call) claim() {
	g := k.c.g
	for {
		r := g.route.Load()
		if !r.serves() {
			r = k.route // it is going away; so is the endpoint
		}
		k.route = r
		k.choose()
		k.behind = k.standsBehind()
		k.count(1)
		if g.route.Load() == r || !g.route.Load().serves() {
			break
		}
		k.count(-1)
	}
	k.spared = k.arm == split.Candidate && k.route.Fallback && k.route.Relay == nil && !k.direct && k.route.candidate.health.resting(k.start)
}

func (k *call) count(n int64) {
	if k.arm == split.Candidate {
		k.route.candidate.flight.Add(n)
	}
	if k.arm == split.Stable || k.route.Fallback && k.route.stable != nil {
		k.route.stable.flight.Add(n)
	}
	if k.behind != nil && k.behind == k.route.previous {
		k.behind.flight.Add(n)
	}
}

func (k *call) release() { k.count(-1) }

// forward asks the arm and, if it fails, who stands behind it.
func (k *call) forward() {
	r := k.route
	target, until := r.stable, k.start.Add(r.timeout)
	limit, mayFall := until, k.behind != nil && !k.spared
	switch {
	case k.spared:
		k.c.g.stats.spared.Add(1)
	case k.arm == split.Candidate:
		target = r.candidate
	}
	if d := r.CandidateTimeout; mayFall && d > 0 && d < r.timeout {
		limit = k.start.Add(d)
	}
	first := newHop(target, limit, k.leaving())
	f := k.ask(first, mayFall, k.start)
	if r.Relay != nil {
		k.took = time.Since(k.start)
	}
	served, g := first, f
	if mayFall && f != ClientGone && (f != None || first.head.Status >= 500) && time.Now().Before(until) {
		served, g = k.askBehind(first, f, until)
	}
	if !k.streamed {
		served.until = until // there is nobody left to leave time for
	}
	broken := k.reply(served, g)
	now := time.Now()
	k.record(first, f, served != first && g == None && broken == None && served.head.Status < 500, broken, now)
	if served != first {
		served.free(now)
	}
	first.free(now)
}

// askBehind asks who stands behind the arm what it failed. Where both fail clients see what stable says.
func (k *call) askBehind(first *hop, f Failure, until time.Time) (*hop, Failure) {
	now := time.Now()
	second := newHop(k.behind, until, k.c.gone)
	g := k.ask(second, false, now)
	if k.behind == k.route.previous {
		k.behind.health.note(k.absence(second, g), now)
	}
	worse := g != None && g != ClientGone || g == None && k.behind == k.route.previous && second.head.Status >= 500
	if f == None && worse {
		second.free(now)
		return first, f
	}
	return second, g
}

// absence tells a version that fails from one that is not there: a mesh answers in the place of the second.
func (k *call) absence(h *hop, f Failure) Failure {
	if f == None && k.route.Relay != nil && h.head.Status == 503 && !h.head.Has(wire.SerinRevision) {
		return Connect
	}
	return f
}

// leaving says whether the client has left; nil: nobody waits for the answer to a copy, so it is no use to look.
func (k *call) leaving() func() bool {
	if k.stamp.Copy {
		return nil
	}
	return k.c.gone
}

// ask sends the request and holds the answer, if it is small. mayFall: an answer that failed is not waited for.
func (k *call) ask(h *hop, mayFall bool, now time.Time) (f Failure) {
	h.interim = k.interim
	if k.streamed {
		f = k.stream(h, now)
	} else {
		k.out = k.request(k.out[:0], h.to)
		f = h.send(k.out, k.isHead, now)
	}
	if f == None {
		f = h.settle(!mayFall || h.head.Status < 500)
	}
	if k.arm == split.Candidate && h.to == k.route.candidate {
		h.to.health.note(f, now)
	}
	return f
}

// pass sends an interim answer on.
func (k *call) pass(head *wire.Response) {
	if k.c.req.Minor == 0 {
		return
	}
	dst := strconv.AppendInt(append([]byte(nil), "HTTP/1.1 "...), int64(head.Status), 10)
	dst = append(append(append(dst, ' '), head.Reason...), "\r\n"...)
	dst = append(copyFields(dst, &head.Head, dropAnswer), "\r\n"...)
	_ = k.c.write(dst) // the final answer will meet the same error
}

// reply writes the answer to the client. An error of the gateway itself carries no stamp; an answer of a scorer, or its
// failure to give one, always does. It returns what went wrong after the head was sent.
func (k *call) reply(h *hop, f Failure) Failure {
	c := k.c
	switch f {
	case None:
	case ClientGone:
		c.last = true
		if k.fault != nil {
			k.noBody(k.fault)
		}
		return None
	case Timeout:
		k.fail(504, "ScorerTimeout", h.to.Revision+" did not answer in time", h)
		return None
	default:
		k.fail(502, "ScorerUnreachable", h.to.Revision+" could not be reached or broke off ("+f.String()+")", h)
		return None
	}
	if h.kind != noBody && !h.held {
		return k.passOn(h)
	}
	k.out = append(k.answerHead(k.out[:0], h, int64(len(h.whole))), h.whole...)
	if c.write(k.out) != nil {
		c.last = true
	}
	return None
}

func (k *call) fail(status int, reason, message string, h *hop) {
	last := k.c.last
	k.c.last = false // refusal says it, not ownFields
	fields := k.ownFields(nil, h.to)
	k.c.last = last
	k.out = k.c.g.refusal(k.out[:0], status, reason, message, last, fields)
	if k.c.write(k.out) != nil {
		k.c.last = true
	}
}

// passOn sends an answer on as it comes, and keeps its beginning for the tap.
func (k *call) passOn(h *hop) Failure {
	c := k.c
	chunks := h.kind != byLength && c.req.Minor == 1
	if h.kind != byLength && !chunks {
		c.last = true // its end is the end of the connection
	}
	k.out = k.answerHead(k.out[:0], h, -1)
	if h.at == h.n && c.write(k.out) == nil {
		k.out = k.out[:0] // there may be nothing else for a while
	}
	for {
		p, f, err := h.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			c.last = true // the client must see that it is not whole
			return f
		}
		k.keep(p)
		k.out = appendPiece(k.out, p, chunks)
		if c.write(k.out) != nil {
			c.last = true
			return ClientGone
		}
		k.out = k.out[:0]
	}
	if chunks {
		k.out = append(k.out, "0\r\n\r\n"...)
	}
	if len(k.out) > 0 && c.write(k.out) != nil {
		c.last = true
	}
	return None
}

func appendPiece(dst, p []byte, chunk bool) []byte {
	if !chunk {
		return append(dst, p...)
	}
	dst = strconv.AppendInt(dst, int64(len(p)), 16)
	return append(append(append(dst, "\r\n"...), p...), "\r\n"...)
}

func (k *call) keep(p []byte) {
	var cut bool
	k.kept, cut = keep(k.kept, p, k.c.g.cfg.RecordBodyBytes)
	k.cut = k.cut || cut
}

// keep appends p as far as there is room, and says whether it was cut.
func keep(dst, p []byte, most int) ([]byte, bool) {
	room := max(most-len(dst), 0)
	return append(dst, p[:min(len(p), room)]...), len(p) > room
}

// record tells the tap, and sends a copy to the candidate.
func (k *call) record(first *hop, f Failure, fellBack bool, broken Failure, now time.Time) {
	g := k.c.g
	if f == None {
		f = broken
	}
	g.describe(&k.x, k.route, first, f, now.Sub(k.start), &k.c.contentType)
	if g.cfg.Tap != nil {
		k.x.RequestID = string(k.id)
	}
	if len(k.kept) > 0 {
		k.x.Body, k.x.BodyTruncated = k.kept, k.cut || f != None
	}
	k.x.Start, k.x.Arm, k.x.Direct, k.x.Keyed, k.x.Key = k.start, k.arm, k.direct, k.keyed, k.key
	k.x.FellBack, k.x.Spared = fellBack || k.spared, k.spared
	if relay := k.route.Relay; relay != nil {
		k.x.Epoch, k.x.Shadow, k.x.Stamp, k.x.Latency = k.stamp.Epoch, k.stamp.Copy, k.stamp, k.took
		k.x.Spared = k.arm == split.Stable // handed over, or never ready: its scorer was not asked
	}
	if g.cfg.Tap != nil {
		g.cfg.Tap.Primary(&k.x)
	}
	switch {
	case k.route.ShadowBP == 0:
	case k.route.Relay != nil:
		k.repeat()
	case k.arm == split.Stable && !k.direct:
		k.shadow()
	}
}

// describe says what a hop came to. usual is a content type that was seen before: no need for a new string.
func (g *Gateway) describe(x *Exchange, r *route, h *hop, f Failure, took time.Duration, usual *string) {
	*x = Exchange{Rollout: r.Rollout, Epoch: r.Epoch, WeightBP: r.WeightBP, Revision: h.to.Revision, Latency: took, Failure: f}
	if g.cfg.Tap == nil || !h.ready {
		return
	}
	head := &h.head
	x.Status = head.Status
	if ct := head.Get(wire.ContentType); string(ct) != *usual {
		*usual = string(ct)
	}
	x.ContentType = *usual
	x.ContentEncoding = string(head.Get(wire.ContentEncoding))
	if v := head.Get(wire.InferenceLength); len(v) > 0 {
		x.InferenceHeaderLength, _ = strconv.Atoi(string(v)) // no number: 0, as if it were not there
	}
	x.Body, x.BodyTruncated = h.whole, !h.held // not held: the caller may know its beginning
	if most := g.cfg.RecordBodyBytes; len(x.Body) > most {
		x.Body, x.BodyTruncated = x.Body[:most], true
	}
}
