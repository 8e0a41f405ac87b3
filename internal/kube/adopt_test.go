package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/rollout"
)

// green is a Deployment as the old canary charts made them.
func green(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	labels := map[string]string{"app": "model", "model_version": "green"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: "model-green", Labels: map[string]string{"team": "risk"}, Annotations: map[string]string{"note": "keep me"}}}
	d.Spec.Replicas = new(int32(2))
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "model", Image: "registry.example/model@sha256:dd", Ports: []corev1.ContainerPort{{ContainerPort: 5001}}}}
	d.Status.ReadyReplicas = 2
	for _, c := range change {
		c(d)
	}
	return d
}

func newAdoption(t *testing.T, afterwards string, d *appsv1.Deployment) *testWorld {
	t.Helper()
	w := newWorld(t, d)
	w.set(testOwner, w.document(testDocument+"  adopt: {deployment: model-green, afterwards: "+afterwards+"}\n"))
	w.scorers["d1"], w.scorers["d2"] = w.resolved.Endpoint.Spec.Scorer, w.resolved.Endpoint.Spec.Scorer
	return w
}

func (w *testWorld) green() *appsv1.Deployment {
	w.t.Helper()
	var d appsv1.Deployment
	if err := w.get("model-green", &d); err != nil {
		w.t.Fatal(err)
	}
	return &d
}

// TestAdoptionTouchesNoPod: the Deployment's spec stays as it is, so nothing restarts;
// the revision's Service finds its pods.
func TestAdoptionTouchesNoPod(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.PromoteRevision{Revision: r1})
	d := w.green()
	if diff := cmp.Diff(green().Spec, d.Spec); diff != "" {
		t.Errorf("the Deployment's spec was changed (-was +is):\n%s", diff)
	}
	if d.Labels[LabelRevision] != r1.Name || d.Labels["team"] != "risk" || d.Annotations["note"] != "keep me" {
		t.Errorf("labels %v, annotations %v: want Serin's beside its owner's", d.Labels, d.Annotations)
	}
	if err := w.get(r1.Name, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("another Deployment was made for the version that runs already (%v)", err)
	}
	var s corev1.Service
	if err := w.get(r1.Name, &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Spec.Selector.MatchLabels, s.Spec.Selector); diff != "" || s.Spec.Ports[0].TargetPort.IntValue() != 5001 || s.Spec.Ports[0].Name != portName {
		t.Errorf("the Service has ports %+v and selects (-want +got):\n%s", s.Spec.Ports, diff)
	}
	if w.observe().Revisions[r1.Name].Ready {
		t.Error("it is ready before the mesh can have heard of its Service: routes to it would lead nowhere")
	}
	w.now = w.now.Add(introduction)
	want := rollout.RevisionStatus{Started: true, Ready: true, ReadyReplicas: 2, WantReplicas: 2, Unrecorded: true}
	if diff := cmp.Diff(want, w.observe().Revisions[r1.Name]); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

// TestAnAdoptedDeploymentGoesAsTheDocumentSays: once another version is in production
// and the old one is not kept any more; never before.
func TestAnAdoptedDeploymentGoesAsTheDocumentSays(t *testing.T) {
	for _, afterwards := range []string{Keep, ScaleToZero, Delete} {
		t.Run(afterwards, func(t *testing.T) {
			w := newAdoption(t, afterwards, green())
			w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.PromoteRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
			w.apply(rollout.SetRouting{Routing: second}, rollout.PromoteRevision{Revision: r2})
			w.tidyUp()
			if d := w.green(); *d.Spec.Replicas != 2 || d.Labels[LabelRevision] != r1.Name {
				t.Error("it was let go although nobody asked it to stop")
			}
			w.apply(rollout.StopRevision{Revision: r1})
			w.data.inForce = second.Epoch
			w.now = w.now.Add(time.Minute)
			w.tidyUp()
			if err := w.get(r1.Name, &corev1.Service{}); !apierrors.IsNotFound(err) {
				t.Errorf("the revision's Service is still there (%v)", err)
			}
			var d appsv1.Deployment
			err := w.get("model-green", &d)
			if (afterwards == Delete) != apierrors.IsNotFound(err) {
				t.Fatalf("reading the Deployment: %v", err)
			}
			if afterwards == Delete {
				return
			}
			if want := map[string]int32{Keep: 2, ScaleToZero: 0}[afterwards]; *d.Spec.Replicas != want {
				t.Errorf("%d replicas, want %d", *d.Spec.Replicas, want)
			}
			w.unmarked(&d)
		})
	}
}

