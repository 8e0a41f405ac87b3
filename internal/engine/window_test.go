package engine

import (
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// route is one epoch and what it got, stable and candidate alike.
func routed(id uint32, weightBP int, requests uint64) judge.EpochEvidence {
	ep := judge.EpochEvidence{Info: judge.EpochInfo{ID: id, WeightBP: weightBP}}
	ep.Arms[judge.Stable].Requests, ep.Arms[judge.Candidate].Requests = requests, requests
	return ep
}

func (s *span) look(at time.Time, weightBP int, epochs ...judge.EpochEvidence) judge.Window {
	e := judge.Evidence{Epochs: epochs}
	s.add(totalsOf(at, e, weightBP), e)
	return s.window()
}

// TestPromise5WindowHasTheGreatestWeight: failures of the time at 50 % must not be
// held against a weight of 10 %.
func TestPromise5WindowHasTheGreatestWeight(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var s span
	s.look(at(0), 5000, routed(1, 5000, 0))
	s.look(at(1), 5000, routed(1, 5000, 100))
	if w := s.look(at(5), 1000, routed(1, 5000, 100), routed(2, 1000, 50)); w.WeightBP != 5000 || w.Requests[judge.Candidate] != 150 {
		t.Errorf("window %+v, want 150 requests at no less than 50 %%", w)
	}
	for i := 6; i < 12; i++ {
		s.look(at(i), 1000, routed(1, 5000, 100), routed(2, 1000, 50))
	}
	if w := s.look(at(16), 1000, routed(1, 5000, 100), routed(2, 1000, 60)); w.WeightBP != 1000 || w.Requests[judge.Candidate] != 10 {
		t.Errorf("window %+v, want 10 requests at 10 %%: what was before is over", w)
	}
	if w := s.look(at(17), 1000, routed(1, 5000, 101), routed(2, 1000, 60)); w.WeightBP != 5000 {
		t.Errorf("window %+v, want the weight of the epoch that a late answer belongs to", w)
	}
}

func TestWindowKeepsItsLengthWhenTheClockJumps(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s span
	n := uint64(0)
	second := func() judge.Window {
		now, n = now.Add(time.Second), n+100
		return s.look(now, 1000, routed(1, 1000, n))
	}
	for _, jump := range []time.Duration{0, -time.Hour, 0, time.Minute} {
		now = now.Add(jump)
		for range 30 {
			second()
		}
		if w := second(); w.Requests[judge.Candidate] != 1000 {
			t.Errorf("after a jump of %s the window holds %d requests, want those of 10 s: 1000", jump, w.Requests[judge.Candidate])
		}
		if all, candidate := s.rate(); all != 200 || candidate != 100 {
			t.Errorf("after a jump of %s: %v and %v requests per second, want 200 and 100", jump, all, candidate)
		}
	}
}

func TestNewCandidateSharesNoWindow(t *testing.T) {
	var s span
	s.look(time.Unix(0, 0), 1000, routed(1, 1000, 100))
	s.look(time.Unix(1, 0), 1000, routed(1, 1000, 200))
	s.reset()
	if w := s.look(time.Unix(2, 0), 100, routed(2, 100, 5)); w.Requests[judge.Candidate] != 0 || w.WeightBP != 100 {
		t.Errorf("window %+v after a reset", w)
	}
}
