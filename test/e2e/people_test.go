package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/rollout"
)

// maria may approve and abort, otto pushes versions and may not.
const people = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: maria, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: serin-approver}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: maria}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: otto, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: serin-operator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: otto}]
`

// as is the API as this user sees it.
func as(t *testing.T, user string) client.Client {
	t.Helper()
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	rc := mesh.RequestConfig()
	rc.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := client.New(rc, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// request makes an action of a user; the error is what the API server says.
func (w *world) request(user string, spec v1alpha1.RolloutActionSpec) (*v1alpha1.RolloutAction, error) {
	w.t.Helper()
	spec.Endpoint = w.name
	if spec.By == "" {
		spec.By = user
	}
	a := &v1alpha1.RolloutAction{Spec: spec}
	a.Namespace, a.GenerateName = w.namespace, w.name+"-"
	return a, as(w.t, user).Create(w.t.Context(), a)
}

// act is an action that must be let in and answered.
func (w *world) act(user string, spec v1alpha1.RolloutActionSpec, most time.Duration) v1alpha1.RolloutActionStatus {
	w.t.Helper()
	a, err := w.request(user, spec)
	if err != nil {
		w.t.Fatalf("%s by %s: %v", spec.Action, user, err)
	}
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := mesh.api.Get(w.t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
			w.t.Fatal(err)
		}
		if a.Status.Answered {
			return a.Status
		}
	}
	w.t.Fatalf("%s by %s was not answered within %s", spec.Action, user, most)
	return a.Status
}

// scoringRollout is the record of one attempt.
func (w *world) scoringRollout(id string) (s v1alpha1.ScoringRollout) {
	w.t.Helper()
	if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: id}, &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// record is what is kept of a rollout that ended.
func (w *world) record(id string) (r engine.RolloutRecord) {
	w.t.Helper()
	w.until("record of "+id, func() bool {
		raw := w.scoringRollout(id).Status.Record
		return raw != nil && json.Unmarshal(raw.Raw, &r) == nil
	})
	return r
}

// entered says when a step of an ended rollout was entered.
func (w *world) entered(id, step string) (at time.Time) {
	w.t.Helper()
	r := w.record(id)
	for _, h := range r.Attempt.History {
		if h.Reason == rollout.StepEntered && r.Attempt.Plan.Steps[h.Step].Name == step {
			at = h.At
		}
	}
	return at
}

// lateWorkers is how much later than its first worker a gateway may route by new weights, on a busy machine.
const lateWorkers = time.Second

// TestAbortAtEveryStep: a person ends the rollout in shadow, at 1, 10 and 50 %. No
// request fails, and soon after the order none is routed to the candidate any more.
func TestAbortAtEveryStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "abort")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(120)
	defer stop()
	for i, step := range []string{"shadow: 100%", "weight: 1%", "weight: 10%", "weight: 50%"} {
		version, candidate := fmt.Sprint("v2-", i), fmt.Sprintf("abort-r%d", i+2)
		w.apply(plan{Version: version, Image: mesh.scorer["v2"], Steps: "{" + step + ", minDuration: 10m}, {weight: 60%}, {weight: 100%}"})
		st := w.awaitStep(version, 0)
		time.Sleep(2 * time.Second) // of traffic at this step
		ordered := time.Now()
		if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: st.Rollout.ID, Action: "Abort", Reason: "rehearsal"}, 10*time.Second); !got.Accepted {
			t.Fatalf("the abort at %s was refused: %+v", step, got)
		}
		gone := w.awaitRoutes(w.awaitOutcome(version, "Aborted", 30*time.Second).Weights.Epoch)
		time.Sleep(3 * time.Second) // in which nothing may go back to it
		last := lastTo(candidate, w.answers())
		if last.After(gone.Add(lateWorkers)) {
			t.Errorf("at %s: a request was routed to %s %s after its routes were out of force", step, candidate, last.Sub(gone))
		}
		t.Logf("%s: aborted; new routes in force after %s, the last request to %s after %s", step, gone.Sub(ordered).Round(time.Millisecond), candidate, max(last.Sub(ordered), 0).Round(time.Millisecond))
	}
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
	t.Logf("%d requests, %d failed", len(w.answers()), len(failures(w.answers())))
}

// awaitStep waits until a step of the plan is in force.
func (w *world) awaitStep(version string, step int) engine.Status {
	w.t.Helper()
	return w.await(fmt.Sprintf("%s in step %d", version, step), time.Minute, func(s engine.Status) bool {
		if s.Rollout != nil && s.Rollout.To == version && s.Rollout.Outcome != "" {
			w.t.Fatalf("version %s ended: %s (%s: %s)", version, s.Rollout.Outcome, s.Rollout.Decision.Reason, s.Rollout.Decision.Message)
		}
		return s.Rollout != nil && s.Rollout.To == version && s.Rollout.StepName != "" && s.Rollout.Step >= step &&
			(s.Weights.PlannedBP == s.Weights.InForceBP) && (s.Weights.PlannedBP > 0 || s.Weights.ShadowBP > 0)
	})
}

// awaitRoutes returns when the first request was routed by this epoch, or a later one.
func (w *world) awaitRoutes(epoch uint32) time.Time {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, a := range w.answers() {
			if n, err := strconv.ParseUint(a.epoch(), 10, 32); err == nil && uint32(n) >= epoch {
				return a.at
			}
		}
	}
	w.t.Fatalf("no request was routed by epoch %d", epoch)
	return time.Time{}
}

// TestApprovals: who may not approve is refused by the API server, also under
// another's name; the right person's approval is recorded with her name.
func TestApprovals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "approve")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{weight: 10%, minDuration: 2s}, {weight: 50%, minDuration: 10m, approval: Required}, {weight: 100%}"})
	st := w.await("the gate", time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "v2" && s.Rollout.Decision.Reason == "WaitingForApproval"
	})
	id := st.Rollout.ID
	for user, by := range map[string]string{"otto": "otto", "otto ": "maria", "nobody": "nobody"} {
		user = map[bool]string{true: "otto", false: user}[user == "otto "]
		if _, err := w.request(user, v1alpha1.RolloutActionSpec{Rollout: id, Action: "Approve", Step: "50%", By: by}); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("%s approves as %s: %v, want that it is forbidden", user, by, err)
		}
	}
	if s, _ := w.status(); s.Rollout.StepName != "10%" {
		t.Fatalf("the rollout went on to %s without approval", s.Rollout.StepName)
	}
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Approve", Step: "50%", EvidenceDigest: st.Rollout.Evidence.Digest}, 10*time.Second); !got.Accepted {
		t.Fatalf("maria's approval was refused: %+v", got)
	}
	w.awaitStep("v2", 1)
	w.until("her name in status.approvals", func() bool {
		a := w.scoringRollout(id).Status.Approvals
		return len(a) == 1 && a[0].By == "maria" && a[0].Step == "50%" && a[0].EvidenceDigest == st.Rollout.Evidence.Digest
	})
	w.act("maria", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Abort"}, 10*time.Second)
	w.awaitOutcome("v2", "Aborted", 30*time.Second)
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			w.t.Fatalf("no %s within 20 s", what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestRetryPromoteRollback: a version that was aborted is not tried again by itself,
// but when it is asked for; a person promotes it without evidence and takes it back.
// No request fails, and each time all of them go where they should.
func TestRetryPromoteRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "verbs")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	trial := plan{Version: "v2", Steps: "{weight: 10%, minDuration: 10m}, {weight: 100%}"}
	w.apply(trial)
	first := w.awaitStep("v2", 0).Rollout.ID
	w.act("maria", v1alpha1.RolloutActionSpec{Rollout: first, Action: "Abort"}, 10*time.Second)
	w.onlyTo("verbs-r1", w.awaitOutcome("v2", "Aborted", 30*time.Second))
	w.apply(trial)
	if s, _ := w.status(); s.Rollout.ID != first {
		t.Fatalf("the aborted version was tried again as %s without being asked for", s.Rollout.ID)
	}
	if got := w.act("otto", v1alpha1.RolloutActionSpec{Rollout: first, Action: "Retry"}, 10*time.Second); !got.Accepted {
		t.Fatalf("the retry was refused: %+v", got)
	}
	second := w.await("the second attempt under way", time.Minute, func(s engine.Status) bool {
		return s.Rollout.ID != first && s.Weights.InForceBP == 1000
	}).Rollout.ID
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: second, Action: "Promote"}, 10*time.Second); !got.Accepted {
		t.Fatalf("the promotion was refused: %+v", got)
	}
	w.onlyTo("verbs-r3", w.awaitOutcome("v2", "Promoted", 30*time.Second))
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: second, Action: "Rollback"}, 10*time.Second); !got.Accepted {
		t.Fatalf("the rollback was refused: %+v", got)
	}
	w.onlyTo("verbs-r1", w.await("the rollback", 30*time.Second, func(s engine.Status) bool { return s.Rollout.Outcome == "RolledBack" }))
	if bad := failures(stop()); len(bad) > 0 {
		t.Errorf("%d requests failed, want none; the first: %+v", len(bad), bad[0])
	}
}

// onlyTo demands that once these routes are in force every request goes to one revision.
func (w *world) onlyTo(revision string, s engine.Status) {
	w.t.Helper()
	from := w.awaitRoutes(s.Weights.Epoch).Add(lateWorkers)
	time.Sleep(time.Second)
	later := func(a answer) bool { return a.at.After(from) }
	w.until("a request by the routes after it", func() bool { return slices.ContainsFunc(w.answers(), later) }) // a busy machine takes its time
	for _, a := range w.answers() {
		if later(a) && a.revision() != revision {
			w.t.Errorf("routed by %s, want everything to %s", a.stamp, revision)
		}
	}
}

func (w *world) promote(id string) {
	w.t.Helper()
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Promote"}, 10*time.Second); !got.Accepted {
		w.t.Fatalf("the promotion was refused: %+v", got)
	}
}

func (w *world) rollback(id string) {
	w.t.Helper()
	if got := w.act("maria", v1alpha1.RolloutActionSpec{Rollout: id, Action: "Rollback"}, 10*time.Second); !got.Accepted {
		w.t.Fatalf("the rollback was refused: %+v", got)
	}
}
