package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTime = time.Second
	idleMost = 256
	idleTime = 60 * time.Second
)

// upstream is one place where a revision listens: its idle connections, its health, and how much it is working on.
type upstream struct {
	Target
	flight atomic.Int64
	health health

	mu      sync.Mutex
	idle    []idleLink // the one used last is at the end, and is used next
	retired bool       // in no table any more: keep no connections
}

type idleLink struct {
	*link
	since time.Time
}

// take returns an idle connection, or nil.
func (u *upstream) take(now time.Time) *link {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.idle)
	if n == 0 {
		return nil
	}
	l := u.idle[n-1]
	u.idle[n-1] = idleLink{}
	u.idle = u.idle[:n-1]
	if now.Sub(l.since) > idleTime { // so are all the others
		u.dropIdle()
		l.Close()
		return nil
	}
	return l.link
}

// give keeps a connection for the next request.
func (u *upstream) give(l *link, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.idle) > 0 && now.Sub(u.idle[0].since) > idleTime {
		u.idle[0].Close()
		u.idle = append(u.idle[:0], u.idle[1:]...)
	}
	if u.retired || len(u.idle) >= idleMost {
		l.Close()
		return
	}
	u.idle = append(u.idle, idleLink{l, now})
}

// forget closes the idle connections; retire: and keeps none from now on.
func (u *upstream) forget(retire bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retired = retire
	u.dropIdle()
}

func (u *upstream) dropIdle() {
	for i := range u.idle {
		u.idle[i].Close()
		u.idle[i] = idleLink{}
	}
	u.idle = u.idle[:0]
}

func (u *upstream) dial(limit time.Duration) (*link, error) {
	nc, err := net.DialTimeout("tcp", u.Addr, min(dialTime, limit))
	if err != nil {
		return nil, err
	}
	return newLink(nc), nil
}

const (
	failMost = 5
	restTime = time.Second
)

// health is what the requests themselves tell of a candidate, or of the version before stable. After failMost transport failures in a row it rests: it
// gets one request a second, to learn whether it is back.
type health struct {
	failures atomic.Int32
	until    atomic.Int64 // Unix nanoseconds
}

// resting says whether a request should spare the revision. The first one after the rest is the probe.
func (h *health) resting(now time.Time) bool {
	if h.failures.Load() < failMost {
		return false
	}
	until := h.until.Load()
	return now.UnixNano() < until || !h.until.CompareAndSwap(until, now.Add(restTime).UnixNano())
}

// down says whether it is no use to ask one that is asked only for what another fails.
func (h *health) down(now time.Time) bool {
	return h.failures.Load() >= failMost && now.UnixNano() < h.until.Load()
}

// note learns from a request that was really tried.
func (h *health) note(f Failure, now time.Time) {
	switch f {
	case ClientGone: // says nothing of the revision
	case None:
		if h.failures.Load() != 0 {
			h.failures.Store(0)
		}
	default:
		if h.failures.Add(1) >= failMost {
			h.until.Store(now.Add(restTime).UnixNano())
		}
	}
}
