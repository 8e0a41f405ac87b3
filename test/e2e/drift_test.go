package e2e_test

import (
	"encoding/json"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/kube"
)

// routes are what the API server has, nil when there are none.
func (w *world) routes() *istio.VirtualService {
	w.t.Helper()
	var vs istio.VirtualService
	if err := mesh.api.Get(w.t.Context(), w.key(), &vs); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		w.t.Fatal(err)
	}
	return &vs
}

// tamper changes the routes as another program would, and waits until they are put
// back with a new epoch.
func (w *world) tamper(what string, change func(*istio.VirtualService) error) {
	w.t.Helper()
	vs := w.routes()
	before, _ := w.status()
	if err := change(vs); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	began := time.Now()
	w.until("routes put back after "+what, func() bool {
		now := w.routes()
		if now == nil {
			return false
		}
		last := now.Spec.Http[len(now.Spec.Http)-1].Route
		return len(last) == 2 && last[0].Weight == 9000 && last[1].Weight == 1000 && last[0].Destination.Host == w.name+"-r1.abtesting.svc.cluster.local"
	})
	back := time.Since(began)
	w.await("the new epoch in force", 20*time.Second, func(s engine.Status) bool {
		return s.Weights.Epoch > before.Weights.Epoch && s.Rollout.Decision.Reason != "RouteNotInForce"
	})
	w.t.Logf("%s: put back after %s, in force after %s", what, back.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// TestPromise9OverwrittenRoutes: another program changes weights, then a
// destination, then removes the routes. Each time they are put back and reported,
// and what was counted meanwhile is left out.
func TestPromise9OverwrittenRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "drift")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{weight: 10%, minDuration: 10s}, {weight: 50%, minDuration: 2s}, {weight: 100%}"})
	st := w.awaitStep("v2", 0)
	time.Sleep(2 * time.Second) // warm-up and calibration are over: no other epoch comes by itself
	update := func(change func(*istio.VirtualService)) func(*istio.VirtualService) error {
		return func(vs *istio.VirtualService) error {
			change(vs)
			return mesh.api.Update(t.Context(), vs, client.FieldOwner("gitops"))
		}
	}
	w.tamper("other weights", update(func(vs *istio.VirtualService) {
		last := vs.Spec.Http[len(vs.Spec.Http)-1]
		last.Route[0].Weight, last.Route[1].Weight = 5000, 5000
	}))
	w.tamper("another destination", update(func(vs *istio.VirtualService) {
		last := vs.Spec.Http[len(vs.Spec.Http)-1]
		last.Route[0].Destination.Host = last.Route[1].Destination.Host
	}))
	if bad := failures(w.answers()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
	w.tamper("no routes", func(vs *istio.VirtualService) error { return mesh.api.Delete(t.Context(), vs) })
	w.reported(st.Rollout.ID, 3)
	w.awaitOutcome("v2", "Promoted", time.Minute)
	all := stop()
	t.Logf("%d requests, %d failed, all while there were no routes", len(all), len(failures(all)))
}

// reported looks for the audit lines and for the epochs that are not judged.
func (w *world) reported(id string, want int) {
	w.t.Helper()
	lines := 0
	w.until("audit lines", func() bool {
		lines = 0
		for _, l := range w.scoringRollout(id).Status.Audit {
			if l.Reason == "WeightsOverwritten" {
				lines++
			}
		}
		return lines >= want
	})
	if lines != want {
		w.t.Errorf("%d audit lines say WeightsOverwritten, want %d", lines, want)
	}
	var rec struct {
		Evidence judge.Evidence `json:"evidence"`
	}
	_, st := w.status()
	if err := json.Unmarshal([]byte(st.Record), &rec); err != nil {
		w.t.Fatal(err)
	}
	tampered := 0
	for _, e := range rec.Evidence.Epochs {
		if e.Info.Tampered {
			tampered++
		}
	}
	if tampered != want {
		w.t.Errorf("%d epochs are left out, want the %d that were overwritten", tampered, want)
	}
}

// TestPromise4NoTrafficHolds: without requests a rollout neither goes on nor back,
// and says what it waits for.
func TestPromise4NoTrafficHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "quiet")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	w.apply(plan{Version: "v2"})
	w.await("a step without traffic", time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "v2" && s.Rollout.StepName == "10%"
	})
	time.Sleep(12 * time.Second)
	st, _ := w.status()
	if st.Rollout.Outcome != "" || st.Rollout.StepName != "10%" || st.Rollout.Decision.Action != "Hold" || st.Rollout.Decision.Message == "" {
		t.Errorf("without traffic: %+v, want that it holds and says so", st.Rollout.Decision)
	}
	t.Logf("%s: %s", st.Rollout.Decision.Reason, st.Rollout.Decision.Message)
	stop := w.traffic(100)
	defer stop()
	w.awaitOutcome("v2", "Promoted", time.Minute)
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
}

