package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
)

// beforeAnnotation, on somebody else's VirtualService, holds the routes that an
// endpoint's took the place of.
func beforeAnnotation(k Key) string { return "serin.dev/before-" + k.Name }

var virtualServiceKind = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}

// foreignTries bounds how often somebody else's object is tried to be written while
// others write it: more often than one of Serin's own, which nobody else writes.
const foreignTries = 20

// foreign is one reading of somebody else's VirtualService, past every cache and
// without a type: what this Serin does not know stays too.
type foreign struct {
	*unstructured.Unstructured
	http, before []any
}

func readForeign(ctx context.Context, direct client.Reader, namespace, name string, k Key) (f foreign, err error) {
	f.Unstructured = &unstructured.Unstructured{}
	f.SetGroupVersionKind(virtualServiceKind)
	if err := direct.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, f.Unstructured); err != nil {
		return f, err
	}
	if f.http, _, err = unstructured.NestedSlice(f.Object, "spec", "http"); err != nil {
		return f, fmt.Errorf("reading spec.http: %w", err)
	}
	if text := f.GetAnnotations()[beforeAnnotation(k)]; text != "" {
		if err := json.Unmarshal([]byte(text), &f.before); err != nil {
			return f, fmt.Errorf("reading the annotation %s, which holds the routes that Serin's took the place of: %w; mend it, or take it out", beforeAnnotation(k), err)
		}
	}
	return f, nil
}

// replace writes the routes if nobody wrote the object meanwhile; apierrors.IsConflict
// tells that somebody did.
func (f foreign) replace(ctx context.Context, api client.Client, next, before []any, k Key) error {
	if jsonEqual(f.http, next) && jsonEqual(f.before, before) {
		return nil
	}
	var was any
	if len(before) > 0 {
		text, err := json.Marshal(before)
		if err != nil {
			return fmt.Errorf("keeping the routes that Serin's take the place of: %w", err)
		}
		was = string(text)
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": f.GetResourceVersion(), "annotations": map[string]any{beforeAnnotation(k): was}},
		"spec":     map[string]any{"http": next},
	})
	if err != nil {
		return fmt.Errorf("writing the routes: %w", err)
	}
	return api.Patch(ctx, f.Unstructured, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldManager))
}

// plant puts the routes into somebody else's VirtualService. What would keep
// requests from them is an error: before the first of them is there nothing is
// written then, afterwards they are kept up to date all the same, so that a revert
// is not refused.
func (p *platform) plant(ctx context.Context) error {
	name := p.routesName()
	var err error
	for range foreignTries {
		var f foreign
		f, err = readForeign(ctx, p.direct, p.key.Namespace, name, p.key)
		if apierrors.IsNotFound(err) {
			return mend("spec.traffic.virtualService: there is no VirtualService %q in namespace %q: create it, or take the field out to let Serin have one of its own", name, p.key.Namespace)
		}
		if err == nil {
			err = p.plantOnce(ctx, f)
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("writing the routes into VirtualService %q: %w", name, err)
	}
	return nil
}

func (p *platform) plantOnce(ctx context.Context, f foreign) error {
	in := p.routes()
	next, err := plant(f.http, f.before, in)
	if err != nil {
		return err
	}
	hidden := p.hidden(f, next.next)
	if hidden != nil && next.was.n == 0 {
		return hidden
	}
	if err := f.replace(ctx, p.api, next.next, next.before, p.key); err != nil {
		return err
	}
	p.routesWritten, p.routesSeen = f.GetGeneration(), false
	return hidden
}

// hidden says why requests would not reach the routes.
func (p *platform) hidden(f foreign, next []any) error {
	hosts, _, err := unstructured.NestedStringSlice(f.Object, "spec", "hosts")
	if err != nil {
		return fmt.Errorf("reading spec.hosts: %w", err)
	}
	if host := uncovered(p.resolved.Endpoint.Spec.Traffic.Hosts, hosts); host != "" {
		return mend("it serves %s, and spec.traffic.hosts asks for %s: add it there, or take it out here", strings.Join(hosts, ", "), host)
	}
	routes, err := parseRoutes(next)
	if err != nil {
		return err
	}
	if by := shadowedBy(routes, p.key); by != "" {
		return toMend(by)
	}
	return nil
}

// changedIn reports whether Serin's routes in somebody else's VirtualService are not
// as they were written, or a route before them takes every request. What its owner
// changed elsewhere is the owner's.
func (p *platform) changedIn(vs *istio.VirtualService) bool {
	b, err := find(vs.Spec.Http, p.key)
	if err != nil || shadowedBy(vs.Spec.Http, p.key) != "" {
		return true
	}
	in, have := p.routes(), vs.Spec.Http[b.at:b.at+b.n]
	in.Match = matchOf(have, p.key)
	return !slices.EqualFunc(in.routes(), have, func(a, b *networking.HTTPRoute) bool { return proto.Equal(a, b) })
}

// giveBack takes an endpoint's routes out of every VirtualService of its namespace
// but one, and gives back what they took the place of. One of its own is removed. It
// reports whether routes were taken out of somebody else's: theirs take the requests now.
func giveBack(ctx context.Context, api client.Client, direct client.Reader, k Key, but string) (theirs bool, err error) {
	var all istio.VirtualServiceList
	if err := api.List(ctx, &all, client.InNamespace(k.Namespace)); err != nil {
		return false, fmt.Errorf("looking for routes of %q: %w", k, err)
	}
	for _, vs := range all.Items {
		mine := slices.ContainsFunc(vs.Spec.Http, func(h *networking.HTTPRoute) bool { return ofSerin(h, k) })
		if !mine && vs.Annotations[beforeAnnotation(k)] == "" || vs.Name == but {
			continue
		}
		if by := metav1.GetControllerOf(vs); by != nil && by.Kind == v1alpha1.Kind && by.Name == k.Name {
			err = client.IgnoreNotFound(api.Delete(ctx, vs))
		} else {
			var taken bool
			taken, err = giveBackOne(ctx, api, direct, k, vs.Name)
			theirs = theirs || taken
		}
		if err != nil {
			return theirs, fmt.Errorf("taking the routes of %q out of VirtualService %q: %w", k, vs.Name, err)
		}
	}
	return theirs, nil
}

func giveBackOne(ctx context.Context, api client.Client, direct client.Reader, k Key, name string) (taken bool, err error) {
	for range foreignTries {
		var f foreign
		if f, err = readForeign(ctx, direct, k.Namespace, name, k); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		spec, _, _ := unstructured.NestedMap(f.Object, "spec")
		var next []any
		if next, err = uproot(f.http, f.before, spec["tcp"] != nil || spec["tls"] != nil, k); err != nil {
			return false, err
		}
		if err = f.replace(ctx, api, next, nil, k); !apierrors.IsConflict(err) {
			return err == nil && !jsonEqual(f.http, next), err
		}
	}
	return false, err
}
