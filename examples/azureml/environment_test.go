//go:build unix

package azureml_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	_ "github.com/serin-dev/serin/internal/cli" // built by buildSerin: a change of it makes a cached test result stale
)

const cache = "../../.cache" // git-ignored

// buildSerin builds the program as users get it: what is measured here must not run under the race detector.
func buildSerin(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "serin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/serin").CombinedOutput(); err != nil {
		t.Fatalf("building serin: %v\n%s", err, out)
	}
	return bin
}

// azureEnvironment returns the folder with azmlinfsrv, of a virtual environment that is made once and again when
// Python or the requirements change. Without Python or PyPI the test fails and says what is missing.
func azureEnvironment(t *testing.T) string {
	t.Helper()
	venv, err := filepath.Abs(filepath.Join(cache, "azureml-venv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(venv), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock := lockFile(t, venv+".lock") // other test processes may want it at the same time
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), setupMost)
	defer cancel()
	stamp, want := filepath.Join(venv, "complete"), fingerprint(ctx, t)
	if got, err := os.ReadFile(stamp); err == nil && string(got) == want {
		return filepath.Join(venv, "bin")
	}
	if err := os.RemoveAll(venv); err != nil {
		t.Fatal(err)
	}
	setUp(ctx, t, "the Python module venv is needed (Debian: apt-get install python3-venv)", "python3", "-m", "venv", venv)
	setUp(ctx, t, "PyPI, or a mirror named in pip's configuration, must be reachable", filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")
	setUp(ctx, t, "LightGBM needs OpenMP (Debian: apt-get install libgomp1)", filepath.Join(venv, "bin", "python"), "-c", "import lightgbm, azureml_inference_server_http")
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(venv, "bin")
}

// mustRead also tells `go test` what a cached result depends on.
func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fingerprint says what an environment is made of.
func fingerprint(ctx context.Context, t *testing.T) string {
	t.Helper()
	requirements := mustRead(t, "requirements.txt")
	python := setUp(ctx, t, "Python 3 is needed", "python3", "-c", "import sys; print(sys.version, sys.base_prefix)")
	sum := sha256.Sum256(fmt.Appendf(python, "\n%s", requirements))
	return hex.EncodeToString(sum[:])
}

func setUp(ctx context.Context, t *testing.T, need, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("This test runs Azure ML's inference server: %s. (`go test -short` leaves it out.)\n%s %v: %v\n%s", need, name, args, err, out)
	}
	return out
}

// lockFile waits until no other process holds the file.
func lockFile(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.EINTR
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatalf("locking %q: %v", path, err)
	}
	return func() { f.Close() }
}
