package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/serin-dev/serin/api/v1alpha1"
)

// TestScale: kubectl scale reads and patches /scale. It needs no spec.scaling.replicas to
// begin with, keeps to the schema, and does not mix with an autoscaler's bounds.
func TestScale(t *testing.T) {
	c := start(t)
	api := client(t, c.RequestConfig()).Resource(endpoints).Namespace("abtesting")
	scale := func(name, body string) (*unstructured.Unstructured, error) {
		return api.Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "scale")
	}
	for name, spec := range map[string]string{"scale-none": "", "scale-empty": "  scaling: {}\n", "scale-some": "  scaling: {replicas: 2}\n", "scale-auto": "  scaling: {min: 2, max: 5}\n"} {
		text := "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: " + name + "}\nspec:\n  scorer: {image: a}\n" + spec
		if _, err := post(t, c.RequestConfig(), "abtesting", text, false); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Delete(t.Context(), name, metav1.DeleteOptions{}) })
	}
	for name, n := range map[string]string{"scale-none": "1", "scale-empty": "1", "scale-some": "2", "scale-auto": "1"} {
		if got, err := api.Get(t.Context(), name, metav1.GetOptions{}, "scale"); err != nil || text(got.Object, "spec", "replicas") != n {
			t.Errorf("%s: scale %v (%v), want %s replicas", name, got, err, n)
		}
	}
	for _, name := range []string{"scale-none", "scale-empty", "scale-some"} {
		if _, err := scale(name, `{"spec":{"replicas":3}}`); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		o, err := api.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "scaling", "replicas"); n != 3 {
			t.Errorf("%s: %d replicas in the spec, want 3", name, n)
		}
		if got, err := api.Get(t.Context(), name, metav1.GetOptions{}, "scale"); err != nil || text(got.Object, "spec", "replicas") != "3" {
			t.Errorf("%s: scale %v (%v), want 3 replicas", name, got, err)
		}
	}
	if _, err := scale("scale-some", `{"spec":{"replicas":0}}`); err == nil {
		t.Error("no replicas at all are taken")
	}
	if _, err := scale("scale-auto", `{"spec":{"replicas":3}}`); err == nil || !strings.Contains(err.Error(), "write either replicas, or min, max and cpu") {
		t.Errorf("replicas beside an autoscaler's bounds: %v, want a refusal that says what to write", err)
	}
	for _, set := range []string{`{"spec":{"replicas":2}}`, `{"spec":{"replicas":1}}`} {
		_, _ = scale("scale-auto", set) // refused, or nothing
		if got := scalingOf(t, api, "scale-auto"); got.Replicas != nil || *got.Min != 2 || *got.Max != 5 {
			t.Errorf("after a patch of /scale by %s the autoscaler has %+v, want it as it was", set, got)
		}
	}
}

// scalingOf is what the controller reads.
func scalingOf(t *testing.T, api dynamic.ResourceInterface, name string) v1alpha1.Scaling {
	t.Helper()
	o, err := api.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "metadata": map[string]any{"name": name, "namespace": o.GetNamespace()}, "spec": o.Object["spec"]})
	if err != nil {
		t.Fatal(err)
	}
	return resolve(t, text).Endpoint.Spec.Scaling
}

// TestFromReplicasToAnAutoscalerAndBack: the 1 that the API server fills in is in nobody's
// way: who never wrote replicas writes min and max, in each way that a document is
// applied, and takes them out again.
func TestFromReplicasToAnAutoscalerAndBack(t *testing.T) {
	c := start(t)
	api := client(t, c.RequestConfig()).Resource(endpoints).Namespace("abtesting")
	for way, options := range map[types.PatchType]metav1.PatchOptions{types.ApplyPatchType: {FieldManager: "serin-cli"}, types.MergePatchType: {}} {
		name := map[types.PatchType]string{types.ApplyPatchType: "bounds-apply", types.MergePatchType: "bounds-merge"}[way]
		t.Cleanup(func() { _ = api.Delete(context.Background(), name, metav1.DeleteOptions{}) })
		if way == types.MergePatchType {
			if _, err := post(t, c.RequestConfig(), "abtesting", "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: "+name+"}\nspec: {scorer: {image: a}}\n", false); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []struct{ scaling, gone, want string }{{`{}`, `{}`, "1"}, {`{"min":2,"max":5}`, `{"min":2,"max":5}`, ""}, {`{}`, `{"min":null,"max":null}`, "1"}} {
			scaling := step.scaling
			if way == types.MergePatchType {
				scaling = step.gone
			}
			doc := fmt.Sprintf(`{"apiVersion":"serin.dev/v1alpha1","kind":"ScoringEndpoint","metadata":{"name":%q},"spec":{"scorer":{"image":"a"},"scaling":%s}}`, name, scaling)
			if _, err := api.Patch(t.Context(), name, way, []byte(doc), options); err != nil {
				t.Fatalf("%s, scaling %s: %v", way, scaling, err)
			}
			got := scalingOf(t, api, name)
			if autoscaled := got.Max != nil; autoscaled != (step.want == "") || !autoscaled && *got.Replicas != 1 || autoscaled && got.Replicas != nil {
				t.Errorf("%s, scaling %s: %+v", way, scaling, got)
			}
		}
	}
}
