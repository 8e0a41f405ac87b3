package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	k8sclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

// meddler does to the objects of one endpoint what somebody else might.
type meddler struct {
	t         *testing.T
	c         *cluster.Cluster
	api       k8sclient.Client
	namespace string
}

// TestWhatSomebodyDoesToARevisionIsPutBack: each object of a revision that somebody deletes
// or edits is back at once, with an Event that names it; restarts and replicas are left
// alone, and so is an autoscaler's work. With the chart's rights.
func TestWhatSomebodyDoesToARevisionIsPutBack(t *testing.T) {
	c := guarded(t)
	istioKinds(t, c)
	namespaces(t, c, "serin-system", "meddled")
	controllerRights(t, c)
	m := meddler{t, c, typed(t, c.RequestConfig()), "meddled"}
	w := &place{api: m.api, name: m.namespace}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.kubelet(ctx) })
	t.Cleanup(func() { stop(); done.Wait() })
	t.Cleanup(func() { m.end("fixed", "auto") })
	m.apply("fixed", "{replicas: 2}")
	m.apply("auto", "{min: 1, max: 3}")

	t.Run("while a controller leads", func(t *testing.T) {
		m := m
		m.t = t
		runController(t, c, &used{rights: map[string]bool{}})
		m.serves("fixed")
		m.serves("auto")
		m.noted("fixed-r1")
		m.noted("auto-r1")
		for _, name := range []string{"fixed-r1", "auto-r1"} {
			m.deleted(&corev1.Service{}, "Service", name)
			m.deleted(&appsv1.Deployment{}, "Deployment", name)
			m.noted(name)
			m.edited(name)
		}
		m.deleted(&autoscalingv2.HorizontalPodAutoscaler{}, "HorizontalPodAutoscaler", "auto-r1")
		m.serviceEdited("fixed-r1")
		m.unlabelled("fixed-r1")
		m.restarted("fixed-r1")
		m.scaled()
	})
	m.editedWhileNobodyLeads()
}

func (m meddler) apply(name, scaling string) {
	m.t.Helper()
	text := fmt.Sprintf("apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: %s, namespace: %s}\nspec:\n  scorer: {version: \"1\", image: %q, env: [{name: MODEL_NAME, value: driver}]}\n  scaling: %s\n  rollout: {steps: [{weight: 100%%}], warmup: 0s}\n", name, m.namespace, readyImage, scaling)
	if err := m.c.Apply(m.t.Context(), []byte(text)); err != nil {
		m.t.Fatal(err)
	}
}

// end lets the endpoints go without a controller.
func (m meddler) end(names ...string) {
	for _, name := range names {
		e := &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: m.namespace, Name: name}}
		free := k8sclient.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
		_, _ = m.api.Patch(context.Background(), e, free), m.api.Delete(context.Background(), e)
	}
}

func (m meddler) until(what string, is func() bool) time.Duration {
	m.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) { return is(), nil }); err != nil {
		m.t.Fatalf("waiting until %s: %v", what, err)
	}
	return time.Since(began)
}

func (m meddler) get(name string, o k8sclient.Object) error {
	return m.api.Get(m.t.Context(), k8sclient.ObjectKey{Namespace: m.namespace, Name: name}, o)
}

func (m meddler) serves(name string) {
	m.t.Helper()
	m.until(name+" serves", func() bool {
		var e v1alpha1.ScoringEndpoint
		return m.get(name, &e) == nil && e.Status.Stable != nil && e.Status.Stable.Ready
	})
}

// noted waits until the controller has written down how a Deployment was made.
func (m meddler) noted(name string) {
	m.t.Helper()
	m.until(name+" is noted as made", func() bool {
		var d appsv1.Deployment
		return m.get(name, &d) == nil && d.Annotations[kube.AnnotationMadeAs] != ""
	})
}

