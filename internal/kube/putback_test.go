package kube

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/serin-dev/serin/internal/rollout"
)

// listening returns what the platform tells of others, one line each.
func (w *testWorld) listening() *[]string {
	var told []string
	w.platform.tell = func(reason, message string) { told = append(told, reason+": "+message) }
	return &told
}

// TestTheServiceOfAnAdoptedRevisionIsMadeAgain: it is Serin's, whoever runs the pods.
func TestTheServiceOfAnAdoptedRevisionIsMadeAgain(t *testing.T) {
	w := newAdoption(t, Keep, green())
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.PromoteRevision{Revision: r1})
	var was, is corev1.Service
	if err := w.get(r1.Name, &was); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Delete(t.Context(), &was); err != nil {
		t.Fatal(err)
	}
	told := w.listening()
	w.tidyUp()
	if err := w.get(r1.Name, &is); err != nil || is.Spec.Selector["model_version"] != "green" || is.Spec.Ports[0].TargetPort.IntValue() != 5001 {
		t.Errorf("the Service is %+v (%v), want it as it was", is.Spec, err)
	}
	before := w.green().ResourceVersion
	w.tidyUp()
	if after := w.green(); after.ResourceVersion != before || after.Annotations[AnnotationMadeAs] != "" {
		t.Error("the adopted Deployment was written, which is its owner's")
	}
	if len(*told) != 1 {
		t.Errorf("told %q, want one line", *told)
	}
}

// TestSerinsOwnMovesAreNobodysEdit: whatever the controller looks at between two of its own
// writes, it tells of nobody.
func TestSerinsOwnMovesAreNobodysEdit(t *testing.T) {
	pod := candidatePod(1, true)
	w := newWorld(t, &pod)
	told := w.listening()
	split, all := second, second
	split.Stable, split.Candidate, split.WeightBP, all.Epoch = r1.Name, r2.Name, 1000, split.Epoch+1
	for _, a := range []rollout.Action{
		rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.PromoteRevision{Revision: r1},
		rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: split}, rollout.SetRouting{Routing: all}, rollout.PromoteRevision{Revision: r2},
	} {
		w.apply(a)
		w.tidyUp()
	}
	for _, r := range []rollout.Revision{r1, r2} {
		var s corev1.Service
		if err := w.get(r.Name, &s); err != nil || s.Spec.PublishNotReadyAddresses {
			t.Errorf("%s publishes what is not ready (%v), want that production and the old version do not", r.Name, err)
		}
	}
	if len(*told) > 0 {
		t.Errorf("told %q of Serin's own writes", *told)
	}
}

// TestWhatTheAPIServerInsistsOnIsNotFought: where an admission webhook adds something to
// every write, what is asked for is not what is answered: it is told once, then taken.
func TestWhatTheAPIServerInsistsOnIsNotFought(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1})
	w.tidyUp()
	writes := 0
	w.platform.api = interceptor.NewClient(w.api.(client.WithWatch), interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		writes++
		err := c.Patch(ctx, o, p, opts...)
		if d, ok := o.(*appsv1.Deployment); ok && err == nil && d.Spec.Template.Spec.PriorityClassName == "" {
			d.Spec.Template.Spec.PriorityClassName = "insisted"
			err = c.Update(ctx, d)
		}
		return err
	}})
	var d appsv1.Deployment
	if err := w.get(r1.Name, &d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.Containers[1].Image, d.Spec.Template.Spec.PriorityClassName = "other", "insisted"
	if err := w.api.Update(t.Context(), &d, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	told := w.listening()
	for range 5 {
		w.tidyUp()
	}
	if err := w.get(r1.Name, &d); err != nil {
		t.Fatal(err)
	}
	if got := d.Spec.Template.Spec; got.Containers[1].Image == "other" || got.PriorityClassName != "insisted" {
		t.Errorf("image %q, class %q: want the image put back, and the class that the API server insists on", got.Containers[1].Image, got.PriorityClassName)
	}
	if len(*told) != 1 || !strings.Contains((*told)[0], `.spec.template.spec.containers[name="scorer"].image`) || writes != 2 {
		t.Errorf("%d writes, told %q; want two, and one line that names the field", writes, *told)
	}
}

// TestAChangedWayOfDefaultingIsNoEdit: another Kubernetes fills in a field that was not
// there: nothing is told, and nothing is written again and again.
func TestAChangedWayOfDefaultingIsNoEdit(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1})
	w.tidyUp()
	var d appsv1.Deployment
	if err := w.get(r1.Name, &d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.SchedulerName = "filled-in"
	if err := w.api.Update(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	writes := 0
	w.platform.api = interceptor.NewClient(w.api.(client.WithWatch), interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		writes++
		if d, ok := o.(*appsv1.Deployment); ok {
			d.Spec.Template.Spec.SchedulerName = "filled-in"
		}
		return c.Patch(ctx, o, p, opts...)
	}})
	told := w.listening()
	for range 5 {
		w.tidyUp()
	}
	if len(*told) > 0 || writes != 2 {
		t.Errorf("%d writes, told %q; want two, and not a word", writes, *told)
	}
}
