package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestTimeFromVerdictToLastMisroutedRequest measures over more than a hundred weight
// moves how long after a decision the last request was still routed by the old
// weights. It takes minutes: SERIN_E2E_LAG=1 asks for it. docs/scenarios-cluster.md
// has the numbers.
func TestTimeFromVerdictToLastMisroutedRequest(t *testing.T) {
	if os.Getenv("SERIN_E2E_LAG") != "1" {
		t.Skip("a measurement of several minutes: set SERIN_E2E_LAG=1")
	}
	w := newWorld(t, "lag")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(200)
	defer stop()
	var forward []time.Duration
	for round := 0; len(forward) < 100; round++ {
		if round == 10 {
			t.Fatalf("%d weight moves in %d rollouts, want 100", len(forward), round)
		}
		version := fmt.Sprint("v2-", round)
		w.apply(plan{Version: version, Image: mesh.scorer["v2"], MinRequests: "1", Steps: ladder()})
		st := w.await("the last step", 5*time.Minute, func(s engine.Status) bool {
			return s.Rollout != nil && s.Rollout.To == version && s.Rollout.Step == ladderSteps-1 && s.Weights.InForceBP == s.Weights.PlannedBP
		})
		w.act("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Abort"}, 20*time.Second)
		w.awaitOutcome(version, "Aborted", time.Minute)
		forward = append(forward, w.moves(st.Rollout.ID)...)
	}
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	slices.Sort(forward)
	p99 := forward[len(forward)*99/100]
	t.Logf("%d weight moves under %d requests: p50 %d ms, p90 %d ms, p99 %d ms, most %d ms", len(forward), len(all), forward[len(forward)/2].Milliseconds(), forward[len(forward)*9/10].Milliseconds(), p99.Milliseconds(), forward[len(forward)-1].Milliseconds())
	if p99 > 2*time.Second {
		t.Errorf("p99 is %s, want at most 2 s", p99)
	}
}

const ladderSteps = 36

// ladder is a plan of many small steps, whose promotion nobody approves.
func ladder() string {
	var steps []string
	for i := range ladderSteps {
		steps = append(steps, fmt.Sprintf("{weight: %g%%}", 5+float64(i)))
	}
	return strings.Join(steps, ", ") + ", {weight: 100%, approval: Required}"
}

// moves returns for each step of an ended rollout how long after the decision to
// enter it the last request was routed by the epoch before.
func (w *world) moves(id string) (out []time.Duration) {
	w.t.Helper()
	r := w.record(id)
	last := map[uint32]time.Time{} // epoch → last request routed by it
	for _, a := range w.answers() {
		if n, err := strconv.ParseUint(a.epoch(), 10, 32); err == nil && strings.HasPrefix(a.stamp, id+".") {
			last[uint32(n)] = a.at
		}
	}
	first := map[int]uint32{} // step → its first epoch
	for _, e := range r.Evidence.Epochs {
		if _, known := first[e.Info.Step]; !known && e.Info.WeightBP > 0 {
			first[e.Info.Step] = e.Info.ID
		}
	}
	for _, h := range r.Attempt.History {
		before := last[first[h.Step]-1]
		if h.Reason == rollout.StepEntered && h.Step > 0 && first[h.Step] > 0 && !before.IsZero() {
			out = append(out, max(before.Sub(h.At), 0))
		}
	}
	return out
}
