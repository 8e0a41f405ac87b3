package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine/enginetest"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestPlatform holds the Kubernetes platform to what every place to run in must do,
// against a real API server. A kubelet of our own makes pods ready, ends and restarts
// them; routes are in force as soon as the API server has them.
func TestPlatform(t *testing.T) {
	c := start(t)
	istioKinds(t, c)
	api := typed(t, c.RequestConfig())
	n := 0
	enginetest.Run(t, func(t *testing.T) enginetest.Place {
		n++
		return openPlace(t, api, fmt.Sprintf("place-%d", n))
	})
}

// place is one endpoint's part of a cluster, in a namespace of its own.
type place struct {
	api  k8sclient.Client
	name string // of the namespace; the endpoint is ep
	e    *v1alpha1.ScoringEndpoint

	mu sync.Mutex
	p  *kube.Platform
}

const readyImage, brokenImage = "registry.example.com/scorer@sha256:aaaa", "registry.example.com/broken@sha256:bbbb"

func openPlace(t *testing.T, api k8sclient.Client, namespace string) enginetest.Place {
	t.Helper()
	w := &place{api: api, name: namespace}
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	w.e = &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ep"}, Spec: v1alpha1.ScoringEndpointSpec{Scorer: v1alpha1.Scorer{Image: readyImage}}}
	if err := api.Create(t.Context(), w.e); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.kubelet(ctx) })
	t.Cleanup(func() { stop(); done.Wait() })
	return w.open(t)
}

// open plays a process that starts.
func (w *place) open(t *testing.T) enginetest.Place {
	t.Helper()
	p, err := kube.NewPlatform(kube.Config{RecorderImage: "registry.example.com/serin@sha256:cccc", ControllerURL: "http://serin:9002", Logger: slog.New(slog.DiscardHandler), Clock: time.Now}, w.api, w, w.e, map[string]v1alpha1.Scorer{
		"1": {Image: readyImage}, "2": {Image: readyImage}, "9": {Image: readyImage}, "broken": {Image: brokenImage},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.p = p
	w.mu.Unlock()
	return enginetest.Place{
		Platform: p,
		Revision: func(n int) rollout.Revision {
			return rollout.Revision{Name: fmt.Sprintf("ep-r%d", n), Number: n, Digest: fmt.Sprint(n), Version: fmt.Sprint(n)}
		},
		Broken: func() rollout.Revision {
			return rollout.Revision{Name: "ep-r8", Number: 8, Digest: "broken", Version: "8"}
		},
		Restart:   w.open,
		Overwrite: w.overwrite,
		Crash:     w.crash,
	}
}

func (w *place) overwrite(t *testing.T) {
	t.Helper()
	var vs istio.VirtualService
	if err := w.api.Get(t.Context(), k8sclient.ObjectKey{Namespace: w.name, Name: "ep"}, &vs); err != nil {
		t.Fatal(err)
	}
	vs.Spec.Http[len(vs.Spec.Http)-1].Route[0].Weight = 1
	if err := w.api.Update(t.Context(), &vs, k8sclient.FieldOwner("someone")); err != nil {
		t.Fatal(err)
	}
}

// crash ends a container, which the kubelet starts again.
func (w *place) crash(t *testing.T, revision string) {
	t.Helper()
	var pod corev1.Pod
	if err := w.api.Get(t.Context(), k8sclient.ObjectKey{Namespace: w.name, Name: revision}, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "scorer", RestartCount: 1, Ready: true}}
	if err := w.api.Status().Update(t.Context(), &pod); err != nil {
		t.Fatal(err)
	}
}

// kubelet gives each Deployment a pod, and takes away what has none any more.
func (w *place) kubelet(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		p := w.p
		w.mu.Unlock()
		if p != nil {
			_, _ = p.Tidy(ctx) // the controller's reconciler does
		}
		w.pods(ctx)
	}
}

func (w *place) pods(ctx context.Context) {
	var deployments appsv1.DeploymentList
	var pods corev1.PodList
	if w.api.List(ctx, &deployments, k8sclient.InNamespace(w.name)) != nil || w.api.List(ctx, &pods, k8sclient.InNamespace(w.name)) != nil {
		return // the next time
	}
	there := map[string]bool{}
	for i := range deployments.Items {
		there[deployments.Items[i].Name] = true
		w.pod(ctx, &deployments.Items[i])
	}
	for i := range pods.Items {
		if !there[pods.Items[i].Name] {
			_ = w.api.Delete(ctx, &pods.Items[i], k8sclient.GracePeriodSeconds(0))
		}
	}
}

func (w *place) pod(ctx context.Context, d *appsv1.Deployment) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: d.Name, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
	pod.Spec.ServiceAccountName = "default"
	if w.api.Create(ctx, pod) != nil {
		return // it has one
	}
	ready := corev1.ConditionTrue
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Image == brokenImage {
			ready = corev1.ConditionFalse
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: c.Name, RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}}}}
		}
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	_ = w.api.Status().Update(ctx, pod) // a failure shows: the suite waits for it
}

// The place is its own data plane: the gateway uses what the API server has.

// InForce implements kube.Mesh.
func (w *place) InForce(_ kube.Key, _ string) uint32 {
	var vs istio.VirtualService
	if w.api.Get(context.Background(), k8sclient.ObjectKey{Namespace: w.name, Name: "ep"}, &vs) != nil {
		return 0
	}
	stamp := strings.Split(vs.Spec.Http[len(vs.Spec.Http)-1].Route[0].Headers.Request.Set[wire.StampHeader], ".")
	epoch, err := strconv.ParseUint(stamp[1], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(epoch)
}

// Arms implements kube.Mesh.
func (w *place) Arms(kube.Key, uint32, string, string, bool) {}

// Order implements kube.Mesh.
func (w *place) Order(kube.Key, string, wire.Order) {}

// Losses implements kube.Mesh.
func (w *place) Losses(kube.Key) mesh.Losses { return mesh.Losses{} }
