package observe

import (
	"math"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

// Pair records a shadowed request: stable's answer, which the client got, and
// the candidate's, which nobody did. It counts for stable's epoch. Pairs whose
// client went away before stable had answered are left out: one side is unknown.
// Stable's answer is to be recorded by Primary as well.
func (c *Collector) Pair(stable, candidate *Event) {
	if stable.ClientGone || candidate.ClientGone {
		return
	}
	ep := (*c.epochs.Load())[stable.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	if !ep.countPair(c, stable, candidate) {
		return
	}
	j := c.jobs.Get().(*job)
	j.ep, j.kind = ep, pair
	j.events[0].set(stable)
	j.events[1].set(candidate)
	if !c.send(j, len(stable.Body)+len(candidate.Body)) {
		c.pairs.Add(1)
		ep.dropPair(stable, candidate)
	}
}

// countPair records what is known without the bodies; it says whether they are to be read.
func (ep *epoch) countPair(c *Collector, stable, candidate *Event) (read bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := &ep.ev.Shadow
	p.N++
	p.Latency[judge.Stable].Observe(stable.Latency)
	p.Latency[judge.Candidate].Observe(candidate.Latency)
	if candidate.failed() {
		p.ShadowErrors++
		c.wake()
	}
	if candidate.refused() {
		p.ShadowRefusals++
	}
	switch {
	case stable.refused() && candidate.refused():
		p.BothOK++ // both refuse a request that deserves it
		return false
	case noAnswer(stable) && noAnswer(candidate):
		p.BothFailed++
		return false
	}
	return true
}

func noAnswer(e *Event) bool { return e.failed() || e.refused() }

// dropPair counts a pair without its bodies: what the statuses say is kept.
func (ep *epoch) dropPair(stable, candidate *Event) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := &ep.ev.Shadow
	p.Dropped++
	p.NotComparable++
	switch {
	case noAnswer(stable):
		p.OnlyStableBad++
	case noAnswer(candidate):
		p.OnlyShadowBad++
	}
}

// compare counts a pair whose bodies have been read.
func (c *Collector) compare(j *job, s, k *contract.Answer) {
	refusedOrFailed := noAnswer(&j.events[judge.Candidate])
	sBad, kBad := invalid(s) || otherForm(s, k), invalid(k) || otherForm(k, s)
	j.ep.mu.Lock()
	defer j.ep.mu.Unlock()
	p := &j.ep.ev.Shadow
	if kBad && !refusedOrFailed {
		p.ShadowInvalid++
		c.wake()
	}
	switch {
	case sBad && kBad:
		p.BothFailed++
	case sBad:
		p.OnlyStableBad++
	case kBad:
		p.OnlyShadowBad++
	default:
		p.BothOK++
	}
	switch {
	case sBad || kBad:
	case !usable(s) || !usable(k):
		p.NotComparable++
	default:
		p.Compared++
		if !agree(s, k, c.cfg.Tolerance) {
			p.Disagreed++
		}
		c.scores(p, s, k)
	}
}

// Again records that stable answered one request twice: first is what the client got,
// second is for comparison only and to be recorded nowhere else.
func (c *Collector) Again(first, second *Event) {
	ep := (*c.epochs.Load())[first.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	if !answeredTwice(first, second) {
		ep.loseRepeats(1)
		return
	}
	j := c.jobs.Get().(*job)
	j.ep, j.kind = ep, again
	j.events[0].set(first)
	j.events[1].set(second)
	if !c.send(j, len(first.Body)+len(second.Body)) {
		c.again.Add(1)
		ep.loseRepeats(1)
	}
}

func answeredTwice(first, second *Event) bool {
	return !first.ClientGone && !second.ClientGone && !noAnswer(first) && !noAnswer(second)
}

func (ep *epoch) loseRepeats(n uint64) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.ev.Shadow.RepeatsLost += n
}

// repeated counts a repeat whose bodies have been read.
func (c *Collector) repeated(ep *epoch, first, second *contract.Answer) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := &ep.ev.Shadow
	if !usable(first) || !usable(second) {
		p.RepeatsLost++
		return
	}
	p.Repeats++
	if !agree(first, second, c.cfg.Tolerance) {
		p.RepeatsDisagreed++
	}
}

// otherForm says whether a was read and holds nothing that is known, where b does: of
// a pair, the one whose form the other does not have.
func otherForm(a, b *contract.Answer) bool {
	return a.Kind == contract.Opaque && usable(b)
}

// agree says whether two usable answers say the same: the same shape, every
// score within the tolerance, and the same labels where both have labels.
func agree(s, k *contract.Answer, tolerance float64) bool {
	if s.Kind != k.Kind || s.Rows != k.Rows || s.Width != k.Width || len(s.Scores) != len(k.Scores) {
		return false
	}
	if len(s.Labels) > 0 && len(k.Labels) > 0 && (s.Hash != k.Hash || len(s.Labels) != len(k.Labels)) {
		return false
	}
	for i, v := range s.Scores {
		if !(math.Abs(v-k.Scores[i]) <= tolerance) {
			return false
		}
	}
	return true
}

// scores feeds the sums of paired scores and the flips at the cut-offs.
func (c *Collector) scores(p *judge.Pairs, s, k *contract.Answer) {
	if s.Kind != contract.Scores || k.Kind != contract.Scores {
		return
	}
	p.AddScores(mean(s), mean(k))
	if len(p.Above) < len(c.cfg.Cutoffs) {
		p.Above = append(p.Above, make([]judge.Pair, len(c.cfg.Cutoffs)-len(p.Above))...)
	}
	if s.Rows != k.Rows || s.Width != k.Width || len(s.Scores) != len(k.Scores) {
		return
	}
	first, step := stride(s)
	for i, cut := range c.cfg.Cutoffs {
		for at := first; at < len(s.Scores); at += step {
			switch above, other := s.Scores[at] > cut, k.Scores[at] > cut; {
			case above && !other:
				p.Above[i].OnlyStable++
			case other && !above:
				p.Above[i].OnlyCandidate++
			}
		}
	}
}
