package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/spec"
)

// document is one entry of internal/spec/testdata/{good,bad}.yaml.
type document struct{ Name, Spec, Scorer, Document, Path string }

const (
	image  = "registry.example.com/driver@sha256:aaaa"
	before = "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: safe-driver, namespace: abtesting}\nspec:\n"
)

// text is the document for a cluster: the table's scorers run on one machine, so an image is added, and what is refused
// is refused for the reason that the table says.
func (d document) text() string {
	switch {
	case d.Spec != "":
		return before + "  scorer: {version: \"2\", image: \"" + image + "\", local: {model: m.txt}}\n  " + strings.ReplaceAll(d.Spec, "\n", "\n  ")
	case d.Scorer != "" && !strings.Contains(d.Scorer, "image:") && strings.Contains(d.Scorer, "local:"):
		return before + "  scorer: " + strings.Replace(d.Scorer, "{", "{image: \""+image+"\", ", 1) + "\n"
	case d.Scorer != "":
		return before + "  scorer: " + d.Scorer + "\n"
	}
	return strings.ReplaceAll(d.Document, "scorer: {local: {", "scorer: {image: \""+image+"\", local: {")
}

func documents(t *testing.T, name string, least int) []document {
	t.Helper()
	raw, err := os.ReadFile(root + "/internal/spec/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	if err := yaml.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < least {
		t.Fatalf("%s has %d documents, want at least %d", name, len(all), least)
	}
	return all
}

// namespaceOf is where a client would send it.
func namespaceOf(text string) string {
	var d struct{ Metadata struct{ Namespace string } }
	if err := yaml.Unmarshal([]byte(text), &d); err != nil || d.Metadata.Namespace == "" {
		return "abtesting"
	}
	return d.Metadata.Namespace
}

// onlySpec are the bad documents that the API server takes, and why: the controller refuses them, in the endpoint's status.
var onlySpec = map[string]string{
	"two documents":                     "the API server reads the first document of a stream; kubectl sends each on its own",
	"a second document that is no YAML": "the API server reads the first document of a stream; kubectl refuses the second",
}

// says is how the API server's reader speaks of what it cannot read: without the field's path.
var says = map[string]string{
	"duplicate key":           `key "listen" already set`,
	"no spec":                 "spec: Required value",
	"template selector twice": `key "a" already set`,
	"template key twice":      `key "nodeAffinity" already set`,
	"template number":         "unsupported value: NaN",
}

func TestTheAPIServerRefusesBadDocuments(t *testing.T) {
	c := start(t)
	for _, d := range documents(t, "bad.yaml", 130) {
		t.Run(d.Name, func(t *testing.T) {
			_, err := post(t, c.RequestConfig(), namespaceOf(d.text()), d.text(), true)
			why, only := onlySpec[d.Name]
			switch {
			case err == nil && !only:
				t.Errorf("taken, want it refused because of %s:\n%s", d.Path, d.text())
			case err == nil:
				t.Logf("taken: %s", why)
			case only:
				t.Errorf("refused (%v), though listed as one that only internal/spec refuses: take it off the list", err)
			case says[d.Name] != "" && strings.Contains(err.Error(), says[d.Name]):
			case !about(err, d.Path):
				t.Errorf("%v\nwant it refused because of %s", err, d.Path)
			}
		})
	}
}

// about reports whether an answer speaks of a field, or of an object that holds it, or of something in it.
func about(err error, path string) bool {
	var s *apierrors.StatusError
	if !errors.As(err, &s) {
		return false
	}
	if !strings.HasPrefix(path, "spec.") || strings.Contains(err.Error(), path) {
		return true // no document at all, or head: the server's own words
	}
	if s.ErrStatus.Details == nil {
		return false
	}
	for _, c := range s.ErrStatus.Details.Causes {
		if f := c.Field; f != "" && f != "spec" && f != "<nil>" && (strings.HasPrefix(path, f) || strings.HasPrefix(f, path)) {
			return true
		}
	}
	return false
}

// A document that is taken means the same in a cluster, with the API server's defaults, as on one machine.
func TestGoodDocumentsMeanTheSameInACluster(t *testing.T) {
	c := start(t)
	all := documents(t, "good.yaml", 20)
	full, err := os.ReadFile(root + "/internal/spec/testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, document{Name: "every field", Document: string(full)})
	for i, d := range all {
		t.Run(d.Name, func(t *testing.T) {
			name := fmt.Sprintf("good-%d", i)
			text := strings.Replace(d.text(), "name: safe-driver", "name: "+name, 1)
			want := resolve(t, []byte(text))
			sent, err := post(t, c.RequestConfig(), "abtesting", text, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := client(t, c.RequestConfig()).Resource(endpoints).Namespace("abtesting").Get(t.Context(), sent.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(map[string]any{
				"apiVersion": got.GetAPIVersion(), "kind": got.GetKind(), "spec": got.Object["spec"],
				"metadata": map[string]any{"name": name, "namespace": "abtesting"},
			})
			if err != nil {
				t.Fatal(err)
			}
			have := resolve(t, raw)
			want.Endpoint.ObjectMeta, have.Endpoint.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
			if !equality.Semantic.DeepEqual(want, have) {
				a, _ := json.MarshalIndent(want, "", " ")
				b, _ := json.MarshalIndent(have, "", " ")
				t.Errorf("on one machine\n%s\nin the cluster\n%s", a, b)
			}
		})
	}
}

func resolve(t *testing.T, text []byte) spec.Resolved {
	t.Helper()
	d, _, err := spec.Load(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r, _, err := d.For(spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
