package kube

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// gatewayPort is where the endpoint's own Gateway listens: plain HTTP. Who wants TLS
// has a Gateway with a certificate, and names it.
const gatewayPort = 80

// defaultGatewaySelector is that of Istio's own ingress gateway.
var defaultGatewaySelector = map[string]string{"istio": "ingressgateway"}

// MakeGateway returns the Gateway of an endpoint whose document names none. Only
// VirtualServices of the endpoint's own namespace may use it.
func MakeGateway(in RouteInput, selector map[string]string) *istio.Gateway {
	if len(selector) == 0 {
		selector = defaultGatewaySelector
	}
	g := &istio.Gateway{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Key.Namespace, Name: in.Key.Name, OwnerReferences: []metav1.OwnerReference{in.Owner},
			Labels: map[string]string{LabelApp: in.Key.Name, LabelEndpoint: in.Key.Name, LabelManagedBy: FieldManager},
		},
	}
	server := &networking.Server{Port: &networking.Port{Number: gatewayPort, Name: portName, Protocol: "HTTP"}}
	for _, h := range in.Hosts {
		server.Hosts = append(server.Hosts, "./"+h)
	}
	g.Spec.Selector, g.Spec.Servers = selector, []*networking.Server{server}
	return g
}

// ownGateway reports whether the document leaves the Gateway to Serin.
func (p *platform) ownGateway() bool {
	t := p.resolved.Endpoint.Spec.Traffic
	return t.Gateway == "" && t.VirtualService == ""
}

// readGateway returns the endpoint's own Gateway from the cache, which holds none but
// Serin's, or nil.
func (p *platform) readGateway(ctx context.Context) (*istio.Gateway, error) {
	var g istio.Gateway
	err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.key.Name}, &g)
	if apierrors.IsNotFound(err) || err == nil && !p.owns(&g) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading Gateway %q: %w", p.key.Name, err)
	}
	return &g, nil
}

// gateway returns the endpoint's own Gateway, or nil, and whether it stands as the
// document has it: then a move of weights, and a revert, need not write it.
func (p *platform) gateway(ctx context.Context) (have *istio.Gateway, stands bool, err error) {
	if have, err = p.readGateway(ctx); err != nil || have == nil {
		return nil, false, err
	}
	want := MakeGateway(p.routes(), p.cfg.GatewaySelector)
	return have, proto.Equal(&want.Spec, &have.Spec), nil
}

// writeGateway writes the endpoint's own Gateway in the place of the one it has.
func (p *platform) writeGateway(ctx context.Context, have *istio.Gateway) error {
	if have == nil { // somebody else's is in no cache of ours
		var g istio.Gateway
		switch err := p.direct.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.key.Name}, &g); {
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("reading Gateway %q: %w", p.key.Name, err)
		case err == nil && !p.owns(&g):
			return mend("Gateway %q is there already and not this endpoint's: write spec.traffic.gateway: %s to use it", g.Name, g.Name)
		}
	}
	return p.write(ctx, MakeGateway(p.routes(), p.cfg.GatewaySelector))
}

// keepGateway puts the endpoint's own Gateway back when somebody changed it or took it
// away. Weights do not hang on it: what was counted meanwhile counts.
func (p *platform) keepGateway(ctx context.Context) error {
	if p.routing.Stable == "" || !p.ownGateway() {
		return nil
	}
	have, stands, err := p.gateway(ctx)
	if err != nil || stands {
		return err
	}
	if have == nil { // if somebody took it away, remember tells
		return p.writeGateway(ctx, nil)
	}
	return p.putBack(ctx, "Gateway", MakeGateway(p.routes(), p.cfg.GatewaySelector), by(have.ManagedFields, "f:spec"))
}

// removeGateway removes the endpoint's own Gateway once the document names another
// way in, and the routes use that.
func (p *platform) removeGateway(ctx context.Context) error {
	if p.ownGateway() {
		return nil
	}
	g, err := p.readGateway(ctx)
	if err != nil || g == nil {
		return err
	}
	p.forgetMade("Gateway", g.Name)
	if err := client.IgnoreNotFound(p.api.Delete(ctx, g)); err != nil {
		return fmt.Errorf("removing Gateway %q, which the document no longer uses: %w", g.Name, err)
	}
	return nil
}
