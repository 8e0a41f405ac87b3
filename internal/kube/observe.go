package kube

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/serin-dev/serin/internal/rollout"
)

// crashesToLoop: so many ends of one container are a loop, whatever its readiness
// does in between (a scorer that is ready for a moment after each start).
const crashesToLoop = 3

// revisionStatus reads a revision from its Deployment and pods. Crash-loops and
// images that cannot be pulled are read from the pods directly: a Deployment only
// says that it is not there yet.
func revisionStatus(d *appsv1.Deployment, pods []*corev1.Pod) rollout.RevisionStatus {
	st := rollout.RevisionStatus{Started: true, WantReplicas: int(wanted(d))}
	for _, p := range pods {
		if podReady(p) {
			st.ReadyReplicas++
		}
		readPod(p, &st)
	}
	st.Ready = st.ReadyReplicas > 0
	if st.Failure == "" {
		st.Failure = stuck(d)
	}
	return st
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// readPod adds what a pod's containers say: restarts, loops, why it does not start.
func readPod(p *corev1.Pod, st *rollout.RevisionStatus) {
	for _, c := range append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...) {
		st.Restarts += int(c.RestartCount)
		w, last := c.State.Waiting, c.LastTerminationState.Terminated
		if c.State.Terminated != nil {
			last = c.State.Terminated
		}
		switch {
		case w != nil && w.Reason == "CrashLoopBackOff", c.RestartCount >= crashesToLoop && !c.Ready:
			st.CrashLooping = true
			st.Failure = describeEnd(p, c.Name, last)
		case w != nil && hopeful(w.Reason):
		case w != nil:
			st.Failure = fmt.Sprintf("pod %s, container %s: %s: %s", p.Name, c.Name, w.Reason, w.Message)
		case last != nil && !c.Ready && st.Failure == "":
			st.Failure = describeEnd(p, c.Name, last)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			st.Failure = fmt.Sprintf("pod %s: %s: %s", p.Name, c.Reason, c.Message)
		}
	}
}

// hopeful reasons are steps on the way to running.
func hopeful(reason string) bool {
	return reason == "ContainerCreating" || reason == "PodInitializing" || reason == ""
}

func describeEnd(p *corev1.Pod, container string, end *corev1.ContainerStateTerminated) string {
	if end == nil {
		return fmt.Sprintf("pod %s, container %s: ends again and again", p.Name, container)
	}
	s := fmt.Sprintf("pod %s, container %s: exit code %d (%s)", p.Name, container, end.ExitCode, end.Reason)
	if end.Message != "" {
		s += ": " + end.Message
	}
	return s
}

// stuck returns why a Deployment makes no pods: a quota, an admission webhook.
func stuck(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return fmt.Sprintf("deployment %s: %s: %s", d.Name, c.Reason, c.Message)
		}
	}
	return ""
}

// heed takes the weight from a candidate while one of its pods ends. A candidate's
// Service publishes every address for as long as its pod exists, so the gateway goes
// on using one whose recorder has left already.
func heed(st *rollout.RevisionStatus, revision string, all []corev1.Pod) {
	for i := range all {
		p := &all[i]
		if p.Labels[LabelRevision] == revision && p.DeletionTimestamp != nil && p.Status.Phase == corev1.PodRunning {
			st.Ready = false
			st.Failure = fmt.Sprintf("pod %s ends, and its address is in use until it is gone", p.Name)
		}
	}
}
