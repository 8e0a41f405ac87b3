package proxy

import (
	"bytes"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/proxy/wire"
	"github.com/serin-dev/serin/internal/split"
)

const (
	defaultTimeout = 30 * time.Second
	defaultBody    = 4 << 20
	maxRequestID   = 128
)

// route is a table made ready for use.
type route struct {
	*Table
	stable, candidate, previous *upstream
	stableStamp, candidateStamp []byte
	previousStamp               []byte
	timeout                     time.Duration
	maxBody                     int64
	headerName                  string // in lower case
	stickyName                  string
	repeated                    *atomic.Int64 // of the rollout: shadowed requests that stable was asked twice
}

func newRoute(t *Table, stable, candidate, previous *upstream) *route {
	r := &route{Table: t, stable: stable, candidate: candidate, previous: previous, timeout: t.Timeout, maxBody: t.MaxBodyBytes, headerName: lower(t.Header.Name), stickyName: lower(t.Sticky.Header)}
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	if r.maxBody <= 0 {
		r.maxBody = defaultBody
	}
	r.stableStamp, r.candidateStamp, r.previousStamp = r.stampLine(t.Stable), r.stampLine(t.Candidate), r.stampLine(t.Previous)
	return r
}

func lower(s string) string { return string(bytes.ToLower([]byte(s))) }

// stampLine is the field that says who answers, and by which weights it was chosen.
func (r *route) stampLine(t *Target) []byte {
	if t == nil {
		return nil
	}
	return []byte("x-serin-route: " + r.Rollout + "." + strconv.FormatUint(uint64(r.Epoch), 10) + "." + t.Revision + "\r\n")
}

func (r *route) stamp(u *upstream) []byte {
	switch u {
	case r.candidate:
		return r.candidateStamp
	case r.previous:
		return r.previousStamp
	}
	return r.stableStamp
}

// choose decides the arm: by header, by key, or by a coin.
func (k *call) choose() {
	r, req := k.route, &k.c.req
	if r.Relay != nil {
		k.relay()
		return
	}
	k.arm, k.direct = split.Stable, false
	if r.headerName != "" {
		switch v := req.Find(r.headerName); {
		case len(v) == 0:
		case string(v) == r.Header.Stable:
			k.direct = true
			return
		case string(v) == r.Header.Candidate && r.candidate != nil:
			k.arm, k.direct = split.Candidate, true
			return
		}
	}
	weight := r.WeightBP
	if r.HandOver || r.candidate == nil {
		weight = 0
	}
	if key := k.stickyKey(); len(key) > 0 {
		k.keyed, k.key = true, split.Hash(r.Rollout, key)
		k.arm = split.ByKey(weight, r.Rollout, key)
		return
	}
	k.keyed = false
	k.arm = split.ByCoin(weight, rand.Uint64())
}

// standsBehind is who is asked what the arm fails, nil: nobody. A relay has its own scorer for candidate, whatever its role:
// beside stable it hands nothing on, but for failures.
func (k *call) standsBehind() *upstream {
	r := k.route
	switch {
	case !r.Fallback, k.direct, k.streamed, r.Relay != nil && !k.stamp.judged():
		return nil
	case k.arm == split.Candidate && r.stable != nil:
		return r.stable
	case r.previous != nil && r.previous.health.down(k.start):
		return nil
	}
	return r.previous
}

func (k *call) stickyKey() []byte {
	r := k.route
	switch {
	case r.stickyName != "":
		return k.c.req.Find(r.stickyName)
	case r.Sticky.Cookie == "":
		return nil
	}
	if v := cookie(&k.c.req, r.Sticky.Cookie); len(v) > 0 {
		return v
	}
	if len(k.cookie) == 0 {
		var b [16]byte
		_, _ = crand.Read(b[:]) // never fails
		k.cookie = hex.AppendEncode(k.cookie, b[:])
	}
	return k.cookie
}

// cookie returns the value of a cookie of the request.
func cookie(req *wire.Request, name string) []byte {
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.Name != wire.Cookie {
			continue
		}
		for rest := req.ValueOf(f); len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			if n, v, ok := bytes.Cut(bytes.Trim(pair, " \t"), []byte("=")); ok && string(n) == name {
				return bytes.Trim(v, `"`)
			}
		}
	}
	return nil
}

// identify keeps a sane id of the client, or makes one, and begins a trace if there is none.
func (k *call) identify() {
	req := &k.c.req
	id := req.Get(wire.RequestID)
	sane := len(id) > 0 && len(id) <= maxRequestID
	for _, c := range id {
		sane = sane && c > ' ' && c <= '~'
	}
	k.id = append(k.id[:0], id...)
	if !sane {
		k.id = appendRandom(k.id[:0], 2)
	}
	k.trace = k.trace[:0]
	if len(req.Get(wire.Traceparent)) == 0 {
		k.trace = append(appendRandom(append(k.trace, "traceparent: 00-"...), 2), '-')
		k.trace = append(appendRandom(k.trace, 1), "-01\r\n"...)
	}
}

// appendRandom appends words of 64 bits in hexadecimal. They need to be unlike each other, not secret.
func appendRandom(dst []byte, words int) []byte {
	var b [8]byte
	for range words {
		binary.LittleEndian.PutUint64(b[:], rand.Uint64()|1) // an id of zeros only is not valid
		dst = hex.AppendEncode(dst, b[:])
	}
	return dst
}
