package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// wheels puts them into root for the Python that is packed there, whichever one this
// machine's pip runs on.
func (p pythonPacker) wheels(ctx context.Context, root string) error {
	python, err := os.Readlink(filepath.Join(root, "usr", "bin", "python3"))
	if err != nil {
		return err
	}
	p.Say("downloading the wheels of " + p.Requirements)
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	args := []string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore", "--no-compile", "--only-binary", ":all:", "--implementation", "cp", "--python-version", strings.TrimPrefix(python, "python")}
	for _, libc := range []string{"manylinux_2_28_", "manylinux_2_17_", "manylinux2014_"} {
		args = append(args, "--platform", libc+machine)
	}
	home := filepath.Join(root, PythonHome)
	if _, err := command(ctx, "python3", append(args, "--target", home, "-r", p.Requirements)...); err != nil {
		return err
	}
	if err := ownPython(home); err != nil {
		return err
	}
	p.Say("compiling")
	// As pip does where it runs in the image. By hash, not by time: the same files give the same archive.
	_, err = inside(ctx, root, nil, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", PythonHome, "/usr/lib/"+python)
	return err
}

// ownPython has the programs of the wheels run on the packed Python: they name the one that pip ran on.
func ownPython(home string) error {
	programs, err := filepath.Glob(filepath.Join(home, "bin", "*"))
	if err != nil {
		return err
	}
	for _, program := range programs {
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
	return nil
}

// inside runs the Python that is packed in root there, as root itself or in a
// namespace in which a user is. None of this machine's environment comes along.
func inside(ctx context.Context, root string, env []string, args ...string) (string, error) {
	run := slices.Concat([]string{"-i"}, env, []string{"PATH=" + os.Getenv("PATH"), "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"}) // the PATH finds chroot
	if os.Geteuid() != 0 {
		run = append(run, "unshare", "--user", "--map-root-user")
	}
	out, err := command(ctx, "env", append(append(run, "chroot", root, "/usr/bin/python3"), args...)...)
	if err != nil && os.Geteuid() != 0 && exec.CommandContext(ctx, "unshare", "--user", "--map-root-user", "true").Run() != nil {
		return "", fmt.Errorf("%w: running the packed Python needs root, or the right to make user namespaces: %w", ErrPython, err)
	}
	return out, err
}

// command runs a program of the operating system.
func command(ctx context.Context, name string, args ...string) (string, error) {
	return commandOn(ctx, nil, name, args...)
}

func commandOn(ctx context.Context, in io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = in
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s: %w:\n%s", name, err, lastLines(errs.String(), 12))
	}
	return out.String(), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
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
