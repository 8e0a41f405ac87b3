package api_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// TestScale: kubectl scale patches /scale. It needs no spec.scaling.replicas to begin
// with, keeps to the schema, and does not mix with an autoscaler's bounds.
func TestScale(t *testing.T) {
	c := start(t)
	api := client(t, c.RESTConfig()).Resource(endpoints).Namespace("abtesting")
	scale := func(name, body string) (*unstructured.Unstructured, error) {
		return api.Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "scale")
	}
	for name, spec := range map[string]string{"scale-none": "", "scale-some": "  scaling: {replicas: 2}\n", "scale-auto": "  scaling: {min: 2, max: 5}\n"} {
		text := "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: " + name + "}\nspec:\n  scorer: {image: a}\n" + spec
		if _, err := post(t, c.RESTConfig(), "abtesting", text, false); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Delete(t.Context(), name, metav1.DeleteOptions{}) })
	}
	for _, name := range []string{"scale-none", "scale-some"} {
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
	// What kubectl autoscale would do: Serin's own autoscaler takes its bounds from the spec.
	if _, err := api.Get(t.Context(), "scale-auto", metav1.GetOptions{}, "scale"); err == nil || !strings.Contains(err.Error(), ".spec.scaling.replicas") {
		t.Errorf("reading the scale of an endpoint with an autoscaler of its own: %v, want that it has no replicas", err)
	}
}
