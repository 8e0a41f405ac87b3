package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/engine"
)

// slowController holds back for a minute all that the recorders of one endpoint say,
// and what the controller says to them.
const slowController = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: slow-controller, namespace: abtesting}
spec:
  hosts: [serin-recorder.serin-system.svc.cluster.local]
  exportTo: ["."]
  http:
  - match: [{sourceLabels: {app: pressure}}]
    fault: {delay: {fixedDelay: 60s, percentage: {value: 100}}}
    route: [{destination: {host: serin-recorder.serin-system.svc.cluster.local, port: {number: 9002}}}]
  - route: [{destination: {host: serin-recorder.serin-system.svc.cluster.local, port: {number: 9002}}}]
`

// recorderMetric sums a number over the recorders of a revision.
func (w *world) recorderMetric(revision, name string) (sum float64) {
	w.t.Helper()
	for _, p := range w.pods(revision) {
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + p.Status.PodIP + ":8081/metrics")
		if err != nil {
			w.t.Fatalf("metrics of %s: %v", p.Name, err)
		}
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var v float64
			if n, _ := fmt.Sscanf(lines.Text(), name+" %g", &v); n == 1 {
				sum += v
			}
		}
		resp.Body.Close()
	}
	return sum
}

// quantile of how long answers took, in a span of time.
func quantile(all []answer, q float64, from, to time.Time) time.Duration {
	var took []time.Duration
	for _, a := range all {
		if a.at.After(from) && a.at.Before(to) {
			took = append(took, a.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(q*float64(len(took)-1))]
}

// TestPromise10PressureOnRecording: answers of 1,000 scores, and a controller that takes a
// minute over every report. The recorders' memory fills to its bound, then they drop
// and count; requests go on as if nothing was, and when the controller is back so does
// the rollout.
func TestPromise10PressureOnRecording(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "pressure", 60, acting("v1", "huge"))
	p := acting("v2", "huge")
	p.Steps = "{shadow: 100%, minDuration: 10m}, {weight: 100%}"
	w.apply(p)
	w.awaitStep("v2", 0)
	w.await("pairs", time.Minute, func(s engine.Status) bool { return s.Rollout.Evidence.Pairs > 100 })
	slow := &istio.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "slow-controller"}}
	t.Cleanup(func() { _ = mesh.api.Delete(context.WithoutCancel(t.Context()), slow) })
	before, began := w.answers(), time.Now()
	if err := mesh.Apply(t.Context(), []byte(slowController)); err != nil {
		t.Fatal(err)
	}
	const dropped, held = "serin_recorder_frames_dropped_total", "serin_recorder_frames_waiting_bytes"
	most := 0.0
	for deadline := time.Now().Add(90 * time.Second); w.recorderMetric("pressure-r2", dropped) == 0 || time.Since(began) < 20*time.Second; time.Sleep(500 * time.Millisecond) {
		most = max(most, w.recorderMetric("pressure-r1", held), w.recorderMetric("pressure-r2", held))
		if time.Now().After(deadline) {
			t.Fatalf("nothing was dropped in 90 s; at most %.0f bytes were held", most)
		}
	}
	if bound := 16.0 * (1 << 20); most > bound {
		t.Errorf("%.0f bytes were held, want at most %.0f", most, bound)
	}
	under := time.Now()
	if err := mesh.api.Delete(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	lost := w.recorderMetric("pressure-r2", dropped)
	at := w.await("pairs again", 3*time.Minute, func(s engine.Status) bool { return w.recorderMetric("pressure-r2", held) < 1<<20 }).Rollout.Evidence.Pairs
	st := w.await("more of them", time.Minute, func(s engine.Status) bool { return s.Rollout.Evidence.Pairs > at })
	w.abort(st)
	all := quiet()
	t.Logf("%.0f answers dropped and counted, at most %.1f MB held; p99 %s before, %s under pressure", lost, most/(1<<20),
		quantile(all, .99, before[0].at, began).Round(time.Millisecond), quantile(all, .99, began, under).Round(time.Millisecond))
}
