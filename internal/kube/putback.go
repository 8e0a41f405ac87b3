package kube

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// A revision's objects stay as Serin made them: one that somebody deletes is made again,
// one that somebody edits is put back, at once, and an Event of the endpoint says so.

// AnnotationMadeAs, on a Deployment, holds its spec as the API server had it when Serin
// made it: another Serin, or another Kubernetes, would fill in something else.
const AnnotationMadeAs = "serin.dev/made-as"

// annotationRestart is what kubectl rollout restart writes into a template: the same
// version in new pods, so it stays.
const annotationRestart = "kubectl.kubernetes.io/restartedAt"

// Reasons of Events.
const (
	reasonPutBack  = "PutBack"
	reasonReplicas = "ReplicasChanged"
)

// mostPaths bounds the fields that an Event names.
const mostPaths = 5

// identity is an object as Serin last wrote it.
type identity struct {
	uid     types.UID
	version string
}

// warn says what somebody did: in the log, and in an Event of the endpoint.
func (p *platform) warn(reason, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	p.cfg.Logger.Warn("somebody else changed an object of Serin's", "endpoint", p.key.String(), "reason", reason, "message", message)
	if p.tell != nil {
		p.tell(reason, message)
	}
}

func idOf(kind, name string) string { return kind + "/" + name }

// remember notes an object as it was written, and tells when that made it anew: an object
// that Serin takes away itself is forgotten first. Routes have a condition of their own.
func (p *platform) remember(kind string, o metav1.Object) {
	if kind == "VirtualService" {
		return
	}
	id, now := idOf(kind, o.GetName()), identity{o.GetUID(), o.GetResourceVersion()}
	was := p.mine[id]
	p.mine[id] = now
	if was.uid != "" && was.uid != now.uid {
		p.warn(reasonPutBack, "%s %q was deleted by somebody else: it is made again. To end an endpoint delete its ScoringEndpoint, to end a rollout: serin abort", kind, o.GetName())
	}
}

// lost reports that production's Deployment is not there, and was not made by this
// controller: it went while nobody led.
func (p *platform) lost(d client.Object, r rollout.Revision) bool {
	_, fresh := d.(*appsv1.Deployment)
	return fresh && r.Name == p.routing.Stable && p.mine[idOf("Deployment", r.Name)].uid == ""
}

func (p *platform) forgetMade(kind, name string) { delete(p.mine, idOf(kind, name)) }

// putBack writes an object that the cache has otherwise, and tells if somebody else did
// that. A write that changes nothing leaves the version as it was: then the cache was
// only behind.
func (p *platform) putBack(ctx context.Context, kind string, o client.Object, by string) error {
	id := idOf(kind, o.GetName())
	was := p.mine[id]
	if err := p.write(ctx, o); err != nil {
		return fmt.Errorf("putting back %s %q: %w", kind, o.GetName(), err)
	}
	if is := p.mine[id]; is.version != was.version && (was.uid == "" || was.uid == is.uid) {
		p.warn(reasonPutBack, "%s %q was not as Serin made it (%s): it is put back", kind, o.GetName(), by)
	}
	return nil
}

// keep puts back what somebody took away or changed of the revisions that run. The
// caller holds mu. A Deployment that is gone is started again by the engine, which does
// not see it any more.
func (p *platform) keep(ctx context.Context, all []appsv1.Deployment) error {
	var failures []error
	for i := range all {
		d := &all[i]
		if _, ours := p.scorers[d.Annotations[AnnotationDigest]]; !ours || d.Labels[LabelRevision] == "" || d.DeletionTimestamp != nil || d.Annotations[AnnotationStopAsked] != "" {
			continue
		}
		failures = append(failures, p.keepService(ctx, d))
		if !adopted(d) { // the rest of that one is its owner's
			failures = append(failures, p.keepSpec(ctx, d), p.sayReplicas(ctx, d), p.keepAutoscaler(ctx, d))
		}
	}
	return errors.Join(failures...)
}

