package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/internal/rollout"
)

// TestWhoWritesAtTheSameTimeIsNotOverwritten: each time somebody else is quicker, what
// they wrote is read again and kept.
func TestWhoWritesAtTheSameTimeIsNotOverwritten(t *testing.T) {
	for name, quicker := range map[string]int{"twice quicker": 2, "always quicker": foreignTries} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, holder)
			s.apply(rollout.SetRouting{Routing: first})
			left := quicker
			s.platform.api = interceptor.NewClient(s.api.(client.WithWatch), interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if left > 0 {
					left--
					u := s.read()
					http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
					set(http[0], fmt.Sprintf("cart-%d", left), "name")
					if err := c.Update(ctx, withHTTP(t, u, http)); err != nil {
						return err
					}
					// The fake API server takes any resourceVersion in a patch.
					return apierrors.NewConflict(schema.GroupResource{Resource: "virtualservices"}, "shop", fmt.Errorf("it was modified"))
				}
				return c.Patch(ctx, o, p, opts...)
			}})
			err := s.Apply(context.Background(), rollout.SetRouting{Routing: split})
			if err != nil && s.observe().InForce.Overwritten {
				t.Error("routes that could not be written are taken for somebody else's change")
			}
			if (err != nil) != (quicker == foreignTries) {
				t.Fatalf("error %v after %d quicker writers", err, quicker)
			}
			if got := s.names()[0]; got != "cart-0" {
				t.Errorf("the first route is %q, want what was written last by its owner", got)
			}
		})
	}
}

// TestRoutesMoveWithTheDocument: from a VirtualService of the endpoint's own to
// somebody's, to another's, and back.
func TestRoutesMoveWithTheDocument(t *testing.T) {
	second := object(t, strings.Replace(fmt.Sprintf(theirs, holder), "name: shop", "name: shop2", 1))
	s := newShop(t, "")
	if err := s.api.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "shop", "shop2", ""} {
		s.set(testOwner, s.document(strings.Replace(inShop, "{virtualService: shop}", fmt.Sprintf("{virtualService: %q}", name), 1)))
		s.apply(rollout.SetRouting{Routing: first})
		for _, o := range []struct{ object, name string }{{testKey.Name, ""}, {"shop", "shop"}, {"shop2", "shop2"}} {
			var vs istio.VirtualService
			err := s.get(o.object, &vs)
			if apierrors.IsNotFound(err) && o.name == "" && name != "" {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			stampedOnes := 0
			for _, h := range vs.Spec.Http {
				if stamped(h) {
					stampedOnes++
				}
			}
			if here := stampedOnes > 0; here != (o.name == name) {
				t.Errorf("in %q the document names, Serin's routes are in %s: %v", name, o.object, here)
			}
		}
	}
	s.untouched()
}

// TestAnObjectOfTheSameNameIsNotOverwritten: one that is not the endpoint's stays.
func TestAnObjectOfTheSameNameIsNotOverwritten(t *testing.T) {
	vs := object(t, strings.Replace(fmt.Sprintf(theirs, ""), "name: shop", "name: safe-driver", 1))
	g := &istio.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: testKey.Name, OwnerReferences: []metav1.OwnerReference{{UID: "of an earlier endpoint", Controller: new(true)}}}}
	for name, c := range map[string]struct {
		object   client.Object
		document string
		want     string
	}{
		"VirtualService": {vs, testDocument, "spec.traffic.virtualService: safe-driver"},
		"Gateway":        {g, strings.Replace(testDocument, "gateway: mlmodel-gateway", "", 1), "spec.traffic.gateway: safe-driver"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.object)
			w.set(testOwner, w.document(c.document))
			was := c.object.GetResourceVersion()
			err := w.Apply(t.Context(), rollout.SetRouting{Routing: first})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want the advice %q", err, c.want)
			}
			now := c.object.DeepCopyObject().(client.Object)
			if err := w.get(testKey.Name, now); err != nil || now.GetResourceVersion() != "999" && now.GetResourceVersion() != was {
				t.Errorf("it was written: version %s, was %s (%v)", now.GetResourceVersion(), was, err)
			}
		})
	}
}

