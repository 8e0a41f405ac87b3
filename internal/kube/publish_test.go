package kube

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/rollout"
)

// candidatePod is a pod of r2; begun, its scorer was ready once.
func candidatePod(n int, begun bool) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: fmt.Sprintf("%s-%d", r2.Name, n), Labels: revisionLabels(testKey.Name, r2)},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: recorderName, Started: new(begun), Ready: begun}, {Name: "scorer", Started: new(true), Ready: begun},
		}},
	}
}

func crashed(p corev1.Pod) corev1.Pod {
	p.Status.ContainerStatuses[0].Ready = false
	p.Status.ContainerStatuses[1] = corev1.ContainerStatus{Name: "scorer", RestartCount: 2, Started: new(false), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}
	return p
}

func inPhase(p corev1.Pod, phase corev1.PodPhase) corev1.Pod { p.Status.Phase = phase; return p }

func ending(p corev1.Pod) corev1.Pod { p.DeletionTimestamp = new(metav1.Now()); return p }

func TestWhenACandidatePublishesAddressesThatAreNotReady(t *testing.T) {
	begun, begins, scheduled := candidatePod(1, true), candidatePod(2, false), candidatePod(3, false)
	scheduled.Status = corev1.PodStatus{Phase: corev1.PodPending}
	for _, c := range []struct {
		name string
		pods []corev1.Pod
		want int
		was  bool
		may  bool
	}{
		{"all have begun", []corev1.Pod{begun}, 1, false, true},
		{"its only scorer crashed", []corev1.Pod{crashed(candidatePod(1, true))}, 1, false, true},
		{"no pod yet", nil, 1, true, false},
		{"scaled up, no pod made yet", []corev1.Pod{begun}, 2, true, false},
		{"scaled up, a pod without containers", []corev1.Pod{begun, scheduled}, 2, true, false},
		{"scaled up, a recorder that has not begun", []corev1.Pod{begun, begins}, 2, true, false},
		{"one begins that is wanted no more", []corev1.Pod{begun, begins}, 1, true, false},
		{"a new one loops, it never was ready", []corev1.Pod{begun, crashed(candidatePod(2, false))}, 2, true, false},
		{"one crashed, another begins", []corev1.Pod{crashed(candidatePod(1, true)), begins}, 2, true, false},
		{"all are up again", []corev1.Pod{begun, candidatePod(2, true)}, 2, false, true},
		{"one ends, it was on", []corev1.Pod{ending(candidatePod(1, true)), begins}, 1, true, true},
		{"one ends, it was off", []corev1.Pod{candidatePod(2, true), ending(candidatePod(1, true))}, 1, false, false},
		{"one has ended, its successor is up", []corev1.Pod{ending(inPhase(candidatePod(1, true), corev1.PodFailed)), candidatePod(2, true)}, 1, false, true},
		{"one was evicted, its successor is not made yet", []corev1.Pod{inPhase(candidatePod(1, true), corev1.PodFailed)}, 1, true, false},
		{"one ends that never began", []corev1.Pod{begun, ending(inPhase(candidatePod(2, false), corev1.PodPending))}, 1, true, false},
		{"none wanted", nil, 0, false, true},
	} {
		if got := mayPublish(c.pods, c.want, c.was); got != c.may {
			t.Errorf("%s: %v, want %v", c.name, got, c.may)
		}
	}
}

// publishesNotReady is what r2's Service says.
func (w *testWorld) publishesNotReady() bool {
	w.t.Helper()
	var s corev1.Service
	if err := w.get(r2.Name, &s); err != nil {
		w.t.Fatal(err)
	}
	return s.Spec.PublishNotReadyAddresses
}

// changed plays an event: the controller looks after it.
func (w *testWorld) changed(step string, want bool) {
	w.t.Helper()
	if _, err := w.tidy(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if got := w.publishesNotReady(); got != want {
		w.t.Errorf("%s: addresses that are not ready are published: %v, want %v", step, got, want)
	}
}

func (w *testWorld) pod(p corev1.Pod) {
	w.t.Helper()
	if err := w.api.Create(w.t.Context(), &p); err != nil {
		if err := w.api.Status().Update(w.t.Context(), &p); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *testWorld) scale(replicas int32) {
	w.t.Helper()
	d := w.deployment(r2.Name)
	d.Spec.Replicas = new(replicas)
	if err := w.api.Update(w.t.Context(), &d); err != nil {
		w.t.Fatal(err)
	}
}

// TestACandidateThatIsScaledUpHidesPodsThatBegin: no request comes to a pod before it is
// up; one whose scorer crashes later still hands over.
func TestACandidateThatIsScaledUpHidesPodsThatBegin(t *testing.T) {
	w := newWorld(t)
	under := rollout.SetRouting{Routing: rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}}
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	if w.publishesNotReady() {
		t.Error("published before there is a pod")
	}
	w.pod(candidatePod(1, true))
	w.apply(under) // with nothing between: the routes do not wait for another event
	if !w.publishesNotReady() {
		t.Error("the candidate has weight and its recorder could not hand over")
	}
	w.changed("under weight", true)
	w.scale(2)
	w.changed("before the second pod is made", false)
	w.pod(candidatePod(2, false))
	w.changed("while it begins", false)
	w.apply(rollout.StartRevision{Revision: r2}) // by another leader
	w.changed("while it begins, after a restart", false)
	w.pod(candidatePod(2, true))
	w.changed("once it is up", true)
	w.pod(crashed(candidatePod(2, true)))
	w.changed("when its scorer crashed", true)
	w.apply(rollout.StartRevision{Revision: r2})
	w.changed("when its scorer crashed, after a restart", true)
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 6, Rollout: "safe-driver-2", Stable: r2.Name}}, rollout.PromoteRevision{Revision: r2})
	w.changed("promoted", false)
}

// TestWhatIsPublishedIsWrittenWhenItChanges: a pod's events are many.
func TestWhatIsPublishedIsWrittenWhenItChanges(t *testing.T) {
	w := newWorld(t)
	w.apply(rollout.StartRevision{Revision: r1}, rollout.StartRevision{Revision: r2})
	w.pod(candidatePod(1, true))
	w.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: 5, Rollout: "safe-driver-2", Stable: r1.Name, Candidate: r2.Name, WeightBP: 1000}})
	w.platform.api = &failingRoutes{Client: w.api}
	w.changed("nothing", true) // would fail if it wrote
	w.scale(2)
	for range 2 {
		if _, err := w.tidy(t.Context()); err == nil {
			t.Error("what could not be written is taken to stand")
		}
	}
}
