package kube

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/spec"
)

// canary is the VirtualService of the old canary charts: header routes to both colours,
// then weights.
const canary = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mlmodel-virtualservice, namespace: abtesting}
spec:
  hosts: ["*"]
  gateways: [mlmodel-gateway]
  http:
  - {match: [{uri: {prefix: /score}, headers: {x-api-version: {exact: blue}}}], route: [{destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}}]}
  - {match: [{uri: {prefix: /score}, headers: {x-api-version: {exact: green}}}], route: [{destination: {host: model-svc-green.abtesting.svc.cluster.local, port: {number: 5001}}}]}
  - {name: split, route: [{destination: {host: model-svc-green.abtesting.svc.cluster.local, port: {number: 5001}}, weight: 100}, {destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}, weight: 0}]}
`

func greenService(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: "model-svc-green"}}
	s.Spec.Selector = map[string]string{"app": "model", "model_version": "green"}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 5001, TargetPort: intstr.FromInt32(5001)}, {Name: "probe", Port: 8086}}
	for _, c := range change {
		c(s)
	}
	return s
}

func adopter(t *testing.T, endpoint string, objects ...client.Object) *Client {
	t.Helper()
	w := newWorld(t, objects...)
	c := newClient(w.api.(client.WithWatch), testKey.Namespace, endpoint)
	c.patience, c.watchFor = 10*time.Millisecond, 10*time.Millisecond
	return c
}

// TestAdoptingTheOldCanaryCharts: header routes and weights of blue and green become
// place holders; the document says what runs.
func TestAdoptingTheOldCanaryCharts(t *testing.T) {
	d := green(func(d *appsv1.Deployment) {
		p := &d.Spec.Template.Spec
		p.Containers[0].Env = []corev1.EnvVar{{Name: "MODEL", Value: "driver"}, {Name: "PORT", Value: "5001"}, {Name: "KEY", ValueFrom: &corev1.EnvVarSource{}}}
		p.Containers[0].Args = []string{"--slow"}
		p.Containers = append(p.Containers, corev1.Container{Name: "istio-proxy"}, corev1.Container{Name: "logger"})
		p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "acr"}}
	})
	c := adopter(t, "model", d, greenService(), object(t, canary))
	plan, err := c.PlanAdoption(t.Context(), AdoptOptions{Deployment: "model-green", Afterwards: ScaleToZero})
	if err != nil {
		t.Fatal(err)
	}
	want := []Rename{{"mlmodel-virtualservice", 0, "", "serin/abtesting/model/direct-candidate"}, {"mlmodel-virtualservice", 1, "", "serin/abtesting/model/direct-stable"}, {"mlmodel-virtualservice", 2, "split", "serin/abtesting/model/weighted"}}
	if got, _ := json.Marshal(plan.Renames); string(got) != jsonText(want) {
		t.Errorf("place holders %s, want %s", got, jsonText(want))
	}
	doc, _, err := spec.Load([]byte(plan.Document))
	if err != nil {
		t.Fatalf("%v\n%s", err, plan.Document)
	}
	s := doc.Endpoint().Spec
	if s.Adopt.Deployment != "model-green" || s.Adopt.Afterwards != ScaleToZero || s.Traffic.VirtualService != "mlmodel-virtualservice" || s.Scorer.Port != 5001 || s.Scorer.Image != "registry.example/model@sha256:dd" || *s.Scaling.Replicas != 2 ||
		len(s.Scorer.Env) != 1 || s.Scorer.Env[0].Name != "MODEL" || len(s.Scorer.Template.Env) != 1 || s.Scorer.Template.ImagePullSecrets[0].Name != "acr" {
		t.Errorf("the document says\n%s", plan.Document)
	}
	for _, about := range []string{"args", "container logger", "PORT", "not root"} {
		if !strings.Contains(strings.Join(plan.Notes, "\n"), about) {
			t.Errorf("notes %q, want one about %s", plan.Notes, about)
		}
	}
	if strings.Contains(strings.Join(plan.Notes, "\n"), "istio-proxy") {
		t.Errorf("notes %q: the mesh's own container is nobody's loss", plan.Notes)
	}
}

func jsonText(v any) string { text, _ := json.Marshal(v); return string(text) }

// TestWhatAPlanRefuses is said before anything is written, with what to do.
func TestWhatAPlanRefuses(t *testing.T) {
	split := strings.Replace(strings.Replace(canary, "weight: 100", "weight: 90", 1), "weight: 0", "weight: 10", 1)
	for name, c := range map[string]struct {
		deployment *appsv1.Deployment
		service    *corev1.Service
		routes     string
		endpoint   string
		want       string
		is         error
	}{
		"no Deployment":        {green(func(d *appsv1.Deployment) { d.Name = "other" }), greenService(), canary, "m", "model-green", ErrNotFound},
		"no Service":           {green(), greenService(func(s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} }), canary, "m", "selects the pods", ErrNotFound},
		"no port":              {green(), greenService(func(s *corev1.Service) { s.Spec.Ports[0].Name = "a" }), canary, "m", "none is named http", ErrInvalid},
		"a port nobody names":  {green(), greenService(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("x") }), canary, "m", "no container", ErrInvalid},
		"a split that goes on": {green(), greenService(), split, "m", "end that split first", ErrInvalid},
		"its selector": {green(func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = map[string]string{"app": "model"}
		}), greenService(), canary, "model", "another name", ErrInvalid},
		"routes that stand apart": {green(), greenService(), strings.Replace(canary, "  - {name: split", "  - {match: [{uri: {prefix: /x}}], route: [{destination: {host: x}}]}\n  - {name: split", 1), "m", "with none between", ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			cl := adopter(t, c.endpoint, c.deployment, c.service, object(t, c.routes))
			_, err := cl.PlanAdoption(t.Context(), AdoptOptions{Deployment: "model-green", Afterwards: Keep})
			if err == nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %v that says %q", err, c.is, c.want)
			}
		})
	}
}

// TestAdoptWithoutRoutes: a Deployment to which no VirtualService goes gets routes of
// Serin's own.
func TestAdoptWithoutRoutes(t *testing.T) {
	c := adopter(t, "", green(), greenService())
	plan, err := c.PlanAdoption(t.Context(), AdoptOptions{Deployment: "model-green", Afterwards: Keep, Hosts: []string{"a.example.com"}})
	if err != nil || plan.Endpoint != "model-green" || len(plan.Renames) != 0 || !strings.Contains(plan.Document, "a.example.com") || strings.Contains(plan.Document, "virtualService") {
		t.Errorf("plan %+v (%v)", plan, err)
	}
}

// TestAdoptNamesTheRoutes: the place holders' names are written, nothing else of the
// routes is; a VirtualService that changed since it was read is not written.
func TestAdoptNamesTheRoutes(t *testing.T) {
	c := adopter(t, "model", green(), greenService(), object(t, canary))
	read := func() []any {
		f, err := readForeign(t.Context(), c.api, testKey.Namespace, "mlmodel-virtualservice", Key{Namespace: testKey.Namespace, Name: "model"})
		if err != nil {
			t.Fatal(err)
		}
		return f.http
	}
	before := read()
	plan, err := c.PlanAdoption(t.Context(), AdoptOptions{Deployment: "model-green", Afterwards: Keep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Adopt(t.Context(), plan, []byte(plan.Document), false); err != nil && !errors.Is(err, ErrUnanswered) {
		t.Fatal(err)
	}
	after := read()
	for i, name := range []string{"direct-candidate", "direct-stable", "weighted"} {
		now := after[i].(map[string]any)
		if now["name"] != "serin/abtesting/model/"+name {
			t.Errorf("route %d is named %v, want the place holder %s", i, now["name"], name)
		}
		delete(now, "name")
		delete(before[i].(map[string]any), "name")
		if jsonText(now) != jsonText(before[i]) {
			t.Errorf("route %d is %s, was %s", i, jsonText(now), jsonText(before[i]))
		}
	}
	var e v1alpha1.ScoringEndpoint
	if err := c.api.Get(t.Context(), client.ObjectKey{Namespace: testKey.Namespace, Name: "model"}, &e); err != nil || e.Spec.Adopt == nil {
		t.Errorf("the endpoint: %v, %+v", err, e.Spec.Adopt)
	}
}

// TestRestartIsARolloutOfTheSame: only where there is something to gain.
func TestRestartIsARolloutOfTheSame(t *testing.T) {
	e := &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: "model"}}
	e.Spec.Scorer = v1alpha1.Scorer{Version: "7", Image: "a@sha256:b"}
	c := adopter(t, "model", e)
	if _, err := c.Restart(t.Context(), false); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want that there is nothing to restart", err)
	}
	var now v1alpha1.ScoringEndpoint
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(e), &now); err != nil {
		t.Fatal(err)
	}
	now.Status.Conditions = []metav1.Condition{{Type: engine.EvidenceLimited, Status: "True", Reason: "ScoresNotJudgeable", LastTransitionTime: metav1.Now()}}
	if err := c.api.Status().Update(t.Context(), &now); err != nil {
		t.Fatal(err)
	}
	r, err := c.Restart(t.Context(), false)
	if err != nil || !r.NewVersion || len(r.Changes) != 1 || r.Changes[0].New != "7+recorder" || len(r.Notes) == 0 {
		t.Errorf("%+v (%v), want a new version that differs by its name", r, err)
	}
}
