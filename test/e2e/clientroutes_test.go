package e2e_test

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestHeaderRoutesAreExactThroughoutARollout: who asks for the candidate reaches it,
// who asks for production reaches that, whatever the weights.
func TestHeaderRoutesAreExactThroughoutARollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "headers")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.mixed(150)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{shadow: 100%, minDuration: 3s}, {weight: 1%, minDuration: 1s}, {weight: 10%, minDuration: 3s}, {weight: 50%, minDuration: 3s}, {weight: 100%}", MinRequests: "5"})
	st := w.awaitOutcome("v2", "Promoted", 2*time.Minute)
	ended := *st.Rollout.EndedAt
	time.Sleep(time.Second)
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
	reached := time.Time{} // when the candidate's header route was first in force
	n := map[string]int{}
	for _, a := range all {
		switch {
		case a.header == "blue" && strings.HasSuffix(a.stamp, ".direct.headers-r2"):
			if reached.IsZero() {
				reached = a.at
			}
		case a.header == "blue" && !reached.IsZero() && a.at.After(reached.Add(time.Second)) && a.revision() != "headers-r2":
			t.Errorf("asked for the candidate, routed by %s", a.stamp)
		case a.header == "green" && a.revision() != "headers-r1" && a.at.Before(ended):
			t.Errorf("asked for production, routed by %s", a.stamp)
		}
		n[a.header]++
	}
	if reached.IsZero() || n["blue"] < 100 || n["green"] < 100 {
		t.Errorf("too little was asked: %v", n)
	}
	t.Logf("%d by the candidate's header, %d by production's, %d without", n["blue"], n["green"], n[""])
}

// TestStickyClientsNeverFlipBack: a client that was once served by the candidate
// stays there, and at each step the share of clients is the step's weight.
func TestStickyClientsNeverFlipBack(t *testing.T) {
	t.Parallel()
	const clients = 1000
	w := newWorld(t, "sticky")
	w.apply(plan{Version: "v1", Cookie: "serin"})
	w.awaitStable("v1")
	stop := w.remembered(250, clients)
	defer stop()
	w.apply(plan{Version: "v2", Cookie: "serin", Steps: "{weight: 10%, minDuration: 8s}, {weight: 50%, minDuration: 8s}, {weight: 100%}"})
	w.awaitStep("v2", 0)
	first := time.Now()
	w.awaitStep("v2", 1)
	ended := *w.awaitOutcome("v2", "Promoted", time.Minute).Rollout.EndedAt
	time.Sleep(2 * time.Second)
	all := stop()
	entered := w.entered("sticky-2", "50%")
	w.shares(0.10, clients, first, entered)
	w.shares(0.50, clients, entered.Add(time.Second), ended)
	on := make([]bool, clients)
	back := 0
	for _, a := range all {
		switch {
		case a.revision() == "sticky-r2":
			on[a.client] = true
		case on[a.client]:
			back++
		}
	}
	if back > 0 {
		t.Errorf("%d answers came from the old version to clients that the new one had served", back)
	}
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
	t.Logf("%d requests of %d clients, none went back", len(all), clients)
}

// shares compares the share of clients on the candidate with a step's weight; each
// client counts by its last answer within the step.
func (w *world) shares(weight float64, clients int, since, until time.Time) {
	w.t.Helper()
	on := map[int]bool{}
	for _, a := range w.answers() {
		if a.at.After(since) && a.at.Before(until) && a.stamp != "" {
			on[a.client] = a.revision() == w.name+"-r2"
		}
	}
	n := 0
	for _, yes := range on {
		if yes {
			n++
		}
	}
	got, slack := float64(n)/float64(len(on)), 4.5*math.Sqrt(weight*(1-weight)/float64(len(on)))
	if len(on) < clients*9/10 || math.Abs(got-weight) > slack {
		w.t.Errorf("%d of %d clients are on the candidate, want %.0f %% ± %.0f", n, len(on), 100*weight, 100*slack)
	}
	w.t.Logf("weight %.0f %%: %d of %d clients on the candidate", 100*weight, n, len(on))
}
