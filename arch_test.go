package serin_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/serin-dev/serin/"

// allowed is the architecture: which of our packages each package may import.
var allowed = map[string][]string{
	"api/v1alpha1":               {},
	"examples/safe-driver":       {},
	"internal/judge":             {},
	"internal/split":             {},
	"internal/contract":          {},
	"internal/lightgbm":          {},
	"internal/rollout":           {"internal/judge"},
	"internal/spec":              {"api/v1alpha1", "internal/rollout", "internal/judge"},
	"internal/report":            {"internal/judge", "internal/rollout"},
	"internal/observe":           {"internal/judge", "internal/contract"},
	"internal/proxy":             {"internal/split", "internal/proxy/wire"},
	"internal/proxy/wire":        {},
	"internal/scorer":            {"internal/lightgbm"},
	"internal/engine":            {"internal/judge", "internal/rollout"},
	"internal/observe/wire":      {},
	"internal/engine/enginetest": {"internal/engine", "internal/judge", "internal/rollout"},
	"internal/local": {
		"internal/spec", "internal/engine", "internal/rollout", "internal/judge", "internal/observe", "internal/proxy", "internal/split", "internal/contract", "internal/notify",
	},
	"internal/kube":         {"api/v1alpha1", "internal/spec", "internal/engine", "internal/rollout", "internal/judge", "internal/metrics", "internal/notify", "internal/observe", "internal/observe/mesh", "internal/observe/wire", "internal/contract"},
	"internal/image":        {},
	"internal/metrics":      {"internal/engine"},
	"internal/notify":       {"internal/engine"},
	"internal/observe/mesh": {"internal/observe", "internal/observe/wire", "internal/judge", "internal/contract"},
	"internal/recorder":     {"internal/observe/wire", "internal/proxy", "internal/contract"},
	"internal/server":       {"internal/engine", "internal/metrics", "internal/rollout", "internal/judge", "internal/report", "internal/console"},
	"internal/install":      {"charts/serin"},
	"internal/cli": {
		"api/v1alpha1", "examples/safe-driver", "internal/contract", "internal/engine", "internal/image", "internal/install", "internal/judge", "internal/kube", "internal/lightgbm", "internal/local", "internal/metrics", "internal/observe",
		"internal/observe/mesh", "internal/observe/wire", "internal/recorder",
		"internal/proxy", "internal/report", "internal/rollout", "internal/scorer", "internal/server", "internal/spec", "internal/split",
	},
	"cmd/serin": {"internal/cli"},
}

// pure packages may not reach the world.
var pure = []string{"internal/judge", "internal/split", "internal/contract", "internal/lightgbm", "internal/rollout", "internal/spec", "internal/report", "internal/proxy/wire"}
var worldly = []string{"os", "net", "log", "math/rand", "crypto/rand", "sync", "context"}

// harmless packages only parse, whatever their parents do.
var harmless = []string{"net/url", "net/netip"}
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker"}

func TestArchitecture(t *testing.T) {
	files := 0
	fset := token.NewFileSet()
	for _, root := range []string{"api", "cmd", "internal", "examples"} {
		files += checkTree(t, fset, root)
	}
	if files < 20 {
		t.Fatalf("looked at %d files only: the test does not see the tree", files)
	}
}

func checkTree(t *testing.T, fset *token.FileSet, root string) (files int) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		if strings.Contains(path, "testdata") || strings.HasPrefix(path, "examples") && filepath.Base(filepath.Dir(path)) != "safe-driver" {
			return nil
		}
		files++
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		table, known := allowed[pkg]
		if !known && !strings.Contains(path, "gendoc") {
			t.Errorf("%s: package %s is not in the table: plan the house in the open (docs/architecture.md)", path, pkg)
		}
		for _, imp := range f.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if own, ok := strings.CutPrefix(name, module); ok && known && !slices.Contains(table, own) {
				t.Errorf("%s imports %s: not in the table", path, own)
			}
			if slices.Contains(pure, pkg) && !slices.Contains(harmless, name) && slices.ContainsFunc(worldly, func(w string) bool { return name == w || strings.HasPrefix(name, w+"/") }) {
				t.Errorf("%s imports %s: pure packages reach nothing", path, name)
			}
		}
		if slices.Contains(pure, pkg) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, s.Sel.Name) {
						t.Errorf("%s: time.%s: pass now in", fset.Position(s.Pos()), s.Sel.Name)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walking %q: %v", root, err)
	}
	return files
}