// keepService makes a revision's Service as it must be. What others added beside stays.
func (p *platform) keepService(ctx context.Context, d *appsv1.Deployment) error {
	in, err := p.inputOf(d)
	if err != nil {
		return err
	}
	name := in.Revision.Name
	var have corev1.Service
	err = p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: name}, &have)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the Service of revision %q: %w", name, err)
	}
	// As it was last written: publish and promote say when that changes.
	if notReady, known := p.publishing[name]; known {
		in.Candidate = notReady
	} else {
		in.Candidate = have.Spec.PublishNotReadyAddresses && name != p.routing.Stable
	}
	want := MakeService(in)
	if adopted(d) {
		want = MakeAdoptedService(in, d)
	}
	if err == nil && serviceStands(&have, want) {
		return nil
	}
	return p.putBack(ctx, "Service", want, by(have.ManagedFields, "f:spec"))
}

func serviceStands(have, want *corev1.Service) bool {
	port := want.Spec.Ports[0]
	return maps.Equal(have.Spec.Selector, want.Spec.Selector) && have.Spec.PublishNotReadyAddresses == want.Spec.PublishNotReadyAddresses &&
		have.Spec.Type == want.Spec.Type && slices.ContainsFunc(have.Spec.Ports, func(h corev1.ServicePort) bool {
		return h.Name == port.Name && h.Port == port.Port && h.TargetPort == port.TargetPort && h.Protocol == port.Protocol
	})
}

// keepAutoscaler makes an autoscaler that is not there again.
func (p *platform) keepAutoscaler(ctx context.Context, d *appsv1.Deployment) error {
	s := p.resolved.Endpoint.Spec.Scaling
	if !autoscaled(s) {
		return nil
	}
	if h, err := p.autoscaler(ctx, d.Name); err != nil || h != nil {
		return err
	}
	return p.rescaleOne(ctx, d)
}

// keepSpec puts back a Deployment that somebody edited: a revision never changes, and
// what is judged of it would be of two versions. Its replicas are not looked at.
func (p *platform) keepSpec(ctx context.Context, d *appsv1.Deployment) error {
	if made, err := madeAs(d); err == nil && made != nil && asMade(made, d.Spec) {
		return nil
	}
	var live appsv1.Deployment // the cache may be behind
	if err := p.direct.Get(ctx, client.ObjectKeyFromObject(d), &live); err != nil {
		return client.IgnoreNotFound(err)
	}
	made, err := madeAs(&live)
	switch {
	case err != nil || made == nil:
		return p.noteMade(ctx, &live)
	case asMade(made, live.Spec):
		return nil
	}
	back := live.DeepCopy()
	back.Spec = *made
	back.Spec.Replicas = live.Spec.Replicas
	if at, restarted := live.Spec.Template.Annotations[annotationRestart]; restarted {
		metav1.SetMetaDataAnnotation(&back.Spec.Template.ObjectMeta, annotationRestart, at)
	}
	err = p.api.Patch(ctx, back, client.MergeFromWithOptions(&live, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldManager))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // changed meanwhile: that change brings us here again
	}
	if err != nil {
		return fmt.Errorf("putting back deployment %q: %w", d.Name, err)
	}
	if !asMade(&live.Spec, back.Spec) {
		p.warn(reasonPutBack, "Deployment %q was edited (%s: %s): it is put back as it was made. A revision never changes: write what you want into spec.scorer of the ScoringEndpoint, which starts a rollout", d.Name, by(live.ManagedFields, "f:template"), changedPaths(p.api, live.Spec, back.Spec))
	}
	if !asMade(made, back.Spec) { // the API server insists on something else: to ask again and again would not help
		return p.noteMade(ctx, back)
	}
	return nil
}

// asMade compares but for replicas, and for when its pods were last restarted.
func asMade(made *appsv1.DeploymentSpec, is appsv1.DeploymentSpec) bool {
	a, b := bare(*made), bare(is)
	return equality.Semantic.DeepEqual(a, b)
}

