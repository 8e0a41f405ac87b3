package image

import (
	"archive/tar"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestMain keeps the user's own docker configuration out of the tests.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "serin-image-")
	if err != nil {
		log.Fatal(err)
	}
	os.Setenv("DOCKER_CONFIG", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// someSpec is a scoring image of two small files.
func someSpec(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	binary, model := filepath.Join(dir, "serin"), filepath.Join(dir, "m.txt")
	for f, text := range map[string]string{binary: strings.Repeat("program ", 5000), model: "tree\n"} {
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Spec{
		Architecture: "arm64", Layers: []Layer{ProgramLayer(Binary{Path: binary}), ModelLayer(model)}, Ports: []string{"5001/tcp"}, Created: time.Unix(1000, 0),
		Entrypoint: []string{"/serin", "scorer", "--model", "/model.txt"}, Labels: map[string]string{"a": "b"},
	}
}

func model(s Spec) *File { return &s.Layers[1].Files[0] }

// requests counts what a registry was asked.
type requests struct {
	mu    sync.Mutex
	all   []string
	auths []string
}

func (r *requests) uploads() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if strings.HasPrefix(s, "POST /v2/") && strings.HasSuffix(s, "/blobs/uploads/") {
			n++
		}
	}
	return n
}

// newRegistry starts a registry on loopback; gate may answer in its place.
func newRegistry(t *testing.T, gate func(http.ResponseWriter, *http.Request) bool) (host string, seen *requests) {
	t.Helper()
	seen = &requests{}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.mu.Lock()
		seen.all, seen.auths = append(seen.all, r.Method+" "+r.URL.Path), append(seen.auths, r.Header.Get("Authorization"))
		seen.mu.Unlock()
		if gate == nil || gate(w, r) {
			real.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), seen
}

func reference(t *testing.T, text string) Reference {
	t.Helper()
	r, err := ParseReference(text, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func packed(t *testing.T, s Spec) Image {
	t.Helper()
	i, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// contents are the files of an image: name → mode and text.
func contents(t *testing.T, i v1.Image) map[string]string {
	t.Helper()
	rc := mutate.Extract(i)
	defer rc.Close()
	all := map[string]string{}
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d:%d, time %s: depends on who packed it and when", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		all[h.Name] = h.FileInfo().Mode().String() + " " + string(text)
	}
}

func pull(t *testing.T, text string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	i, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func check(t *testing.T, got v1.Image, digest string) {
	t.Helper()
	if err := validate.Image(got); err != nil {
		t.Errorf("the image is not valid: %v", err)
	}
	if d, err := got.Digest(); err != nil || d.String() != digest {
		t.Errorf("digest %s (%v), want %s", d, err, digest)
	}
	cfg, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{User: "65532:65532", Entrypoint: []string{"/serin", "scorer", "--model", "/model.txt"}, WorkingDir: "/", Labels: map[string]string{"a": "b"}, ExposedPorts: map[string]struct{}{"5001/tcp": {}}}
	if d := cmp.Diff(want, cfg.Config); d != "" {
		t.Errorf("configuration (-want +got):\n%s", d)
	}
	if cfg.OS != "linux" || cfg.Architecture != "arm64" || !cfg.Created.Equal(time.Unix(1000, 0)) {
		t.Errorf("for %s/%s, created %s", cfg.OS, cfg.Architecture, cfg.Created)
	}
	if d := cmp.Diff(map[string]string{"serin": "-rwxr-xr-x " + strings.Repeat("program ", 5000), "model.txt": "-r--r--r-- tree\n"}, contents(t, got)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestPushAndPullBack(t *testing.T) {
	host, seen := newRegistry(t, nil)
	i, ref := packed(t, someSpec(t)), reference(t, host+"/team/model:2")
	var done, total int64
	if err := i.Push(t.Context(), ref, func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	if done == 0 || done != total || total < i.Size {
		t.Errorf("progress ended at %d of %d, want all of at least %d", done, total, i.Size)
	}
	check(t, pull(t, ref.String()), i.Digest)
	check(t, pull(t, ref.Pinned(i.Digest)), i.Digest)
	if n := seen.uploads(); n != 3 {
		t.Errorf("%d uploads, want 3: program, model, configuration", n)
	}
}

// TestBlobsAreSentOnce: a second model with the same program sends the model and
// the configuration only; the same image again sends nothing.
func TestBlobsAreSentOnce(t *testing.T) {
	host, seen := newRegistry(t, nil)
	s := someSpec(t)
	ref := reference(t, host+"/model:1")
	push := func() int {
		before := seen.uploads()
		if err := packed(t, s).Push(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
		return seen.uploads() - before
	}
	if n := push(); n != 3 {
		t.Errorf("first: %d uploads, want 3", n)
	}
	if n := push(); n != 0 {
		t.Errorf("the same again: %d uploads, want none", n)
	}
	if err := os.WriteFile(model(s).From, []byte("another tree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := push(); n != 2 {
		t.Errorf("another model: %d uploads, want 2", n)
	}
}

func TestSameInputSameDigest(t *testing.T) {
	a, b := packed(t, someSpec(t)), packed(t, someSpec(t)) // in two folders, at two times
	if a.Digest != b.Digest {
		t.Errorf("digests %s and %s of the same input", a.Digest, b.Digest)
	}
	changes := map[string]func(*Spec){
		"label": func(s *Spec) { s.Labels = map[string]string{"a": "c"} }, "entrypoint": func(s *Spec) { s.Entrypoint = []string{"/serin"} },
		"time": func(s *Spec) { s.Created = time.Unix(1, 0) }, "model": func(s *Spec) { model(*s).From = s.Layers[0].Files[0].From }, "architecture": func(s *Spec) { s.Architecture = "amd64" },
	}
	for what, change := range changes {
		s := someSpec(t)
		change(&s)
		if packed(t, s).Digest == a.Digest {
			t.Errorf("another %s, and the digest stays", what)
		}
	}
}

// TestArchive: one file that is an OCI layout and a docker archive.
func TestArchive(t *testing.T) {
	i, ref := packed(t, someSpec(t)), reference(t, "127.0.0.1:1/team/model:2")
	dir := t.TempDir()
	file := filepath.Join(dir, "model.tar")
	var done, total int64
	if err := i.WriteFile(file, ref, func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	if done == 0 || done > total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	tag, _ := name.NewTag(ref.String())
	docker, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(contents(t, i.image), contents(t, docker)); d != "" {
		t.Errorf("the docker archive's files (-want +got):\n%s", d)
	}
	unpack(t, file, filepath.Join(dir, "layout"))
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := v1.NewHash(i.Digest)
	oci, err := index.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	check(t, oci, i.Digest)
	first, _ := os.ReadFile(file)
	if err := packed(t, someSpec(t)).WriteFile(file, ref, nil); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(file); string(first) != string(second) {
		t.Error("the same image gave another file")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchiveThatCannotBeWrittenLeavesNothing(t *testing.T) {
	s := someSpec(t)
	i := packed(t, s)
	if err := os.Remove(model(s).From); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := i.WriteFile(filepath.Join(dir, "a.tar"), reference(t, "127.0.0.1:1/m:1"), nil); err == nil {
		t.Error("the model went away, and nobody said so")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReferences(t *testing.T) {
	for _, c := range []struct {
		text     string
		insecure bool
		says     string
	}{
		{"registry.example/team/model:2", false, ""},
		{"127.0.0.1:5000/model:2", true, ""},
		{"[::1]:5000/model:2", true, ""},
		{"localhost:5000/model:2", true, ""},
		{"registry.example/model:2", true, "plain HTTP"},
		{"10.0.0.1:5000/model:2", true, "plain HTTP"},
		{"localhost.example:5000/model:2", true, "plain HTTP"},
		{"registry.example/model", false, "REGISTRY/NAME:TAG"},
		{"model:2", false, "REGISTRY/NAME:TAG"},
		{"registry.example/Model:2", false, "REGISTRY/NAME:TAG"},
		{"registry.example/model@sha256:" + strings.Repeat("0", 64), false, "REGISTRY/NAME:TAG"},
		{"", false, "REGISTRY/NAME:TAG"},
	} {
		_, err := ParseReference(c.text, c.insecure)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !errors.Is(err, ErrReference)) {
			t.Errorf("%q, insecure %v: %v, want %q", c.text, c.insecure, err, c.says)
		}
	}
}

// TestPlainHTTPIsRefused: neither a private address nor a redirect makes Serin
// speak in clear.
func TestPlainHTTPIsRefused(t *testing.T) {
	host, seen := newRegistry(t, nil)
	ref, err := ParseReference(host+"/m:1", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := packed(t, someSpec(t)).Push(t.Context(), ref, nil); !errors.Is(err, errPlain) {
		t.Errorf("pushing without --insecure: %v, want %v", err, errPlain)
	}
	if len(seen.all) != 0 {
		t.Errorf("the registry was asked in clear: %v", seen.all)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://10.0.0.1/token", nil)
	if resp, err := (guarded{http.DefaultTransport, true}).RoundTrip(req); !errors.Is(err, errPlain) {
		resp.Body.Close()
		t.Errorf("asking another host in clear: %v, want %v", err, errPlain)
	}
}

func TestCredentialsOfTheDockerConfiguration(t *testing.T) {
	const basic = "Basic YW5uOnNlY3JldA==" // ann:secret
	host, seen := newRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == basic {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	})
	i, ref := packed(t, someSpec(t)), reference(t, host+"/m:1")
	if err := i.Push(t.Context(), ref, nil); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("pushing without credentials: %v, want %v", err, ErrForbidden)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths":{"`+host+`":{"auth":"YW5uOnNlY3JldA=="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	if err := i.Push(t.Context(), ref, nil); err != nil {
		t.Errorf("pushing with credentials: %v", err)
	}
	if seen.auths[len(seen.auths)-1] != basic {
		t.Error("the last request carried no credentials")
	}
}

func TestBinariesThatCannotBePacked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs programs for Linux")
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	gotool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, says string }{
		{filepath.Join(dir, "none"), "no such file"},
		{text, "no Linux program"},
		{"/bin/sh", "needs libraries"},
		{gotool, "no serin"},
	} {
		if _, err := ReadBinary(c.path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.path, err, c.says)
		}
	}
}
