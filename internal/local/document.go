package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// resolve reads a document for this mode and digests its model.
func resolve(text []byte, base string) (*spec.Document, spec.Resolved, []string, error) {
	doc, r, report, err := spec.Read(text, spec.Local)
	if err != nil {
		return nil, spec.Resolved{}, nil, refused(err)
	}
	if r.Scorer.Model != "" {
		sum, err := fileDigest(absolute(base, r.Scorer.Model))
		if err != nil {
			return nil, spec.Resolved{}, nil, Refusal{422, "InvalidDocument", fmt.Sprintf("spec.scorer.local.model: %v", err), nil}
		}
		r = r.WithModelDigest(sum)
	}
	return doc, r, report.Lines(), nil
}

func refused(err error) error {
	return Refusal{422, "InvalidDocument", "the document is refused; nothing was changed", strings.Split(err.Error(), "\n")}
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

func fileDigest(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the model: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// command says how the scorer of a document is run. The model is copied into the
// state folder first: a revision is immutable, whatever becomes of the file.
func (e *Endpoint) command(r spec.Resolved) (Command, error) {
	c := Command{Dir: e.base, Env: r.Scorer.Env, Readiness: r.Readiness.Path, ReadyWithin: r.Readiness.Timeout}
	if r.Scorer.Model == "" {
		c.Args = slices.Clone(r.Scorer.Command)
		if c.Args[0] == "serin" {
			c.Args[0] = e.self
		}
		return c, nil
	}
	model, err := e.keepModel(absolute(e.base, r.Scorer.Model))
	if err != nil {
		return c, err
	}
	c.Args = []string{e.self, "scorer", "--model", model, "--listen", "127.0.0.1:$PORT"}
	return c, nil
}

func (e *Endpoint) keepModel(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the model: %w", err)
	}
	sum := sha256.Sum256(text)
	kept := filepath.Join(e.state, "models", hex.EncodeToString(sum[:])+".txt")
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	return kept, writeAtomically(kept, text)
}

// writeAtomically writes a file so that it is there whole or not at all.
func writeAtomically(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// wish turns a document into what the engine is asked for.
func (e *Endpoint) wish(r spec.Resolved, text []byte) (engine.Wish, error) {
	c, err := e.command(r)
	if err != nil {
		return engine.Wish{}, Refusal{422, "InvalidDocument", err.Error(), nil}
	}
	run, err := json.Marshal(c)
	if err != nil {
		return engine.Wish{}, fmt.Errorf("recording how %q is run: %w", r.Name, err)
	}
	e.platform.prepare(r.Digest, c)
	return engine.Wish{Document: string(text), Run: string(run), Target: rollout.Wish{Digest: r.Digest, Version: r.Version}, Plan: r.Plan, Policy: r.Policy}, nil
}
