package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// fieldManager is the name under which the harness applies.
const fieldManager = "serin-test"

// Apply applies YAML documents on the server's side, in their order. A kind that is not known yet is waited for: its
// definition may have been applied just before.
func (c *Cluster) Apply(ctx context.Context, documents []byte) error {
	objects, err := decode(documents)
	if err != nil {
		return err
	}
	return c.ApplyObjects(ctx, objects...)
}

// ApplyObjects is Apply for objects.
func (c *Cluster) ApplyObjects(ctx context.Context, objects ...*unstructured.Unstructured) error {
	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	for _, o := range objects {
		mapping, err := awaitKind(ctx, mapper, o.GroupVersionKind())
		if err != nil {
			return fmt.Errorf("applying %s %q: %w", o.GetKind(), o.GetName(), err)
		}
		resource := client.Resource(mapping.Resource)
		var into dynamic.ResourceInterface = resource
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			namespace := o.GetNamespace()
			if namespace == "" {
				namespace = metav1.NamespaceDefault
			}
			into = resource.Namespace(namespace)
		}
		if _, err := into.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
			return fmt.Errorf("applying %s %q: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

func awaitKind(ctx context.Context, mapper *restmapper.DeferredDiscoveryRESTMapper, kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err == nil || !meta.IsNoMatchError(err) || time.Now().After(deadline) {
			return mapping, err
		}
		mapper.Reset()
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func decode(documents []byte) (objects []*unstructured.Unstructured, err error) {
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(documents)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading YAML: %w", err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			return nil, fmt.Errorf("reading YAML: %w: %s", err, tail(string(document), 5))
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// AwaitDeployment waits until every replica of a Deployment's newest template is available, for five minutes at most.
func (c *Cluster) AwaitDeployment(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	deployments := client.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(namespace)
	for last := ""; ; {
		d, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = err.Error()
		} else if last = unavailable(d); last == "" {
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for the Deployment %s/%s: %w: %s", namespace, name, err, last)
		}
	}
}

// unavailable says what is missing; empty when nothing is.
func unavailable(d *unstructured.Unstructured) string {
	number := func(path ...string) int64 {
		n, _, _ := unstructured.NestedInt64(d.Object, path...) // absent means zero in a Deployment's status
		return n
	}
	want := number("spec", "replicas")
	have := map[string]int64{"updated": number("status", "updatedReplicas"), "available": number("status", "availableReplicas"), "all": number("status", "replicas")}
	if number("status", "observedGeneration") < d.GetGeneration() || have["updated"] != want || have["available"] != want || have["all"] != want {
		return fmt.Sprintf("of %d replicas: %v", want, have)
	}
	return ""
}
