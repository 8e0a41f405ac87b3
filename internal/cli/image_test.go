package cli

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const exampleModel = "../../examples/safe-driver/models/v2.txt"

// staticSerin builds the program as an image needs it.
func staticSerin(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("runs what it packed, for Linux")
	}
	path := filepath.Join(t.TempDir(), "serin")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "../../cmd/serin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building serin: %v\n%s", err, out)
	}
	return path
}

func imageRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return strings.TrimPrefix(s.URL, "http://")
}

// pulled reads an image back: its configuration, and its files in a folder.
func pulled(t *testing.T, text string) (v1.Config, string) {
	t.Helper()
	ref, err := name.NewDigest(text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dir, rc := t.TempDir(), mutate.Extract(img)
	defer rc.Close()
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return cfg.Config, dir
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, filepath.Base(h.Name)), os.O_CREATE|os.O_WRONLY, h.FileInfo().Mode())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, r); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// TestImagesOfSerinAndOfAModel: what was pushed runs when it is pulled back, in
// an empty environment, and the model in it is the model.
func TestImagesOfSerinAndOfAModel(t *testing.T) {
	binary, host := staticSerin(t), imageRegistry(t)
	code, out, errs := run(t, "image", "--binary", binary, "--tag", host+"/serin:1", "--insecure")
	if code != ExitDone || errs != "" {
		t.Fatalf("serin image: exit code %d: %s", code, errs)
	}
	cfg, dir := pulled(t, strings.TrimSpace(out))
	if !slices.Equal(cfg.Entrypoint, []string{"/serin"}) || cfg.User != "65532:65532" || cfg.Labels["org.opencontainers.image.title"] != "serin" {
		t.Errorf("Serin's own image: %+v", cfg)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(dir, "serin"), "version")
	c.Env = []string{}
	if said, err := c.CombinedOutput(); err != nil || !strings.HasPrefix(string(said), "serin ") {
		t.Errorf("the packed program says %q (%v), want its version", said, err)
	}

	args := []string{"image", "--binary", binary, "--model", exampleModel, "--tag", host + "/model:2", "--insecure", "--label", "dev.serin.run=train-17", "-o", "json", "--", "--linger", "2s"}
	code, out, errs = run(t, args...)
	if code != ExitDone {
		t.Fatalf("serin image --model: exit code %d: %s", code, errs)
	}
	checkKeys(t, "serin image", out, "`image`", contracts(t))
	var result imageJSON
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatal(err)
	}
	cfg, dir = pulled(t, result.Reference)
	if want := "/serin scorer --model /model.txt --listen :5001 --linger 2s"; strings.Join(cfg.Entrypoint, " ") != want {
		t.Errorf("entrypoint %q, want %q", cfg.Entrypoint, want)
	}
	for k, want := range map[string]string{"dev.serin.run": "train-17", "dev.serin.model": "v2.txt", "org.opencontainers.image.version": "2", "org.opencontainers.image.title": "model"} {
		if cfg.Labels[k] != want {
			t.Errorf("label %s=%q, want %q", k, cfg.Labels[k], want)
		}
	}
	want, _ := os.ReadFile(exampleModel)
	if got, err := os.ReadFile(filepath.Join(dir, "model.txt")); err != nil || string(got) != string(want) {
		t.Errorf("the model in the image is another one (%v)", err)
	}
	if _, again, _ := run(t, args...); again != out {
		t.Errorf("the same again gave\n%s\nwant\n%s", again, out)
	}

	file := filepath.Join(t.TempDir(), "b.tar")
	code, out, errs = run(t, "image", "--binary", binary, "--dummy", "New Model B", "--tag", "registry.example/b:1", "--archive", file)
	if info, err := os.Stat(file); code != ExitDone || err != nil || info.Size() < 1<<20 || !strings.HasPrefix(out, "registry.example/b@sha256:") {
		t.Errorf("serin image --archive: exit code %d, %v: %s%s", code, err, out, errs)
	}
}

func TestImagesThatAreRefused(t *testing.T) {
	const tag = "127.0.0.1:1/m:1"
	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, []byte("no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := imageOptions{tag: tag}
	for _, c := range []struct {
		model, dummy string
		scorer       []string
		says         string
	}{
		{bad, "", nil, "would not score"},
		{"does-not-exist", "", nil, "--model"},
		{exampleModel, "", []string{"--model", "other"}, "--model"},
		{exampleModel, "", []string{"--listen", ":1"}, "--listen"},
		{"", "A", []string{"--nonsense"}, "nonsense"},
		{"", "A", []string{"word"}, `"word"`},
		{exampleModel, "", []string{"--fail-on-missing", "no_such_column"}, "no_such_column"},
	} {
		o.model, o.dummy, o.scorer = c.model, c.dummy, c.scorer
		if _, err := o.tryScorer(); codeOf(err) != ExitUsage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c, err, c.says)
		}
	}
	for args, says := range map[string]string{
		"image":                                "tag",
		"image --tag m":                        "REGISTRY/NAME:TAG",
		"image --tag r.example/m:1 x":          "flags only",
		"image --tag r.example/m:1 --insecure": "plain HTTP",
		"image --tag r.example/m:1 --binary /does/not/exist":                                                                        "/does/not/exist",
		"image --tag r.example/m:1 --requirements r.txt":                                                                            "--scoring-script",
		"image --tag r.example/m:1 --scoring-script s.py":                                                                           "azureml-inference-server-http",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements none.txt":                                          `--requirements: "none.txt" is no file`,
		"image --tag r.example/m:1 --scoring-script none.py --requirements image_test.go":                                           `"none.py"`,
		"image --tag r.example/m:1 --scoring-script ../s.py --code . --requirements image_test.go":                                  "starts in that folder",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements image_test.go --package -oX":                       "--package",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements image_test.go --env MODEL":                         "NAME=VALUE",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements image_test.go -- --worker_count 2 --po=80":         "--port: the image sets it",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements r.txt --dummy A":                                   "dummy",
		"image --tag r.example/m:1 --scoring-script image_test.go --requirements image_test.go --model /does/not/exist --archive a": "/does/not/exist",
	} {
		if code, _, errs := run(t, strings.Fields(args)...); code != ExitUsage || !strings.Contains(errs, says) {
			t.Errorf("serin %s: exit code %d, %q; want %d and %q", args, code, errs, ExitUsage, says)
		}
	}
}
