package install

import (
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	m, err := Render(Options{Namespace: "serin-system", Set: []string{"image.tag=1.0", "replicas=3", "nodeSelector.pool=system", "image.pullSecrets=[a, b]"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"serin:1.0", "replicas: 3", "pool: system", "name: \"b\"", "name: serin-actions", "managed-by: \"serin\"", "http://serin-recorder.serin-system.svc:9002"} {
		if !strings.Contains(string(m.Rest), want) {
			t.Errorf("no %q in what is rendered", want)
		}
	}
	if n := strings.Count(string(m.Kinds), "kind: CustomResourceDefinition"); n != 3 {
		t.Errorf("%d kinds, want 3", n)
	}
	if strings.Contains(string(m.Rest), "<no value>") || strings.Contains(string(m.Rest), "helm install") {
		t.Error("a value that is not there, or the notes, among the manifests")
	}
}

func TestRenderRefusesBadValues(t *testing.T) {
	for set, want := range map[string]string{
		"image.digest":            "PATH=VALUE",
		"image.digest=latest":     "/image/digest",
		"replicas=two":            "/replicas",
		"mesh.gatway.namespace=x": "gatway",
		"image.repository.x=y":    "repository is no object",
		"mesh.aksAddon=true":      "mesh.revision is empty",
		"tolerations=[":           "reading the value",
	} {
		if _, err := Render(Options{Namespace: "a", Set: []string{set}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v; want an error that names %q", set, err, want)
		}
	}
}