func (w *testWorld) tidyUp() {
	w.t.Helper()
	if _, err := w.tidy(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// unmarked: the object is its owner's alone again.
func (w *testWorld) unmarked(d *appsv1.Deployment) {
	w.t.Helper()
	was := green()
	if diff := cmp.Diff(was.Labels, d.Labels) + cmp.Diff(was.Annotations, d.Annotations); diff != "" {
		w.t.Errorf("labels and annotations are not what they were (-want +got):\n%s", diff)
	}
}

// TestAFirstVersionThatNeverServedLeavesItsDeployment: a document that says Delete
// deletes nothing that was never replaced.
func TestAFirstVersionThatNeverServedLeavesItsDeployment(t *testing.T) {
	w := newAdoption(t, Delete, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StopRevision{Revision: r1})
	w.now = w.now.Add(time.Hour)
	w.tidyUp()
	d := w.green()
	w.unmarked(d)
	if *d.Spec.Replicas != 2 {
		t.Errorf("%d replicas, want the 2 that there were", *d.Spec.Replicas)
	}
}

// TestADeletedEndpointLeavesWhatItAdopted: it is its owner's.
func TestADeletedEndpointLeavesWhatItAdopted(t *testing.T) {
	w := newAdoption(t, Delete, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.StartRevision{Revision: r2})
	if err := releaseAll(t.Context(), w.api, testKey); err != nil {
		t.Fatal(err)
	}
	w.unmarked(w.green())
	var made appsv1.Deployment
	if err := w.get(r2.Name, &made); err != nil || made.Labels[LabelEndpoint] == "" {
		t.Errorf("a revision that Serin made was released (%v): it goes with the endpoint", err)
	}
}

// TestTheAdoptedRevisionStaysAdopted: also when somebody takes its labels away, and
// when another version is in production; later versions are Serin's.
func TestTheAdoptedRevisionStaysAdopted(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first})
	if err := releaseAll(t.Context(), w.api, testKey); err != nil { // as another tool would
		t.Fatal(err)
	}
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: split})
	if w.green().Labels[LabelRevision] != r1.Name {
		t.Error("the Deployment is not marked again")
	}
	if err := w.get(r1.Name, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("a second Deployment for the adopted version (%v)", err)
	}
	if err := w.get(r2.Name, &appsv1.Deployment{}); err != nil {
		t.Errorf("the next version has no Deployment: %v", err)
	}
}

// TestWhoChangesAnAdoptedDeploymentIsTold: its numbers are then of two programs.
func TestWhoChangesAnAdoptedDeploymentIsTold(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1})
	d := w.green()
	d.Spec.Replicas = new(int32(3)) // how many is its owner's
	d.Spec.Template.Spec.Containers[0].Image = "registry.example/model@sha256:ee"
	if err := w.api.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.apply(rollout.StartRevision{Revision: r1})
	w.now = w.now.Add(introduction)
	st := w.observe().Revisions[r1.Name]
	if !st.Ready || st.WantReplicas != 3 || !strings.Contains(st.Failure, "changed the pod template") {
		t.Errorf("seen %+v, want it ready and said that it was changed", st)
	}
}

// TestWhatCannotBeAdopted is said with what to do; nothing is written then.
func TestWhatCannotBeAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*appsv1.Deployment)
		want   string
	}{
		"none of that name":  {func(d *appsv1.Deployment) { d.Name = "another" }, "there is no Deployment"},
		"another endpoint's": {func(d *appsv1.Deployment) { d.Labels[LabelEndpoint] = "other" }, `belongs to endpoint "other"`},
		"selects by expressions": {func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchExpressions = make([]metav1.LabelSelectorRequirement, 1)
		}, "by expressions"},
		"selects what Serin makes": {func(d *appsv1.Deployment) { d.Spec.Selector.MatchLabels = map[string]string{"app": testKey.Name} }, "give the endpoint another name"},
		"selects one that it makes": {func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = map[string]string{"app": testKey.Name, "version": "r3"}
		}, "give the endpoint another name"},
		"selects another version's": {func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = map[string]string{"app": testKey.Name, "version": "v1"}
		}, ""},
		"as the old charts have them": {func(*appsv1.Deployment) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAdoption(t, Keep, green(c.change))
			err := w.Apply(t.Context(), rollout.StartRevision{Revision: r1})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if again := w.Apply(t.Context(), rollout.StartRevision{Revision: r1}); c.want != "" && (again == nil || again.Error() != err.Error()) {
				t.Errorf("asked again at once: %v, want the same", again)
			}
			if err := w.get(r1.Name, &corev1.Service{}); (err == nil) != (c.want == "") {
				t.Errorf("the revision's Service: %v", err)
			}
		})
	}
}

// TestHowManyIsTheOwnersOfAnAdoptedDeployment: a change of spec.scaling, and a weight,
// reach the versions that Serin runs alone.
func TestHowManyIsTheOwnersOfAnAdoptedDeployment(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.StartRevision{Revision: r2})
	was := w.green().ResourceVersion
	for _, scaling := range []string{"{replicas: 5}", "{min: 3, max: 6}", "{replicas: 4}"} {
		doc := testDocument + "  adopt: {deployment: model-green}\n  scaling: " + scaling + "\n"
		if err := w.change(t.Context(), testOwner, w.document(doc)); err != nil {
			t.Fatal(err)
		}
		w.apply(rollout.SetRouting{Routing: split})
		if d := w.green(); d.ResourceVersion != was || *d.Spec.Replicas != 2 {
			t.Errorf("%s: the adopted Deployment was written: %d replicas", scaling, *d.Spec.Replicas)
		}
		for _, name := range []string{"model-green", r1.Name} {
			if err := w.get(name, &autoscalingv2.HorizontalPodAutoscaler{}); !apierrors.IsNotFound(err) {
				t.Errorf("%s: an autoscaler %q was made (%v)", scaling, name, err)
			}
		}
	}
	var made appsv1.Deployment
	if err := w.get(r2.Name, &made); err != nil || *made.Spec.Replicas != 4 {
		t.Errorf("the next version: %v replicas (%v), want the document's 4", made.Spec.Replicas, err)
	}
}

// TestBackToTheAdoptedVersion: while its Deployment runs it may be the candidate, under
// another name than the revision's.
func TestBackToTheAdoptedVersion(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: second})
	back := rollout.Routing{Epoch: 6, Rollout: "safe-driver-3", Stable: r2.Name, Candidate: r1.Name, WeightBP: 1000}
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: back})
}
