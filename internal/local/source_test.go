package local

import (
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/proxy"
)

// scores tells the tap of n answers of stable with one score.
func scores(t *tap, epoch uint32, score string, n int) {
	for range n {
		t.Primary(&proxy.Exchange{Epoch: epoch, Revision: "ep-r1", Status: 200, Latency: time.Millisecond, ContentType: "application/json", Body: []byte(`{"result": [` + score + `]}`)})
	}
}

// TestSourceCountsForThePolicyOfTheRollout: cut-offs that are applied during a
// rollout count from the next one on, and nothing that was counted is lost.
func TestSourceCountsForThePolicyOfTheRollout(t *testing.T) {
	tap := &tap{}
	s, err := observe.NewSource(observe.Contract{Protocol: contract.Auto}, tap.collector.Store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	configure := func(since uint32, cutoffs ...float64) {
		t.Helper()
		var p judge.Policy
		for _, c := range cutoffs {
			p.Cutoffs = append(p.Cutoffs, judge.Cutoff{Value: c})
		}
		if err := s.Configure(p, since); err != nil {
			t.Fatal(err)
		}
	}
	stable := func(epoch uint32) judge.Counts {
		ep, _ := s.Snapshot().Epoch(epoch)
		return ep.Arms[judge.Stable]
	}
	configure(0, 0.5)
	s.Begin(judge.EpochInfo{ID: 1})
	scores(tap, 1, "0.7", 10)
	configure(0, 0.5) // the same again changes nothing
	scores(tap, 1, "0.1", 10)
	until(t, "20 answers", func() bool { return stable(1).Scored == 20 })
	configure(1, 0.8, 0.05)
	s.Begin(judge.EpochInfo{ID: 2})
	scores(tap, 1, "0.7", 5) // late
	scores(tap, 2, "0.7", 10)
	until(t, "35 answers", func() bool { return stable(1).Scored == 25 && stable(2).Scored == 10 })
	if got := stable(2); len(got.Above) != 2 || got.Above[0].Sum.Float() != 0 || got.Above[1].Sum.Float() != 10 {
		t.Errorf("above the new cut-offs: %+v; want none above 0.8 and all above 0.05", got.Above)
	}
	configure(2, 0.8, 0.05)
	configure(2, 0.3)
	if got := s.Snapshot(); len(got.Epochs) != 1 || got.Epochs[0].Info.ID != 2 || stable(2).Requests != 10 {
		t.Errorf("snapshot %+v; want epoch 2 alone, whole", got)
	}
}
