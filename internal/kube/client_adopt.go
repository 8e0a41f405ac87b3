package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// AdoptOptions say what to take over, and how requests come in.
type AdoptOptions struct {
	Deployment, Service, VirtualService, Gateway, Afterwards string
	Hosts                                                    []string
}

// Adoption is what adopting a Deployment does: nothing is done yet.
type Adoption struct {
	Endpoint  string   `json:"endpoint"`
	Namespace string   `json:"namespace"`
	Document  string   `json:"document"`
	Renames   []Rename `json:"renames"`
	Notes     []string `json:"notes"`

	version string // of the VirtualService that was read
	http    []any  // its routes with the names of place holders
}

// PlanAdoption reads what runs and says what would be done; it writes nothing.
func (c *Client) PlanAdoption(ctx context.Context, o AdoptOptions) (Adoption, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	k := Key{Namespace: c.namespace, Name: cmp.Or(c.endpoint, o.Deployment)}
	c.endpoint = k.Name
	out := Adoption{Endpoint: k.Name, Namespace: k.Namespace, Renames: []Rename{}}
	var d appsv1.Deployment
	if err := c.api.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: o.Deployment}, &d); err != nil {
		return out, explained(fmt.Sprintf("reading deployment %q in namespace %q", o.Deployment, k.Namespace), err)
	}
	if err := adoptable(k, &d); err != nil {
		return out, fail(ErrInvalid, "%v (--endpoint names it)", err)
	}
	service, err := c.serviceOf(ctx, &d, o.Service)
	if err != nil {
		return out, err
	}
	port, err := portOf(&d, service)
	if err != nil {
		return out, err
	}
	s := v1alpha1.ScoringEndpointSpec{Adopt: &v1alpha1.Adopt{Deployment: d.Name, Afterwards: o.Afterwards}, Traffic: v1alpha1.Traffic{Hosts: o.Hosts, Gateway: o.Gateway}}
	s.Scorer, out.Notes = scorerOf(&d, port)
	if d.Spec.Replicas != nil && *d.Spec.Replicas > 0 {
		s.Scaling.Replicas = new(*d.Spec.Replicas)
	}
	if o.Gateway == "" {
		if err := c.planRoutes(ctx, k, service.Name, o.VirtualService, &s, &out); err != nil {
			return out, err
		}
	}
	text, err := adoptionText(k, s)
	out.Document = string(text)
	return out, err
}

// serviceOf is the Service by which the Deployment is reached.
func (c *Client) serviceOf(ctx context.Context, d *appsv1.Deployment, name string) (*corev1.Service, error) {
	var all corev1.ServiceList
	if err := c.api.List(ctx, &all, client.InNamespace(d.Namespace)); err != nil {
		return nil, explained("looking for the Service of deployment "+d.Name, err)
	}
	var found []corev1.Service
	var names []string
	for _, s := range all.Items {
		if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) && (name == "" || s.Name == name) {
			found, names = append(found, s), append(names, s.Name)
		}
	}
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) == 0:
		return nil, fail(ErrNotFound, "no Service %sin namespace %q selects the pods of deployment %q: name another with --service, or write the document by hand", strings.TrimLeft(name+" ", " "), d.Namespace, d.Name)
	}
	return nil, fail(ErrInvalid, "several Services select the pods of deployment %q (%s): name one with --service", d.Name, strings.Join(names, ", "))
}

