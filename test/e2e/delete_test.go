package e2e_test

import (
	"context"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
)

// TestDeletedAtHalf (F8): the endpoint is deleted while half of its requests go to a
// candidate. All go to stable first, then the routes go, then the scorers: no client
// sees a failure but that there is no route any more.
func TestDeletedAtHalf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "delete")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.traffic(50)
	defer stop()
	w.apply(plan{Version: "v2", Steps: "{weight: 50%, minDuration: 10m}, {weight: 100%}"})
	w.await("half on the candidate", 2*time.Minute, func(s engine.Status) bool { return s.Weights.InForceBP == 5000 })
	time.Sleep(2 * time.Second)
	e := &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.name}}
	if err := mesh.api.Delete(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	routesGone := w.gone("the routes", &istio.VirtualService{})
	endpointGone := w.gone("the endpoint", &v1alpha1.ScoringEndpoint{})
	all := stop()
	unrouted, failed := 0, 0
	var lastCandidate time.Time
	for _, a := range all {
		switch {
		case a.revision() == w.name+"-r2" && a.at.After(lastCandidate):
			lastCandidate = a.at
		case !a.failed():
		case a.status == 404 && a.at.After(deleted): // the gateway's own: no route
			unrouted++
		default:
			failed++
			t.Errorf("%s after the deletion: %+v", a.at.Sub(deleted), a)
		}
	}
	if unrouted == 0 || lastCandidate.IsZero() {
		t.Errorf("%d requests without a route, last to the candidate %v: the test saw nothing", unrouted, lastCandidate)
	}
	if lastCandidate.After(routesGone) {
		t.Errorf("a request went to the candidate %s after the routes were removed", lastCandidate.Sub(routesGone))
	}
	t.Logf("%d requests, %d failed, %d found no route; last to the candidate %.1f s, routes gone %.1f s, endpoint gone %.1f s after the deletion",
		len(all), failed, unrouted, lastCandidate.Sub(deleted).Seconds(), routesGone.Sub(deleted).Seconds(), endpointGone.Sub(deleted).Seconds())
}

// gone waits until an object of the endpoint's name is no more, and says when.
func (w *world) gone(what string, o client.Object) time.Time {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 90*time.Second)
	defer cancel()
	for {
		if err := mesh.api.Get(ctx, w.key(), o); apierrors.IsNotFound(err) {
			return time.Now()
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: still there after 90 s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
