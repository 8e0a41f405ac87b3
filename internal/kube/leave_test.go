package kube

import (
	"errors"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/rollout"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hub is a Hub that remembers what it was told.
type hub struct {
	*dataPlane
	forgotten []Key
}

func (h *hub) Watch(_ Key, c observe.Contract) (*observe.Source, error) {
	return observe.NewSource(c, func(*observe.Collector) {})
}
func (h *hub) Forget(k Key)           { h.forgotten = append(h.forgotten, k) }
func (h *hub) Counts(Key) mesh.Counts { return mesh.Counts{} }

// departure is an endpoint with a canary at 50 %, which is deleted, and a controller
// that was started since: the harder case of the two.
type departure struct {
	*testWorld
	hub *hub
	c   *Controller
}

func newDeparture(t *testing.T) *departure {
	t.Helper()
	return newDepartureOf(t, testDocument)
}

func newDepartureOf(t *testing.T, document string, others ...client.Object) *departure {
	t.Helper()
	return newDepartureAt(t, 5000, document, others...)
}

func newDepartureAt(t *testing.T, weightBP int, document string, others ...client.Object) *departure {
	t.Helper()
	e := testEndpoint()
	e.Finalizers = []string{finalizer}
	w := newWorld(t, append(others, e)...)
	w.set(testOwner, w.document(document))
	if err := w.get(testKey.Name, e); err != nil {
		t.Fatal(err)
	}
	e.Spec = w.resolved.Endpoint.Spec
	if err := w.api.Update(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	w.owner = ownerOf(e)
	routing := rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: weightBP}
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: first}, rollout.StartRevision{Revision: r2}, rollout.SetRouting{Routing: routing})
	w.seen()
	rec := testRecord(5)
	rec.Document, rec.Revisions = document, nil
	rec.State.Stable, rec.State.Candidate, rec.State.Routing = &r1, &r2, routing
	record := newRecord(testKey, w.api, w.api)
	if _, _, err := record.Load(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := record.Save(t.Context(), rec, engine.Additions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Delete(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	d := &departure{testWorld: w, hub: &hub{dataPlane: w.data}}
	d.restart()
	return d
}

func (d *departure) restart() {
	d.c = NewController(d.cfg, d.hub)
	d.c.api, d.c.direct, d.c.life = d.api, d.api, d.t.Context()
}

func (d *departure) reconcile() (time.Duration, error) {
	r, err := d.c.reconcileEndpoint(d.t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: testKey.Namespace, Name: testKey.Name}})
	return r.RequeueAfter, err
}

// stays reconciles, and fails if the endpoint is let go.
func (d *departure) stays(when string) {
	d.t.Helper()
	again, err := d.reconcile()
	if err != nil || again <= 0 {
		d.t.Fatalf("%s: looks again in %s (%v), want soon", when, again, err)
	}
	if err := d.get(testKey.Name, &v1alpha1.ScoringEndpoint{}); err != nil {
		d.t.Fatalf("%s: the endpoint is gone (%v)", when, err)
	}
}

func (d *departure) goes(when string) {
	d.t.Helper()
	if again, err := d.reconcile(); again != 0 || err != nil {
		d.t.Fatalf("%s: looks again in %s (%v), want the endpoint gone", when, again, err)
	}
	if d.get(testKey.Name, &v1alpha1.ScoringEndpoint{}) == nil {
		d.t.Fatalf("%s: the endpoint is still there", when)
	}
}

// weights returns what the routes send to whom; nil without routes.
func (d *departure) weights() map[string]int32 {
	var vs istio.VirtualService
	if d.get(testKey.Name, &vs) != nil {
		return nil
	}
	out := map[string]int32{}
	for _, r := range vs.Spec.Http[len(vs.Spec.Http)-1].Route {
		out[r.Destination.Host[:len(r1.Name)]] = r.Weight
	}
	return out
}