func (w *world) scale(deployment string, replicas string) {
	w.t.Helper()
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = w.namespace, deployment
	if err := mesh.api.Patch(w.t.Context(), d, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":`+replicas+`}}`))); err != nil {
		w.t.Error(err) // it may be called beside the test
	}
}

// TestStableBrokenMidWay: production has no pod left while a good candidate has
// 10 %. The rollout holds, gives the candidate no more by itself, and goes on when
// production is back.
func TestStableBrokenMidWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "halved")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{weight: 10%, minDuration: 4s}, {weight: 50%, minDuration: 2s}, {weight: 100%}"})
	w.awaitStep("v2", 0)
	w.scale("halved-r1", "0")
	w.await("StableNotReady", 20*time.Second, func(s engine.Status) bool { return s.Rollout.Decision.Reason == "StableNotReady" })
	time.Sleep(8 * time.Second)
	if st, _ := w.status(); st.Rollout.Outcome != "" || st.Weights.PlannedBP != 1000 {
		t.Errorf("outcome %q, %d basis points; want that it holds at 1000", st.Rollout.Outcome, st.Weights.PlannedBP)
	}
	w.scale("halved-r1", "1")
	w.awaitOutcome("v2", "Promoted", time.Minute)
	stables, all := 0, stop()
	for _, a := range failures(all) {
		if a.revision() == "halved-r2" {
			t.Errorf("the candidate failed a request: %+v", a)
		}
		stables++
	}
	t.Logf("%d requests, %d failed, all routed to the stable that was gone", len(all), stables)
}

// TestOscillatingReadiness: a candidate whose only pod goes again and again, and is
// ready in between, is reverted by the deadline; no request fails.
func TestOscillatingReadiness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "swing")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Deadline: "25s", Steps: "{weight: 10%, minDuration: 10m}, {weight: 100%}"})
	w.awaitStep("v2", 0)
	swings, ready := 0, true
	st := w.await("the revert", 80*time.Second, func(s engine.Status) bool {
		is := s.Candidate != nil && s.Candidate.Ready
		if is && ready && s.Rollout.Outcome == "" {
			swings++
			pod := &corev1.Pod{}
			if err := mesh.api.DeleteAllOf(t.Context(), pod, client.InNamespace(namespace), client.MatchingLabels{kube.LabelRevision: "swing-r2"}); err != nil {
				t.Fatal(err)
			}
			ready = false
		}
		ready = ready || !is // it was seen not ready since
		return s.Rollout.Outcome != ""
	})
	if st.Rollout.Outcome != "Reverted" || st.Rollout.Decision.Reason != "ProgressDeadlineExceeded" || swings < 2 {
		t.Errorf("%s (%s) after %d swings, want Reverted by the deadline", st.Rollout.Outcome, st.Rollout.Decision.Reason, swings)
	}
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	t.Logf("%d swings; %d requests, %d failed", swings, len(all), len(failures(all)))
}

// TestRevertAtTheGate: while a person is waited for, the candidate begins to fail:
// it is reverted without one.
func TestRevertAtTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gate")
	w.rows.Store(wholeRows)
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "some-rows", Steps: "{weight: 10%, minDuration: 2s}, {weight: 50%, approval: Required}, {weight: 100%}"})
	w.await("the gate", time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "some-rows" && s.Rollout.Decision.Reason == "WaitingForApproval"
	})
	turned := time.Now()
	w.rows.Store(missingRows)
	st := w.awaitOutcome("some-rows", "Reverted", 30*time.Second)
	if st.Rollout.StepName != "10%" {
		t.Errorf("reverted at step %s, want that of the gate", st.Rollout.StepName)
	}
	time.Sleep(time.Second)
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	t.Logf("reverted %.1f s after the candidate began to fail: %s", st.Rollout.Decision.At.Sub(turned).Seconds(), st.Rollout.Decision.Message)
}
