package cluster

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Files and folders come back out of a registry as they were packed, and the same files make the same digest.
func TestPush(t *testing.T) {
	from := t.TempDir()
	for path, mode := range map[string]os.FileMode{"serin": 0o700, "models/a.txt": 0o600, "models/deep/b.txt": 0o600} {
		full := filepath.Join(from, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("contents of "+path), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(from, "models/link.txt")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	c := &Cluster{Registry: strings.TrimPrefix(server.URL, "http://")}
	i := Image{
		Name:       "scorer:1",
		Files:      map[string]string{"/serin": filepath.Join(from, "serin"), "/opt/models": filepath.Join(from, "models")},
		Entrypoint: []string{"/serin"}, Cmd: []string{"scorer"}, Env: []string{"A=b"},
	}
	ref, err := c.Push(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Push(t.Context(), i)
	if err != nil || again != ref {
		t.Errorf("pushed again: %s (%v), want %s", again, err, ref)
	}
	parsed, err := name.NewDigest(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/serin", "scorer", "65532"}, append(append(file.Config.Entrypoint, file.Config.Cmd...), file.Config.User)); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers (%v), want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"tmp/": "", "opt/": "", "opt/models/": "", "opt/models/deep/": "", "serin": "x contents of serin",
		"opt/models/a.txt": "contents of models/a.txt", "opt/models/link.txt": "contents of models/a.txt", "opt/models/deep/b.txt": "contents of models/deep/b.txt",
	}
	if d := cmp.Diff(want, listing(t, content)); d != "" {
		t.Errorf("layer (-want +got):\n%s", d)
	}
}

func listing(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(archive); err != nil {
			t.Fatal(err)
		}
		all[h.Name] = text.String()
		if h.Mode&0o111 != 0 && h.Typeflag == tar.TypeReg {
			all[h.Name] = "x " + all[h.Name]
		}
	}
}
