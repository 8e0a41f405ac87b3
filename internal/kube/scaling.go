package kube

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// handover owns the replicas of a Deployment from when Serin lets go of them until its
// autoscaler writes them for the first time.
const handover = "serin-handover"

// rescale brings a change of spec.scaling to what runs: it starts no rollout, so
// nothing else would.
func (p *platform) rescale(ctx context.Context, s rollout.State) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.scalingDue {
		return nil
	}
	for _, r := range running(s) {
		in, err := p.input(r)
		if err != nil {
			return err
		}
		if err := p.scale(ctx, in); err != nil {
			return fmt.Errorf("scaling revision %q: %w", r.Name, err)
		}
	}
	if err := p.holdStable(ctx); err != nil {
		return err
	}
	p.scalingDue = false
	return nil
}

func running(s rollout.State) (all []rollout.Revision) {
	for _, r := range []*rollout.Revision{s.Stable, s.Candidate} {
		if r != nil {
			all = append(all, *r)
		}
	}
	for _, k := range []*rollout.Kept{s.Previous, s.Failed} {
		if k != nil {
			all = append(all, k.Revision)
		}
	}
	return all
}

// scale writes how many scorers a revision has, or who decides that.
func (p *platform) scale(ctx context.Context, in RevisionInput) error {
	name := in.Revision.Name
	if !autoscaled(in.Scaling) {
		if err := p.write(ctx, MakeDeployment(in)); err != nil {
			return err
		}
		return p.dropAutoscaler(ctx, name)
	}
	if err := p.letGo(ctx, name); err != nil {
		return err
	}
	if err := p.write(ctx, MakeDeployment(in)); err != nil {
		return err
	}
	if name == p.routing.Stable {
		return nil // holdStable writes it, and knows its floor
	}
	return p.write(ctx, MakeAutoscaler(in, cpuPercent(in.Scaling), 0))
}

func (p *platform) dropAutoscaler(ctx context.Context, name string) error {
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: name}, h); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("reading autoscaler %q: %w", name, err)
	}
	if err := p.api.Delete(ctx, h); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing autoscaler %q: %w", name, err)
	}
	return nil
}

// letGo keeps the number of replicas when Serin ceases to own it: an owner that
// leaves a field out takes it away, if nobody else owns it too, and the API server
// would make it 1.
func (p *platform) letGo(ctx context.Context, name string) error {
	var d appsv1.Deployment
	if err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: name}, &d); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("reading deployment %q: %w", name, err)
	}
	if d.Spec.Replicas == nil || !ownsReplicas(d.ManagedFields) {
		return nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"namespace": p.key.Namespace, "name": name},
		"spec":     map[string]any{"replicas": int64(*d.Spec.Replicas)},
	}}
	if err := p.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(handover), client.ForceOwnership); err != nil {
		return fmt.Errorf("letting go of the replicas of %q: %w", name, err)
	}
	return nil
}

func ownsReplicas(fields []metav1.ManagedFieldsEntry) bool {
	for _, f := range fields {
		if f.Manager == FieldManager && f.Operation == metav1.ManagedFieldsOperationApply && f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:replicas"`) {
			return true
		}
	}
	return false
}
