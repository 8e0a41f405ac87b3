package engine

import (
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// breakerSpan is how far back the breaker looks.
const breakerSpan = 10 * time.Second

// totals are sums over all epochs of a rollout at one moment.
type totals struct {
	at                                            time.Time
	requests, errors, sameKey                     [2]uint64
	shadowPairs, onlyShadow, onlyStable, bothFail uint64
	// weightBP is the greatest weight under which any of what is new was routed.
	weightBP int
}

func totalsOf(at time.Time, e judge.Evidence, weightBP int) totals {
	t := totals{at: at, weightBP: weightBP}
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		for arm := range ep.Arms {
			t.requests[arm] += ep.Arms[arm].Requests
			t.errors[arm] += ep.Arms[arm].Errors
			t.sameKey[arm] += less(ep.Arms[arm].Errors, ep.Arms[arm].ErrorUnits)
		}
		t.shadowPairs += ep.Shadow.N
		t.onlyShadow += ep.Shadow.OnlyShadowBad
		t.onlyStable += ep.Shadow.OnlyStableBad
		t.bothFail += ep.Shadow.BothFailed
	}
	return t
}

// span is a short memory of totals, from which rates and the breaker's window come.
type span struct {
	seen   []totals
	routed map[uint32]uint64 // requests by epoch when last seen
}

// reset forgets everything: a new candidate shares no window with the old one.
func (s *span) reset() { s.seen, s.routed = s.seen[:0], nil }

// add notes totals and forgets what is older than breakerSpan, but for one.
func (s *span) add(t totals, e judge.Evidence) {
	s.heaviest(&t, e)
	if n := len(s.seen); n > 0 {
		// A clock that was set back takes the memory along: the window stays as long
		// as it was, instead of growing until the old time is reached again.
		if back := t.at.Sub(s.seen[n-1].at); back < 0 {
			for i := range s.seen {
				s.seen[i].at = s.seen[i].at.Add(back)
			}
		}
	}
	s.seen = append(s.seen, t)
	first := 0
	for first+1 < len(s.seen) && t.at.Sub(s.seen[first+1].at) >= breakerSpan {
		first++
	}
	s.seen = append(s.seen[:0], s.seen[first:]...)
}

// heaviest raises the weight to the greatest of the epochs that got requests since
// the last look: an answer may come long after its weight has gone.
func (s *span) heaviest(t *totals, e judge.Evidence) {
	now := make(map[uint32]uint64, len(e.Epochs))
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		n := ep.Arms[judge.Stable].Requests + ep.Arms[judge.Candidate].Requests
		now[ep.Info.ID] = n
		if s.routed != nil && n > s.routed[ep.Info.ID] {
			t.weightBP = max(t.weightBP, ep.Info.WeightBP)
		}
	}
	s.routed = now
}

func (s *span) ends() (from, to totals, ok bool) {
	if len(s.seen) == 0 {
		return totals{}, totals{}, false
	}
	return s.seen[0], s.seen[len(s.seen)-1], true
}

// rate returns requests per second in all and of the candidate.
func (s *span) rate() (all, candidate float64) {
	from, to, ok := s.ends()
	seconds := to.at.Sub(from.at).Seconds()
	if !ok || seconds <= 0 {
		return 0, 0
	}
	c := float64(less(to.requests[judge.Candidate], from.requests[judge.Candidate])) / seconds
	st := float64(less(to.requests[judge.Stable], from.requests[judge.Stable])) / seconds
	return c + st, c
}

// less subtracts without wrapping: totals shrink when a new rollout begins.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// window returns the counts of the last seconds, with the greatest weight that was
// in force meanwhile: a smaller one would make failures look like more than chance.
func (s *span) window() judge.Window {
	from, to, ok := s.ends()
	if !ok {
		return judge.Window{}
	}
	w := judge.Window{
		ShadowPairs: less(to.shadowPairs, from.shadowPairs), ShadowBothFailed: less(to.bothFail, from.bothFail),
		ShadowOnlyShadow: less(to.onlyShadow, from.onlyShadow), ShadowOnlyStable: less(to.onlyStable, from.onlyStable),
	}
	for _, t := range s.seen {
		w.WeightBP = max(w.WeightBP, t.weightBP)
	}
	for a := range w.Requests {
		w.Requests[a] = less(to.requests[a], from.requests[a])
		w.Errors[a] = less(to.errors[a], from.errors[a])
		w.SameKey[a] = less(to.sameKey[a], from.sameKey[a])
	}
	return w
}
