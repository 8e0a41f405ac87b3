package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/kube"
)

// stranger is a pod of a namespace that has nothing to do with Serin, in the mesh or
// outside of it, with a token of the audience that recorders use.
const stranger = `apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {istio-injection: INJECT}}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: NAME, labels: {app: stranger}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: actor
    image: IMAGE
    readinessProbe: {httpGet: {path: /readyz, port: 5001}, periodSeconds: 1}
    volumeMounts: [{name: token, mountPath: /token}]
  volumes:
  - name: token
    projected: {sources: [{serviceAccountToken: {audience: serin-controller, expirationSeconds: 3600, path: token}}]}
`

func newStranger(t *testing.T, name, inject string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = name, "stranger"
	t.Cleanup(func() { _ = mesh.api.Delete(context.WithoutCancel(t.Context()), pod.DeepCopy()) })
	text := strings.NewReplacer("NAME", name, "INJECT", inject, "IMAGE", mesh.scorer["actor"]).Replace(stranger)
	_ = mesh.api.Delete(t.Context(), pod.DeepCopy(), client.GracePeriodSeconds(0)) // of a run that was killed, with an older image
	deadline := time.Now().Add(time.Minute)
	for err := mesh.Apply(t.Context(), []byte(text)); err != nil; err = mesh.Apply(t.Context(), []byte(text)) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	for ; ; time.Sleep(200 * time.Millisecond) {
		if err := mesh.api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			t.Fatal(err)
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				return pod
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s/stranger is not ready: %+v", name, pod.Status.ContainerStatuses)
		}
	}
}

// TestStrangersCannotReachTheControllersEvidence: the port of access logs is the
// ingress gateway's alone; that of recorders asks for the mesh's identity and for a
// token of the pod that is spoken for. Health and metrics are open.
func TestStrangersCannotReachTheControllersEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "private")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	inside, outside := newStranger(t, "e2e-inside", "enabled"), newStranger(t, "e2e-outside", "disabled")
	leader := leaderPod(t)
	logs, recorders := "http://serin-als.serin-system.svc:9001/", "http://serin-recorder.serin-system.svc:9002"
	orders := recorders + "/v1/orders?namespace=abtesting&endpoint=private&revision=private-r1&pod=" + w.pods("private-r1")[0].Name
	frames := fmt.Sprintf(`{"namespace":"abtesting","endpoint":"private","revision":"private-r1","pod":%q,"boot":"x","seq":1}`, w.pods("private-r1")[0].Name)
	direct := "http://" + leader.Status.PodIP
	for _, c := range []struct {
		name         string
		from         *corev1.Pod
		method, url  string
		body         string
		token        bool
		status       int // 0: no answer at all
		wantInAnswer string
	}{
		{"in the mesh, access logs", inside, http.MethodPost, logs, "", false, http.StatusForbidden, "RBAC: access denied"},
		// By a pod's address the mesh does not know whom it calls, so it sends no certificate.
		{"in the mesh, access logs, past the Service", inside, http.MethodPost, direct + ":9001/", "", false, http.StatusServiceUnavailable, "upstream connect error"},
		{"in the mesh, orders without a token", inside, http.MethodGet, orders, "", false, http.StatusUnauthorized, "token"},
		{"in the mesh, orders with its own token", inside, http.MethodGet, orders, "", true, http.StatusForbidden, "the token is of pod \"stranger\""},
		{"in the mesh, frames without a token", inside, http.MethodPost, recorders + "/v1/frames", frames, false, http.StatusUnauthorized, "token"},
		{"in the mesh, frames with its own token", inside, http.MethodPost, recorders + "/v1/frames", frames, true, http.StatusForbidden, "the token is of pod \"stranger\""},
		{"outside, access logs", outside, http.MethodPost, direct + ":9001/", "", false, 0, ""},
		{"outside, orders", outside, http.MethodGet, orders, "", true, 0, ""},
		{"outside, frames", outside, http.MethodPost, recorders + "/v1/frames", frames, true, 0, ""},
		{"outside, health", outside, http.MethodGet, direct + ":9003/healthz", "", false, http.StatusOK, "ok"},
	} {
		h := fetch(t, c.from, c.method, c.url, c.body, c.token)
		if h.Status != c.status || !strings.Contains(h.Body, c.wantInAnswer) || c.status == 0 && h.Error == "" {
			t.Errorf("%s: %+v; want status %d and %q", c.name, h, c.status, c.wantInAnswer)
		}
	}
	recorderHasNothingToOrder(t, w, inside)
}

// recorderHasNothingToOrder: the port for probes of a recorder answers health and
// numbers, and changes nothing.
func recorderHasNothingToOrder(t *testing.T, w *world, from *corev1.Pod) {
	t.Helper()
	probes := "http://" + w.pods("private-r1")[0].Status.PodIP + ":8081"
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/readyz", http.StatusOK},
		{http.MethodPost, "/readyz", http.StatusMethodNotAllowed},
		{http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{http.MethodPut, "/v1/orders", http.StatusNotFound},
		{http.MethodPost, "/v1/frames", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", http.StatusNotFound},
	} {
		if h := fetch(t, from, c.method, probes+c.path, "", false); h.Status != c.status {
			t.Errorf("%s %s on a recorder's port for probes: %+v, want status %d", c.method, c.path, h, c.status)
		}
	}
}

func leaderPod(t *testing.T) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := mesh.api.List(t.Context(), &pods, client.InNamespace("serin-system"), client.MatchingLabels{kube.LabelLeader: "true"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			return &p
		}
	}
	t.Fatal("no controller leads")
	return nil
}
