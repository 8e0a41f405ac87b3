package kube

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// rescale gives every revision that runs the document's replicas, or its autoscaler.
// Nothing else of a revision is written: it is immutable. What was adopted has as many as
// its owner says. The caller holds mu.
func (p *platform) rescale(ctx context.Context) error {
	all, err := deployments(ctx, p.api, p.key)
	if err != nil {
		return err
	}
	for i := range all {
		d := &all[i]
		if d.Annotations[AnnotationStopAsked] != "" || d.Annotations[AnnotationDigest] == "" || adopted(d) {
			continue
		}
		if err := p.rescaleOne(ctx, d); err != nil {
			return fmt.Errorf("scaling revision %q: %w", d.Name, err)
		}
	}
	return nil
}

func (p *platform) rescaleOne(ctx context.Context, d *appsv1.Deployment) error {
	s := p.resolved.Endpoint.Spec.Scaling
	if autoscaled(s) {
		if d.Name == p.routing.Stable {
			return p.holdStable(ctx)
		}
		in, err := p.inputOf(d)
		if err != nil {
			return err
		}
		return p.write(ctx, MakeAutoscaler(in, cpuPercent(s), 0))
	}
	p.forgetMade("HorizontalPodAutoscaler", d.Name)
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}}
	if err := p.api.Delete(ctx, h); client.IgnoreNotFound(err) != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas(s))
	return client.IgnoreNotFound(p.api.Patch(ctx, d, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(FieldManager)))
}

// inputOf reads from a Deployment which revision it is.
func (p *platform) inputOf(d *appsv1.Deployment) (RevisionInput, error) {
	name := d.Labels[LabelRevision]
	number, err := strconv.Atoi(strings.TrimPrefix(name, p.key.Name+"-r"))
	if err != nil {
		return RevisionInput{}, fmt.Errorf("reading the number of revision %q of deployment %q: %w", name, d.Name, err)
	}
	return p.input(rollout.Revision{Name: name, Number: number, Digest: d.Annotations[AnnotationDigest], Version: d.Annotations[AnnotationVersion]})
}
