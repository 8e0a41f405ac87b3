package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// PythonHome is where the wheels of a Python layer lie; their programs are in bin, below it.
const PythonHome = "/opt/python"

// pythonRecipe changes when what follows makes another layer of the same input.
const pythonRecipe = "2"

// keptLayers is how many layers a cache holds: each has some hundred MB.
const keptLayers = 4

// ErrPython is that this machine cannot pack Python.
var ErrPython = errors.New("this machine cannot pack Python")

// Python says what a Python layer holds: Debian's Python with all that it depends on,
// more packages of Debian, and the wheels of a requirements file.
type Python struct {
	Requirements string          // file
	Packages     []string        // of Debian (or of its kin that this machine runs), besides Python's own
	Cache        string          // folder that keeps what was downloaded and packed
	Say          func(at string) // progress, a line each
}

// Layer packs what `FROM debian` with `apt-get install` and `pip install` would give,
// without Docker, for this machine's architecture. The same versions of the packages
// and the same requirements are packed once, and give the same layer.
func (p Python) Layer(ctx context.Context) (Layer, error) {
	for _, program := range []string{"apt-get", "dpkg-deb", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			return Layer{}, fmt.Errorf("%w: it needs Debian or its kin, with apt-get, dpkg-deb and python3 -m pip: %w", ErrPython, err)
		}
	}
	if err := os.MkdirAll(p.Cache, 0o755); err != nil {
		return Layer{}, fmt.Errorf("making the cache: %w", err)
	}
	k := pythonPacker{Python: p}
	var err error
	if k.dir, err = os.MkdirTemp(p.Cache, "python-"); err != nil {
		return Layer{}, fmt.Errorf("making the cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(k.dir) }() // what is left of it holds space and nothing else
	layer, err := k.layer(ctx)
	if err != nil {
		return Layer{}, fmt.Errorf("packing Python: %w", err)
	}
	return layer, nil
}

type pythonPacker struct {
	Python
	dir string // of its own, removed afterwards
}

func (p pythonPacker) layer(ctx context.Context) (Layer, error) {
	p.Say("asking for the versions of Debian's packages")
	key, err := p.key(ctx)
	if err != nil {
		return Layer{}, err
	}
	made := filepath.Join(p.Cache, "python-"+key+".tar.gz")
	if _, err := os.Stat(made); err != nil {
		if err := p.pack(ctx, made); err != nil {
			return Layer{}, err
		}
	}
	now := time.Now()
	err = errors.Join(os.Chtimes(made, now, now), forget(p.Cache))
	return Layer{What: "Python and the wheels of " + filepath.Base(p.Requirements), Archive: made}, err
}

// forget removes the layers that were used longest ago.
func forget(cache string) error {
	layers, err := filepath.Glob(filepath.Join(cache, "python-*.tar.gz"))
	if err != nil {
		return err
	}
	used := map[string]time.Time{}
	for _, l := range layers {
		if info, err := os.Stat(l); err == nil { // else somebody else removed it
			used[l] = info.ModTime()
		}
	}
	slices.SortFunc(layers, func(a, b string) int { return used[b].Compare(used[a]) })
	for _, l := range layers[min(keptLayers, len(layers)):] {
		if err := os.Remove(l); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// apt asks about a machine on which nothing is installed, so that the answer is all that
// an image needs. Somebody who is not root gets package lists of his own.
func (p pythonPacker) apt(ctx context.Context, args ...string) (string, error) {
	archives, nothing := filepath.Join(p.dir, "debs"), filepath.Join(p.dir, "status")
	if err := errors.Join(os.MkdirAll(filepath.Join(archives, "partial"), 0o755), os.WriteFile(nothing, nil, 0o600)); err != nil {
		return "", err
	}
	options := []string{
		"-y", "-q", "-o", "Dir::State::status=" + nothing, "-o", "Dir::Cache::archives=" + archives,
		"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "--no-install-recommends",
	}
	if os.Geteuid() != 0 {
		lists := filepath.Join(p.Cache, "lists")
		if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o755); err != nil {
			return "", err
		}
		options = append(options, "-o", "Dir::State::lists="+lists, "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")
	}
	return command(ctx, "apt-get", append(options, args...)...)
}

// install asks again with new lists where they do not serve: on a machine that never asked for them, or where a package
// has gone from its archive.
func (p pythonPacker) install(ctx context.Context, how string) (string, error) {
	args := append([]string{"install", how, "python3-minimal", "libpython3-stdlib"}, p.Packages...)
	out, err := p.apt(ctx, args...)
	if err == nil {
		return out, nil
	}
	if _, err := p.apt(ctx, "update"); err != nil {
		return "", err
	}
	return p.apt(ctx, args...)
}

// key says what the layer is made of: each package's version, and the requirements.
func (p pythonPacker) key(ctx context.Context) (string, error) {
	list, err := p.install(ctx, "--print-uris")
	if err != nil {
		return "", err
	}
	wheels, err := os.ReadFile(p.Requirements)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, pythonRecipe, runtime.GOARCH, string(wheels))
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "'") {
			fmt.Fprintln(sum, f[1])
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8]), nil
}

// pack makes the layer under its final name only when it is whole.
func (p pythonPacker) pack(ctx context.Context, to string) error {
	p.Say("downloading Debian's Python")
	if _, err := p.install(ctx, "--download-only"); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(p.dir, "debs", "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(p.dir, "root")
	for _, deb := range debs {
		if _, err := command(ctx, "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	for _, doc := range []string{"doc", "man", "locale"} {
		if err := os.RemoveAll(filepath.Join(root, "usr", "share", doc)); err != nil {
			return err
		}
	}
	if err := p.wheels(ctx, root); err != nil {
		return err
	}
	p.Say("compressing")
	if err := writeLayer(root, filepath.Join(p.dir, "layer")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(p.dir, "layer"), to)
}
