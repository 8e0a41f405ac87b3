package kube

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/rollout"
)

var update = flag.Bool("update", false, "write the golden files; read the difference before you commit it")

var (
	testKey   = Key{Namespace: "abtesting", Name: "safe-driver"}
	testOwner = metav1.OwnerReference{APIVersion: "serin.dev/v1alpha1", Kind: "ScoringEndpoint", Name: "safe-driver", UID: "u1", Controller: new(true)}
	r1        = rollout.Revision{Name: "safe-driver-r1", Number: 1, Digest: "d1", Version: "1"}
	r2        = rollout.Revision{Name: "safe-driver-r2", Number: 2, Digest: "d2", Version: "2.0+exp"}
)

func golden(t *testing.T, name string, objects ...any) {
	t.Helper()
	var got []byte
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, "---\n"...), text...)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (make it with -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

func testRevision() RevisionInput {
	return RevisionInput{
		Key: testKey, Owner: testOwner, Revision: r2, Recorder: "registry.example/serin@sha256:aa", ControllerURL: "http://serin-recorder.serin-system:9002",
		Scorer: v1alpha1.Scorer{Image: "registry.example/safe-driver@sha256:bb", Env: []v1alpha1.EnvVar{{Name: "MODEL_NAME", Value: "driver"}}, Readiness: v1alpha1.Readiness{Path: "/"}},
	}
}

func TestMakeRevision(t *testing.T) {
	in := testRevision()
	golden(t, "revision", MakeDeployment(in), MakeService(in))
	in.Candidate, in.Scaling = true, v1alpha1.Scaling{Min: new(int32(2)), Max: new(int32(10)), CPU: "70%"}
	in.Scorer.Port = 8000
	in.Scorer.Template = &v1alpha1.Template{
		Resources:        corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
		Env:              []corev1.EnvVar{{Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}, ServiceAccountName: "scorer", NodeSelector: map[string]string{"pool": "scoring"},
		Volumes: []corev1.Volume{{Name: "models", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}, VolumeMounts: []corev1.VolumeMount{{Name: "models", MountPath: "/models"}},
	}
	golden(t, "revision-autoscaled", MakeDeployment(in), MakeService(in), MakeAutoscaler(in, 70, 4))
}

// TestPromise2 holds at the autoscaler: while a rollout runs stable's minimum is
// what it had, and Serin never writes replicas that an autoscaler owns.
func TestPromise2StableIsNotShrunkWhileARolloutRuns(t *testing.T) {
	in := testRevision()
	in.Scaling = v1alpha1.Scaling{Min: new(int32(2)), Max: new(int32(10))}
	if got := MakeDeployment(in).Spec.Replicas; got != nil {
		t.Errorf("replicas %d are written although an autoscaler owns them", *got)
	}
	for floor, want := range map[int32]int32{0: 2, 1: 2, 7: 7, 12: 10} {
		if got := *MakeAutoscaler(in, 70, floor).Spec.MinReplicas; got != want {
			t.Errorf("floor %d: minimum %d, want %d", floor, got, want)
		}
	}
}

func TestMakeVirtualService(t *testing.T) {
	base := RouteInput{
		Key: testKey, Owner: testOwner, Hosts: []string{"*"}, Gateway: "mlmodel-gateway", Header: HeaderRoute{"x-api-version", "green", "blue"}, Timeout: 5 * time.Second,
	}
	for name, r := range map[string]rollout.Routing{
		"routes-stable":   {Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name},
		"routes-shadow":   {Epoch: 4, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, ShadowBP: 5000},
		"routes-weight":   {Epoch: 5, Rollout: "safe-driver-2", Step: 1, Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000},
		"routes-handover": {Epoch: 6, Rollout: "safe-driver-2", Step: 1, Stable: r1.Name, Candidate: r2.Name, HandOver: true},
		"routes-promoted": {Epoch: 7, Rollout: "safe-driver-2", Step: 2, Stable: r2.Name},
	} {
		in := base
		in.Routing = r
		golden(t, name, MakeVirtualService(in))
	}
	sticky := base
	sticky.Cookie, sticky.BeforeBP = "serin", 1000
	sticky.Routing = rollout.Routing{Epoch: 8, Rollout: "safe-driver-2", Step: 2, Stable: r1.Name, Candidate: r2.Name, WeightBP: 5500}
	golden(t, "routes-sticky", MakeVirtualService(sticky))
}
