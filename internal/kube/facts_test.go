package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestRoutesThatStandAreNotWrittenAgain: while nobody asks, no stamp is seen, and the
// same routes are asked for five times a second.
func TestRoutesThatStandAreNotWrittenAgain(t *testing.T) {
	w := newWorld(t)
	to := rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name}}
	w.apply(rollout.StartRevision{Revision: r1}, to)
	w.seen()
	w.observe()
	broken := &failingRoutes{Client: w.api}
	w.platform.api = broken
	w.apply(to) // would fail if it wrote
	to.Routing.Epoch++
	if w.Apply(t.Context(), to) == nil {
		t.Error("a new epoch is not written")
	}
	if w.Apply(t.Context(), to) == nil {
		t.Error("what could not be written is taken to stand")
	}
	w.platform.api = w.api
	w.apply(to)
}

// TestANewDocumentIsNobodysOverwriting: its routes are written with it, and so is what
// recorders are told.
func TestANewDocumentIsNobodysOverwriting(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}})
	w.seen()
	w.observe()
	next := w.document(strings.Replace(testDocument, "{gateway: mlmodel-gateway}", "{gateway: mlmodel-gateway, timeout: 9s, candidateTimeout: 3s}", 1))
	w.platform.api = &failingRoutes{Client: w.api}
	if w.change(t.Context(), testOwner, next) == nil {
		t.Fatal("the routes cannot be written and nobody says so")
	}
	w.platform.api = w.api
	if o := w.observe(); o.InForce.Overwritten {
		t.Error("a document that was not taken looks like somebody's overwriting")
	}
	if err := w.change(t.Context(), testOwner, next); err != nil {
		t.Fatal(err)
	}
	if o := w.observe(); o.InForce.Overwritten {
		t.Error("the new document looks like somebody's overwriting")
	}
	if o := w.data.orders[r2.Name]; o.Timeout != "9s" || o.CandidateTimeout != "3s" {
		t.Errorf("the candidate's recorders were told %+v, want the new times", o)
	}
}

// seen plays an API server that counts generations.
func (w *testWorld) seen() {
	w.t.Helper()
	var vs istio.VirtualService
	if err := w.get(w.routesName(), &vs); err != nil {
		w.t.Fatal(err)
	}
	vs.Generation++
	if err := w.api.Update(context.Background(), &vs); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhoOverwroteAndWhatIsMissingIsObserved: facts for the state machine.
func TestWhoOverwroteAndWhatIsMissingIsObserved(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name}})
	var vs istio.VirtualService
	if err := w.get(testKey.Name, &vs); err != nil {
		t.Fatal(err)
	}
	vs.Generation = 2
	vs.Spec.Http[0].Route[0].Destination.Host = "elsewhere"
	if err := w.api.Update(t.Context(), &vs, client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	w.data.losses.Revisions = []mesh.Loss{
		{Revision: r1.Name, Kind: mesh.LogLacks, Missing: 1, Of: 2}, {Revision: r1.Name, Kind: mesh.RecordersLack}, {Revision: r1.Name, Kind: mesh.NoRecorder}, {Revision: r1.Name, Kind: mesh.AnswersDropped},
	}
	o := w.observe()
	if !o.InForce.Overwritten || o.InForce.By != "kubectl-edit" {
		t.Errorf("in force: %+v, want that kubectl-edit overwrote", o.InForce)
	}
	want := []rollout.Loss{
		{Revision: r1.Name, Kind: rollout.LossLog, Missing: 1, Of: 2}, {Revision: r1.Name, Kind: rollout.LossRecorders}, {Revision: r1.Name, Kind: rollout.LossNoRecorder}, {Revision: r1.Name, Kind: rollout.LossDropped},
	}
	if diff := cmp.Diff(want, o.Losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}

// TestStaleRoutes: how long requests have gone by older routes, if any came.
func TestStaleRoutes(t *testing.T) {
	w := newWorld(t)
	began, most := w.now, 5*time.Second+logLate // the document's time-out
	for _, c := range []struct {
		name    string
		logged  time.Time
		inForce uint32
		want    time.Duration
	}{
		{"nobody ever asked", time.Time{}, 0, 0},
		{"nobody since", began, 0, 0},
		{"a request that was under way", began.Add(most), 0, 0},
		{"requests by older routes", began.Add(time.Minute), 0, time.Minute - most},
		{"requests by the present ones", began.Add(time.Minute), 7, 0},
	} {
		w.now, w.data.inForce, w.data.losses.Logged = began, c.inForce, c.logged
		w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 7, Rollout: "safe-driver-1", Stable: r1.Name}})
		w.now = began.Add(time.Minute)
		if got := w.observe().InForce.Stale; got != c.want {
			t.Errorf("%s: stale for %s, want %s", c.name, got, c.want)
		}
	}
}

// TestClientsDrawAgainByTheFrozenPlan: not by the steps of a document that came since.
func TestClientsDrawAgainByTheFrozenPlan(t *testing.T) {
	w := newWorld(t)
	w.set(testOwner, w.document(testDocument+"  rollout: {steps: [{weight: 30%}, {weight: 50%}, {weight: 100%}]}\n"))
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Step: 1, Stable: r1.Name, Candidate: r2.Name, WeightBP: 5000, BeforeBP: 1000}})
	if got := w.routes().BeforeBP; got != 1000 {
		t.Errorf("the weight before is %d basis points, want the 1000 of the rollout's own plan", got)
	}
}

// TestScalingReachesRevisionsThatRun: kubectl scale and a changed document, either way.
func TestScalingReachesRevisionsThatRun(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}})
	for _, c := range []struct {
		scaling  string
		replicas int32
		least    int32 // of the autoscaler; 0: none
	}{
		{"{replicas: 3}", 3, 0}, {"{min: 2, max: 5}", 0, 2}, {"{min: 4, max: 5}", 0, 4}, {"{replicas: 2}", 2, 0}, {"{}", 1, 0},
	} {
		if err := w.change(t.Context(), testOwner, w.document(testDocument+"  scaling: "+c.scaling+"\n")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{r1.Name, r2.Name} {
			var d appsv1.Deployment
			var h autoscalingv2.HorizontalPodAutoscaler
			err := w.get(name, &h)
			if c.least > 0 && (err != nil || *h.Spec.MinReplicas != c.least) || c.least == 0 && err == nil {
				t.Errorf("%s %s: autoscaler %+v (%v), want a least of %d", c.scaling, name, h.Spec, err, c.least)
			}
			if err := w.get(name, &d); err != nil || c.replicas > 0 && *d.Spec.Replicas != c.replicas {
				t.Errorf("%s %s: %d replicas (%v), want %d", c.scaling, name, *d.Spec.Replicas, err, c.replicas)
			}
		}
	}
}
