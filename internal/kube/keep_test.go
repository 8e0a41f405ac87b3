package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/rollout"
)

// TestAnUpgradeOfSerinRestartsNoScorer: a leader with another recorder starts what runs
// already. Its pods stay as they are, and their number is the document's.
func TestAnUpgradeOfSerinRestartsNoScorer(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1})
	was := w.deployment(r1.Name)
	w.cfg.RecorderImage, w.cfg.ControllerURL = "registry.example/serin@sha256:dd", "http://elsewhere:9002"
	w.resolved = w.document(testDocument + "  scaling: {replicas: 3}\n")
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	is := w.deployment(r1.Name)
	if diff := cmp.Diff(was.Spec.Template, is.Spec.Template); diff != "" {
		t.Errorf("the pods of a revision that runs are made anew (-was +is):\n%s", diff)
	}
	if *is.Spec.Replicas != 3 {
		t.Errorf("%d replicas, want the document's 3", *is.Spec.Replicas)
	}
	if fresh := w.deployment(r2.Name).Spec.Template.Spec.Containers[0]; fresh.Image != w.cfg.RecorderImage {
		t.Errorf("a new revision's recorder is %s, want the present one", fresh.Image)
	}
}
