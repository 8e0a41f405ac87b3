package api_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// described is what kubectl explain reads.
type described struct {
	Description          string
	Properties           map[string]described
	Items                *described
	AdditionalProperties *described
}

func (s described) bare(path string) (out []string) {
	if strings.TrimSpace(s.Description) == "" {
		out = append(out, path)
	}
	for s.Items != nil {
		s.Properties, s.Items = s.Items.Properties, s.Items.Items
	}
	for name, p := range s.Properties {
		out = append(out, p.bare(path+"."+name)...)
	}
	return out
}

func (s described) size() int {
	n := 1
	for s.Items != nil {
		s.Properties, s.Items = s.Items.Properties, s.Items.Items
	}
	for _, p := range s.Properties {
		n += p.size()
	}
	return n
}

// kubectl explain says something of every field that one may write.
func TestEveryFieldIsExplained(t *testing.T) {
	c := start(t)
	raw, err := kubernetes.NewForConfigOrDie(c.RequestConfig()).RESTClient().Get().AbsPath("/openapi/v3/apis/serin.dev/v1alpha1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Components struct{ Schemas map[string]described }
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[string]int{"ScoringEndpoint": 300, "ScoringRollout": 5, "RolloutAction": 8} {
		spec, ok := d.Components.Schemas["dev.serin.v1alpha1."+kind].Properties["spec"]
		if n := spec.size(); !ok || n < least {
			t.Errorf("%s has %d fields, want at least %d", kind, n, least)
		}
		for _, path := range spec.bare(kind + ".spec") {
			t.Errorf("kubectl explain says nothing of %s", path)
		}
	}
}

// A definition fits the annotation that kubectl apply keeps of it (256 KiB of annotations in all).
func TestTheKindsFitKubectlApply(t *testing.T) {
	files, err := filepath.Glob(root + "/charts/serin/crds/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v (%v), want three", files, err)
	}
	const most = 200 << 10 // leaves room for other annotations
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.YAMLToJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > most {
			t.Errorf("%s is %d bytes of JSON, want at most %d: lower maxDescLen in the Makefile", filepath.Base(f), len(text), most)
		}
	}
}
