package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/engine"
)

// restrictedNamespace admits pods of the strictest Pod Security Standard only.
const restrictedNamespace = `apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {istio-injection: INJECT, pod-security.kubernetes.io/enforce: restricted}}
`

func newRestricted(t *testing.T, name, inject string) {
	t.Helper()
	if err := mesh.Apply(t.Context(), []byte(strings.NewReplacer("NAME", name, "INJECT", inject).Replace(restrictedNamespace))); err != nil {
		t.Fatal(err)
	}
}

// TestPodsAreRestricted: in a namespace that enforces the restricted Pod Security
// Standard a version's pods are made and serve clients, and the controller's own would
// be let in.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	newRestricted(t, "e2e-restricted", "disabled")
	w := newWorld(t, "strict")
	w.namespace = "e2e-restricted"
	w.remove(t.Context())
	w.apply(plan{Version: "v1", Gateway: "abtesting/mlmodel-gateway"})
	w.awaitStable("v1")
	w.apply(plan{Version: "v2", Gateway: "abtesting/mlmodel-gateway"})
	w.await("the candidate's pod", 2*time.Minute, func(s engine.Status) bool { return s.Candidate != nil && s.Candidate.Ready })
	var d appsv1.Deployment
	if err := mesh.api.Get(t.Context(), client.ObjectKey{Namespace: "serin-system", Name: "serin-controller"}, &d); err != nil {
		t.Fatal(err)
	}
	if err := dryRun(t, "e2e-restricted", d.Spec.Template); err != nil {
		t.Errorf("the controller's pod: %v", err)
	}
	bad := d.Spec.Template.DeepCopy()
	bad.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true)
	if err := dryRun(t, "e2e-restricted", *bad); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that may raise its rights: %v, want that it is forbidden: does the namespace enforce anything?", err)
	}
}

// TestOnlyTheMeshsOwnContainerIsNotRestricted: what keeps pods in the mesh from the
// restricted standard is the container that sets up the sidecar's traffic, which Istio's
// CNI plug-in does away with; none of Serin's does.
func TestOnlyTheMeshsOwnContainerIsNotRestricted(t *testing.T) {
	t.Parallel()
	newRestricted(t, "e2e-restricted-mesh", "enabled")
	w := newWorld(t, "model")
	w.apply(plan{Version: "v1"})
	w.awaitStable("v1")
	var d appsv1.Deployment
	if err := mesh.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "model-r1"}, &d); err != nil {
		t.Fatal(err)
	}
	err := dryRun(t, "e2e-restricted-mesh", d.Spec.Template)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"istio-init"`) {
		t.Fatalf("a pod with a sidecar: %v; want that istio-init is refused. Is Istio's CNI plug-in in use here?", err)
	}
	for _, ours := range []string{`"recorder"`, `"scorer"`} {
		if strings.Contains(err.Error(), ours) {
			t.Errorf("container %s is refused too: %v", ours, err)
		}
	}
	t.Log(err)
}

// dryRun asks the API server whether it would let in a pod of this template.
func dryRun(t *testing.T, in string, template corev1.PodTemplateSpec) error {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: in, GenerateName: "dry-run-", Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec}
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "", "" // it has none there
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return mesh.api.Create(ctx, pod, client.DryRunAll)
}