func bare(s appsv1.DeploymentSpec) *appsv1.DeploymentSpec {
	out := s.DeepCopy()
	out.Replicas = nil
	if delete(out.Template.Annotations, annotationRestart); len(out.Template.Annotations) == 0 {
		out.Template.Annotations = nil
	}
	return out
}

// noteMade writes down how a Deployment was made, in the version that was read or not at
// all: what somebody changed meanwhile must not be taken for it.
func (p *platform) noteMade(ctx context.Context, d *appsv1.Deployment) error {
	text, err := json.Marshal(bare(d.Spec))
	if err != nil {
		return fmt.Errorf("noting how deployment %q was made: %w", d.Name, err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err = z.Write(text); err == nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("noting how deployment %q was made: %w", d.Name, err)
	}
	noted := d.DeepCopy()
	metav1.SetMetaDataAnnotation(&noted.ObjectMeta, AnnotationMadeAs, base64.StdEncoding.EncodeToString(packed.Bytes()))
	err = p.api.Patch(ctx, noted, client.MergeFromWithOptions(d, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldManager))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("noting how deployment %q was made: %w", d.Name, err)
	}
	return nil
}

// mostMade bounds what is unpacked: no object in Kubernetes is as large.
const mostMade = 8 << 20

// madeAs reads what noteMade wrote, nil if nothing was.
func madeAs(d *appsv1.Deployment) (*appsv1.DeploymentSpec, error) {
	text := d.Annotations[AnnotationMadeAs]
	if text == "" {
		return nil, nil //nolint:nilnil // nothing was
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		return nil, err
	}
	var s appsv1.DeploymentSpec
	if err := json.NewDecoder(io.LimitReader(z, mostMade)).Decode(&s); err != nil {
		return nil, err
	}
	return &s, nil
}

// sayReplicas tells that somebody scaled a Deployment which no autoscaler owns. They are
// not put back: it may be the only way to help right now.
func (p *platform) sayReplicas(ctx context.Context, d *appsv1.Deployment) error {
	s := p.resolved.Endpoint.Spec.Scaling
	if autoscaled(s) || wanted(d) == replicas(s) {
		delete(p.scaled, d.Name)
		return nil
	}
	if told, ok := p.scaled[d.Name]; ok && told == wanted(d) {
		return nil
	}
	var live appsv1.Deployment // the cache may be behind our own write
	if err := p.direct.Get(ctx, client.ObjectKeyFromObject(d), &live); err != nil || wanted(&live) == replicas(s) {
		return client.IgnoreNotFound(err)
	}
	p.scaled[d.Name] = wanted(&live)
	p.warn(reasonReplicas, "Deployment %q has %d replicas, spec.scaling says %d: they stay until spec.scaling changes or a controller starts anew; scale the ScoringEndpoint instead", d.Name, wanted(&live), replicas(s))
	return nil
}

// by names who last wrote some field, as far as the API server tells.
func by(entries []metav1.ManagedFieldsEntry, field string) string {
	others := slices.DeleteFunc(slices.Clone(entries), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == FieldManager || m.FieldsV1 == nil || !strings.Contains(m.FieldsV1.GetRawString(), `"`+field+`"`)
	})
	if m := lastManager(others); m != "" {
		return "by " + m
	}
	return "by somebody else"
}

// changedPaths names fields that differ between two specs.
func changedPaths(api client.Client, a, b appsv1.DeploymentSpec) string {
	types := applyconfigurations.NewTypeConverter(api.Scheme())
	object := func(s appsv1.DeploymentSpec) *appsv1.Deployment {
		return &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, Spec: s}
	}
	x, err1 := types.ObjectToTyped(object(a))
	y, err2 := types.ObjectToTyped(object(b))
	if err := errors.Join(err1, err2); err != nil {
		return "its spec"
	}
	diff, err := x.Compare(y)
	if err != nil {
		return "its spec"
	}
	all := strings.Split(diff.Added.Union(diff.Removed).Union(diff.Modified).Leaves().String(), "\n")
	if more := len(all) - mostPaths; more > 0 {
		all = append(all[:mostPaths], fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}
