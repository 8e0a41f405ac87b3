package mesh

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
)

// mostRevisions are counted; for one more the first that was counted is forgotten.
const mostRevisions = 64

// Counts are what the gateway's access log and the recorders told of an endpoint
// since this process leads: for metrics, not for verdicts.
type Counts struct {
	Requests []RequestCount
	FellBack uint64 // failures of one version that another answered
	Shadowed uint64 // copies that recorders told of
	Unpaired uint64 // of them, those that found no answer of stable
}

// RequestCount counts the answers of one revision on one arm.
type RequestCount struct {
	Arm      judge.Arm
	Revision string
	Code     string // HTTP status; "none" without an answer, "gone" when the client left first
	N        uint64
}

// counts are kept under the endpoint's lock. Only arms that this controller routes
// to are counted, so what a client writes in a header makes no new line.
type counts struct {
	requests map[counted]uint64
	order    []string // revisions, as they came
	fellBack uint64
	shadowed uint64
}

type counted struct {
	arm      judge.Arm
	revision string
	code     string
}

func (c *counts) add(arm judge.Arm, revision string, event *observe.Event) {
	if c.requests == nil {
		c.requests = map[counted]uint64{}
	}
	if !slices.Contains(c.order, revision) {
		if len(c.order) >= mostRevisions {
			c.forget(c.order[0])
		}
		c.order = append(c.order, revision)
	}
	c.requests[counted{arm, revision, codeOf(event)}]++
	if event.FellBack {
		c.fellBack++
	}
}

func (c *counts) forget(revision string) {
	for k := range c.requests {
		if k.revision == revision {
			delete(c.requests, k)
		}
	}
	c.order = slices.DeleteFunc(c.order, func(r string) bool { return r == revision })
}

const (
	statusLeast = 100
	statusMost  = 599
)

func codeOf(e *observe.Event) string {
	switch {
	case e.ClientGone:
		return "gone"
	case e.Status < statusLeast || e.Status > statusMost:
		return "none"
	}
	return strconv.Itoa(e.Status)
}

// Counts returns what was counted of an endpoint.
func (h *Hub) Counts(k Key) Counts {
	e := h.endpoint(k)
	if e == nil {
		return Counts{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := Counts{FellBack: e.counts.fellBack, Shadowed: e.counts.shadowed, Unpaired: e.unpaired}
	for c, n := range e.counts.requests {
		out.Requests = append(out.Requests, RequestCount{c.arm, c.revision, c.code, n})
	}
	slices.SortFunc(out.Requests, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Arm, b.Arm), cmp.Compare(a.Code, b.Code))
	})
	return out
}
