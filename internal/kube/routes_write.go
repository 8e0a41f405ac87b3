package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/serin-dev/serin/internal/rollout"
)

// refusal is routes that could not be put in force for a reason that a person has
// to mend; until then the API server is not asked again and again.
type refusal struct {
	routing rollout.Routing
	at      time.Time
	why     error
}

const refusalLasts = 2 * time.Second

// writeRoutes puts the routes in force: in somebody else's VirtualService if the
// document names one, else in one of the endpoint's own. Where they were before they
// are taken out.
func (p *platform) writeRoutes(ctx context.Context) error {
	p.unwritten, p.routesSeen = true, false
	if r := p.refused; r.why != nil && r.routing == p.routing && p.cfg.Clock().Sub(r.at) < refusalLasts {
		return r.why
	}
	p.refused = refusal{}
	write := p.writeOwn
	if p.inTheirs() {
		write = p.plant
	}
	if err := write(ctx); err != nil {
		if t := toMend(""); errors.As(err, &t) {
			p.refused = refusal{p.routing, p.cfg.Clock(), err}
		}
		return err
	}
	p.unwritten = false
	if _, err := giveBack(ctx, p.api, p.direct, p.key, p.routesName()); err != nil {
		return err
	}
	return p.removeGateway(ctx)
}

// inTheirs reports that the document has the routes in somebody else's VirtualService.
func (p *platform) inTheirs() bool { return p.resolved.Endpoint.Spec.Traffic.VirtualService != "" }

// routesName names the VirtualService that the routes stand in.
func (p *platform) routesName() string {
	return cmp.Or(p.resolved.Endpoint.Spec.Traffic.VirtualService, p.key.Name)
}

// writeOwn writes the endpoint's own VirtualService, and the Gateway if it has one.
func (p *platform) writeOwn(ctx context.Context) error {
	if p.ownGateway() {
		have, stands, err := p.gateway(ctx)
		if err == nil && !stands {
			err = p.writeGateway(ctx, have)
		}
		if err != nil {
			return err
		}
	}
	var vs istio.VirtualService
	err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.key.Name}, &vs)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the routes of %q: %w", p.key, err)
	}
	if err == nil && !p.owns(&vs) {
		return mend("VirtualService %q is there already and not this endpoint's: write spec.traffic.virtualService: %s to have Serin's routes put into it, or give one of the two another name", vs.Name, vs.Name)
	}
	generation, err := p.written(ctx, MakeVirtualService(p.routes()))
	if err != nil {
		return fmt.Errorf("writing the routes of %q: %w", p.key, err)
	}
	p.routesWritten, p.routesSeen = generation, false
	return nil
}

// owns reports whether an object is the endpoint's: by its UID, so that one of an
// endpoint of the same name that was deleted is not.
func (p *platform) owns(o metav1.Object) bool {
	by := metav1.GetControllerOf(o)
	return by != nil && by.UID == p.owner.UID
}

// overwritten reports whether someone else changed the routes, or took them away.
// Before the first route nothing can be, and routes that could not be written yet are
// not as they should be for no fault of others. The cache may be behind our own write:
// what it shows then is nobody else's doing.
func (p *platform) overwritten(ctx context.Context) (bool, error) {
	if p.routing.Stable == "" || p.resolved.Name == "" || p.unwritten {
		return false, nil
	}
	var vs istio.VirtualService
	err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.routesName()}, &vs)
	if apierrors.IsNotFound(err) {
		return p.routesSeen, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the routes of %q: %w", p.key, err)
	}
	if vs.Generation < p.routesWritten || vs.Generation == 0 {
		return false, nil
	}
	p.routesSeen = true
	if p.inTheirs() {
		return p.changedIn(&vs), nil
	}
	want := MakeVirtualService(p.routes())
	return !proto.Equal(&want.Spec, &vs.Spec), nil
}

// endpointsOf are the endpoints whose routes an object holds, by its label or by the
// names of its routes.
func endpointsOf(_ context.Context, o client.Object) (out []reconcile.Request) {
	seen := map[client.ObjectKey]bool{}
	add := func(name string) {
		if k := (client.ObjectKey{Namespace: o.GetNamespace(), Name: name}); name != "" && !seen[k] {
			seen[k], out = true, append(out, reconcile.Request{NamespacedName: k})
		}
	}
	add(o.GetLabels()[LabelEndpoint])
	if vs, ok := o.(*istio.VirtualService); ok {
		for _, h := range vs.Spec.Http {
			if parts := strings.Split(h.Name, "/"); len(parts) == 4 && parts[0] == "serin" && parts[1] == o.GetNamespace() {
				add(parts[2])
			}
		}
	}
	return out
}
