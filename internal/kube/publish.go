package kube

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mayPublish says whether a candidate's Service publishes addresses that are not ready.
// It does while all of the wanted pods have begun: the recorder beside a scorer that
// crashes then still hands over to stable. It does not while one begins: nobody answers
// there yet. A Deployment wants more pods at least a second before a new one has an
// address, so the gateway hears of this first. A pod that loops and never was ready keeps
// it off: those that are ready are better than it; should the last of them crash at that
// time, the gateway has nobody to ask until the weight is taken away.
// While a pod ends it stays as it was: its address is needed until it has no weight (heed).
// One that ends and has not begun may have an address until it is gone: an edit that was
// put back leaves such a pod.
func mayPublish(pods []corev1.Pod, want int, was bool) bool {
	begun, begins := 0, false
	for i := range pods {
		p := &pods[i]
		switch {
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		case p.DeletionTimestamp != nil && p.Status.Phase == corev1.PodRunning:
			return was
		case p.DeletionTimestamp != nil && hasBegun(p):
		case hasBegun(p):
			begun++
		default:
			begins = true
		}
	}
	return !begins && begun >= want
}

// hasBegun: the recorder's startup probe passes once, when its scorer is ready for the
// first time; what the scorer does later does not undo it.
func hasBegun(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == recorderName {
			return c.Started != nil && *c.Started
		}
	}
	return false
}

// publishes reads what mayPublish asks for. After a restart nobody knows how it was: a
// pod that ends then keeps its address.
func (p *platform) publishes(ctx context.Context, revision string, want int32) (bool, error) {
	var pods corev1.PodList
	if err := p.api.List(ctx, &pods, client.InNamespace(p.key.Namespace), client.MatchingLabels{LabelEndpoint: p.key.Name, LabelRevision: revision}); err != nil {
		return false, fmt.Errorf("listing pods of revision %q: %w", revision, err)
	}
	was, known := p.publishing[revision]
	return mayPublish(pods.Items, int(want), was || !known), nil
}

// publish writes the candidate's Service when what it publishes changes. That of an
// adopted one is as it must be. The caller holds mu.
func (p *platform) publish(ctx context.Context, d *appsv1.Deployment) error {
	if adopted(d) {
		return nil
	}
	notReady, err := p.publishes(ctx, d.Name, wanted(d))
	if was, known := p.publishing[d.Name]; err != nil || known && was == notReady {
		return err
	}
	in, err := p.inputOf(d)
	if err != nil {
		return err
	}
	in.Candidate = notReady
	return p.writeService(ctx, in)
}

func (p *platform) writeService(ctx context.Context, in RevisionInput) error {
	if err := p.write(ctx, MakeService(in)); err != nil {
		return err
	}
	p.publishing[in.Revision.Name] = in.Candidate
	return nil
}
