package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/internal/spec"
)

// props are as much of an OpenAPI schema as the tests look at.
type props struct {
	Type                 string
	Format               string
	Properties           map[string]props
	Items                *props
	AdditionalProperties *props
	AllOf                []props
	Enum                 []any
	MaxLength            *int64
	MaxItems             *int64
	MaxProperties        *int64
	Default              any
	PreserveUnknown      bool `json:"x-kubernetes-preserve-unknown-fields"`
}

func schemas(t *testing.T) map[string]props {
	t.Helper()
	files, err := filepath.Glob(root + "/charts/serin/crds/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("definitions %v (%v), want three", files, err)
	}
	out := map[string]props{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema props }
				}
			}
		}
		if err := yaml.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		out[d.Spec.Names.Kind] = d.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return out
}

// walk visits a schema and what is in it, but for Kubernetes' own types, which have no bounds.
func walk(s props, path string, visit func(path string, s props)) {
	visit(path, s)
	for name, p := range s.Properties {
		switch at := path + "." + name; {
		case strings.HasSuffix(at, ".spec.scorer.template"):
			for field, q := range p.Properties {
				visit(at+"."+field, q)
			}
		case name == "metadata" && !strings.Contains(path, "."):
		default:
			walk(p, at, visit)
		}
	}
	if s.Items != nil {
		walk(*s.Items, path+"[]", visit)
	}
}

// Nothing that anyone may write into an object of ours is without a bound.
func TestEveryTextAndListHasALimit(t *testing.T) {
	seen := 0
	for kind, s := range schemas(t) {
		walk(s, kind, func(path string, s props) {
			seen++
			length := s.MaxLength
			for _, a := range s.AllOf {
				if length == nil {
					length = a.MaxLength
				}
			}
			switch {
			case path == kind+".apiVersion" || path == kind+".kind" || s.Format == "date-time":
			case s.Type == "string" && length == nil && len(s.Enum) == 0:
				t.Errorf("%s is a text without maxLength", path)
			case s.Type == "array" && s.MaxItems == nil:
				t.Errorf("%s is a list without maxItems", path)
			case s.Type == "object" && s.AdditionalProperties != nil && s.MaxProperties == nil:
				t.Errorf("%s is a map without maxProperties", path)
			}
		})
	}
	if seen < 150 {
		t.Errorf("looked at %d fields only", seen)
	}
}

// onlyLocal are defaults of local mode that the API server does not fill in, and why.
var onlyLocal = map[string]string{
	"traffic.listen":        "not used in a cluster; a default would be reported as such in each document",
	"rollout.steps[0].name": "comes from the weight, so it is not static",
	"rollout.steps[1].name": "the same",
	"rollout.steps[2].name": "the same",
	"rollout.steps[3].name": "the same",
	"rollout.steps[4].name": "the same",
	"judge.labels.required": "false is not written",
	"judge.scores.cutoffs":  "an empty list is not written",
}

func TestTheAPIServersDefaultsAreLocalModes(t *testing.T) {
	c := start(t)
	text := before + "  scorer: {image: \"" + image + "\"}\n  judge: {scores: {mean: {}}, agreement: {tolerance: \"0.01\"}, labels: {}}\n  rollout: {freeze: [{cron: \"@daily\", duration: 1h}]}\n  notify: [{url: \"https://example.com\"}]\n"
	got, err := post(t, c.RequestConfig(), "abtesting", text, true)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := spec.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d.Endpoint().Spec)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	a, b := map[string]string{}, map[string]string{}
	flatten(a, "", want)
	flatten(b, "", got.Object["spec"])
	for path := range onlyLocal {
		delete(a, path)
		delete(b, path)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("defaults of local mode (-) and of the API server (+):\n%s", diff)
	}
	if len(a) < 40 {
		t.Errorf("%d defaults only: %v", len(a), slices.Sorted(maps.Keys(a)))
	}
}

func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(out, strings.TrimPrefix(path+"."+k, "."), x)
		}
	case []any:
		for i, x := range v {
			flatten(out, fmt.Sprintf("%s[%d]", path, i), x)
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}

// What only a cluster cannot do is refused by the API server too, with what to do instead.
func TestTheAPIServerRefusesWhatOnlyOneMachineCanDo(t *testing.T) {
	c := start(t)
	for text, want := range map[string][]string{
		"  scorer: {local: {model: m.txt}}\n":                                                       {"spec.scorer.image", "@sha256"},
		"  scorer: {image: \"\"}\n":                                                                 {"spec.scorer.image", "@sha256"},
		"  scorer: {image: a}\n  traffic: {sticky: {header: x-client-id}}\n":                        {"spec.traffic.sticky", "sticky.cookie"},
		"  scorer: {image: a}\n  notify: [{url: 'http://LocalHost:15000/quitquitquit'}]\n":          {"spec.notify[0].url", "others reach"},
		"  scorer: {image: a}\n  notify: [{url: 'https://example.com'}, {url: http://127.8.0.1}]\n": {"spec.notify[1].url", "others reach"},
		"  scorer: {image: a}\n  notify: [{url: 'http://[::1]:80/'}]\n":                             {"spec.notify[0].url", "others reach"},
		"  scorer: {image: a}\n  notify: [{url: 'http://169.254.169.254/metadata'}]\n":              {"spec.notify[0].url", "others reach"},
		"  scorer: {image: a}\n  notify: [{url: 'http://0.0.0.0'}]\n":                               {"spec.notify[0].url", "others reach"},
	} {
		_, err := post(t, c.RequestConfig(), "abtesting", before+text, true)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want %q", text, err, w)
			}
		}
	}
}

// The kinds show what people ask for first.
func TestTheKindsAreShown(t *testing.T) {
	c := start(t)
	d := client(t, c.RequestConfig())
	if _, err := post(t, c.RequestConfig(), "abtesting", strings.Replace(before, "safe-driver", "scaled", 1)+"  scorer: {image: a}\n  scaling: {replicas: 3}\n", false); err != nil {
		t.Fatal(err)
	}
	scale, err := d.Resource(endpoints).Namespace("abtesting").Get(t.Context(), "scaled", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if n := scale.Object["spec"].(map[string]any)["replicas"]; n != int64(3) {
		t.Errorf("/scale says %v replicas, want 3", n)
	}
}
