package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// neighbour changes the selector of a Service of its own about fifty times a second,
// for at most a minute: the mesh's control plane is never quiet, and holds every
// change back for as long as it may (ten seconds). It returns how to end it.
func neighbour(t *testing.T) (stop func() (flips int)) {
	t.Helper()
	rc := mesh.RequestConfig()
	rc.QPS = -1 // as fast as asked for
	api, err := client.New(rc, client.Options{Scheme: mesh.api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	svc := &corev1.Service{}
	svc.Namespace, svc.Name = "default", "neighbour"
	svc.Spec.Selector = map[string]string{"app": "neighbour"}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	if err := api.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), svc) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	flips := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			patch := fmt.Appendf(nil, `{"spec":{"selector":{"flip":"%d"}}}`, flips%2)
			if err := api.Patch(ctx, svc.DeepCopy(), client.RawPatch("application/merge-patch+json", patch)); err == nil {
				flips++
			}
		}
	})
	return sync.OnceValue(func() int {
		cancel()
		wait.Wait()
		return flips
	})
}

// TestBusyNeighbour: while routes take up to ten seconds to come into force, a
// candidate that answers nothing but errors costs no more than on a quiet mesh: its
// recorder hands over before the routes are written.
func TestBusyNeighbour(t *testing.T) {
	for fallback, most := range map[string]int{"Stable": 0, "None": 40} {
		t.Run(fallback, func(t *testing.T) {
			w := newWorld(t, "busy-"+strings.ToLower(fallback))
			w.apply(plan{Version: "v1"})
			w.awaitStable("v1")
			stop := w.traffic(100)
			defer stop()
			quiet, began := neighbour(t), time.Now()
			defer quiet()
			w.apply(plan{Version: "broken", Fallback: fallback})
			st := w.awaitOutcome("broken", "Reverted", 50*time.Second)
			decided := st.Rollout.Decision.At
			time.Sleep(12 * time.Second) // the routes follow
			flips, lasted := quiet(), time.Since(began)
			all := stop()
			bad := failures(all)
			if len(bad) > most {
				t.Errorf("%d of %d requests failed, want at most %d; the last: %+v", len(bad), len(all), most, bad[len(bad)-1])
			}
			lastBad := time.Duration(0)
			for _, a := range bad {
				lastBad = max(lastBad, a.at.Sub(decided))
			}
			last := lastTo(w.name+"-r2", all).Sub(decided)
			t.Logf("%s: %d requests, %d failed, the last of these %s after the verdict; the last one routed to the candidate %s after it; %.0f changes a second by the neighbour",
				st.Rollout.Decision.Reason, len(all), len(bad), lastBad.Round(time.Millisecond), max(last, 0).Round(time.Millisecond), float64(flips)/lasted.Seconds())
		})
	}
}
