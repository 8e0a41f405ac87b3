// Package pipelines_test carries the pipelines from end to end on one machine: serin serve, real scorers, real clients.
package pipelines_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/serin-dev/serin/test/pipelines/scenario"
)

var program string // serin

func TestMain(m *testing.M) {
	os.Exit(withProgram(m))
}

func withProgram(m *testing.M) int {
	folder, err := os.MkdirTemp("", "serin-pipelines")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "serin")
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./cmd/serin")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("building serin: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

const root = "../.."

// document is the team's; its plan is short, its bounds wide: two scorers, clients and
// a test share this machine.
const document = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: safe-driver}
spec:
  scorer:
    version: "0"
    image: REGISTRY/safe-driver@sha256:ZEROS
    local: {command: [SERIN, scorer, SCORER, --listen, "127.0.0.1:$PORT"]}
    readiness: {path: /readyz}
  traffic: {listen: "ADDRESS", header: {name: x-api-version, stable: green, candidate: blue}}
  rollout:
    approval: EveryStep
    steps: [{shadow: 100%, minDuration: 1s}, {weight: 1%}, {weight: 10%, minDuration: 3s}, {weight: 50%}, {weight: 100%}]
    warmup: 0s
    minRequests: 3
    keepFailed: 5m
    keepOld: 5m
  judge:
    errors: {orWithin: 10pp}
    latency: {revertAbove: 20x, promoteBelow: 40x, at: [p50]}
    agreement: {tolerance: "1", revertBelow: 50%, promoteAbove: 70%}
`

// oneMachine serves an endpoint until the test ends.
func oneMachine(t *testing.T, production bool) *scenario.World {
	t.Helper()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(images.Close)
	host := strings.TrimPrefix(images.URL, "http://")
	address := freeAddress(t)
	models := absolute + "/examples/safe-driver/models/"
	scorers := map[string]string{"0": "--model, " + models + "v1.txt", scenario.Good: "--model, " + models + "v2.txt", scenario.Broken: "--model, /no/such/model.txt", scenario.Failing: "--model, " + models + "v2.txt, --fail-on-missing, ps_reg_03"}
	text := func(candidate string) string {
		return strings.NewReplacer("REGISTRY", host, "ZEROS", strings.Repeat("0", 64), "SERIN", program, "SCORER", scorers[candidate], "ADDRESS", address).Replace(document)
	}
	first := "0"
	if !production {
		first = scenario.Broken
	}
	state := filepath.Join(t.TempDir(), "state")
	serve(t, text(first), state, production)
	return &scenario.World{
		Root: absolute, Serin: program, Document: text, URL: "http://" + address + "/score", Rate: 150,
		Variables: map[string]string{"SERIN_AKS": "", "SERIN_NAMESPACE": "", "SERIN_REGISTRY": host, "SERIN_REGISTRY_INSECURE": "true", "SERIN_TIMEOUT": "90s", "SERIN_SETTLE": "1"},
		Packs:     true, Image: func(string) string { return host + "/safe-driver@sha256:" + strings.Repeat("0", 64) },
		Env: []string{"SERIN_STATE=" + state}, Where: []string{"--state", state}, Look: nil,
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serve(t *testing.T, text, state string, production bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "endpoint.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := &lockedBuffer{}
	late, quit := context.WithCancel(context.Background())
	c := exec.CommandContext(late, program, "serve", "-f", file, "--state", state)
	c.Stdout, c.Stderr, c.WaitDelay = said, said, 10*time.Second
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) } // it says where it hangs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer time.AfterFunc(time.Minute, quit).Stop()
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		if late.Err() != nil {
			t.Error("serin serve did not end within a minute of SIGTERM")
		}
		if t.Failed() {
			fmt.Fprintf(t.Output(), "serin serve:\n%s\n", said)
		}
		quit()
	})
	wanted := `"outcome": "Promoted"`
	if !production {
		wanted = `"outcome": "Reverted"`
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ; ; time.Sleep(50 * time.Millisecond) {
		out, _ := exec.CommandContext(soon, program, "status", "-o", "json", "--state", state).Output()
		if strings.Contains(string(out), wanted) {
			return
		}
		if soon.Err() != nil {
			t.Fatalf("serin serve: no %s within a minute:\n%s\n%s", wanted, out, said)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// atOnce is how many endpoints share this machine at a time.
var atOnce = make(chan struct{}, 7)

// long are cases that differ from another one in a detail: make test leaves them out.
var long = []string{"RejectedAsSkipped", "CancelledAtAGate", "PromotedByHand", "EvidenceForgotten", "EndedAtTheGate", "PromotedAtTheGate", "Superseded", "PromoteFails"}

func TestPipelineOnOneMachine(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Fatal("the scripts of the pipelines read JSON with jq: apt-get install jq")
	}
	for _, name := range slices.Sorted(maps.Keys(scenario.Cases)) {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && slices.Contains(long, name) {
				t.Skip("left out with -short: without it, and in the cluster by make e2e, it runs")
			}
			t.Parallel()
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			scenario.Cases[name](t, oneMachine)
		})
	}
}
