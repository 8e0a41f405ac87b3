// Package scenario carries the pipelines of pipelines/azure-devops from end to end in a world that is given: an endpoint on
// one machine, or one of a real cluster. In every case it asserts what clients saw, the weights at the end and exit codes.
package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Candidates that a pipeline ships.
const (
	Good    = "good"
	Broken  = "broken"  // never starts
	Failing = "failing" // fails requests in which a value is missing
)

// World is one endpoint.
type World struct {
	Root       string                        // of the project
	Serin      string                        // the program that the pipeline's agent has
	Document   func(candidate string) string // as the team keeps it in its repository
	Variables  map[string]string             // of the pipeline, in the place of the ready one's
	Env        []string                      // of the agent
	Where      []string                      // flags by which the test looks at the endpoint
	Look       []string                      // environment of that
	URL, Host  string                        // of the scoring endpoint
	Kubeconfig string                        // that the service connections give
	Rate       int                           // requests per second of the clients
	Packs      bool                          // the pipeline can pack images: SERIN_REGISTRY is on this machine
	Pulls      bool                          // and what was packed is what runs
	Image      func(candidate string) string // a scoring image that is there already
}

// status is what a test wants to know of `serin status -o json`.
type status struct {
	Stable, Candidate, Previous *struct{ Name, Version, Image string }
	Weights                     struct{ PlannedBP, InForceBP, ShadowBP int }
	Rollout                     *struct {
		ID, From, To, Outcome, StepName string
		Decision                        struct{ Reason, Message string }
		Evidence                        struct{ Digest string }
		Approvals                       []struct{ Step, By, OnBehalfOf, EvidenceDigest string }
	}
}

// status looks at the endpoint, as a person beside the pipeline would.
func (w *World) status(t *testing.T) status {
	t.Helper()
	var st status
	out, err := w.serin(t, "status", "-o", "json")
	if err != nil {
		fmt.Fprintln(t.Output(), err)
		return st
	}
	if err := json.Unmarshal(out, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// patience is how long a verb of serin may take beside the pipeline.
const patience = 2 * time.Minute

// serin runs a verb as a person beside the pipeline does.
func (w *World) serin(t *testing.T, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, w.Serin, append(args, w.Where...)...)
	var errs bytes.Buffer
	c.Env, c.Stderr, c.WaitDelay = append(os.Environ(), w.Look...), &errs, 5*time.Second
	out, err := c.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %s: %w", patience, err)
	}
	if err != nil {
		err = fmt.Errorf("serin %s: %w: %s%s", args[0], err, out, errs.Bytes())
	}
	return out, err
}

// await waits for a status.
func (w *World) await(t *testing.T, what string, ok func(status) bool) status {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(300 * time.Millisecond) {
		st := w.status(t)
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			text, _ := json.Marshal(st)
			t.Fatalf("not within three minutes: %s; it is %s", what, text)
		}
	}
}

// do runs a verb of serin beside the pipeline.
func (w *World) do(t *testing.T, verb string, flags ...string) {
	t.Helper()
	if _, err := w.serin(t, append([]string{verb}, flags...)...); err != nil {
		t.Fatal(err)
	}
}

// repository is the team's: its document, its model, and the pipelines folder.
func (w *World) repository(t *testing.T, candidate string) string {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "serin/endpoint.yaml"), w.Document(candidate), 0o600)
	model, err := os.ReadFile(filepath.Join(w.Root, "examples/safe-driver/models/v2.txt"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "models/driver.txt"), string(model), 0o600)
	if err := os.Symlink(filepath.Join(w.Root, "pipelines"), filepath.Join(folder, "pipelines")); err != nil {
		t.Fatal(err)
	}
	return folder
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// programs are those of the agent: serin, and stand-ins for what speaks to Azure. Each
// stand-in notes how it was called.
func (w *World) programs(t *testing.T) (folder, calls string) {
	t.Helper()
	folder = t.TempDir()
	calls = filepath.Join(folder, "calls")
	note := "#!/usr/bin/env bash\nset -euo pipefail\necho \"${0##*/} $*\" >>" + calls + "\n"
	write(t, filepath.Join(folder, "az"), note+`
if [[ "$1 $2" == "aks get-credentials" ]]; then
	while [[ $# -gt 0 && $1 != --file ]]; do shift; done
	cp "$STAND_IN_KUBECONFIG" "$2"
fi
`, 0o700)
	write(t, filepath.Join(folder, "kubelogin"), note, 0o700)
	write(t, filepath.Join(folder, "trivy"), note+`
if [[ $1 == image ]]; then
	while [[ $# -gt 0 && $1 != --output ]]; do shift; done
	echo '{"bomFormat":"CycloneDX","components":[{"name":"serin"}]}' >"$2"
fi
`, 0o700)
	if err := os.Symlink(w.Serin, filepath.Join(folder, "serin")); err != nil {
		t.Fatal(err)
	}
	return folder, calls
}

// called tells whether a stand-in was called so.
func called(t *testing.T, calls, like string) bool {
	t.Helper()
	text, err := os.ReadFile(calls)
	return err == nil && strings.Contains(string(text), like)
}
