package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/serin-dev/serin/internal/rollout"
)

// TestGatewayOfItsOwn: made when the document names no way in, with the ingress
// gateway's labels; put back when it is changed; removed when the document names one.
func TestGatewayOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.cfg.GatewaySelector = map[string]string{"istio": "aks-istio-ingressgateway-external"}
	w.set(testOwner, w.document(strings.Replace(testDocument, "gateway: mlmodel-gateway", "hosts: [scoring.example.com]", 1)))
	w.apply(rollout.SetRouting{Routing: first})
	var g istio.Gateway
	var vs istio.VirtualService
	if err := w.get(testKey.Name, &g); err != nil {
		t.Fatal(err)
	}
	if err := w.get(testKey.Name, &vs); err != nil {
		t.Fatal(err)
	}
	golden(t, "gateway", MakeGateway(w.routes(), w.cfg.GatewaySelector))
	if diff := cmp.Diff([]string{testKey.Name}, vs.Spec.Gateways); diff != "" {
		t.Errorf("the routes' gateways (-want +got):\n%s", diff)
	}
	g.Spec.Servers[0].Hosts = []string{"elsewhere.example.com"}
	if err := w.api.Update(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	w.tidyUp()
	if err := w.get(testKey.Name, &g); err != nil || g.Spec.Servers[0].Hosts[0] != "./scoring.example.com" {
		t.Errorf("the Gateway is not put back: %v (%v)", g.Spec.Servers, err)
	}
	if err := w.api.Delete(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	w.tidyUp()
	if err := w.get(testKey.Name, &g); err != nil {
		t.Errorf("the Gateway is not made again: %v", err)
	}
	w.set(testOwner, w.document(testDocument))
	w.apply(rollout.SetRouting{Routing: first})
	if err := w.get(testKey.Name, &g); !apierrors.IsNotFound(err) {
		t.Errorf("the Gateway is still there (%v), though the document names another", err)
	}
}
