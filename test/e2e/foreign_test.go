package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
)

// shop is a VirtualService of somebody else's: three routes of its owner's, and a place
// holder for Serin's.
const shop = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: abtesting, labels: {team: shop}, annotations: {note: keep me}}
spec:
  hosts: [%[1]s.example.com]
  gateways: [mlmodel-gateway]
  http:
  - {name: cart, match: [{uri: {prefix: /cart}}], directResponse: {status: 200, body: {string: cart}}}
  - {name: serin/abtesting/%[1]s/weighted, match: [{uri: {prefix: /score}}], directResponse: {status: 200, body: {string: "before Serin"}}}
  - {name: rest, match: [{uri: {prefix: /rest}}], rewrite: {uri: /}, directResponse: {status: 201}}
  - {name: default, directResponse: {status: 202, body: {string: theirs}}}
`

func readShop(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"})
	if err := mesh.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "shop"}, u); err != nil {
		t.Fatal(err)
	}
	return u
}

// ofOthers is the shop without what is Serin's, and without what the API server and the
// busy neighbour of the test write.
func ofOthers(t *testing.T, u *unstructured.Unstructured, name string) string {
	t.Helper()
	u = u.DeepCopy()
	http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
	kept := []any{}
	for _, h := range http {
		if n, _ := h.(map[string]any)["name"].(string); !strings.HasPrefix(n, "serin/abtesting/"+name+"/") {
			kept = append(kept, h)
		}
	}
	if err := unstructured.SetNestedSlice(u.Object, kept, "spec", "http"); err != nil {
		t.Fatal(err)
	}
	for _, path := range [][]string{{"resourceVersion"}, {"generation"}, {"managedFields"}, {"labels", "beat"}, {"annotations", "serin.dev/before-" + name}} {
		unstructured.RemoveNestedField(u.Object, append([]string{"metadata"}, path...)...)
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// writer writes the shop all the time, as its owner's tools may.
func writer(t *testing.T) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	beats := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil && beats < 10_000 {
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{"beat":"%d"}}}`, beats)
			u := &istio.VirtualService{}
			u.Namespace, u.Name = namespace, "shop"
			if mesh.api.Patch(ctx, u, client.RawPatch("application/merge-patch+json", patch)) == nil {
				beats++
			}
			select {
			case <-ctx.Done():
			case <-time.After(25 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceValue(func() int { cancel(); wait.Wait(); return beats })
	t.Cleanup(func() { stop() })
	return stop
}

// TestSomebodyElsesVirtualServiceStaysAsItIs: Serin's routes stand in a VirtualService
// with three other routes, written all the time by somebody else. It goes through a
// whole rollout and out of the endpoint again: not a byte of the others changes, and no
// request fails, of Serin's clients or the others'.
func TestSomebodyElsesVirtualServiceStaysAsItIs(t *testing.T) {
	w := newWorld(t, "guest")
	if err := mesh.Apply(t.Context(), fmt.Appendf(nil, shop, w.name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeObject(&istio.VirtualService{}, "shop") })
	before := readShop(t)
	w.awaitAnswers() // of the place holder
	stop := w.traffic(100)
	defer stop()
	others := w.elsewhere(t, map[string]int{"/cart": 200, "/rest": 201, "/": 202})
	beats := writer(t)
	in := func(p plan) {
		w.applyText(p.Version, []byte(strings.Replace(string(w.render(p)), "gateway: mlmodel-gateway", "virtualService: shop", 1)))
	}
	in(plan{Version: "v1"})
	w.awaitStable("v1")
	w.until("requests come to v1", func() bool { return !lastTo(w.name+"-r1", w.answers()).IsZero() })
	in(plan{Version: "v2"})
	w.awaitOutcome("v2", "Promoted", 4*time.Minute)
	if got, want := ofOthers(t, readShop(t), w.name), ofOthers(t, before, w.name); got != want {
		t.Errorf("what is not Serin's was changed:\n%s\nwas\n%s", got, want)
	}
	w.remove(t.Context())
	after := readShop(t)
	unstructured.RemoveNestedField(after.Object, "metadata", "labels", "beat")
	if got, want := jsonOf(t, after.Object["spec"]), jsonOf(t, before.Object["spec"]); got != want {
		t.Errorf("after the endpoint went the VirtualService is\n%s\nwas\n%s", got, want)
	}
	w.until("requests go where they went before", func() bool {
		return w.ask(passerBy, safedriver.SampleRequest, "", "").stamp == ""
	})
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	t.Logf("%d requests, %d failed; %d of the others'; %d writes by somebody else", len(all), len(failures(all)), others(), beats())
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func removeObject(o client.Object, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o.SetNamespace(namespace)
	o.SetName(name)
	_ = mesh.api.Delete(ctx, o)
}

// elsewhere asks for other paths of the host all the time, and reports what is not
// answered as its owner says.
func (w *world) elsewhere(t *testing.T, want map[string]int) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil && n < mostRequests {
			for path, status := range want {
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, mesh.Gateway+path, nil)
				req.Host = w.name + ".example.com"
				resp, err := passerBy.Do(req)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("asking for %s: %v", path, err)
					}
					continue
				}
				resp.Body.Close()
				n++
				if resp.StatusCode != status {
					t.Errorf("%s answered %d, want %d", path, resp.StatusCode, status)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceValue(func() int { cancel(); wait.Wait(); return n })
	t.Cleanup(func() { stop() })
	return stop
}

// TestRoutesThatNothingReachesAreSaid: a route of the owner's takes every request; the
// endpoint says which, and goes on when it is mended.
func TestRoutesThatNothingReachesAreSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "hidden")
	text := strings.ReplaceAll(fmt.Sprintf(shop, w.name), "serin/abtesting/hidden/weighted, match: [{uri: {prefix: /score}}]", "all")
	if err := mesh.Apply(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeObject(&istio.VirtualService{}, "shop") })
	w.applyText("v1", []byte(strings.Replace(string(w.render(plan{Version: "v1"})), "gateway: mlmodel-gateway", "virtualService: shop", 1)))
	w.await("a condition that says why", 2*time.Minute, func(s engine.Status) bool {
		for _, c := range s.Conditions {
			if c.Type == "Degraded" && strings.Contains(c.Message, `spec.http[1] ("all") takes every request before Serin's routes`) {
				return true
			}
		}
		return false
	})
	if err := mesh.Apply(t.Context(), fmt.Appendf(nil, shop, w.name)); err != nil {
		t.Fatal(err)
	}
	w.awaitStable("v1")
	w.until("requests come to v1", func() bool {
		return w.ask(passerBy, safedriver.SampleRequest, "", "").revision() == w.name+"-r1"
	})
}

// TestGatewayIsMadeAndPutBack: a document that names no way in gets one; taken away it
// comes back; it goes when the document names one.
func TestGatewayIsMadeAndPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "wayin")
	own := func(p plan) []byte {
		return []byte(strings.Replace(string(w.render(p)), "gateway: mlmodel-gateway, ", "", 1))
	}
	w.applyText("v1", own(plan{Version: "v1"}))
	w.awaitStable("v1")
	var g istio.Gateway
	if err := mesh.api.Get(t.Context(), w.key(), &g); err != nil {
		t.Fatal(err)
	}
	if got := w.routes().Spec.Gateways; len(got) != 1 || got[0] != w.name {
		t.Errorf("the routes hang on %v, want Serin's Gateway", got)
	}
	uid := g.UID
	if err := mesh.api.Delete(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	w.until("the Gateway is put back", func() bool { return mesh.api.Get(t.Context(), w.key(), &g) == nil && g.UID != uid })
	w.awaitAnswers()
	w.apply(plan{Version: "v1"})
	w.until("the Gateway is gone", func() bool { return apierrors.IsNotFound(mesh.api.Get(t.Context(), w.key(), &g)) })
	w.awaitAnswers()
}