// events waits until n Events of an endpoint say all of parts, and holds that no more do.
func (m meddler) events(revision, reason string, n int, parts ...string) {
	m.t.Helper()
	endpoint, seen := strings.TrimSuffix(revision, "-r1"), 0
	var last []string
	m.until(fmt.Sprintf("%d events of %s say %q", n, endpoint, parts), func() bool {
		var list corev1.EventList
		if m.api.List(m.t.Context(), &list, k8sclient.InNamespace(m.namespace)) != nil {
			return false
		}
		seen, last = 0, nil
		for _, e := range list.Items {
			if e.InvolvedObject.Name == endpoint && e.Reason == reason {
				last = append(last, e.Message)
			}
			if e.InvolvedObject.Name == endpoint && e.InvolvedObject.Kind == "ScoringEndpoint" && e.InvolvedObject.UID != "" && e.Reason == reason && e.Type == "Warning" && tells(e, parts) {
				seen += int(max(e.Count, 1))
			}
		}
		return seen >= n
	})
	if seen > n {
		m.t.Errorf("%d events of %s say %q, want %d: %q", seen, endpoint, parts, n, last)
	}
}

func (m meddler) deleted(o k8sclient.Object, kind, name string) {
	m.t.Helper()
	if err := m.get(name, o); err != nil {
		m.t.Fatal(err)
	}
	was := o.GetUID()
	if err := m.api.Delete(m.t.Context(), o, k8sclient.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		m.t.Fatal(err)
	}
	took := m.until(kind+" "+name+" is made again", func() bool { return m.get(name, o) == nil && o.GetUID() != was })
	m.t.Logf("%s %s: made again after %s", kind, name, took.Round(time.Millisecond))
	m.events(name, "PutBack", 1, kind+` "`+name+`" was deleted by somebody else: it is made again`)
}

// edited changes, adds and takes away, as kubectl edit would.
func (m meddler) edited(name string) {
	m.t.Helper()
	var was, is appsv1.Deployment
	if err := m.get(name, &was); err != nil {
		m.t.Fatal(err)
	}
	edits := map[string]func(*appsv1.Deployment){
		"another image": func(d *appsv1.Deployment) { scorerOf(d).Image = "registry.example.com/other:1" },
		"one more env": func(d *appsv1.Deployment) {
			scorerOf(d).Env = append(scorerOf(d).Env, corev1.EnvVar{Name: "X", Value: "1"})
		},
		"one env less": func(d *appsv1.Deployment) { scorerOf(d).Env = scorerOf(d).Env[1:] },
		"another sidecar": func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "more", Image: "more"})
		},
		"no injection": func(d *appsv1.Deployment) {
			metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "sidecar.istio.io/inject", "false")
		},
		"paused": func(d *appsv1.Deployment) { d.Spec.Paused = true },
	}
	for what, edit := range edits {
		took := m.change(name, edit)
		took += m.until(what+" is put back", func() bool { return m.get(name, &is) == nil && cmp.Equal(was.Spec, is.Spec) })
		m.t.Logf("%s, %s: put back after %s", name, what, took.Round(time.Millisecond))
	}
	m.events(name, "PutBack", len(edits), `Deployment "`+name+`" was edited`, "spec.scorer")
	m.events(name, "PutBack", 1, `by kubectl-edit: .spec.template.spec.containers[name="scorer"].image)`)
}

func scorerOf(d *appsv1.Deployment) *corev1.Container {
	for i := range d.Spec.Template.Spec.Containers {
		if c := &d.Spec.Template.Spec.Containers[i]; c.Name == "scorer" {
			return c
		}
	}
	return nil
}

// change edits a Deployment until nobody else wrote in between.
func (m meddler) change(name string, edit func(*appsv1.Deployment)) time.Duration {
	m.t.Helper()
	return m.until(name+" is edited", func() bool {
		var d appsv1.Deployment
		if err := m.get(name, &d); err != nil {
			m.t.Fatal(err)
		}
		edit(&d)
		err := m.api.Update(m.t.Context(), &d, k8sclient.FieldOwner("kubectl-edit"))
		if err != nil && !apierrors.IsConflict(err) {
			m.t.Fatal(err)
		}
		return err == nil
	})
}

