package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/internal/rollout"
)

// theirs is a VirtualService with routes of its owner's; %s stands between them.
const theirs = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop
  namespace: abtesting
  labels: {team: shop}
  annotations: {note: keep me}
spec:
  hosts: ["*"]
  gateways: [mlmodel-gateway]
  tls: [{match: [{port: 443, sniHosts: [shop.example.com]}], route: [{destination: {host: shop}}]}]
  http:
  - {name: cart, match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart}, weight: 70}, {destination: {host: cart2}, weight: 30}]}
%s
  - {match: [{uri: {prefix: /}, headers: {x: {exact: z}}}], route: [{destination: {host: other}}]}
  - {name: rest, match: [{uri: {prefix: /rest}}], redirect: {uri: /}}
`

const holder = `  - {name: serin/abtesting/safe-driver/weighted, match: [{uri: {prefix: /score}}, {uri: {exact: /predict}, method: {exact: POST}}], route: [{destination: {host: old-model, port: {number: 5001}}}]}`

var inShop = strings.Replace(testDocument, "{gateway: mlmodel-gateway}", "{virtualService: shop}", 1)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// shop is a world whose document names somebody else's VirtualService.
type shop struct {
	*testWorld
	t      *testing.T
	before map[string]any // the object without what is Serin's
}

func newShop(t *testing.T, between string) *shop {
	t.Helper()
	u := object(t, fmt.Sprintf(theirs, between))
	w := newWorld(t, u)
	w.set(testOwner, w.document(inShop))
	s := &shop{testWorld: w, t: t}
	s.before = others(t, s.read())
	s.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	return s
}

func (s *shop) read() *unstructured.Unstructured {
	s.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(virtualServiceKind)
	if err := s.get("shop", u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (s *shop) names() (out []string) {
	http, _, _ := unstructured.NestedSlice(s.read().Object, "spec", "http")
	for _, h := range http {
		name, _, _ := unstructured.NestedString(h.(map[string]any), "name")
		out = append(out, strings.TrimPrefix(name, "serin/abtesting/safe-driver/"))
	}
	return out
}

// others is an object without Serin's routes, Serin's annotation and what the API
// server counts.
func others(t *testing.T, u *unstructured.Unstructured) map[string]any {
	t.Helper()
	u = u.DeepCopy()
	http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
	kept := []any{}
	for _, h := range http {
		if name, _, _ := unstructured.NestedString(h.(map[string]any), "name"); !strings.HasPrefix(name, routePrefix(testKey)) {
			kept = append(kept, h)
		}
	}
	if err := unstructured.SetNestedSlice(u.Object, kept, "spec", "http"); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"resourceVersion", "generation", "managedFields", "creationTimestamp"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", beforeAnnotation(testKey))
	return u.Object
}

// untouched compares what is not Serin's, byte for byte.
func (s *shop) untouched() {
	s.t.Helper()
	want, err1 := json.Marshal(s.before)
	got, err2 := json.Marshal(others(s.t, s.read()))
	if err1 != nil || err2 != nil || string(want) != string(got) {
		s.t.Errorf("what is not Serin's was changed (%v, %v):\n%s\nwas\n%s", err1, err2, got, want)
	}
}

var (
	first  = rollout.Routing{Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name}
	split  = rollout.Routing{Epoch: 3, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}
	second = rollout.Routing{Epoch: 4, Rollout: "safe-driver-2", Stable: r2.Name}
)

// TestPromise9SomebodyElsesRoutesStayAsTheyAre goes through a whole rollout in
// somebody's VirtualService and out of it again.
func TestPromise9SomebodyElsesRoutesStayAsTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		between      string
		during, last []string
	}{
		"last":           {"", []string{"cart", "", "rest", "direct-stable", "direct-candidate", "weighted"}, []string{"cart", "", "rest"}},
		"a place holder": {holder, []string{"cart", "direct-stable", "direct-candidate", "weighted", "", "rest"}, []string{"cart", "weighted", "", "rest"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c.between)
			original := s.read()
			for _, r := range []rollout.Routing{first, split} {
				s.apply(rollout.SetRouting{Routing: r})
				s.untouched()
			}
			if diff := cmp.Diff(c.during, s.names()); diff != "" {
				t.Errorf("routes under weight (-want +got):\n%s", diff)
			}
			s.apply(rollout.SetRouting{Routing: second})
			s.untouched()
			if theirs, err := giveBack(t.Context(), s.api, s.api, testKey, ""); err != nil || !theirs {
				t.Fatalf("given back: %v, %v", theirs, err)
			}
			if _, err := giveBackOne(t.Context(), s.api, s.api, testKey, "shop"); err != nil { // as by a cache that is behind
				t.Fatal(err)
			}
			if theirs, err := giveBack(t.Context(), s.api, s.api, testKey, ""); err != nil || theirs {
				t.Fatalf("given back once more: %v, %v; want that there is nothing left", theirs, err)
			}
			s.untouched()
			if diff := cmp.Diff(c.last, s.names()); diff != "" {
				t.Errorf("routes after the endpoint went (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(original.Object["spec"], s.read().Object["spec"]); diff != "" {
				t.Errorf("the spec is not what it was before (-want +got):\n%s", diff)
			}
			if a := s.read().GetAnnotations()[beforeAnnotation(testKey)]; a != "" {
				t.Errorf("the annotation is left: %s", a)
			}
		})
	}
}

// TestAPlaceHoldersMatchStays: what its owner lets reach the model is the owner's.
func TestAPlaceHoldersMatchStays(t *testing.T) {
	s := newShop(t, holder)
	s.apply(rollout.SetRouting{Routing: first})
	s.apply(rollout.SetRouting{Routing: split})
	var vs istio.VirtualService
	if err := s.get("shop", &vs); err != nil {
		t.Fatal(err)
	}
	for i, header := range []string{"green", "blue", ""} {
		m := vs.Spec.Http[1+i].Match
		if len(m) != 2 || m[0].Uri.GetPrefix() != "/score" || m[1].Uri.GetExact() != "/predict" || m[1].Method.GetExact() != "POST" {
			t.Fatalf("%s matches %v, want what the place holder matched", vs.Spec.Http[1+i].Name, m)
		}
		for _, one := range m {
			if got := one.Headers["x-api-version"].GetExact(); got != header {
				t.Errorf("%s matches header %q, want %q", vs.Spec.Http[1+i].Name, got, header)
			}
		}
	}
}

// TestOwnRoutesInSomebodysVirtualServiceAreWatched: a change of Serin's routes is seen,
// one of the owner's is not Serin's business, until it hides Serin's.
func TestOwnRoutesInSomebodysVirtualServiceAreWatched(t *testing.T) {
	for name, c := range map[string]struct {
		change func(http []any) []any
		seen   bool
	}{
		"nothing":             {func(h []any) []any { return h }, false},
		"the owner's weights": {func(h []any) []any { set(h[0], int64(1), "route", "0", "weight"); return h }, false},
		"the owner's order":   {func(h []any) []any { h[0], h[len(h)-1] = h[len(h)-1], h[0]; return h }, false},
		"one more below":      {func(h []any) []any { return append(h, map[string]any{"name": "all"}) }, false},
		"one more above":      {func(h []any) []any { return append([]any{map[string]any{"name": "all"}}, h...) }, true},
		"our weights":         {func(h []any) []any { set(h[3], int64(1), "route", "0", "weight"); return h }, true},
		"our routes gone":     {func(h []any) []any { return append(h[:1:1], h[4:]...) }, true},
		"one of them gone":    {func(h []any) []any { return append(h[:1:1], h[2:]...) }, true},
		"one between":         {func(h []any) []any { h[2], h[0] = h[0], h[2]; return h }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, holder)
			s.apply(rollout.SetRouting{Routing: first}, rollout.SetRouting{Routing: split})
			u := s.read()
			http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
			if err := unstructured.SetNestedSlice(u.Object, c.change(http), "spec", "http"); err != nil {
				t.Fatal(err)
			}
			u.SetGeneration(u.GetGeneration() + 1) // the fake API server counts none
			if err := s.api.Update(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			if got := s.observe().InForce.Overwritten; got != c.seen {
				t.Errorf("overwritten %v, want %v", got, c.seen)
			}
		})
	}
}

// set changes one field of a route.
func set(h any, v any, path ...string) {
	for _, p := range path[:len(path)-1] {
		switch x := h.(type) {
		case map[string]any:
			h = x[p]
		case []any:
			h = x[0]
		}
	}
	h.(map[string]any)[path[len(path)-1]] = v
}

// TestRoutesThatNothingWouldReach are said, with what to do; what is there already is
// still kept up to date, so that a revert works.
func TestRoutesThatNothingWouldReach(t *testing.T) {
	all := `  - {name: default, match: [{uri: {prefix: /}}], route: [{destination: {host: old}}]}`
	for name, c := range map[string]struct{ between, document, want string }{
		"no such object":       {"", strings.Replace(inShop, "shop", "stop", 1), `there is no VirtualService "stop"`},
		"all to somebody else": {all, inShop, `spec.http[1] ("default") takes every request before Serin's routes`},
		"another host":         {"", strings.Replace(inShop, "{virtual", "{hosts: [a.example.com], virtual", 1), "asks for a.example.com"},
		"a name that is taken": {`  - {name: serin/abtesting/safe-driver/mine, match: [{uri: {prefix: /m}}], route: [{destination: {host: m}}]}`, inShop, "give it another name"},
		"a name that is twice": {holder + "\n" + holder, inShop, "keep one of them"},
		"names that stand apart": {holder + `
  - {name: between, match: [{uri: {prefix: /m}}], route: [{destination: {host: m}}]}
  - {name: serin/abtesting/safe-driver/direct-stable, match: [{uri: {prefix: /m}}], route: [{destination: {host: m}}]}`, inShop, "with none between"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c.between)
			u := s.read()
			hosts := []string{"*"}
			if name == "another host" {
				hosts = []string{"b.example.com", "*.c.example.com"}
			}
			if err := unstructured.SetNestedStringSlice(u.Object, hosts, "spec", "hosts"); err != nil {
				t.Fatal(err)
			}
			if err := s.api.Update(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			u = s.read()
			s.set(testOwner, s.document(c.document))
			err := s.Apply(t.Context(), rollout.SetRouting{Routing: first})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if diff := cmp.Diff(u.Object, s.read().Object); diff != "" {
				t.Errorf("it was written all the same (-want +got):\n%s", diff)
			}
		})
	}
}

