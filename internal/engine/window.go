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
}

func totalsOf(at time.Time, e judge.Evidence) totals {
	t := totals{at: at}
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
type span struct{ seen []totals }

// reset forgets everything: a new candidate shares no window with the old one.
func (s *span) reset() { s.seen = s.seen[:0] }

// add notes totals and forgets what is older than breakerSpan, but for one.
func (s *span) add(t totals) {
	if n := len(s.seen); n > 0 && !t.at.After(s.seen[n-1].at) {
		// The clock did not advance, or jumped back: keep the earlier time.
		t.at = s.seen[n-1].at
		if n > 1 {
			s.seen[n-1] = t
			return
		}
	}
	s.seen = append(s.seen, t)
	first := 0
	for first+1 < len(s.seen) && t.at.Sub(s.seen[first+1].at) >= breakerSpan {
		first++
	}
	s.seen = append(s.seen[:0], s.seen[first:]...)
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

// window returns the counts of the last seconds.
func (s *span) window(weightBP int) judge.Window {
	from, to, ok := s.ends()
	if !ok {
		return judge.Window{WeightBP: weightBP}
	}
	w := judge.Window{
		WeightBP: weightBP, ShadowPairs: less(to.shadowPairs, from.shadowPairs), ShadowBothFailed: less(to.bothFail, from.bothFail),
		ShadowOnlyShadow: less(to.onlyShadow, from.onlyShadow), ShadowOnlyStable: less(to.onlyStable, from.onlyStable),
	}
	for a := range w.Requests {
		w.Requests[a] = less(to.requests[a], from.requests[a])
		w.Errors[a] = less(to.errors[a], from.errors[a])
		w.SameKey[a] = less(to.sameKey[a], from.sameKey[a])
	}
	return w
}
