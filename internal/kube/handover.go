package kube

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// handover owns the replicas of a Deployment from when Serin lets go of them until its
// autoscaler writes them for the first time.
const handover = "serin-handover"

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
