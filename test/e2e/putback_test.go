package e2e_test

import (
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

// readyPods are those of a revision that are ready, by uid.
func (w *world) readyPods(revision string) map[types.UID]bool {
	w.t.Helper()
	var list corev1.PodList
	if err := mesh.api.List(w.t.Context(), &list, client.InNamespace(w.namespace), client.MatchingLabels{kube.LabelRevision: revision}); err != nil {
		w.t.Fatal(err)
	}
	out := map[types.UID]bool{}
	for i := range list.Items {
		for _, c := range list.Items[i].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && list.Items[i].DeletionTimestamp == nil {
				out[list.Items[i].UID] = true
			}
		}
	}
	return out
}

// takeAway deletes an object of a revision, and waits until it is there again.
func (w *world) takeAway(o client.Object, name string) {
	w.t.Helper()
	key := client.ObjectKey{Namespace: w.namespace, Name: name}
	if err := mesh.api.Get(w.t.Context(), key, o); err != nil {
		w.t.Fatal(err)
	}
	was, began := o.GetUID(), time.Now()
	if err := mesh.api.Delete(w.t.Context(), o, client.PropagationPolicy("Background")); err != nil {
		w.t.Fatal(err)
	}
	w.until(name+" is made again", func() bool { return mesh.api.Get(w.t.Context(), key, o) == nil && o.GetUID() != was })
	w.t.Logf("%T %s: made again after %s", o, name, time.Since(began).Round(time.Millisecond))
}

// editImage gives a revision an image that does not exist, and waits until it is put back.
func (w *world) editImage(name string) {
	w.t.Helper()
	var d appsv1.Deployment
	key, began := client.ObjectKey{Namespace: w.namespace, Name: name}, time.Now()
	w.until(name+" is edited", func() bool {
		if err := mesh.api.Get(w.t.Context(), key, &d); err != nil {
			w.t.Fatal(err)
		}
		for i := range d.Spec.Template.Spec.Containers {
			d.Spec.Template.Spec.Containers[i].Image = "registry.invalid/other:1"
		}
		return mesh.api.Update(w.t.Context(), &d, client.FieldOwner("kubectl-edit")) == nil
	})
	w.until(name+" is put back", func() bool {
		return mesh.api.Get(w.t.Context(), key, &d) == nil && d.Spec.Template.Spec.Containers[0].Image != "registry.invalid/other:1"
	})
	w.t.Logf("Deployment %s: put back after %s", name, time.Since(began).Round(time.Millisecond))
}

// failedSince is how many requests failed from a time on, and for how long.
func failedSince(all []answer, from time.Time) (n int, last time.Duration) {
	for _, a := range failures(all) {
		if !a.at.Before(from) {
			n, last = n+1, max(last, a.at.Sub(from))
		}
	}
	return n, last
}

// TestRevisionsArePutBackUnderTraffic: somebody edits and deletes what runs, production
// and candidate, at 10 % and 100 requests a second. An edit costs no request and no pod, a
// candidate that is deleted no request. A Service may be missed for a moment, and production
// without pods fails until new ones are ready: nobody stands behind it.
func TestRevisionsArePutBackUnderTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "putback")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(100)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{weight: 10%, minDuration: 10m}, {weight: 100%}"})
	w.awaitStep("v2", 0)
	const r1, r2 = "putback-r1", "putback-r2"
	settled := func(what string, from time.Time, most time.Duration) {
		t.Helper()
		time.Sleep(3 * time.Second) // of traffic, and what it does is seen
		w.await(what+": both serve", time.Minute, func(s engine.Status) bool {
			return s.Weights.InForceBP == 1000 && s.Stable.Ready && s.Candidate != nil && s.Candidate.Ready
		})
		time.Sleep(time.Second) // of traffic
		n, last := failedSince(w.answers(), from)
		t.Logf("%s: %d requests failed, the last after %s", what, n, last.Round(10*time.Millisecond))
		if last > most {
			t.Errorf("%s: %d requests failed for %s, want at most %s", what, n, last, most)
		}
	}
	for _, name := range []string{r1, r2} {
		before, from := w.readyPods(name), time.Now()
		w.editImage(name)
		settled("an edit of "+name, from, 0)
		if after := w.readyPods(name); !maps.Equal(before, after) {
			t.Errorf("%s: pods %v became %v", name, before, after)
		}
	}
	for _, x := range []struct {
		what, name string
		o          client.Object
		most       time.Duration
	}{
		{"the candidate's Deployment", r2, &appsv1.Deployment{}, 0}, {"the candidate's Service", r2, &corev1.Service{}, 5 * time.Second},
		{"production's Service", r1, &corev1.Service{}, 5 * time.Second}, {"production's Deployment", r1, &appsv1.Deployment{}, 30 * time.Second},
	} {
		from := time.Now()
		w.takeAway(x.o, x.name)
		settled(x.what, from, x.most)
	}
	t.Logf("%d requests in all", len(stop()))
}
