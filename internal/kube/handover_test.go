package kube

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/serin-dev/serin/internal/rollout"
)

// TestAnAutoscalerFindsThePodsThatThereWere: a document goes from replicas to an
// autoscaler, and the revision is written anew, as after a restart. Its pods stay, and
// Serin owns their number no more.
func TestAnAutoscalerFindsThePodsThatThereWere(t *testing.T) {
	w := newWorld(t)
	r := w.document(testDocument + "  scaling: {replicas: 3}\n")
	w.resolved = r
	w.apply(rollout.StartRevision{Revision: r1})
	w.resolved = w.document(testDocument + "  scaling: {min: 2, max: 10}\n")
	w.apply(rollout.StartRevision{Revision: r1})
	d := w.deployment(r1.Name)
	if d.Spec.Replicas == nil || *d.Spec.Replicas != 3 || ownsReplicas(d.ManagedFields) {
		t.Errorf("%v replicas, Serin owns them: %v; want the 3 that there were, left to the autoscaler", d.Spec.Replicas, ownsReplicas(d.ManagedFields))
	}
}

func (w *testWorld) deployment(name string) (d appsv1.Deployment) {
	w.t.Helper()
	if err := w.get(name, &d); err != nil {
		w.t.Fatal(err)
	}
	return d
}
