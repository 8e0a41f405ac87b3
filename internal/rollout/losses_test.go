package rollout

import (
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/judge"
)

// losses sets what is known to be missing: r2=AccessLogLacks missing=50 of=200, or none.
func (p *player) losses(first string, flags map[string]string) {
	p.in.Observed.Losses = nil
	if name, kind, is := strings.Cut(first, "="); is {
		p.in.Observed.Losses = []Loss{{Revision: "ep-" + name, Kind: LossKind(kind), Missing: uint64(p.integer(flags["missing"])), Of: uint64(p.integer(flags["of"]))}}
	}
}

func TestWhatHoldsAndWhatDoesNot(t *testing.T) {
	for _, c := range []struct {
		missing, of uint64
		holds       bool
	}{{5, 100, false}, {6, 100, true}, {6, 99, false}, {99, 99, false}, {500, 10_000, false}, {501, 10_000, true}, {0, 0, false}} {
		if got := (Loss{Missing: c.missing, Of: c.of}).TooMany(); got != c.holds {
			t.Errorf("%d of %d missing: %v, want %v", c.missing, c.of, got, c.holds)
		}
	}
}

// TestALossSaysHowMuchAndWhatNext: value, bound and remedy.
func TestALossSaysHowMuchAndWhatNext(t *testing.T) {
	for kind, want := range map[LossKind]string{LossLog: "access-log provider", LossRecorders: "9002", LossNoRecorder: "serin adopt --restart", LossDropped: "CPU"} {
		got := Loss{Revision: "ep-r2", Kind: kind, Missing: 50, Of: 200}.String()
		for _, part := range []string{"ep-r2", "200", "25%", "5%", "100", want} {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q does not say %q", kind, got, part)
			}
		}
	}
}

// TestALossNeverStopsARevert whatever is missing of whose evidence.
func TestALossNeverStopsARevert(t *testing.T) {
	for _, kind := range []LossKind{LossLog, LossRecorders, LossNoRecorder, LossDropped} {
		w := newWorld(t)
		w.in.Plan.Steps = append([]PlanStep{{Name: "10%", WeightBP: 1000}}, w.in.Plan.Steps...)
		for _, v := range []string{"v1", "v2"} {
			w.in.Wish = Wish{Digest: v, Version: v}
			for range 3 {
				w.step()
			}
		}
		w.in.Observed.Losses = []Loss{{Revision: "ep-r2", Kind: kind, Missing: 200, Of: 200}, {Revision: "ep-r1", Kind: kind, Missing: 200, Of: 200}}
		if w.step(); w.last.Reason != judge.EvidenceMissing {
			t.Fatalf("%s: %s, want the step held", kind, w.last.Reason)
		}
		w.in.Verdict = judge.Verdict{Action: judge.Revert, Reason: judge.ErrorRate, Message: "too many"}
		if w.step(); w.state.Attempt.Outcome != Reverted {
			t.Errorf("%s: %s %s, want the revert", kind, w.last.Action, w.last.Reason)
		}
	}
}