// TestTheLastRouteIsNotTaken: Istio refuses a VirtualService without any.
func TestTheLastRouteIsNotTaken(t *testing.T) {
	routes, err := rawRoutes(RouteInput{Key: testKey, Routing: first}.routes())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		others bool
		before []any
		want   int
	}{{false, nil, 1}, {true, nil, 0}, {false, []any{map[string]any{"name": "old"}, map[string]any{"name": "old2"}}, 2}} {
		next, err := uproot(routes, c.before, c.others, testKey)
		if err != nil || len(next) != c.want {
			t.Errorf("%+v: %d routes are left (%v), want %d", c, len(next), err, c.want)
		}
	}
}

// TestFieldsOfTomorrowStay: what this Serin does not know is kept all the same.
func TestFieldsOfTomorrowStay(t *testing.T) {
	http := []any{map[string]any{"name": "cart", "fieldOfTomorrow": map[string]any{"a": 1.5}}}
	p, err := plant(http, nil, RouteInput{Key: testKey, Routing: first})
	if err != nil || len(p.next) != 2 {
		t.Fatalf("%d routes (%v), want the owner's and one of Serin's", len(p.next), err)
	}
	if diff := cmp.Diff(http[0], p.next[0]); diff != "" {
		t.Errorf("the owner's route (-want +got):\n%s", diff)
	}
	back, err := uproot(p.next, p.before, false, testKey)
	if diff := cmp.Diff(http, back); diff != "" || err != nil {
		t.Errorf("given back (-want +got, %v):\n%s", err, diff)
	}
}

func TestWhatTakesAll(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`:                                     true,
		`{match: [{}]}`:                          true,
		`{match: [{name: a, uri: {prefix: /}}]}`: true,
		`{match: [{uri: {prefix: /a}}]}`:         false,
		`{match: [{uri: {exact: /}}]}`:           false,
		`{match: [{uri: {prefix: /}, headers: {a: {exact: b}}}]}`: false,
		`{match: [{uri: {prefix: /a}}, {ignoreUriCase: true}]}`:   true,
		`{match: [{port: 80}]}`:                                   false,
	} {
		var raw map[string]any
		if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
			t.Fatal(err)
		}
		h, err := parseRoutes([]any{raw})
		if err != nil {
			t.Fatal(err)
		}
		if got := takesAll(h[0]); got != want {
			t.Errorf("%s takes all: %v, want %v", text, got, want)
		}
	}
}

func TestUncoveredHosts(t *testing.T) {
	for _, c := range []struct {
		want, have []string
		host       string
	}{
		{[]string{"*"}, []string{"a.b"}, ""},
		{[]string{"a.b"}, []string{"*"}, ""},
		{[]string{"x.a.b", "a.b"}, []string{"*.a.b"}, "a.b"},
		{[]string{"x.a.b", "*.a.b"}, []string{"*.a.b"}, ""},
		{[]string{"xa.b"}, []string{"a.b"}, "xa.b"},
	} {
		if got := uncovered(c.want, c.have); got != c.host {
			t.Errorf("%v in %v: %q is not served, want %q", c.want, c.have, got, c.host)
		}
	}
}

// TestRoutesTellTheirEndpoints: a change of somebody's VirtualService wakes those whose
// routes are in it.
func TestRoutesTellTheirEndpoints(t *testing.T) {
	vs := &istio.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "abtesting", Name: "x", Labels: map[string]string{LabelEndpoint: "c"}}}
	u := object(t, `spec: {http: [{name: serin/abtesting/a/weighted}, {name: serin/abtesting/a/direct-stable}, {name: serin/abtesting/b/weighted}, {name: serin/elsewhere/d/weighted}, {name: serin}, {}]}`)
	var typed istio.VirtualService
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &typed); err != nil {
		t.Fatal(err)
	}
	vs.Spec.Http = typed.Spec.Http
	var got []string
	for _, r := range endpointsOf(t.Context(), vs) {
		got = append(got, r.String())
	}
	if diff := cmp.Diff([]string{"abtesting/c", "abtesting/a", "abtesting/b"}, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}
