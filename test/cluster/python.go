package cluster

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// PythonHome is where the wheels of a PythonLayer lie; their programs are in bin, below it.
const PythonHome = "/opt/python"

// pythonRecipe changes when what follows makes another image of the same input.
const pythonRecipe = "1"

// Python says what a PythonLayer holds.
type Python struct {
	Requirements string   // file
	Packages     []string // of Debian, besides Python's own
	Imports      []string // modules that must be found, with the libraries that they load
}

// PythonLayer packs what `FROM debian` and `pip install` would give, without Docker: Debian's Python with all that it
// depends on, more packages of Debian, and the wheels of a requirements file. It answers a compressed archive for
// Image.Layers, in which the imports were tried. The same packages and requirements are packed once.
func PythonLayer(ctx context.Context, o Options, i Python) (string, error) {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return "", err
	}
	log := newProgress(o.Log)
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("packing Python needs Debian or its kin: %w", err)
		}
	}
	p := pythonPacker{Python: i, packages: append([]string{"python3-minimal", "libpython3-stdlib"}, i.Packages...)}
	if p.dir, err = os.MkdirTemp(dir, "python-"); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(p.dir) }()
	key, err := p.key(ctx)
	if err != nil {
		return "", err
	}
	made := filepath.Join(dir, "bin", "python-"+key+".tar.gz")
	if _, err := os.Stat(made); err == nil {
		return made, nil
	}
	began := time.Now()
	if err := p.pack(ctx, made); err != nil {
		return "", fmt.Errorf("packing Python: %w", err)
	}
	info, err := os.Stat(made)
	if err != nil {
		return "", err
	}
	log.since(began, "packed Debian's Python and %s, %d MB compressed", filepath.Base(i.Requirements), info.Size()/1e6)
	return made, nil
}

type pythonPacker struct {
	Python
	dir      string // of its own, removed afterwards
	packages []string
}

// apt asks about a machine on which nothing is installed, so that the answer is all that an image needs.
func (p pythonPacker) apt(ctx context.Context, args ...string) (string, error) {
	archives := filepath.Join(p.dir, "debs")
	nothing := filepath.Join(p.dir, "status")
	if err := errors.Join(os.MkdirAll(filepath.Join(archives, "partial"), 0o755), os.WriteFile(nothing, nil, 0o644)); err != nil {
		return "", err
	}
	args = append([]string{
		"-y", "-q", "-o", "Dir::State::status=" + nothing, "-o", "Dir::Cache::archives=" + archives, "-o", "Debug::NoLocking=1",
		"-o", "APT::Sandbox::User=root", "--no-install-recommends",
	}, args...)
	return command(ctx, "", "apt-get", append(args, p.packages...)...)
}

// key says what the layer is made of: each package's version, and the requirements.
func (p pythonPacker) key(ctx context.Context) (string, error) {
	list, err := p.apt(ctx, "install", "--print-uris")
	if err != nil { // a machine that has never asked for Debian's lists
		if _, err := command(ctx, "", "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		if list, err = p.apt(ctx, "install", "--print-uris"); err != nil {
			return "", err
		}
	}
	wheels, err := os.ReadFile(p.Requirements)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, pythonRecipe, runtime.GOARCH, p.Imports, string(wheels))
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "'") {
			fmt.Fprintln(sum, f[1])
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

// pack makes the layer under its final name only when it is whole.
func (p pythonPacker) pack(ctx context.Context, to string) error {
	if _, err := p.apt(ctx, "install", "--download-only"); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(p.dir, "debs", "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(p.dir, "root")
	for _, deb := range debs {
		if _, err := command(ctx, "", "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	for _, doc := range []string{"doc", "man", "locale"} {
		if err := os.RemoveAll(filepath.Join(root, "usr", "share", doc)); err != nil {
			return err
		}
	}
	if err := p.install(ctx, root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := writeLayer(root, to+".new"); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// install puts the wheels for the packed Python into root, whichever Python this machine's pip runs on.
func (p pythonPacker) install(ctx context.Context, root string) error {
	python, err := os.Readlink(filepath.Join(root, "usr", "bin", "python3"))
	if err != nil {
		return err
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	home := filepath.Join(root, PythonHome)
	args := []string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore", "--no-compile", "--only-binary", ":all:", "--implementation", "cp", "--python-version", strings.TrimPrefix(python, "python")}
	for _, libc := range []string{"manylinux_2_28_", "manylinux_2_17_", "manylinux2014_"} {
		args = append(args, "--platform", libc+machine)
	}
	if _, err := command(ctx, "", "python3", append(args, "--target", home, "-r", p.Requirements)...); err != nil {
		return err
	}
	programs, err := filepath.Glob(filepath.Join(home, "bin", "*"))
	if err != nil {
		return err
	}
	for _, program := range programs { // they name the Python that pip ran on
		text, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		if first, rest, ok := strings.Cut(string(text), "\n"); ok && strings.HasPrefix(first, "#!") && strings.Contains(first, "python") {
			if err := os.WriteFile(program, []byte("#!/usr/bin/python3\n"+rest), 0o755); err != nil {
				return err
			}
		}
	}
	// As pip does where it runs in the image. By hash, not by time: the same files give the same archive.
	if _, err = command(ctx, "", "chroot", root, "/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", PythonHome, "/usr/lib/"+python); err != nil {
		return err
	}
	_, err = command(ctx, "", "chroot", root, "/usr/bin/python3", "-c", "import sys; sys.path.append('"+PythonHome+"'); import "+strings.Join(p.Imports, ", "))
	return err
}

// command runs a program of the operating system.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "PYTHONHASHSEED=0")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, tail(errs.String(), 10))
	}
	return out.String(), nil
}

// writeLayer archives a folder with its links, as nobody's in particular and of no time.
func writeLayer(root, to string) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(out)
	w := tar.NewWriter(zip)
	defer func() { err = errors.Join(err, w.Close(), zip.Close(), out.Close()) }()
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return archiveEntry(w, root, path, d)
	})
}

func archiveEntry(w *tar.Writer, root, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	name := filepath.ToSlash(rel)
	if d.IsDir() {
		name += "/"
	}
	*h = tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: link, Mode: int64(info.Mode().Perm()), Size: h.Size}
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(w, in)
	return err
}
