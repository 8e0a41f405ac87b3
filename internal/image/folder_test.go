package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		at := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFiles: a folder is packed whole, readable for everybody, but for what nobody means to ship.
func TestFiles(t *testing.T) {
	dir := tree(t, "score.py", "lib/a.py", "lib/__pycache__/a.pyc", ".git/config", ".env")
	packs := func(from, to string) map[string]int64 {
		t.Helper()
		files, err := Files(from, to)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, f := range files {
			got[f.Name] = f.Mode
		}
		return got
	}
	if d := cmp.Diff(map[string]int64{"app": 0o755, "app/score.py": 0o444, "app/lib": 0o755, "app/lib/a.py": 0o444}, packs(dir, "app")); d != "" {
		t.Errorf("a folder (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int64{"app": 0o755, "app/score.py": 0o444}, packs(filepath.Join(dir, "score.py"), "app")); d != "" {
		t.Errorf("a file (-want +got):\n%s", d)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "lib", "link.py")); err != nil {
		t.Fatal(err)
	}
	if _, err := Files(dir, "app"); err == nil || !strings.Contains(err.Error(), "link.py") {
		t.Errorf("with a link: %v, want it refused by name", err)
	}
	if _, err := Files(filepath.Join(dir, "none"), "app"); err == nil {
		t.Error("a folder that is not there was packed")
	}
}

// TestOldLayersAreForgotten: those that were used last stay.
func TestOldLayersAreForgotten(t *testing.T) {
	dir := tree(t, "lists/x", "python-0.tar.gz", "python-1.tar.gz", "python-2.tar.gz", "python-3.tar.gz", "python-4.tar.gz", "python-5.tar.gz")
	for n, layer := range []string{"5", "0", "4", "1", "3", "2"} {
		at := time.Unix(1_000_000_000-int64(n), 0)
		if err := os.Chtimes(filepath.Join(dir, "python-"+layer+".tar.gz"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := forget(dir); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if d := cmp.Diff([]string{"lists", "python-0.tar.gz", "python-1.tar.gz", "python-4.tar.gz", "python-5.tar.gz"}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}
