package e2e_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// TestGoodVersionIsPromotedWithoutAFailedRequest goes shadow, 1, 10, 50, 100 % under
// steady traffic: no request fails, each step splits as its weight says, and header
// routes are exact throughout.
func TestGoodVersionIsPromotedWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "good")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(120)
	defer stop()
	w.apply(plan{Version: "v2", Judge: scoresJudged, Steps: "{shadow: 100%, minDuration: 5s}, {weight: 1%, minDuration: 3s}, {weight: 10%, minDuration: 5s}, {weight: 50%, minDuration: 5s}, {weight: 100%}"})
	epochs := map[string]int{} // stamp's rollout.epoch → weight
	w.await("v2 Promoted", 6*time.Minute, func(s engine.Status) bool {
		if r := s.Rollout; r != nil && r.To == "v2" && s.Weights.PlannedBP > 0 {
			epochs[r.ID+"."+itoa(s.Weights.Epoch)] = s.Weights.PlannedBP
		}
		return s.Rollout != nil && s.Rollout.To == "v2" && s.Rollout.Outcome != ""
	})
	st, _ := w.status()
	if st.Rollout.Outcome != "Promoted" {
		t.Fatalf("v2: %s (%s)", st.Rollout.Outcome, st.Rollout.Decision.Message)
	}
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	checkSplit(t, all, epochs)
	t.Logf("%d requests, %d failed", len(all), len(failures(all)))
}

// checkSplit compares each epoch's share with its weight.
func checkSplit(t *testing.T, all []answer, epochs map[string]int) {
	t.Helper()
	type counts struct{ n, candidate float64 }
	got := map[string]*counts{}
	for _, a := range all {
		i := strings.LastIndexByte(a.stamp, '.')
		if i < 0 {
			continue
		}
		c := got[a.stamp[:i]]
		if c == nil {
			c = &counts{}
			got[a.stamp[:i]] = c
		}
		c.n++
		if strings.HasSuffix(a.revision(), "-r2") {
			c.candidate++
		}
	}
	checked := 0
	for epoch, bp := range epochs {
		c := got[epoch]
		if c == nil || bp >= 10000 || c.n < 50 {
			continue
		}
		checked++
		p := float64(bp) / 10000
		if slack := 4.5 * math.Sqrt(c.n*p*(1-p)); math.Abs(c.candidate-c.n*p) > slack+1 {
			t.Errorf("epoch %s at %d basis points: %.0f of %.0f to the candidate, want %.0f ± %.0f", epoch, bp, c.candidate, c.n, c.n*p, slack)
		}
	}
	if checked < 2 {
		t.Errorf("only %d epochs had enough requests to check their split: %v", checked, epochs)
	}
}

// TestPromise3OnTheMesh: a candidate that answers nothing but errors is reverted
// without a person. With fallback no client sees one; without, at most 40 do.
func TestPromise3OnTheMesh(t *testing.T) {
	t.Parallel()
	for fallback, most := range map[string]int{"Stable": 0, "None": 40} {
		t.Run(fallback, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "broken-"+strings.ToLower(fallback))
			w.apply(plan{Version: "v1"})
			w.awaitStable("v1")
			stop := w.traffic(100)
			defer stop()
			w.apply(plan{Version: "broken", Fallback: fallback})
			st := w.awaitOutcome("broken", "Reverted", 3*time.Minute)
			decided := st.Rollout.Decision.At
			time.Sleep(3 * time.Second)
			all := stop()
			bad := failures(all)
			if len(bad) > most {
				t.Errorf("%d of %d requests failed, want at most %d; the last: %+v", len(bad), len(all), most, bad[len(bad)-1])
			}
			fellBack := 0
			for _, a := range all {
				if a.fallback != "" {
					fellBack++
				}
			}
			last := lastTo(w.name+"-r2", all).Sub(decided)
			t.Logf("%s: %d requests, %d failed, %d answered by stable in its place; the last one routed there %s after the verdict", st.Rollout.Decision.Reason, len(all), len(bad), fellBack, max(last, 0).Round(time.Millisecond))
		})
	}
}

// TestWrongNumbersAreCaughtInShadow: a version that answers 200 with wrong scores, which
// checks of rates and times promote, is reverted before any client saw it.
func TestWrongNumbersAreCaughtInShadow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "wrong")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(120)
	defer stop()
	w.apply(plan{Version: "swapped", Judge: scoresJudged, Steps: "{shadow: 100%, minDuration: 20s}, " + shortSteps})
	st := w.awaitOutcome("swapped", "Reverted", 4*time.Minute)
	all := stop()
	for _, a := range all {
		if strings.HasSuffix(a.revision(), "-r2") {
			t.Fatalf("a client was routed to the wrong version: %+v", a)
		}
	}
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	if st.Rollout.StepName != "shadow" {
		t.Errorf("reverted at step %s, want shadow", st.Rollout.StepName)
	}
}

// TestCandidateThatNeverStarts: a crash-loop and an image that does not exist are
// reverted with a reason, long before the progress deadline in the first case.
func TestCandidateThatNeverStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "never")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "crashing", Deadline: "10m"})
	if st := w.awaitOutcome("crashing", "Reverted", 4*time.Minute); st.Rollout.Decision.Reason != "CrashLoop" {
		t.Errorf("reason %s, want CrashLoop", st.Rollout.Decision.Reason)
	}
	w.apply(plan{Version: "missing", Image: mesh.Registry + "/no/such@sha256:" + strings.Repeat("0", 64), Deadline: "15s"})
	st := w.awaitOutcome("missing", "Reverted", 2*time.Minute)
	if st.Rollout.Decision.Reason != "ProgressDeadlineExceeded" || !strings.Contains(st.Rollout.Decision.Message, "ImagePull") {
		t.Errorf("%s: %s; want the deadline and why the image cannot be pulled", st.Rollout.Decision.Reason, st.Rollout.Decision.Message)
	}
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
