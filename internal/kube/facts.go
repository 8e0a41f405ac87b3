package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// logLate is how long after a request has ended its entry may come: the gateway
// sends its log once a second.
const logLate = 2 * time.Second

// dataPlane adds what gateway and recorders show. The caller holds mu.
func (p *platform) dataPlane(ctx context.Context, o *rollout.Observed) (err error) {
	lost := p.mesh.Losses(p.key)
	for _, l := range lost.Revisions {
		o.Losses = append(o.Losses, rollout.Loss{Revision: l.Revision, Kind: lossKinds[l.Kind], Missing: l.Missing, Of: l.Of})
	}
	f := &o.InForce
	f.Epoch = p.mesh.InForce(p.key, p.routing.Rollout)
	if f.Epoch != p.routing.Epoch {
		f.Stale = p.stale(lost.Logged)
	}
	f.Overwritten, err = p.overwritten(ctx)
	if f.Overwritten {
		f.By = p.overwriter(ctx)
	}
	return err
}

var lossKinds = map[mesh.Kind]rollout.LossKind{
	mesh.LogLacks: rollout.LossLog, mesh.RecordersLack: rollout.LossRecorders, mesh.NoRecorder: rollout.LossNoRecorder, mesh.AnswersDropped: rollout.LossDropped,
}

// stale is how long after the present routes were written a request was still routed
// by others, which ended at the latest when its entry came.
func (p *platform) stale(logged time.Time) time.Duration {
	if p.routesAt.IsZero() || logged.IsZero() {
		return 0
	}
	return max(0, logged.Sub(p.routesAt)-p.resolved.Traffic.Timeout-logLate)
}

// overwriter names the field manager that last wrote the routes, if it is not Serin:
// the API server gives no other trace of who it was.
func (p *platform) overwriter(ctx context.Context) string {
	var vs istio.VirtualService
	if p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.routesName()}, &vs) != nil {
		return ""
	}
	others := slices.DeleteFunc(vs.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == FieldManager })
	return lastManager(others)
}

// lastManager is the manager of the latest entry that is not about a subresource.
func lastManager(entries []metav1.ManagedFieldsEntry) (by string) {
	at := time.Time{}
	for _, m := range entries {
		if m.Subresource == "" && m.Time != nil && m.Time.After(at) {
			by, at = m.Manager, m.Time.Time
		}
	}
	return by
}

// change takes a new document and writes the routes as it has them now: they would
// look overwritten by somebody else otherwise. What cannot be written is not taken.
func (p *platform) change(ctx context.Context, owner metav1.OwnerReference, r spec.Resolved) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, wasOwner := p.resolved, p.owner
	p.owner, p.resolved = owner, r
	p.scorers[r.Digest] = r.Endpoint.Spec.Scorer
	var err error
	if !reflect.DeepEqual(was.Endpoint.Spec.Scaling, r.Endpoint.Spec.Scaling) {
		err = p.rescale(ctx)
	}
	if err == nil && p.routing.Stable != "" {
		err = p.putRouting(ctx, p.routing)
	}
	if err != nil {
		p.owner, p.resolved, p.unwritten = wasOwner, was, false // those of the document before stand
	}
	return err
}

// inPlace reports that these routes were written, and stand as they were written:
// while nobody asks for them they are never seen in force, and asked for again and
// again.
func (p *platform) inPlace(ctx context.Context, r rollout.Routing) bool {
	if r != p.routing || !p.routesSeen {
		return false
	}
	over, err := p.overwritten(ctx)
	return err == nil && !over
}

// exists refuses a share for a candidate that has no Deployment: its requests would
// reach nobody. What its Service publishes is as it must be before requests come.
func (p *platform) exists(ctx context.Context, r rollout.Routing) error {
	if r.WeightBP == 0 && r.ShadowBP == 0 {
		return nil
	}
	d, err := p.deploymentOf(ctx, r.Candidate)
	switch {
	case err != nil:
	case d == nil:
		err = errors.New("it has no Deployment")
	default:
		err = p.publish(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("routing a share of %q to %q: %w", p.key, r.Candidate, err)
	}
	return nil
}
