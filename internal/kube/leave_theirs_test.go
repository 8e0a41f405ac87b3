package kube

import (
	"fmt"
	"testing"

	istio "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe/mesh"
)

// inTheirs is a departure whose routes stand in somebody else's VirtualService, and
// whose first version is an adopted Deployment.
func inTheirs(t *testing.T) (*departure, *shop) {
	t.Helper()
	u := object(t, fmt.Sprintf(theirs, holder))
	d := newDepartureOf(t, inShop+"  adopt: {deployment: model-green, afterwards: Delete}\n", u, green())
	s := &shop{testWorld: d.testWorld, t: t}
	s.before = others(t, s.read())
	return d, s
}

// shares returns what Serin's weighted route sends to whom; nil: it is the owner's.
func (s *shop) shares() map[string]int32 {
	s.t.Helper()
	var vs istio.VirtualService
	if err := s.get("shop", &vs); err != nil {
		s.t.Fatal(err)
	}
	for _, h := range vs.Spec.Http {
		if h.Name != mesh.RouteName(testKey, weightedRoute) || !stamped(h) {
			continue
		}
		out := map[string]int32{}
		for _, r := range h.Route {
			out[r.Destination.Host[:len(r1.Name)]] = r.Weight
		}
		return out
	}
	return nil
}

// TestDeletedInSomebodysVirtualService: the traffic is on stable, and seen there, before
// the owner's routes are back; the scorers stay until every gateway knows those; what
// was adopted runs on.
func TestDeletedInSomebodysVirtualService(t *testing.T) {
	d, s := inTheirs(t)
	if w := s.shares(); w[r2.Name] != 5000 {
		t.Fatalf("weights %v, want half on the candidate: the test would see nothing", w)
	}
	d.stays("asked")
	if w := s.shares(); w[r1.Name] != wholeBP || len(w) != 1 {
		t.Errorf("weights %v, want all on stable", w)
	}
	d.restart()
	d.stays("not seen on stable, by another controller")
	if s.shares() == nil {
		t.Error("the routes went before the traffic was seen on stable")
	}
	d.data.inForce = 6
	d.stays("seen on stable")
	if w := s.shares(); w != nil {
		t.Errorf("weights %v, want the owner's routes back", w)
	}
	s.untouched()
	d.now = d.now.Add(quiet)
	d.stays("the gateway may not know yet")
	if d.green().Annotations[AnnotationAdopted] == "" {
		t.Error("the adopted Deployment was let go before the routes were out of use")
	}
	d.restart()
	d.stays("by another controller")
	d.now = d.now.Add(quiet)
	d.stays("which waits as long")
	d.now = d.now.Add(goneAfter)
	d.goes("known everywhere")
	d.unmarked(d.green())
}

// TestDeletedWithoutARecord: the routes leave somebody's VirtualService, and what was
// adopted is let go, all the same.
func TestDeletedWithoutARecord(t *testing.T) {
	d, s := inTheirs(t)
	var e v1alpha1.ScoringEndpoint
	if err := d.get(testKey.Name, &e); err != nil {
		t.Fatal(err)
	}
	e.Status.Record = ""
	if err := d.api.Status().Update(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	d.stays("asked")
	if w := s.shares(); w != nil {
		t.Errorf("weights %v, want the owner's routes back", w)
	}
	d.now = d.now.Add(goneAfter)
	d.goes("known everywhere")
	d.unmarked(d.green())
}

// TestDeletedWhileSomebodyHasToMend: routes that cannot be written are no reason to
// keep an endpoint that nobody wants.
func TestDeletedWhileSomebodyHasToMend(t *testing.T) {
	d, s := inTheirs(t)
	u := s.read()
	http := u.Object["spec"].(map[string]any)["http"].([]any)
	split := append(append([]any{}, http[1], http[0]), http[2:]...) // the owner's between Serin's
	if err := d.api.Update(t.Context(), withHTTP(t, u, split)); err != nil {
		t.Fatal(err)
	}
	d.stays("asked")
	if w := s.shares(); w != nil {
		t.Errorf("weights %v, want Serin's routes out", w)
	}
	d.now = d.now.Add(goneAfter)
	d.goes("known everywhere")
}
