package kube

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// dataPlane is a Mesh that remembers what it was told.
type dataPlane struct {
	mu      sync.Mutex
	inForce uint32
	orders  map[string]wire.Order
	told    []string // in order: "order REVISION", "arms"
	losses  mesh.Losses
}

func (d *dataPlane) Losses(Key) mesh.Losses { d.mu.Lock(); defer d.mu.Unlock(); return d.losses }

func (d *dataPlane) InForce(Key, string) uint32 { d.mu.Lock(); defer d.mu.Unlock(); return d.inForce }

func (d *dataPlane) Arms(_ Key, _ uint32, _, _ string, _ bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, "arms")
}

func (d *dataPlane) Order(_ Key, revision string, o wire.Order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orders[revision] = o
	d.told = append(d.told, "order "+revision)
}

const testDocument = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: safe-driver, namespace: abtesting}
spec:
  scorer: {version: "1", image: "registry.example/safe-driver@sha256:aa"}
  traffic: {gateway: mlmodel-gateway}
`

type testWorld struct {
	*platform
	t    *testing.T
	data *dataPlane
	api  client.Client
	now  time.Time
}

func newWorld(t *testing.T, objects ...client.Object) *testWorld {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	w := &testWorld{t: t, data: &dataPlane{orders: map[string]wire.Order{}}, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	w.api = fake.NewClientBuilder().WithReturnManagedFields().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.ScoringEndpoint{}, &v1alpha1.ScoringRollout{}, &v1alpha1.RolloutAction{}, &appsv1.Deployment{}).Build()
	cfg := Config{RecorderImage: "registry.example/serin@sha256:cc", ControllerURL: "http://serin-recorder.serin-system:9002", Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return w.now }}
	w.platform = newPlatform(testKey, cfg, w.api, w.api, w.data)
	w.set(testOwner, w.document(testDocument))
	w.scorers["d1"], w.scorers["d2"] = w.resolved.Endpoint.Spec.Scorer, w.resolved.Endpoint.Spec.Scorer
	return w
}

func (w *testWorld) document(text string) spec.Resolved {
	w.t.Helper()
	doc, _, err := spec.Load([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	r, _, err := doc.For(spec.Cluster)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *testWorld) apply(actions ...rollout.Action) {
	w.t.Helper()
	for _, a := range actions {
		for range 2 { // every action may be repeated
			if err := w.Apply(context.Background(), a); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *testWorld) get(name string, o client.Object) error {
	return w.api.Get(context.Background(), client.ObjectKey{Namespace: testKey.Namespace, Name: name}, o)
}

func (w *testWorld) observe() rollout.Observed {
	w.t.Helper()
	o, err := w.Observe(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// TestRevertTellsTheRecordersBeforeItWritesTheRoutes: a mesh control plane may be
// busy for seconds, the candidate's own end is not.
func TestRevertTellsTheRecordersBeforeItWritesTheRoutes(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}})
	if o := w.data.orders[r2.Name]; o.Role != wire.Candidate || o.HandOver || o.StableURL != "http://safe-driver-r1.abtesting.svc.cluster.local:80" || !o.Fallback {
		t.Errorf("the candidate's order under weight: %+v", o)
	}
	broken := &failingRoutes{Client: w.api}
	w.platform.api = broken
	err := w.Apply(context.Background(), rollout.SetRouting{Routing: rollout.Routing{Epoch: 6, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, HandOver: true}})
	if err == nil {
		t.Fatal("the routes could not be written and nobody says so")
	}
	if o := w.data.orders[r2.Name]; !o.HandOver || o.Epoch != 6 {
		t.Errorf("the candidate's recorders were told %+v; want the hand-over, although the routes cannot be written", o)
	}
}

// TestPromise3ThePromotedVersionHasTheOneBeforeBehindIt: while that is kept and ready, and nobody behind it.
func TestPromise3ThePromotedVersionHasTheOneBeforeBehindIt(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	promoted := rollout.Routing{Epoch: 7, Rollout: "safe-driver-2", Stable: r2.Name, Previous: r1.Name}
	w.apply(rollout.SetRouting{Routing: promoted})
	const url = "http://safe-driver-r1.abtesting.svc.cluster.local:80"
	if o := w.data.orders[r2.Name]; o.Role != wire.Stable || o.PreviousURL != url || !o.Fallback || o.StableURL != "" {
		t.Errorf("the promoted version's order: %+v", o)
	}
	if o := w.data.orders[r1.Name]; o.Role != wire.None || o.PreviousURL != "" || o.HandOver {
		t.Errorf("the kept version's order: %+v; it answers for itself what was routed to it before", o)
	}
	for _, ready := range []bool{false, true} {
		w.onlyPod(r1.Name, ready)
		w.observe()
		if o := w.data.orders[r2.Name]; (o.PreviousURL == url) != ready {
			t.Errorf("the kept version is ready: %v; the promoted one's order: %+v", ready, o)
		}
		if o := w.data.orders[r1.Name]; o.HandOver == ready {
			t.Errorf("the kept version is ready: %v; its order: %+v", ready, o)
		}
	}
	w.set(testOwner, w.document(strings.Replace(testDocument, "traffic: {", "traffic: {fallback: None, ", 1)))
	w.apply(rollout.SetRouting{Routing: promoted})
	if o := w.data.orders[r2.Name]; o.Fallback {
		t.Errorf("without fallback: %+v", o)
	}
	promoted.Epoch, promoted.Previous = 8, ""
	w.apply(rollout.SetRouting{Routing: promoted})
	if o := w.data.orders[r2.Name]; o.PreviousURL != "" {
		t.Errorf("nobody is kept: %+v", o)
	}
	if o := w.data.orders[r1.Name]; !o.HandOver {
		t.Errorf("the order of the version that goes: %+v", o)
	}
}

// onlyPod makes the only pod of a revision, ready or not.
func (w *testWorld) onlyPod(revision string, ready bool) {
	w.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: revision + "-pod", Labels: map[string]string{LabelEndpoint: testKey.Name, LabelRevision: revision}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if err := errors.Join(client.IgnoreNotFound(w.api.Delete(context.Background(), p.DeepCopy())), w.api.Create(context.Background(), p)); err != nil {
		w.t.Fatal(err)
	}
}

// failingRoutes cannot write.
type failingRoutes struct{ client.Client }

func (failingRoutes) Apply(context.Context, applyConfiguration, ...client.ApplyOption) error {
	return context.DeadlineExceeded
}

// TestPromise9 at the routes: what someone else changed is seen, and put back.
func TestPromise9OverwrittenRoutesAreSeenAndPutBack(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name}})
	var vs istio.VirtualService
	if err := w.get(testKey.Name, &vs); err != nil {
		t.Fatal(err)
	}
	vs.Generation = 2 // the fake API server counts none
	vs.Spec.Http[0].Route[0].Destination.Host = "elsewhere"
	if err := w.api.Update(context.Background(), &vs); err != nil {
		t.Fatal(err)
	}
	if !w.observe().InForce.Overwritten {
		t.Error("the overwritten routes are not seen")
	}
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 2, Rollout: "safe-driver-1", Stable: r1.Name}})
	if w.observe().InForce.Overwritten {
		t.Error("the routes are not put back")
	}
	if err := w.api.Delete(context.Background(), &vs); err != nil {
		t.Fatal(err)
	}
	if !w.observe().InForce.Overwritten {
		t.Error("it is not seen that the routes were taken away")
	}
}

// TestACacheThatIsBehindIsNobodysDoing: what the cache shows from before our own last
// write must not be taken for someone else's change.
func TestACacheThatIsBehindIsNobodysDoing(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "safe-driver-1", Stable: r1.Name}})
	var vs istio.VirtualService
	if err := w.get(testKey.Name, &vs); err != nil {
		t.Fatal(err)
	}
	vs.Generation = 2
	vs.Spec.Http[0].Route[0].Destination.Host = "of-an-earlier-epoch"
	if err := w.api.Update(context.Background(), &vs); err != nil {
		t.Fatal(err)
	}
	w.routesWritten = 3
	if w.observe().InForce.Overwritten {
		t.Error("an old state of the cache is taken for a change")
	}
	w.routesWritten, w.routesSeen = 1, false
	if err := w.api.Delete(context.Background(), &vs); err != nil {
		t.Fatal(err)
	}
	if w.observe().InForce.Overwritten {
		t.Error("routes that the cache has not shown yet are taken for removed ones")
	}
}

// TestRevisionsGoAfterTheirRoutes: a Deployment is removed only when the gateway was
// seen to use the routes that no longer name it, and the longest request has ended.
func TestRevisionsGoAfterTheirRoutes(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 7, Rollout: "safe-driver-2", Stable: r2.Name}}, rollout.PromoteRevision{Revision: r2}, rollout.StopRevision{Revision: r1}, rollout.StopRevision{Revision: rollout.Revision{Name: "unknown"}})
	tidy := func() time.Duration {
		t.Helper()
		again, err := w.tidy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	there := func() bool {
		return w.get(r1.Name, &appsv1.Deployment{}) == nil && w.get(r1.Name, &corev1.Service{}) == nil
	}
	tidy()
	w.now = w.now.Add(10 * time.Second)
	w.apply(rollout.StopRevision{Revision: r1}) // repeated each round; the time counts from the first
	if again := tidy(); !there() || again <= 0 {
		t.Fatal("the revision went before the new stamp was seen")
	}
	w.data.inForce = 7
	if tidy(); there() {
		t.Error("the new stamp was seen and the longest request is over, but the revision is still there")
	}
	if w.get(r2.Name, &appsv1.Deployment{}) != nil {
		t.Error("stable was removed")
	}
	var s corev1.Service
	if err := w.get(r2.Name, &s); err != nil || s.Spec.PublishNotReadyAddresses {
		t.Errorf("stable's Service: %v, publishes addresses that are not ready: %v", err, s.Spec.PublishNotReadyAddresses)
	}
}

// TestPromise2HoldsStablesFloor: while a candidate has weight, stable's autoscaler
// may not shrink it, whatever its load.
func TestPromise2HoldsStablesFloor(t *testing.T) {
	w := newWorld(t)
	w.set(testOwner, w.document(testDocument+"  scaling: {min: 2, max: 10, cpu: 70%}\n"))
	w.scorers["d1"], w.scorers["d2"] = w.resolved.Endpoint.Spec.Scorer, w.resolved.Endpoint.Spec.Scorer
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	ready := func(n int32) {
		var d appsv1.Deployment
		if err := w.get(r1.Name, &d); err != nil {
			t.Fatal(err)
		}
		if d.Spec.Replicas != nil {
			t.Errorf("replicas %d were written under an autoscaler", *d.Spec.Replicas)
		}
		d.Status.ReadyReplicas = n
		if err := w.api.Status().Update(context.Background(), &d); err != nil {
			t.Fatal(err)
		}
	}
	floor := func() int32 {
		var h autoscalingv2.HorizontalPodAutoscaler
		if err := w.get(r1.Name, &h); err != nil {
			t.Fatal(err)
		}
		return *h.Spec.MinReplicas
	}
	at := func(epoch uint32, weight int) {
		w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: epoch, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: weight}})
	}
	ready(6)
	at(3, 5000)
	if got := floor(); got != 6 {
		t.Errorf("minimum %d at 50 %%, want the 6 that were ready", got)
	}
	ready(3) // as if its load had shrunk it all the same
	at(4, 9000)
	if got := floor(); got != 6 {
		t.Errorf("minimum %d at 90 %%, want 6 still", got)
	}
	at(5, 0)
	if got := floor(); got != 2 {
		t.Errorf("minimum %d afterwards, want the document's 2", got)
	}
}

func TestPodsSayWhyARevisionDoesNotStart(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: r2.Name}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(1))}}
	pod := func(change func(*corev1.PodStatus)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		change(&p.Status)
		return p
	}
	waiting := func(reason string) *corev1.Pod {
		return pod(func(s *corev1.PodStatus) {
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "scorer", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}}}
		})
	}
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		ready   bool
		looping bool
		failure string
	}{
		"creating": {waiting("ContainerCreating"), false, false, ""},
		"no image": {waiting("ImagePullBackOff"), false, false, "pod p, container scorer: ImagePullBackOff: why"},
		"crashing": {waiting("CrashLoopBackOff"), false, true, "pod p, container scorer: ends again and again"},
		"ready": {pod(func(s *corev1.PodStatus) {
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}), true, false, ""},
		"no room": {pod(func(s *corev1.PodStatus) {
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes"}}
		}), false, false, "pod p: Unschedulable: 0/1 nodes"},
		"flapping": {pod(func(s *corev1.PodStatus) {
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "scorer", RestartCount: 3, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}}}
		}), false, true, "pod p, container scorer: exit code 1 (Error)"},
	} {
		st := revisionStatus(d, []*corev1.Pod{c.pod})
		if st.Ready != c.ready || st.CrashLooping != c.looping || st.Failure != c.failure {
			t.Errorf("%s: ready %v, loops %v, %q; want %v, %v, %q", name, st.Ready, st.CrashLooping, st.Failure, c.ready, c.looping, c.failure)
		}
	}
}

// TestACandidateWhosePodEndsGetsNoWeight: its address is published until the pod is
// gone, also when its recorder has left.
func TestACandidateWhosePodEndsGetsNoWeight(t *testing.T) {
	now := metav1.Now()
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{LabelRevision: r2.Name}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, c := range []struct {
		name     string
		deleted  *metav1.Time
		revision string
		phase    corev1.PodPhase
		ready    bool
	}{
		{"none ends", nil, r2.Name, corev1.PodRunning, true},
		{"one ends", &now, r2.Name, corev1.PodRunning, false},
		{"another revision's ends", &now, r1.Name, corev1.PodRunning, true},
		{"one has ended", &now, r2.Name, corev1.PodSucceeded, true},
	} {
		p := pod
		p.DeletionTimestamp, p.Status.Phase = c.deleted, c.phase
		st := rollout.RevisionStatus{Ready: true, ReadyReplicas: 1}
		heed(&st, c.revision, []corev1.Pod{p})
		if st.Ready != c.ready {
			t.Errorf("%s: ready %v, want %v", c.name, st.Ready, c.ready)
		}
	}
}

// TestStablesRecordersAreToldToAskTwice: while requests are copied and agreement is judged, in the share of one
// machine; the first of a rollout, which count once the warm-up is over, are divided by stable's pods.
func TestStablesRecordersAreToldToAskTwice(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	const judged = `  judge: {agreement: {tolerance: "0.01"}}
`
	routing := rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, ShadowBP: 2500}
	for name, do := range map[string]struct {
		judge               string
		change              func(*rollout.Routing)
		pods                int32
		share, twice, first int
	}{
		"one pod":        {judged, func(*rollout.Routing) {}, 1, 2500, 100, 100},
		"three pods":     {judged, func(*rollout.Routing) {}, 3, 2500, 100, 34},
		"no pod seen":    {judged, func(*rollout.Routing) {}, 0, 2500, 100, 100},
		"warm-up":        {judged, func(r *rollout.Routing) { r.Warmup = true }, 1, 2500, 100, 0},
		"weight":         {judged, func(r *rollout.Routing) { r.ShadowBP, r.WeightBP = 0, 1000 }, 1, 0, 0, 0},
		"nobody asks so": {"", func(*rollout.Routing) {}, 1, 0, 0, 0},
	} {
		w.set(testOwner, w.document(testDocument+do.judge))
		w.stablePods = int(do.pods)
		next := routing
		do.change(&next)
		w.apply(rollout.SetRouting{Routing: next})
		if o := w.data.orders[r1.Name]; o.ShadowBP != do.share || o.RepeatBP != do.twice || o.RepeatFirst != do.first {
			t.Errorf("%s: %+v, want share %d, repeats %d, first %d", name, o, do.share, do.twice, do.first)
		}
		if o := w.data.orders[r2.Name]; o.RepeatBP != 0 || o.RepeatFirst != 0 {
			t.Errorf("%s: the candidate is told %+v", name, o)
		}
	}
}
