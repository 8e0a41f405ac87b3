package kube

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// rescaled hands over a document with this scaling, as the controller does.
func (w *testWorld) rescaled(scaling string) {
	w.t.Helper()
	w.set(testOwner, w.document(testDocument+"  scaling: "+scaling+"\n"))
	state := rollout.State{Stable: &r1, Candidate: &r2}
	for range 2 { // as after an error elsewhere
		if err := w.rescale(context.Background(), state); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *testWorld) deployment(name string) (d appsv1.Deployment) {
	w.t.Helper()
	if err := w.get(name, &d); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// TestAChangeOfScalingReachesWhatRuns: it starts no rollout, so that nothing else would
// bring it there.
func TestAChangeOfScalingReachesWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 3, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}})
	w.rescaled("{replicas: 3}")
	for _, name := range []string{r1.Name, r2.Name} {
		if d := w.deployment(name); d.Spec.Replicas == nil || *d.Spec.Replicas != 3 {
			t.Errorf("%s has %v replicas, want 3", name, d.Spec.Replicas)
		}
	}
	w.rescaled("{min: 2, max: 10}")
	for _, name := range []string{r1.Name, r2.Name} {
		var h autoscalingv2.HorizontalPodAutoscaler
		if err := w.get(name, &h); err != nil || h.Spec.MaxReplicas != 10 {
			t.Errorf("autoscaler %s: %v, max %d; want 10", name, err, h.Spec.MaxReplicas)
		}
		if d := w.deployment(name); d.Spec.Replicas == nil || *d.Spec.Replicas != 3 || ownsReplicas(d.ManagedFields) {
			t.Errorf("%s: %v replicas, Serin owns them: %v; want the 3 that it had, left to the autoscaler", name, d.Spec.Replicas, ownsReplicas(d.ManagedFields))
		}
	}
	w.rescaled("{replicas: 2}")
	for _, name := range []string{r1.Name, r2.Name} {
		if err := w.get(name, &autoscalingv2.HorizontalPodAutoscaler{}); !apierrors.IsNotFound(err) {
			t.Errorf("autoscaler %s: %v, want that it is gone", name, err)
		}
		if d := w.deployment(name); *d.Spec.Replicas != 2 {
			t.Errorf("%s has %d replicas, want 2", name, *d.Spec.Replicas)
		}
	}
}

// TestAnotherDocumentLeavesAPersonsScaleAlone: replicas that a person set stay, until
// the document asks for others.
func TestAnotherDocumentLeavesAPersonsScaleAlone(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	d := w.deployment(r1.Name)
	if err := w.api.Patch(context.Background(), &d, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`)), client.FieldOwner("kubectl")); err != nil {
		t.Fatal(err)
	}
	w.set(testOwner, w.document(testDocument+"  contract: {path: /other}\n"))
	if err := w.rescale(context.Background(), rollout.State{Stable: &r1, Candidate: &r2}); err != nil {
		t.Fatal(err)
	}
	if d := w.deployment(r1.Name); *d.Spec.Replicas != 5 {
		t.Errorf("%d replicas, want the 5 that a person set", *d.Spec.Replicas)
	}
}
