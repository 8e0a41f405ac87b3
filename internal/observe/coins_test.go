package observe

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

// TestOnlyFreshCoinsAreJudged: what was not drawn with this epoch's coin is served and
// counted apart.
func TestOnlyFreshCoinsAreJudged(t *testing.T) {
	c := New(Config{})
	c.Begin(judge.EpochInfo{ID: 1, WeightBP: 1000, KeptBP: 500})
	bucket := func(at int) func(*Event) {
		return func(e *Event) { e.Keyed, e.Key, e.Bucket = true, uint64(at), at }
	}
	c.Primary(with(event(true, 500, ``), bucket(499))) // has had the candidate since 5 %
	c.Primary(with(event(true, 500, ``), bucket(500)))
	c.Primary(with(event(false, 200, `[1]`), bucket(1000)))
	c.Primary(event(true, 500, ``)) // no key: drew at 10 %, the others at 5.3 %
	c.Primary(with(event(false, 500, ``), func(e *Event) { e.WeightBP = 0 }))
	ev := only(t, c)
	if n := ev.Arms[judge.Candidate]; n.Units != 1 || n.ErrorUnits != 1 || n.Requests != 1 || n.Unjudged != 2 {
		t.Errorf("candidate: %+v", n)
	}
	if n := ev.Arms[judge.Stable]; n.Units != 1 || n.ErrorUnits != 0 || n.Unjudged != 1 {
		t.Errorf("stable: %+v", n)
	}
}

// TestKeysOutliveAnEpochOfTheSameWeight: the same coins are in force.
func TestKeysOutliveAnEpochOfTheSameWeight(t *testing.T) {
	for _, tc := range []struct {
		name      string
		was, is   judge.EpochInfo
		wantUnits uint64
	}{
		{"same weight", judge.EpochInfo{ID: 1, WeightBP: 1000, Calibrating: true}, judge.EpochInfo{ID: 2, WeightBP: 1000}, 0},
		{"warm-up is not judged", judge.EpochInfo{ID: 1, WeightBP: 1000, Warmup: true}, judge.EpochInfo{ID: 2, WeightBP: 1000}, 1},
		{"tampered is not judged", judge.EpochInfo{ID: 1, WeightBP: 1000, Tampered: true}, judge.EpochInfo{ID: 2, WeightBP: 1000}, 1},
		{"new coins", judge.EpochInfo{ID: 1, WeightBP: 1000}, judge.EpochInfo{ID: 2, WeightBP: 2500, KeptBP: 1000}, 1},
		{"stable alone", judge.EpochInfo{ID: 1}, judge.EpochInfo{ID: 2}, 1},
	} {
		c := New(Config{})
		c.Begin(tc.was)
		at := func(info judge.EpochInfo) func(*Event) {
			return func(e *Event) { e.Epoch, e.WeightBP, e.Keyed, e.Key, e.Bucket = info.ID, info.WeightBP, true, 7, 9000 }
		}
		c.Primary(with(event(false, 200, `[1]`), at(tc.was)))
		c.Begin(tc.is)
		c.Primary(with(event(false, 200, `[1]`), at(tc.is)))
		c.Close()
		ev, _ := c.Snapshot().Epoch(2)
		if n := ev.Arms[judge.Stable]; n.Requests != 1 || n.Units != tc.wantUnits {
			t.Errorf("%s: %d requests, %d units, want 1 and %d", tc.name, n.Requests, n.Units, tc.wantUnits)
		}
	}
}

// TestAgain: a repeat counts the same whether the gateway saw both answers, or a recorder that has read them.
func TestAgain(t *testing.T) {
	for name, tell := range map[string]func(c *Collector, first, second *Event){
		"on one machine": (*Collector).Again,
		"in a cluster": func(c *Collector, first, second *Event) {
			var a, b contract.Answer
			c.extract(&a, first)
			c.extract(&b, second)
			c.Repeated(first, second, &a, &b)
		},
	} {
		c := started(Config{Tolerance: .01})
		tell(c, event(false, 200, `[0.5]`), event(false, 200, `[0.505]`))
		tell(c, event(false, 200, `[0.5]`), event(false, 200, `[0.6]`))
		tell(c, event(false, 200, `[0.5]`), event(false, 200, `[0.5,0.5]`))
		tell(c, event(false, 200, `[0.5]`), event(false, 500, ``))
		tell(c, event(false, 200, `[0.5]`), event(false, 404, ``))
		tell(c, event(false, 503, ``), event(false, 200, `[0.5]`))
		tell(c, event(false, 200, `[0.5]`), event(false, 200, `{"x":1}`))
		tell(c, event(false, 200, `[NaN]`), event(false, 200, `[NaN]`))
		tell(c, with(event(false, 0, ``), func(e *Event) { e.ClientGone = true }), event(false, 200, `[1]`))
		tell(c, with(event(false, 200, `[1]`), func(e *Event) { e.Epoch = 7 }), event(false, 200, `[1]`))
		ev := only(t, c)
		want := judge.Pairs{Repeats: 3, RepeatsDisagreed: 2, RepeatsLost: 6}
		if d := cmp.Diff(want, ev.Shadow, cmp.AllowUnexported(judge.Fixed{})); d != "" {
			t.Errorf("%s: repeats (-want +got):\n%s", name, d)
		}
		if n := ev.Arms[judge.Stable]; n.Requests != 0 || c.Dropped() != (Drops{Epochs: 1}) {
			t.Errorf("%s: a repeat is no request: %+v, %+v", name, n, c.Dropped())
		}
	}
}
