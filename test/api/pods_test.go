package api_test

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/rollout"
)

// revision is what internal/kube makes of a scorer.
func revision(s v1alpha1.Scorer) kube.RevisionInput {
	return kube.RevisionInput{
		Key:      kube.Key{Namespace: "restricted", Name: "driver"},
		Owner:    metav1.OwnerReference{APIVersion: "serin.dev/v1alpha1", Kind: "ScoringEndpoint", Name: "driver", UID: "u"},
		Revision: rollout.Revision{Name: "driver-r2", Number: 2, Digest: "abc", Version: "2"},
		Scorer:   s, Recorder: "registry.example.com/serin@sha256:aaaa", ControllerURL: "http://serin-recorder.serin-system.svc:9002", Candidate: true,
	}
}

// The pods of scorers and of the controller pass Kubernetes' strictest standard, as the API server itself checks it.
func TestPodsPassTheRestrictedStandard(t *testing.T) {
	c := start(t)
	if err := c.Apply(t.Context(), []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest}}\n")); err != nil {
		t.Fatal(err)
	}
	api, err := kubernetes.NewForConfig(c.RequestConfig())
	if err != nil {
		t.Fatal(err)
	}
	admit := func(name string, template corev1.PodTemplateSpec) error {
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Namespace = name, "restricted"
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = "default" // as the API server itself does where its plug-in for service accounts is on
		}
		_, err := api.CoreV1().Pods("restricted").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	raw, err := os.ReadFile(root + "/internal/spec/testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	templates := map[string]corev1.PodTemplateSpec{
		"scorer":                  kube.MakeDeployment(revision(v1alpha1.Scorer{Image: "a"})).Spec.Template,
		"scorer-with-every-field": kube.MakeDeployment(revision(resolve(t, raw).Endpoint.Spec.Scorer)).Spec.Template,
		"controller":              controllerPod(t),
	}
	for name, template := range templates {
		if err := admit(name, template); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The standard is in force: a pod without a security context does not pass.
	bare := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}}
	if err := admit("bare", bare); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a pod without a security context: %v; want it refused", err)
	}
}

func controllerPod(t *testing.T) corev1.PodTemplateSpec {
	t.Helper()
	text, _, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objectsOf(t, text) {
		if o.GetKind() == "Deployment" {
			var d appsv1.Deployment
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
				t.Fatal(err)
			}
			return d.Spec.Template
		}
	}
	t.Fatal("no Deployment in the chart")
	return corev1.PodTemplateSpec{}
}