// planRoutes looks for the VirtualService by which requests come to the Service now.
func (c *Client) planRoutes(ctx context.Context, k Key, service, name string, s *v1alpha1.ScoringEndpointSpec, out *Adoption) error {
	var all istio.VirtualServiceList
	if err := c.api.List(ctx, &all, client.InNamespace(k.Namespace)); err != nil {
		return explained("looking for routes to service "+service, err)
	}
	header := HeaderRoute{cmp.Or(s.Traffic.Header.Name, "x-api-version"), cmp.Or(s.Traffic.Header.Stable, "green"), cmp.Or(s.Traffic.Header.Candidate, "blue")}
	found := ""
	for _, vs := range all.Items {
		if name != "" && vs.Name != name {
			continue
		}
		list, err := renames(vs.Spec.Http, k, vs.Name, service, header)
		if err != nil {
			return err
		}
		switch {
		case len(list) == 0:
		case found != "":
			return fail(ErrInvalid, "VirtualServices %q and %q both have routes to service %q: name one with --virtual-service", found, vs.Name, service)
		default:
			found, out.Renames = vs.Name, list
		}
	}
	switch {
	case found == "" && name != "":
		return fail(ErrNotFound, "VirtualService %q of namespace %q has no route to service %q", name, k.Namespace, service)
	case found == "":
		return nil
	}
	f, err := readForeign(ctx, c.api, k.Namespace, found, k)
	if err != nil {
		return explained(fmt.Sprintf("reading VirtualService %q", found), err)
	}
	s.Traffic.VirtualService, s.Traffic.Hosts = found, nil
	out.version = f.GetResourceVersion()
	out.http, err = renamed(f.http, out.Renames, RouteInput{Key: k, Header: header, Routing: rollout.Routing{Epoch: 1, Rollout: k.Name + "-1", Stable: k.Name + "-r1"}})
	return err
}

// Adopt carries a plan out: the routes get the names of place holders, which changes
// nothing of where requests go, then the document is applied.
func (c *Client) Adopt(ctx context.Context, a Adoption, document []byte, dryRun bool) (engine.ApplyResult, error) {
	if result, err := c.Apply(ctx, document, true, false); err != nil || dryRun {
		return result, err // what the API server would refuse is known before anything is written
	}
	if len(a.Renames) > 0 {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": a.version}, "spec": map[string]any{"http": a.http}})
		if err != nil {
			return engine.ApplyResult{}, fmt.Errorf("naming the routes: %w", err)
		}
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(virtualServiceKind)
		u.SetNamespace(a.Namespace)
		u.SetName(a.Renames[0].VirtualService)
		if err := c.api.Patch(ctx, u, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(ClientManager)); err != nil {
			return engine.ApplyResult{}, explained(fmt.Sprintf("naming the routes of VirtualService %q", u.GetName()), err)
		}
	}
	return c.Apply(ctx, document, false, false)
}

// recorded is what a version is called that differs by its recorder alone.
const recorded = "+recorder"

// Restart starts a rollout of the adopted version as Serin runs it, with a recorder.
func (c *Client) Restart(ctx context.Context, dryRun bool) (engine.ApplyResult, error) {
	e, err := c.get(ctx)
	if err != nil {
		return engine.ApplyResult{}, err
	}
	limited := meta.FindStatusCondition(e.Status.Conditions, engine.EvidenceLimited)
	if limited == nil || limited.Reason != "ScoresNotJudgeable" {
		return engine.ApplyResult{}, fail(ErrInvalid, "endpoint %q: its version in production has a recorder, or none is known yet: there is nothing to restart", e.Name)
	}
	doc, was, err := documentOf(e)
	if err != nil {
		return engine.ApplyResult{}, fail(ErrInvalid, "%v", err)
	}
	var o unstructured.Unstructured
	if err := json.Unmarshal(doc.Written(), &o); err != nil {
		return engine.ApplyResult{}, fmt.Errorf("reading the document: %w", err)
	}
	if err := unstructured.SetNestedField(o.Object, was.Version+recorded, "spec", "scorer", "version"); err != nil {
		return engine.ApplyResult{}, fmt.Errorf("writing the document: %w", err)
	}
	text, err := json.Marshal(&o)
	if err != nil {
		return engine.ApplyResult{}, fmt.Errorf("writing the document: %w", err)
	}
	if _, _, err := spec.Load(text); err != nil {
		return engine.ApplyResult{}, fail(ErrInvalid, "%v", err)
	}
	patch := fmt.Appendf(nil, `{"spec":{"scorer":{"version":%q}}}`, was.Version+recorded)
	options := []client.PatchOption{client.FieldOwner(ClientManager)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	before := e.DeepCopy()
	if err := c.api.Patch(ctx, e, client.RawPatch(types.MergePatchType, patch), options...); err != nil {
		return engine.ApplyResult{}, explained(fmt.Sprintf("restarting endpoint %q", e.Name), err)
	}
	result, _, err := compare(before, e)
	result.DryRun = dryRun
	result.Notes = append(result.Notes, fmt.Sprintf("write version: %q into your document as well, or applying it again starts a rollout back", was.Version+recorded))
	return result, err
}
