package e2e_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

const longStep = "{weight: 10%, minDuration: 10m}, {weight: 100%}"

// awaitWeight waits until a version has this weight, in force.
func (w *world) awaitWeight(version string, bp int) engine.Status {
	w.t.Helper()
	return w.await(version+" under weight", 2*time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == version && s.Rollout.Outcome == "" && s.Weights.PlannedBP == bp && s.Weights.InForceBP == bp
	})
}

// superseded demands how the attempt before the present one ended.
func (w *world) superseded(id string) {
	w.t.Helper()
	if r := w.record(id); string(r.Attempt.Outcome) != "Superseded" {
		w.t.Errorf("%s ended %s (%s), want Superseded", id, r.Attempt.Outcome, r.Attempt.Message)
	}
}

// TestA10BadToGood: the version on trial never becomes ready, and a good one is applied
// over it: that one is promoted, and nothing was ever routed to the first.
func TestA10BadToGood(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "bad-good", 60, plan{})
	w.apply(acting("bad", "unready"))
	bad := w.await("the bad version on trial", 2*time.Minute, func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.To == "bad" && len(w.pods("bad-good-r2")) > 0
	}).Rollout.ID
	w.apply(plan{Version: "v2"})
	w.awaitOutcome("v2", "Promoted", 3*time.Minute)
	for _, a := range quiet() {
		if a.revision() == "bad-good-r2" {
			t.Errorf("a client was routed to the version that was never ready: %+v", a)
		}
	}
	w.superseded(bad)
}

// TestA3UpdateWithNoCandidateRunning: the candidate under weight loses its only pod for
// good, then (A10, good to bad) a version that answers nothing but errors is applied
// over it.
func TestA3UpdateWithNoCandidateRunning(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "good-bad", 60, plan{})
	w.apply(plan{Version: "v2", Steps: longStep})
	good := w.awaitWeight("v2", 1000).Rollout.ID
	w.scale("good-bad-r2", "0")
	w.await("no weight for nobody", 2*time.Minute, func(s engine.Status) bool { return s.Weights.PlannedBP == 0 && s.Weights.InForceBP == 0 })
	w.apply(plan{Version: "broken"})
	w.awaitOutcome("broken", "Reverted", 3*time.Minute)
	w.superseded(good)
	quiet()
}

// change is a write that the API server told of.
type change struct {
	version  string // of the object: grows with every write to the cluster
	revision string // of a Deployment or a pod; empty: of the routes
	gone     bool
	ready    bool             // a pod
	weights  map[string]int32 // by revision
}

// changes notes what is written to an endpoint's routes and revisions, in order for
// each kind, until the function returned is called.
func (w *world) changes() (stop func() (routes, revisions, pods []change)) {
	w.t.Helper()
	api, err := client.NewWithWatch(mesh.RESTConfig(), client.Options{Scheme: mesh.api.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var wait sync.WaitGroup
	var routes, revisions, pods []change
	mine := []client.ListOption{client.InNamespace(w.namespace), client.MatchingLabels{kube.LabelEndpoint: w.name}}
	for list, into := range map[client.ObjectList]*[]change{&istio.VirtualServiceList{}: &routes, &appsv1.DeploymentList{}: &revisions, &corev1.PodList{}: &pods} {
		events, err := api.Watch(ctx, list, mine...)
		if err != nil {
			w.t.Fatal(err)
		}
		wait.Go(func() {
			defer events.Stop()
			for e := range events.ResultChan() {
				if c, ok := noted(e); ok {
					*into = append(*into, c)
				}
			}
		})
	}
	return func() ([]change, []change, []change) {
		cancel()
		wait.Wait()
		return routes, revisions, pods
	}
}

func noted(e watch.Event) (c change, ok bool) {
	c.gone = e.Type == watch.Deleted
	switch o := e.Object.(type) {
	case *istio.VirtualService:
		c.version, c.weights = o.ResourceVersion, map[string]int32{}
		if n := len(o.Spec.Http); n > 0 {
			for _, d := range o.Spec.Http[n-1].Route {
				name, _, _ := strings.Cut(d.Destination.Host, ".")
				c.weights[name] = d.Weight
			}
		}
	case *appsv1.Deployment:
		c.version, c.revision = o.ResourceVersion, o.Name
	case *corev1.Pod:
		c.version, c.revision = o.ResourceVersion, o.Labels[kube.LabelRevision]
		c.ready = slices.ContainsFunc(o.Status.Conditions, func(p corev1.PodCondition) bool {
			return p.Type == corev1.PodReady && p.Status == corev1.ConditionTrue
		})
	default:
		return c, false
	}
	return c, true
}

// before compares two versions of objects: numbers, longer ones are greater.
func before(a, b string) bool {
	return len(a) < len(b) || len(a) == len(b) && a < b
}

// TestI1WeightToZeroBeforeTheVersionChanges: a version is applied while another has
// half of the traffic. Its weight goes first, only then the new one's pods are made, and
// no route names those before one is ready.
func TestI1WeightToZeroBeforeTheVersionChanges(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "over", 60, plan{})
	steps := "{weight: 50%, minDuration: 10m}, {weight: 100%}"
	w.apply(plan{Version: "v2", Steps: steps})
	first := w.awaitWeight("v2", 5000).Rollout.ID
	stop := w.changes()
	w.apply(acting("v3", "").with(steps))
	st := w.awaitWeight("v3", 5000)
	routes, revisions, pods := stop()
	w.superseded(first)
	w.abort(st)
	quiet()
	at := func(all []change, ok func(change) bool) string {
		for _, c := range all {
			if ok(c) {
				return c.version
			}
		}
		t.Fatal("the API server did not tell of a write that must have been")
		return ""
	}
	taken := at(routes, func(c change) bool { return c.weights["over-r2"] == 0 })
	made := at(revisions, func(c change) bool { return c.revision == "over-r3" })
	ready := at(pods, func(c change) bool { return c.revision == "over-r3" && c.ready }) // its Deployment tells of it later
	given := at(routes, func(c change) bool { return c.weights["over-r3"] > 0 })
	if !before(taken, made) || !before(made, ready) || !before(ready, given) {
		t.Errorf("weight taken at %s, pods made at %s, ready at %s, weight given at %s; want them in this order", taken, made, ready, given)
	}
}

// with is the plan with other steps.
func (p plan) with(steps string) plan {
	p.Steps = steps
	return p
}

// TestA4AbortAndLoseTheCandidate: a person aborts, and in the same moment all of the
// candidate's pods go.
func TestA4AbortAndLoseTheCandidate(t *testing.T) {
	t.Parallel()
	w, quiet := begin(t, "lost", 60, plan{})
	w.apply(plan{Version: "v2", Scaling: "{replicas: 2}", Steps: "{weight: 50%, minDuration: 10m}, {weight: 100%}"})
	st := w.awaitWeight("v2", 5000)
	var both sync.WaitGroup
	both.Go(func() { w.scale("lost-r2", "0") })
	w.abort(st)
	both.Wait()
	w.onlyTo("lost-r1", w.awaitOutcome("v2", "Aborted", time.Minute))
	quiet()
}