// TestDeletedInTheMiddleOfARollout: all traffic is on stable, and seen there, before
// the routes go; the routes are out of use before the scorers go.
func TestDeletedInTheMiddleOfARollout(t *testing.T) {
	d := newDeparture(t)
	d.stays("asked")
	if w := d.weights(); w[r1.Name] != wholeBP || len(w) != 1 {
		t.Errorf("weights %v, want all on stable", w)
	}
	if o := d.data.orders[r2.Name]; !o.HandOver {
		t.Errorf("the candidate's recorders were told %+v, want the hand-over", o)
	}
	d.now = d.now.Add(5 * time.Second)
	d.stays("not seen on stable")
	d.restart()
	d.stays("not seen, by another controller")
	if w := d.weights(); w[r1.Name] != wholeBP {
		t.Errorf("weights %v after a restart, want all on stable still", w)
	}
	d.data.inForce, d.data.losses.Logged = 6, d.now
	d.stays("seen on stable")
	if w := d.weights(); w != nil {
		t.Errorf("weights %v, want the routes gone", w)
	}
	d.restart()
	d.data.losses.Logged = d.now
	d.stays("requests by the last routes")
	d.now = d.now.Add(quiet)
	d.data.losses.Logged = d.now
	d.stays("requests still")
	d.now = d.now.Add(quiet)
	d.goes("quiet")
	if len(d.hub.forgotten) != 1 {
		t.Errorf("forgotten %v, want the endpoint, once", d.hub.forgotten)
	}
}

// TestDeletedWithoutTraffic waits for a bounded time.
func TestDeletedWithoutTraffic(t *testing.T) {
	d := newDeparture(t)
	d.stays("asked")
	d.now = d.now.Add(unseenWait)
	d.stays("nobody asked")
	if d.weights() != nil {
		t.Error("the routes are still there")
	}
	d.now = d.now.Add(quiet)
	d.goes("quiet")
}

// TestDeletedAtRest: where all traffic was seen on stable before, nothing is waited for
// but that the routes are out of use.
func TestDeletedAtRest(t *testing.T) {
	d := newDepartureAt(t, 0, testDocument)
	d.data.inForce = 5
	d.stays("asked")
	if d.weights() != nil {
		t.Error("the routes are still there")
	}
	d.now = d.now.Add(quiet)
	d.goes("quiet")
}

// TestDeletedWhileTheRoutesCannotBeWritten: it is tried again, and the endpoint stays
// until it is done.
func TestDeletedWhileTheRoutesCannotBeWritten(t *testing.T) {
	d := newDeparture(t)
	d.c.api = &failingRoutes{Client: d.api}
	for range 3 {
		if _, err := d.reconcile(); err == nil {
			t.Fatal("the routes cannot be written and nobody says so")
		}
		d.now = d.now.Add(time.Minute)
		if err := d.get(testKey.Name, &v1alpha1.ScoringEndpoint{}); err != nil {
			t.Fatal("the endpoint was let go")
		}
	}
	if o := d.data.orders[r2.Name]; !o.HandOver {
		t.Error("the candidate's recorders were not told, although they need no routes")
	}
	d.c.leaving[testKey].platform.api = d.api
	d.c.api = d.api
	d.stays("written at last")
	d.data.inForce = 6
	d.stays("seen")
	d.now = d.now.Add(quiet)
	d.goes("quiet")
}

// TestDeletedWithNothingToBringAnywhere goes at once.
func TestDeletedWithNothingToBringAnywhere(t *testing.T) {
	for name, record := range map[string]string{"never served": "", "a record that cannot be read": "{", "no stable": `{"record": {"state": {}}}`} {
		d := newDeparture(t)
		var e v1alpha1.ScoringEndpoint
		if err := d.get(testKey.Name, &e); err != nil {
			t.Fatal(err)
		}
		e.Status.Record = record
		if err := d.api.Status().Update(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		d.goes(name)
	}
}

// TestSomebodyElsesRoutesStayWhenAnEndpointGoes although they have its name.
func TestSomebodyElsesRoutesStayWhenAnEndpointGoes(t *testing.T) {
	d := newDeparture(t)
	var vs istio.VirtualService
	if err := d.get(testKey.Name, &vs); err != nil {
		t.Fatal(err)
	}
	vs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "other", Controller: new(true)}}
	if err := d.api.Update(t.Context(), &vs); err != nil {
		t.Fatal(err)
	}
	d.stays("asked")
	d.now = d.now.Add(quiet)
	d.goes("quiet")
	if w := d.weights(); w[r2.Name] != 5000 {
		t.Errorf("weights %v, want them as they were", w)
	}
}

// TestAnActionForAnEndpointThatGoesIsRefused instead of waited for.
func TestAnActionForAnEndpointThatGoesIsRefused(t *testing.T) {
	d := newDeparture(t)
	a := &v1alpha1.RolloutAction{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: "a"}, Spec: v1alpha1.RolloutActionSpec{Endpoint: testKey.Name}}
	if err := d.api.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := d.c.withoutEndpoint(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := d.get("a", a); err != nil || !a.Status.Answered || a.Status.Accepted {
		t.Errorf("answered %+v (%v), want it refused", a.Status, errors.Join(err))
	}
}
