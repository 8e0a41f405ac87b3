package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// installer owns what serin install writes.
const installer = "serin-install"

// Applied is one object that was applied.
type Applied struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// ApplyManifests applies YAML documents on the server's side, in their order, and
// waits until kinds among them are served. With dryRun the server only says what
// it would refuse. It returns what was applied, also beside an error.
func ApplyManifests(ctx context.Context, rc *rest.Config, text []byte, dryRun bool) (done []Applied, err error) {
	api, err := client.New(rc, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", err)
	}
	objects, err := manifests(text)
	if err != nil {
		return nil, err
	}
	options := []client.ApplyOption{client.FieldOwner(installer), client.ForceOwnership}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	for _, o := range objects {
		err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), options...)
		if meta.IsNoMatchError(err) {
			err = fmt.Errorf("the cluster does not know the kind: is Istio installed? (%w)", err)
		}
		if err == nil && o.GetKind() == "CustomResourceDefinition" && !dryRun {
			err = awaitEstablished(ctx, api, o)
		}
		if err != nil {
			return done, fmt.Errorf("applying %s %q: %w", o.GetKind(), o.GetName(), err)
		}
		done = append(done, Applied{o.GetKind(), o.GetNamespace(), o.GetName()})
	}
	return done, nil
}

// awaitEstablished waits until a kind is served.
func awaitEstablished(ctx context.Context, api client.Client, kind *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := api.Get(ctx, client.ObjectKeyFromObject(kind), got); err != nil {
			return false, err
		}
		conditions, _, err := unstructured.NestedSlice(got.Object, "status", "conditions")
		if err != nil {
			return false, fmt.Errorf("reading its conditions: %w", err)
		}
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until it is served: %w", err)
	}
	return nil
}

func manifests(text []byte) (objects []*unstructured.Unstructured, err error) {
	r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		o := &unstructured.Unstructured{}
		if err == nil {
			err = yaml.Unmarshal(doc, &o.Object)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the manifests: %w", err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