func (m meddler) serviceEdited(name string) {
	m.t.Helper()
	var s corev1.Service
	if err := m.get(name, &s); err != nil {
		m.t.Fatal(err)
	}
	was := s.DeepCopy()
	s.Spec.Selector = map[string]string{"app": "elsewhere"}
	if err := m.api.Update(m.t.Context(), &s, k8sclient.FieldOwner("kubectl-edit")); err != nil {
		m.t.Fatal(err)
	}
	took := m.until("the selector is put back", func() bool { return m.get(name, &s) == nil && cmp.Equal(was.Spec, s.Spec) })
	m.t.Logf("Service %s: put back after %s", name, took.Round(time.Millisecond))
	m.events(name, "PutBack", 1, `Service "`+name+`" was not as Serin made it (by kubectl-edit)`)
}

// unlabelled: without its label the controller does not see a Deployment any more.
func (m meddler) unlabelled(name string) {
	m.t.Helper()
	for _, label := range []string{kube.LabelEndpoint, kube.LabelRevision} {
		m.change(name, func(d *appsv1.Deployment) { delete(d.Labels, label) })
		m.until("the label "+label+" is put back", func() bool {
			var d appsv1.Deployment
			return m.get(name, &d) == nil && d.Labels[label] != ""
		})
	}
}

// restarted: kubectl rollout restart starts the same version anew, which is nobody's harm.
func (m meddler) restarted(name string) {
	m.t.Helper()
	const at = "kubectl.kubernetes.io/restartedAt"
	m.change(name, func(d *appsv1.Deployment) {
		metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, at, "2026-11-25T12:00:00Z")
	})
	// What comes after it is put back, and it stays.
	m.change(name, func(d *appsv1.Deployment) { scorerOf(d).Image = "registry.example.com/other:2" })
	var d appsv1.Deployment
	m.until("the edit after a restart is put back", func() bool { return m.get(name, &d) == nil && scorerOf(&d).Image == readyImage })
	if d.Spec.Template.Annotations[at] == "" {
		m.t.Error("a restart was taken back")
	}
}

// scaled: replicas of a Deployment stay as somebody scaled them, and are told of where no
// autoscaler owns them.
func (m meddler) scaled() {
	m.t.Helper()
	for _, name := range []string{"fixed-r1", "auto-r1"} {
		m.change(name, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) })
		m.change(name, func(d *appsv1.Deployment) { scorerOf(d).Image = "registry.example.com/other:3" })
		var d appsv1.Deployment
		m.until("the edit after scaling is put back", func() bool { return m.get(name, &d) == nil && scorerOf(&d).Image == readyImage })
		if *d.Spec.Replicas != 3 {
			m.t.Errorf("%s has %d replicas, want the 3 that somebody set", name, *d.Spec.Replicas)
		}
	}
	m.events("fixed-r1", "ReplicasChanged", 1, `"fixed-r1" has 3 replicas, spec.scaling says 2`)
	m.events("auto-r1", "ReplicasChanged", 0)
}

// editedWhileNobodyLeads is seen by the next leader, and a Deployment that went meanwhile
// is made again.
func (m meddler) editedWhileNobodyLeads() {
	m.t.Helper()
	m.change("auto-r1", func(d *appsv1.Deployment) { scorerOf(d).Image = "registry.example.com/other:4" })
	gone := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: m.namespace, Name: "fixed-r1"}}
	if err := m.api.Delete(m.t.Context(), gone); err != nil {
		m.t.Fatal(err)
	}
	m.t.Run("a controller that begins to lead", func(t *testing.T) {
		m := m
		m.t = t
		runController(t, m.c, &used{rights: map[string]bool{}})
		var d appsv1.Deployment
		m.until("the edit is put back", func() bool { return m.get("auto-r1", &d) == nil && scorerOf(&d).Image == readyImage })
		m.until("production is made again", func() bool { return m.get("fixed-r1", &d) == nil })
		m.events("fixed-r1", "PutBack", 1, `Deployment "fixed-r1", which is production, was gone when this controller began to lead`)

	})

}
