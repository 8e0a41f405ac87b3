package kube

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deployment is what a revision's Deployment is written as, and how many pods it wants.
// One that is there stays as it was made, whatever this Serin would make of it (its
// recorder's image is another after an upgrade): a revision never changes, and other
// pods would take production down with them. Only the number of its pods is written.
func (p *platform) deployment(ctx context.Context, in RevisionInput) (client.Object, int32, error) {
	made, live := MakeDeployment(in), &appsv1.Deployment{}
	err := p.api.Get(ctx, client.ObjectKeyFromObject(made), live)
	if apierrors.IsNotFound(err) {
		return made, wanted(made), nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading deployment %q: %w", made.Name, err)
	}
	kept, err := asApplied(live, made)
	if autoscaled(in.Scaling) {
		return kept, wanted(live), err
	}
	return kept, wanted(made), err
}

// asApplied is all that Serin applied of a Deployment, but for its replicas: what an
// owner leaves out is taken away.
func asApplied(live, made *appsv1.Deployment) (*unstructured.Unstructured, error) {
	kept, err := appsapply.ExtractDeployment(live, FieldManager)
	if err != nil {
		return nil, fmt.Errorf("reading what is Serin's of deployment %q: %w", live.Name, err)
	}
	if kept.Spec == nil {
		kept.WithSpec(appsapply.DeploymentSpec())
	}
	kept.Spec.Replicas = made.Spec.Replicas
	kept.WithLabels(made.Labels).WithAnnotations(made.Annotations) // somebody may have taken them
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(kept)
	if err != nil {
		return nil, fmt.Errorf("reading what is Serin's of deployment %q: %w", live.Name, err)
	}
	return &unstructured.Unstructured{Object: raw}, nil
}
