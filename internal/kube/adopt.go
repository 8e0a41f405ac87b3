package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/rollout"
)

// An adopted revision is a Deployment of somebody else's that runs on as it is: Serin
// writes labels and annotations on the object, never on its template, and a Service of
// the revision's own that selects its pods. Nobody records its answers.

// AnnotationAdopted, on a Deployment, says that it was adopted, and holds the digest of
// its pod template then.
const AnnotationAdopted = "serin.dev/adopted"

// Afterwards says what becomes of an adopted Deployment that is no revision any more.
const (
	Keep        = "Keep"
	ScaleToZero = "ScaleToZero"
	Delete      = "Delete"
)

func adopted(d *appsv1.Deployment) bool { return d.Annotations[AnnotationAdopted] != "" }

func templateDigest(d *appsv1.Deployment) string {
	text, err := json.Marshal(d.Spec.Template)
	if err != nil {
		return "unreadable"
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// adoptedStatus reads an adopted revision from its Deployment: its pods are not in the
// cache, which holds Serin's own.
func adoptedStatus(d *appsv1.Deployment) rollout.RevisionStatus {
	st := rollout.RevisionStatus{Started: true, ReadyReplicas: int(d.Status.ReadyReplicas), WantReplicas: int(wanted(d)), Failure: stuck(d), Unrecorded: true}
	st.Ready = st.ReadyReplicas > 0
	if st.Failure == "" && d.Annotations[AnnotationAdopted] != templateDigest(d) {
		st.Failure = fmt.Sprintf("somebody changed the pod template of deployment %s after it was adopted: what is counted is no longer of one version; put it back, and give the change to spec.scorer", d.Name)
	}
	return st
}

// introduction is how long the mesh is given to hear of the Service of pods that run already: routes
// that reach the gateway before it knows where they lead are answered with 503. A version that Serin
// starts takes longer than that to become ready.
const introduction = 2 * time.Second

// introduced holds an adopted revision back while the mesh may not know its Service yet.
func (p *platform) introduced(st rollout.RevisionStatus) rollout.RevisionStatus {
	if since := p.cfg.Clock().Sub(p.adoptedAt); since >= 0 && since < introduction {
		st.Ready = false
	}
	return st
}

// takesOurs reports whether a selector takes pods of some revision that Serin makes.
func takesOurs(k Key, selector map[string]string) bool {
	for n := range highestClash {
		r := rollout.Revision{Name: fmt.Sprintf("%s-r%d", k.Name, n+1), Number: n + 1}
		if labels.SelectorFromSet(selector).Matches(labels.Set(revisionLabels(k.Name, r))) {
			return true
		}
	}
	return false
}

// highestClash bounds the revisions whose labels are compared with a selector: one that
// names a greater number names nothing that Serin makes soon.
const highestClash = 100

// adoptable says why a Deployment cannot be adopted; nil: it can.
func adoptable(k Key, d *appsv1.Deployment) error {
	selector := d.Spec.Selector
	switch of := d.Labels[LabelEndpoint]; {
	case of != "" && of != k.Name:
		return mend("deployment %q belongs to endpoint %q: adopt it once", d.Name, of)
	case d.DeletionTimestamp != nil:
		return mend("deployment %q is being deleted", d.Name)
	case selector == nil || len(selector.MatchLabels) == 0 || len(selector.MatchExpressions) > 0:
		return mend("deployment %q selects its pods by expressions, which no Service can: only one that selects by labels can be adopted", d.Name)
	}
	if !takesOurs(k, selector.MatchLabels) {
		return nil
	}
	return mend("deployment %q selects its pods by %v, and so would take those of new versions for its own: give the endpoint another name than %q", d.Name, selector.MatchLabels, k.Name)
}

// MakeAdoptedService returns the Service of an adopted revision: it selects the pods of
// the Deployment, and finds the scorer's own port in them.
func MakeAdoptedService(in RevisionInput, d *appsv1.Deployment) *corev1.Service {
	s := MakeService(in)
	s.Spec.Selector, s.Spec.PublishNotReadyAddresses = d.Spec.Selector.MatchLabels, false
	s.Spec.Ports[0].TargetPort = intstr.FromInt32(scorerPort(in.Scorer))
	return s
}

// deployments are those of an endpoint's revisions, from the cache.
func deployments(ctx context.Context, api client.Client, k Key) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	if err := api.List(ctx, &list, client.InNamespace(k.Namespace), client.MatchingLabels{LabelEndpoint: k.Name}); err != nil {
		return nil, fmt.Errorf("listing deployments of %q: %w", k, err)
	}
	return list.Items, nil
}

// deploymentOf returns the Deployment that runs a revision, from the cache, or nil.
func (p *platform) deploymentOf(ctx context.Context, revision string) (*appsv1.Deployment, error) {
	var all appsv1.DeploymentList
	if err := p.api.List(ctx, &all, client.InNamespace(p.key.Namespace), client.MatchingLabels{LabelEndpoint: p.key.Name, LabelRevision: revision}); err != nil {
		return nil, fmt.Errorf("looking for revision %q: %w", revision, err)
	}
	if len(all.Items) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &all.Items[0], nil
}

// toAdopt returns the Deployment that is a revision by adoption, nil for one that Serin
// runs. It is the first version's, and stays that: also when somebody took its labels.
func (p *platform) toAdopt(ctx context.Context, r rollout.Revision) (*appsv1.Deployment, error) {
	d, err := p.deploymentOf(ctx, r.Name)
	if err != nil || d != nil {
		if d != nil && !adopted(d) {
			d = nil
		}
		return d, err
	}
	a := p.resolved.Endpoint.Spec.Adopt
	if a == nil || p.routing.Stable != "" && r.Number != 1 {
		return nil, nil //nolint:nilnil // Serin runs it
	}
	if wait := p.notAdopted; wait.why != nil && p.cfg.Clock().Sub(wait.at) < refusalLasts {
		return nil, wait.why
	}
	p.notAdopted = refusal{}
	d = &appsv1.Deployment{}
	err = p.direct.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: a.Deployment}, d)
	switch {
	case apierrors.IsNotFound(err):
		err = mend("spec.adopt.deployment: there is no Deployment %q in namespace %q: write the name of one that runs, or take spec.adopt out to let Serin start the version", a.Deployment, p.key.Namespace)
	case err != nil:
		return nil, fmt.Errorf("reading deployment %q: %w", a.Deployment, err)
	default:
		err = adoptable(p.key, d)
	}
	if err != nil {
		p.notAdopted = refusal{at: p.cfg.Clock(), why: err}
		return nil, err
	}
	return d, nil
}

