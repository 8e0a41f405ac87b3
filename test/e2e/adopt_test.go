package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/internal/cli"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

// running is what somebody had before Serin: a Deployment, its Service and a route.
const running = `apiVersion: apps/v1
kind: Deployment
metadata: {name: model-green, namespace: abtesting, labels: {team: risk}}
spec:
  replicas: 2
  selector: {matchLabels: {app: model, model_version: green}}
  template:
    metadata: {labels: {app: model, model_version: green}}
    spec:
      containers:
      - name: model
        image: %[2]q
        env: [{name: PORT, value: "5001"}]
        ports: [{containerPort: 5001}]
        readinessProbe: {httpGet: {path: /readyz, port: 5001}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: model, namespace: abtesting}
spec: {selector: {app: model, model_version: green}, ports: [{name: http, port: 80, targetPort: 5001}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: model, namespace: abtesting}
spec:
  hosts: [%[1]s.example.com]
  gateways: [mlmodel-gateway]
  http: [{route: [{destination: {host: model, port: {number: 80}}}]}]
`

// greens are the pods of the adopted Deployment, by UID.
func greens(t *testing.T) (out []string) {
	t.Helper()
	var list corev1.PodList
	if err := mesh.api.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"model_version": "green"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		out = append(out, fmt.Sprintf("%s %d", p.UID, restarts(p)))
	}
	slices.Sort(out)
	return out
}

func restarts(p corev1.Pod) (n int32) {
	for _, s := range p.Status.ContainerStatuses {
		n += s.RestartCount
	}
	return n
}

// TestAdoption: a Deployment and its Service are taken over under load, then a new
// version is rolled out, then the endpoint is deleted: no pod of the Deployment
// restarts, and no request fails.
func TestAdoption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "taken")
	if err := mesh.Apply(t.Context(), fmt.Appendf(nil, running, w.name, mesh.scorer["v1"])); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		removeObject(&istio.VirtualService{}, "model")
		removeObject(&corev1.Service{}, "model")
		removeObject(&appsv1.Deployment{}, "model-green")
	})
	if err := mesh.AwaitDeployment(t.Context(), namespace, "model-green"); err != nil {
		t.Fatal(err)
	}
	w.awaitAnswers()
	before, stop := greens(t), w.traffic(50)
	defer stop()
	code, document := w.serin("adopt", "deployment/model-green")
	if code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, document)
	}
	file := w.planned(document, nil)
	if code, out := w.serin("adopt", "deployment/model-green", "-f", file, "--apply"); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, out)
	}
	w.awaitStable("1")
	w.until("requests come by Serin's routes", func() bool { return !lastTo(w.name+"-r1", w.answers()).IsZero() })
	if after := greens(t); len(before) != 2 || !slices.Equal(before, after) {
		t.Errorf("pods and their restarts are %v, were %v", after, before)
	}
	w.await("that scores are not judged", time.Minute, func(s engine.Status) bool {
		return slices.ContainsFunc(s.Conditions, func(c engine.Condition) bool { return c.Reason == "ScoresNotJudgeable" })
	})
	file = w.planned(document, map[string]any{"version": "2", "image": mesh.scorer["v2"]})
	if code, out := w.serin("apply", "-f", file); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, out)
	}
	w.awaitOutcome("2", "Promoted", 3*time.Minute)
	w.released()
	if code, out := w.serin("delete"); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, out)
	}
	w.remove(t.Context())
	w.until("requests go to the Deployment again", func() bool { a := w.answers(); return a[len(a)-1].stamp == "" })
	all := stop()
	if after := greens(t); !slices.Equal(before, after) {
		t.Errorf("at the end pods and their restarts are %v, were %v", after, before)
	}
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	t.Logf("%d requests, %d failed; the last to the adopted version %s before the end", len(all), len(failures(all)), all[len(all)-1].at.Sub(lastTo(w.name+"-r1", all)))
}

// planned is the document with quick steps, and another scorer.
func (w *world) planned(document string, scorer map[string]any) (file string) {
	w.t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(document), &o); err != nil {
		w.t.Fatalf("the document cannot be read: %v\n%s", err, document)
	}
	spec := o["spec"].(map[string]any)
	for field, value := range scorer {
		spec["scorer"].(map[string]any)[field] = value
	}
	var more map[string]any
	if err := yaml.Unmarshal([]byte(`{rollout: {steps: [{weight: 10%, minDuration: 2s}, {weight: 50%, minDuration: 2s}, {weight: 100%}], warmup: 1s, minRequests: 20, keepFailed: 0s, keepOld: 5s, progressDeadline: 2m},
 judge: {errors: {orWithin: 2pp}, latency: `+fewTimesSlower+`}}`), &more); err != nil {
		w.t.Fatal(err)
	}
	spec["rollout"], spec["judge"] = more["rollout"], more["judge"]
	text, err := yaml.Marshal(o)
	if err != nil {
		w.t.Fatal(err)
	}
	file = filepath.Join(w.t.TempDir(), "endpoint.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// released waits until the Deployment is its owner's alone again.
func (w *world) released() {
	w.t.Helper()
	w.await("the Deployment let go", 2*time.Minute, func(engine.Status) bool {
		var d appsv1.Deployment
		if err := mesh.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "model-green"}, &d); err != nil {
			w.t.Fatal(err)
		}
		return d.Labels[kube.LabelEndpoint] == "" && d.Labels["team"] == "risk" && *d.Spec.Replicas == 2
	})
}