// TestARevertIsWrittenAlsoWhereARouteHidesIt: what somebody put above the routes is
// said, and takes no right to revert.
func TestARevertIsWrittenAlsoWhereARouteHidesIt(t *testing.T) {
	s := newShop(t, "")
	s.apply(rollout.SetRouting{Routing: first}, rollout.SetRouting{Routing: split})
	u := s.read()
	http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
	above := append([]any{map[string]any{"name": "all", "route": []any{map[string]any{"destination": map[string]any{"host": "x"}}}}}, http...)
	if err := unstructured.SetNestedSlice(u.Object, above, "spec", "http"); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	back := split
	back.Epoch, back.WeightBP, back.HandOver = 4, 0, true
	err := s.Apply(t.Context(), rollout.SetRouting{Routing: back})
	if err == nil || !strings.Contains(err.Error(), `spec.http[0] ("all") takes every request`) {
		t.Errorf("error %v, want that a route hides Serin's", err)
	}
	text, _ := json.Marshal(s.read().Object)
	if strings.Contains(string(text), "safe-driver-2.3.") || !strings.Contains(string(text), "safe-driver-2.4.safe-driver-r1") {
		t.Errorf("the routes of epoch 4 are not there: %s", text)
	}
	if again := s.Apply(t.Context(), rollout.SetRouting{Routing: back}); again == nil || again.Error() != err.Error() {
		t.Errorf("asked again: %v, want the same", again)
	}
	if err := s.api.Update(t.Context(), withHTTP(t, s.read(), above[1:])); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(refusalLasts)
	if err := s.Apply(t.Context(), rollout.SetRouting{Routing: back}); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
}

func withHTTP(t *testing.T, u *unstructured.Unstructured, http []any) *unstructured.Unstructured {
	t.Helper()
	if err := unstructured.SetNestedSlice(u.Object, http, "spec", "http"); err != nil {
		t.Fatal(err)
	}
	return u
}