// adopt makes a running Deployment a revision, without touching its pods.
func (p *platform) adopt(ctx context.Context, d *appsv1.Deployment, r rollout.Revision) error {
	in, err := p.input(r)
	if err != nil {
		return err
	}
	digest := d.Annotations[AnnotationAdopted]
	first := digest == ""
	if first {
		digest = templateDigest(d)
	}
	marks := map[string]any{LabelEndpoint: p.key.Name, LabelRevision: r.Name}
	annotations := map[string]any{AnnotationDigest: r.Digest, AnnotationVersion: r.Version, AnnotationAdopted: digest}
	if err := patchMeta(ctx, p.api, d, marks, annotations, nil); err != nil {
		return fmt.Errorf("adopting deployment %q: %w", d.Name, err)
	}
	if err := p.write(ctx, MakeAdoptedService(in, d)); err != nil {
		return fmt.Errorf("adopting deployment %q: %w", d.Name, err)
	}
	if first {
		p.adoptedAt = p.cfg.Clock()
	}
	return nil
}

// release takes Serin's marks off an adopted Deployment, and does with it what the
// document says.
func release(ctx context.Context, api client.Client, d *appsv1.Deployment, afterwards string) error {
	if afterwards == Delete {
		return client.IgnoreNotFound(api.Delete(ctx, d, client.PropagationPolicy("Background")))
	}
	var spec map[string]any
	if afterwards == ScaleToZero {
		spec = map[string]any{"replicas": 0}
	}
	marks, annotations := map[string]any{}, map[string]any{}
	for _, name := range []string{LabelEndpoint, LabelRevision} {
		marks[name] = nil
	}
	for _, name := range []string{AnnotationDigest, AnnotationVersion, AnnotationAdopted, AnnotationStopAfter, AnnotationStopAsked} {
		annotations[name] = nil
	}
	if err := patchMeta(ctx, api, d, marks, annotations, spec); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("releasing deployment %q: %w", d.Name, err)
	}
	return nil
}

func patchMeta(ctx context.Context, api client.Client, d *appsv1.Deployment, marks, annotations, spec map[string]any) error {
	patch := map[string]any{"metadata": map[string]any{"labels": marks, "annotations": annotations}}
	if spec != nil {
		patch["spec"] = spec
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return api.Patch(ctx, d.DeepCopy(), client.RawPatch(types.MergePatchType, text), client.FieldOwner(FieldManager))
}

// releaseAll lets go of what an endpoint that is deleted adopted: it runs on.
func releaseAll(ctx context.Context, api client.Client, k Key) error {
	all, err := deployments(ctx, api, k)
	if err != nil {
		return err
	}
	for i := range all {
		if adopted(&all[i]) {
			if err := release(ctx, api, &all[i], Keep); err != nil {
				return err
			}
		}
	}
	return nil
}

// end removes a revision that no request comes to any more; what was adopted is
// released. A first version that never served leaves its Deployment as it was.
func (p *platform) end(ctx context.Context, d *appsv1.Deployment) error {
	if !adopted(d) {
		return p.remove(ctx, d.Name)
	}
	revision, afterwards := d.Labels[LabelRevision], Keep
	if a := p.resolved.Endpoint.Spec.Adopt; a != nil && p.routing.Stable != "" {
		afterwards = a.Afterwards
	}
	if err := p.removeService(ctx, revision); err != nil {
		return err
	}
	p.cfg.Logger.Info("an adopted deployment is released", "endpoint", p.key.String(), "deployment", d.Name, "afterwards", afterwards, "at", p.cfg.Clock().Format(time.RFC3339))
	return release(ctx, p.api, d, afterwards)
}
