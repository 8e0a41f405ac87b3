package kube

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// write applies an object by server-side apply: what Serin owns is as it says,
// what others own stays.
func (p *platform) write(ctx context.Context, o client.Object) error {
	_, err := p.written(ctx, o)
	return err
}

// written is write, and returns the generation that the object has now.
func (p *platform) written(ctx context.Context, o client.Object) (int64, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return 0, fmt.Errorf("writing %s %q: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: raw}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "creationTimestamp")
	if err := p.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return 0, fmt.Errorf("writing %s %q: %w", u.GetKind(), u.GetName(), err)
	}
	p.remember(u.GetKind(), u)
	return u.GetGeneration(), nil
}

// holdStable raises the minimum of stable's autoscaler to what is ready now while
// a candidate has weight, and lets it go afterwards: a revert must never meet a
// stable that was shrunk meanwhile. Replicas themselves are never written.
func (p *platform) holdStable(ctx context.Context) error {
	if p.resolved.Endpoint.Spec.Scaling.Max == nil || p.routing.Stable == "" {
		return nil
	}
	d, err := p.deploymentOf(ctx, p.routing.Stable)
	if err != nil || d == nil || adopted(d) { // an adopted one's autoscaler is its owner's
		return err
	}
	floor := int32(0)
	if p.routing.WeightBP > 0 {
		floor = max(d.Status.ReadyReplicas, p.heldFloor(ctx))
	}
	in, err := p.inputOf(d)
	if err != nil {
		return err
	}
	return p.write(ctx, MakeAutoscaler(in, cpuPercent(in.Scaling), floor))
}

// heldFloor is the minimum that is held already: it never sinks during a rollout.
func (p *platform) heldFloor(ctx context.Context) int32 {
	h, err := p.autoscaler(ctx, p.routing.Stable)
	if err != nil || h == nil || h.Spec.MinReplicas == nil {
		return 0
	}
	return *h.Spec.MinReplicas
}

// autoscaler returns a revision's autoscaler from the cache, or nil.
func (p *platform) autoscaler(ctx context.Context, revision string) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	var h autoscalingv2.HorizontalPodAutoscaler
	err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: revision}, &h)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading the autoscaler of revision %q: %w", revision, err)
	}
	return &h, nil
}

// askToStop marks a revision; tidy takes it away when no request can be on its way
// to it any more. It is asked again and again until the revision is gone: only the
// first time counts, or it would never be over.
func (p *platform) askToStop(ctx context.Context, r rollout.Revision) error {
	d, err := p.deploymentOf(ctx, r.Name)
	if err != nil || d == nil || d.Annotations[AnnotationStopAsked] != "" {
		return err
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q,%q:%q}}}`, AnnotationStopAfter, strconv.FormatUint(uint64(p.routing.Epoch), 10), AnnotationStopAsked, p.cfg.Clock().UTC().Format(time.RFC3339))
	if err := p.api.Patch(ctx, d, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("stopping revision %q: %w", r.Name, err)
	}
	return nil
}

// unseenWait is how long a route is waited for that no traffic shows.
const unseenWait = 30 * time.Second

// tidy puts back what somebody else changed of the endpoint's objects, keeps what the
// candidate publishes, and removes revisions that were asked to stop. It returns when to
// look again, 0: never. It is called whenever one of the objects changes.
func (p *platform) tidy(ctx context.Context) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.keepGateway(ctx); err != nil {
		return 0, err
	}
	all, err := deployments(ctx, p.api, p.key)
	if err != nil {
		return 0, err
	}
	for i := range all {
		if d := &all[i]; d.Name == p.routing.Candidate {
			if err := p.publish(ctx, d); err != nil {
				return 0, fmt.Errorf("publishing the addresses of %q: %w", d.Name, err)
			}
		}
	}
	again, err := p.endAsked(ctx, all)
	return again, errors.Join(err, p.keep(ctx, all))
}

// endAsked removes revisions that were asked to stop: the Deployment once the new
// stamp was seen (or, without traffic, after unseenWait) and the longest request
// has had its time, the Service with it.
func (p *platform) endAsked(ctx context.Context, all []appsv1.Deployment) (again time.Duration, err error) {
	for i := range all {
		d := &all[i]
		asked, err := time.Parse(time.RFC3339, d.Annotations[AnnotationStopAsked])
		if name := d.Labels[LabelRevision]; err != nil || name == p.routing.Stable || name == p.routing.Candidate {
			continue
		}
		wait := unseenWait
		if after, err := strconv.ParseUint(d.Annotations[AnnotationStopAfter], 10, 32); err == nil && p.mesh.InForce(p.key, p.routing.Rollout) >= uint32(after) {
			wait = 0
		}
		wait += p.resolved.Traffic.Timeout + time.Second
		if left := wait - p.cfg.Clock().Sub(asked); left > 0 {
			again = max(again, left)
			continue
		}
		if err := p.end(ctx, d); err != nil {
			return 0, err
		}
	}
	return again, nil
}

func (p *platform) remove(ctx context.Context, name string) error {
	p.forgetMade("HorizontalPodAutoscaler", name)
	p.forgetMade("Deployment", name)
	meta := metav1.ObjectMeta{Namespace: p.key.Namespace, Name: name}
	for _, o := range []client.Object{&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta}, &appsv1.Deployment{ObjectMeta: meta}} {
		if err := p.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing revision %q: %w", name, err)
		}
	}
	return p.removeService(ctx, name)
}

func (p *platform) removeService(ctx context.Context, name string) error {
	p.forgetMade("Service", name)
	delete(p.publishing, name)
	delete(p.scaled, name)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: p.key.Namespace, Name: name}}
	if err := p.api.Delete(ctx, s); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the Service of revision %q: %w", name, err)
	}
	return nil
}
