package e2e_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

// TestF1FirstVersionThatNeverBecomesReady: nothing is routed to it, the conditions say
// why, and the next version serves.
func TestF1FirstVersionThatNeverBecomesReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "first")
	p := acting("bad", "unready")
	p.Deadline = "6s"
	w.apply(p)
	w.awaitOutcome("bad", "Reverted", time.Minute)
	_, st := w.status()
	ready := meta.FindStatusCondition(st.Conditions, "Ready")
	if ready == nil || ready.Status != "False" || ready.Reason != "NoStable" || !strings.Contains(ready.Message, "was not ready within 6s") || st.Reason != "ProgressDeadlineExceeded" {
		t.Errorf("condition %+v, reason %s: %s; want that nothing serves, and that the deadline is why", ready, st.Reason, st.Message)
	}
	if vs := w.routes(); vs != nil {
		t.Errorf("there are routes to nothing: %v", vs.Spec.Http)
	}
	if a := w.ask(passerBy, safedriver.SampleRequest, "", ""); a.status != http.StatusNotFound {
		t.Errorf("a client got %+v, want that the gateway knows no such endpoint", a)
	}
	t.Logf("%s: %s", st.Reason, st.Message)
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
}

// TestF2LabelsOfBothVersions: while both versions are live, their Services, Deployments
// and pods say what the mesh console groups by, and which document made them.
func TestF2LabelsOfBothVersions(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "labels", 60, plan{})
	w.apply(plan{Version: "v2", Steps: longStep})
	st := w.awaitWeight("v2", 1000)
	for revision, version := range map[string]string{"labels-r1": "v1", "labels-r2": "v2"} {
		want := map[string]string{
			kube.LabelApp: "labels", kube.LabelVersion: revision[len("labels-"):], kube.LabelEndpoint: "labels", kube.LabelRevision: revision, kube.LabelManagedBy: "serin",
		}
		var svc corev1.Service
		if err := mesh.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: revision}, &svc); err != nil {
			t.Fatal(err)
		}
		pods := w.pods(revision)
		if len(pods) == 0 {
			t.Fatalf("%s has no pod", revision)
		}
		for _, o := range []client.Object{&svc, &pods[0]} {
			got := map[string]string{}
			for k := range want {
				got[k] = o.GetLabels()[k]
			}
			if !maps.Equal(got, want) || o.GetAnnotations()[kube.AnnotationVersion] != version {
				t.Errorf("%T %s: labels %v, version %q; want %v, %q", o, o.GetName(), got, o.GetAnnotations()[kube.AnnotationVersion], want, version)
			}
		}
		if len(svc.OwnerReferences) != 1 || svc.OwnerReferences[0].Kind != "ScoringEndpoint" || svc.OwnerReferences[0].Name != "labels" {
			t.Errorf("service %s is owned by %v, want the endpoint", revision, svc.OwnerReferences)
		}
		delete(want, kube.LabelManagedBy)
		if len(svc.Spec.Ports) != 1 || svc.Spec.Ports[0].Name != "http" || !maps.Equal(svc.Spec.Selector, want) {
			t.Errorf("service %s: ports %v, selector %v; want one port named http, and %v", revision, svc.Spec.Ports, svc.Spec.Selector, want)
		}
	}
	w.abort(st)
	quiet()
}

// TestF6BlueGreen: blue gets copies and whoever asks for it by header, no other request;
// then one step gives it all of them at once, by a person's word, and one takes them
// back.
func TestF6BlueGreen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "bluegreen")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	stop := w.mixed(60)
	t.Cleanup(func() { stop() })
	w.apply(plan{Version: "v2", Steps: "{shadow: 100%, minDuration: 2s}, {weight: 100%, approval: Required}"})
	st := w.await("blue in shadow, and what it waits for", 2*time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "v2" && s.Weights.ShadowBP == 10000 && s.Rollout.Decision.Reason == "WaitingForEvidence"
	})
	w.until("an answer of blue by header", func() bool {
		a := w.ask(passerBy, safedriver.SampleRequest, "blue", "")
		return !a.failed() && a.revision() == "bluegreen-r2"
	})
	w.promote(st.Rollout.ID)
	promoted := w.awaitOutcome("v2", "Promoted", time.Minute)
	w.onlyTo("bluegreen-r2", promoted)
	w.rollback(st.Rollout.ID)
	w.onlyTo("bluegreen-r1", w.await("the rollback", time.Minute, func(s engine.Status) bool { return s.Rollout.Outcome == "RolledBack" }))
	all := stop()
	for _, a := range all {
		if a.header == "" && a.revision() == "bluegreen-r2" && a.at.Before(*promoted.Rollout.EndedAt) {
			t.Errorf("before the switch a client that asked for no version was routed to blue: %+v", a)
		}
	}
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	t.Logf("%d requests, %d failed", len(all), len(failures(all)))
}
