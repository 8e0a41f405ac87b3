package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

// loads is what scorers are said to use: the resource metrics API, which the cluster's
// own autoscaling controller asks, served from here.
type loads struct {
	mu       sync.Mutex
	millicpu map[string]int // of each scorer, by revision
	asked    int
}

func (l *loads) set(revision string, millicpu int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.millicpu[revision] = millicpu
}

func (l *loads) of(revision string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.millicpu[revision]
}

const metricsAPI = "/apis/metrics.k8s.io/v1beta1"

func (l *loads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch {
	case r.URL.Path == metricsAPI:
		answer = metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "metrics.k8s.io/v1beta1", APIResources: []metav1.APIResource{
			{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: metav1.Verbs{"get", "list"}},
		}}
	case strings.HasPrefix(r.URL.Path, metricsAPI+"/namespaces/") && strings.HasSuffix(r.URL.Path, "/pods"):
		items, err := l.list(r.Context(), strings.Split(strings.TrimPrefix(r.URL.Path, metricsAPI+"/namespaces/"), "/")[0], r.URL.Query().Get("labelSelector"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer = map[string]any{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{}, "items": items}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who asked may have gone
}

func (l *loads) list(ctx context.Context, in, selector string) (items []any, err error) {
	which, err := labels.Parse(selector)
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := mesh.api.List(ctx, &pods, client.InNamespace(in), client.MatchingLabelsSelector{Selector: which}); err != nil {
		return nil, err
	}
	items = []any{}
	for _, p := range pods.Items {
		use := fmt.Sprintf("%dm", l.of(p.Labels[kube.LabelRevision]))
		items = append(items, map[string]any{
			"metadata": map[string]any{"name": p.Name, "namespace": p.Namespace, "labels": p.Labels}, "timestamp": time.Now().UTC().Format(time.RFC3339), "window": "1s",
			"containers": []any{map[string]any{"name": "scorer", "usage": map[string]any{"cpu": use, "memory": "64Mi"}}},
		})
	}
	return items, nil
}

// registered tells the API server where resource metrics come from.
const registered = `apiVersion: v1
kind: Service
metadata: {name: e2e-metrics, namespace: kube-system}
spec: {ports: [{port: 443, targetPort: PORT}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e2e-metrics, namespace: kube-system, labels: {kubernetes.io/service-name: e2e-metrics}}
addressType: IPv4
ports: [{name: "", port: PORT, protocol: TCP}]
endpoints: [{addresses: [HOST], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: e2e-metrics, namespace: kube-system}
`

// serveLoads is the metrics API until the test ends. A cluster that has one of its own
// keeps it, and the test is skipped.
func serveLoads(t *testing.T) *loads {
	t.Helper()
	api := &unstructured.Unstructured{}
	api.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"})
	api.SetName("v1beta1.metrics.k8s.io")
	if err := mesh.api.Get(t.Context(), client.ObjectKeyFromObject(api), api); err == nil {
		if name, _, _ := unstructured.NestedString(api.Object, "spec", "service", "name"); name != "e2e-metrics" {
			t.Skip("this cluster has a metrics server of its own: its loads cannot be chosen")
		}
	}
	if mesh.HostIP == "" {
		t.Skip("the pods of this cluster have no way to this machine")
	}
	cert, key := selfSigned(t, "e2e-metrics.kube-system.svc")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(mesh.HostIP, "0"))
	if err != nil {
		t.Fatal(err)
	}
	l := &loads{millicpu: map[string]int{}}
	s := &http.Server{Handler: l, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.ServeTLS(ln, "", "") }() // until Close
	t.Cleanup(func() {
		_ = mesh.api.Delete(context.WithoutCancel(t.Context()), api)
		s.Close()
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if err := mesh.Apply(t.Context(), []byte(strings.NewReplacer("PORT", port, "HOST", mesh.HostIP).Replace(registered))); err != nil {
		t.Fatal(err)
	}
	return l
}

func (w *world) autoscaler(revision string) (h autoscalingv2.HorizontalPodAutoscaler) {
	w.t.Helper()
	if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: revision}, &h); err != nil {
		w.t.Fatal(err)
	}
	return h
}

// atFloor reports that the autoscaler would go lower and may not.
func atFloor(h autoscalingv2.HorizontalPodAutoscaler) bool {
	for _, c := range h.Status.Conditions {
		if c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue && c.Reason == "TooFewReplicas" {
			return true
		}
	}
	return false
}

// eager takes away what makes an autoscaler wait before it shrinks, as a person would.
func (w *world) eager(revision string) {
	w.t.Helper()
	h := w.autoscaler(revision)
	patch := []byte(`{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":0}}}}`)
	if err := mesh.api.Patch(w.t.Context(), &h, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner("a-person")); err != nil {
		w.t.Fatal(err)
	}
}

// TestF12AutoscalerOnTheMesh: Kubernetes' own autoscaler runs each revision. The candidate
// is scaled up while it has weight, and no client meets a pod that is not up. While it has
// most of the traffic stable's load falls to nothing, and still it keeps the pods that it
// had, so that an abort finds them (peers §4.3, no. 7); afterwards it shrinks. Serin writes
// no replicas.
func TestF12AutoscalerOnTheMesh(t *testing.T) {
	t.Parallel()
	const idle, busy = 10, 1000 // of the 20m that a scorer asks for
	l := serveLoads(t)
	l.set("scaled-r1", busy)
	l.set("scaled-r2", idle)
	p := plan{Version: "v1", Scaling: "{min: 1, max: 3, cpu: 50%}", Template: "{resources: {requests: {cpu: 20m}}}"}
	w, quiet := begin(t, "scaled", 60, p)
	w.await("three pods of stable", 3*time.Minute, func(s engine.Status) bool { return s.Stable.ReadyReplicas == 3 })
	p.Version, p.Steps = "v2", "{weight: 10%, minDuration: 2s}, {weight: 70%, minDuration: 10m}, {weight: 100%}"
	w.apply(p)
	if st := w.awaitWeight("v2", 1000); st.Candidate.ReadyReplicas != 1 {
		t.Errorf("10 %% of the traffic goes to %d pods, want one: nothing would be scaled up under weight", st.Candidate.ReadyReplicas)
	}
	l.set("scaled-r2", busy)
	st := w.awaitWeight("v2", 7000)
	if n := st.Candidate.ReadyReplicas; n < 3 {
		t.Errorf("70 %% of the traffic goes to %d pods, stable has 3; want as many", n)
	}
	w.eager("scaled-r1")
	l.set("scaled-r1", 0)
	w.await("stable's autoscaler at its floor", 2*time.Minute, func(engine.Status) bool { return atFloor(w.autoscaler("scaled-r1")) })
	if st, _ := w.status(); st.Stable.ReadyReplicas != 3 {
		t.Errorf("stable has %d pods while the candidate has most of the traffic, want the 3 that it had", st.Stable.ReadyReplicas)
	}
	w.notWritten("scaled-r1", "scaled-r2")
	w.abort(st)
	ended := w.awaitOutcome("v2", "Aborted", time.Minute)
	w.onlyTo("scaled-r1", ended)
	w.await("stable shrunk once it may", 2*time.Minute, func(s engine.Status) bool { return s.Stable.WantReplicas == 1 })
	w.notWritten("scaled-r1")
	quiet()
}

// notWritten demands that Serin owns no replicas of these revisions.
func (w *world) notWritten(revisions ...string) {
	w.t.Helper()
	for _, name := range revisions {
		var d appsv1.Deployment
		if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &d); err != nil {
			w.t.Fatal(err)
		}
		seen := false
		for _, f := range d.ManagedFields {
			text, err := json.Marshal(f.FieldsV1)
			if err != nil {
				w.t.Fatal(err)
			}
			seen = seen || f.Manager == kube.FieldManager
			if f.Manager == kube.FieldManager && strings.Contains(string(text), `"f:replicas"`) && f.Subresource != "status" {
				w.t.Errorf("%s owns the replicas of %s, which its autoscaler decides", f.Manager, name)
			}
		}
		if !seen {
			w.t.Errorf("%s has no fields of %s: what was looked at?", name, kube.FieldManager)
		}
	}
}
