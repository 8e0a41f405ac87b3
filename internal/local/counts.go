package local

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/split"
)

const (
	codeNone  = 0 // no answer
	codeGone  = 1 // the client went away first
	codeMost  = 600
	revisions = 64 // counted at most; the oldest is forgotten
	arms      = 2
)

// requestCounts counts requests by revision, arm and status, without a lock on
// the request's path.
type requestCounts struct {
	all      atomic.Pointer[map[string]*revisionCounts] // replaced whole when a revision is new
	fellBack atomic.Uint64
	mu       sync.Mutex
	order    []string // oldest first
}

type revisionCounts [arms][codeMost]atomic.Uint64

func (c *requestCounts) add(x *proxy.Exchange) {
	r := c.of(x.Revision)
	arm := 0
	if x.Arm == split.Candidate {
		arm = 1
	}
	code := codeNone
	switch {
	case x.Failure == proxy.ClientGone:
		code = codeGone
	case x.Status > codeGone && x.Status < codeMost:
		code = x.Status
	}
	r[arm][code].Add(1)
	if x.FellBack {
		c.fellBack.Add(1)
	}
}

func (c *requestCounts) of(revision string) *revisionCounts {
	if m := c.all.Load(); m != nil {
		if r := (*m)[revision]; r != nil {
			return r
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]*revisionCounts{}
	if m := c.all.Load(); m != nil {
		if r := (*m)[revision]; r != nil {
			return r
		}
		next = maps.Clone(*m)
	}
	if len(c.order) >= revisions {
		delete(next, c.order[0])
		c.order = c.order[1:]
	}
	c.order = append(c.order, revision)
	r := &revisionCounts{}
	next[revision] = r
	c.all.Store(&next)
	return r
}

func (c *requestCounts) counted() []engine.RequestCount {
	m := c.all.Load()
	if m == nil {
		return nil
	}
	var out []engine.RequestCount
	for revision, r := range *m {
		for arm, name := range [arms]string{"stable", "candidate"} {
			for code := range r[arm] {
				if n := r[arm][code].Load(); n > 0 {
					out = append(out, engine.RequestCount{Arm: name, Revision: revision, Code: codeName(code), N: n})
				}
			}
		}
	}
	return out
}

func codeName(code int) string {
	switch code {
	case codeNone:
		return "none"
	case codeGone:
		return "gone"
	}
	return strconv.Itoa(code)
}

// Counters returns what was counted since this process began.
func (e *Endpoint) Counters() engine.Counters {
	s := e.gateway.Stats()
	return engine.Counters{
		Requests: e.tap.counts.counted(), FellBack: e.tap.counts.fellBack.Load(),
		ShadowSent: s.ShadowSent, Notifications: e.notifier.Counts(),
		Gateway: &engine.GatewayCounts{ShadowDropped: s.ShadowDropped, Refused: s.Refused, TooLarge: s.TooLarge, Malformed: s.Malformed, Streamed: s.Streamed, Spared: s.Spared, TurnedAway: s.TurnedAway, Connections: s.Connections},
	}
}
