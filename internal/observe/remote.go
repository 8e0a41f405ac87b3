package observe

import (
	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

// In a cluster nobody sees all of a request: the gateway's access log knows status
// and latency, the recorder beside the scorer knows the answer. These methods
// count each part for itself; together they count what Primary, Pair and Again do.

// Counted records a request whose answer, if it is worth a look, is reported by
// Answered.
func (c *Collector) Counted(e *Event) {
	ep := (*c.epochs.Load())[e.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	ep.count(c, e)
}

// Answered records what a request that was neither failed nor refused was
// answered. a is read before it returns.
func (c *Collector) Answered(e *Event, a *contract.Answer) {
	ep := (*c.epochs.Load())[e.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	c.judgeable(&job{ep: ep, kind: primary, events: [2]Event{*e}}, a)
}

// Lost counts answers of an arm that a recorder had no room for.
func (c *Collector) Lost(epoch uint32, arm judge.Arm, n uint64) {
	ep := (*c.epochs.Load())[epoch]
	if ep == nil {
		c.strays.Add(n)
		return
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.ev.Arms[arm].Dropped += n
}

// Paired records a shadowed request of which both answers have been read.
func (c *Collector) Paired(stable, candidate *Event, s, k *contract.Answer) {
	ep := (*c.epochs.Load())[stable.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	if stable.ClientGone || candidate.ClientGone || !ep.countPair(c, stable, candidate) {
		return
	}
	c.compare(&job{ep: ep, kind: pair, events: [2]Event{*stable, *candidate}}, s, k)
}

// Repeated records that stable answered one request twice; both answers have been read.
func (c *Collector) Repeated(first, second *Event, a, b *contract.Answer) {
	ep := (*c.epochs.Load())[first.Epoch]
	switch {
	case ep == nil:
		c.strays.Add(1)
	case !answeredTwice(first, second):
		ep.loseRepeats(1)
	default:
		c.repeated(ep, a, b)
	}
}

// LostRepeats counts second answers that a recorder could not tell of.
func (c *Collector) LostRepeats(epoch uint32, n uint64) {
	ep := (*c.epochs.Load())[epoch]
	if ep == nil {
		c.strays.Add(n)
		return
	}
	c.again.Add(n)
	ep.loseRepeats(n)
}
