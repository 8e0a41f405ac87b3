package pipelines_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/cli"
	"github.com/serin-dev/serin/internal/engine"
)

// TestMain lets the test binary stand in for serin.
func TestMain(m *testing.M) {
	if os.Getenv("SERIN_TEST_PROGRAM") == "1" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}

// team is a repository that uses the pipelines, and the endpoint that they ship to.
type team struct {
	t              *testing.T
	folder         string
	program, state string
	env            []string
}

const plan = "shadow,1%,10%,50%,100%"

// teamDocument has bounds that are wide: scorers, clients and a test share the machine.
const teamDocument = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: m}
spec:
  scorer: {version: "0", local: {command: [%q, scorer, --model, %q, --listen, "127.0.0.1:$PORT"]}}
  traffic: {listen: %q}
  rollout:
    approval: EveryStep
    steps: [{shadow: 100%%}, {weight: 1%%}, {weight: 10%%}, {weight: 50%%}, {weight: 100%%}]
    warmup: 0s
    minRequests: 3
    keepFailed: 0s
  judge:
    errors: {orWithin: 20pp}
    invalid: {promoteBelow: 20%%}
    latency: {revertAbove: 50x, promoteBelow: 100x, at: [p50]}
`

func newTeam(t *testing.T) *team {
	t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Fatal("the scripts of the pipelines read JSON with jq: apt-get install jq")
	}
	w := &team{t: t, folder: t.TempDir()}
	w.state, w.program = filepath.Join(w.folder, "state"), filepath.Join(w.folder, "bin", "serin")
	w.write("bin/serin", fmt.Sprintf("#!/bin/sh\nSERIN_TEST_PROGRAM=1 GORACE=atexit_sleep_ms=0 exec %q \"$@\"\n", os.Args[0]))
	// What `gh api …/approvals --jq` says of a run that Ann let in twice, and Bob refused somewhere else.
	w.write("bin/gh", `#!/bin/sh
echo '[{"state":"approved","user":{"login":"ann"},"environments":[{"name":"abtestenv"}]},{"state":"approved","user":{"login":"ann"},"environments":[{"name":"abtestenv"}]},
{"state":"rejected","user":{"login":"bob"},"environments":[{"name":"other"}]}]' | jq -r "$4"
`)
	models, err := filepath.Abs("../examples/safe-driver/models")
	if err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	first := w.write("first.yaml", fmt.Sprintf(teamDocument, w.program, models+"/v1.txt", listen))
	w.write("endpoint.yaml", fmt.Sprintf(teamDocument, w.program, models+"/v2.txt", listen))
	w.env = append(os.Environ(), "PATH="+w.folder+"/bin:"+os.Getenv("PATH"), "SERIN_STATE="+w.state, "SERIN_DOCUMENT="+w.folder+"/endpoint.yaml", "SERIN_GATES="+plan, "SERIN_TIMEOUT=2m", "SERIN_SETTLE=1", "TMPDIR="+w.folder)
	w.background("serve", "-f", first)
	w.until("production", func(s engine.Status) bool {
		return s.Stable != nil && s.Stable.Ready && s.Rollout.Outcome == "Promoted"
	})
	w.background("load", "--rate", "150", "--duration", "5m", "--url", "http://"+listen+"/score")
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (w *team) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// background runs serin until the test ends.
func (w *team) background(args ...string) {
	w.t.Helper()
	c := exec.Command(w.program, args...)
	var said bytes.Buffer
	c.Env, c.Stdout, c.Stderr = w.env, &said, &said
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		if w.t.Failed() {
			w.t.Logf("serin %v:\n%s", args, said.String())
		}
	})
}

func (w *team) status() (s engine.Status, err error) {
	c := exec.CommandContext(w.t.Context(), w.program, "status", "-o", "json")
	c.Env = w.env
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

func (w *team) until(what string, ok func(engine.Status) bool) engine.Status {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		s, err := w.status()
		if err == nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s within two minutes: %+v, %v", what, s.Rollout, err)
		}
	}
}

// ended says how the last rollout ended, and that nothing is left of it on its way.
func (w *team) ended(outcome, version string) {
	w.t.Helper()
	s := w.until("end", func(s engine.Status) bool { return s.Rollout.Outcome != "" })
	if s.Rollout.Outcome != outcome || s.Rollout.To != version || s.Weights.PlannedBP != 0 || s.Weights.ShadowBP != 0 {
		w.t.Errorf("version %s ended %s at %+v, want version %s %s", s.Rollout.To, s.Rollout.Outcome, s.Weights, version, outcome)
	}
}

// run runs a command and returns its exit code.
func (w *team) run(env []string, name string, args ...string) (int, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env, c.WaitDelay = append(slices.Clone(w.env), env...), 10*time.Second
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		w.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// TestPlainScript: the whole pipeline as a plain script, let in at each gate; then
// refused at one, and back on stable.
func TestPlainScript(t *testing.T) {
	w := newTeam(t)
	asked := filepath.Join(w.folder, "asked")
	env := []string{"SERIN_VERSION=7.1", "SERIN_APPROVER=Ann", "SERIN_OUTPUT=" + w.folder + "/7.1", "SERIN_GATE=echo $SERIN_STEP >>" + asked}
	if code, out := w.run(env, "./rollout.sh", "all"); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	w.ended("Promoted", "7.1")
	if text, err := os.ReadFile(asked); err != nil || strings.Join(strings.Fields(string(text)), ",") != plan {
		t.Errorf("asked at %q (%v), want %s", text, err, plan)
	}
	s, err := w.status()
	if err != nil || len(s.Rollout.Approvals) != 5 || s.Rollout.Approvals[4].OnBehalfOf != "Ann" {
		t.Errorf("approvals %+v, %v", s.Rollout.Approvals, err)
	}
	env = []string{"SERIN_VERSION=7.2", "SERIN_OUTPUT=" + w.folder + "/7.2", "SERIN_GATE=[ $SERIN_STEP != 10% ]"}
	if code, out := w.run(env, "./rollout.sh", "all"); code != 6 || !strings.Contains(out, "step 10% was refused") {
		t.Errorf("refused at 10%%: exit code %d:\n%s", code, out)
	}
	w.ended("Aborted", "7.2")
	if code, out := w.run(env, "./rollout.sh", "revert"); code != 0 {
		t.Errorf("nothing to revert: exit code %d:\n%s", code, out)
	}
	if code, out := w.run(env, "./rollout.sh"); code != 2 || !strings.Contains(out, "rollout.sh all") {
		t.Errorf("no verb: exit code %d:\n%s", code, out)
	}
}

// TestPlainScriptIsEnded: a signal to the script alone, while a step waits for its evidence, ends all that it started and
// sends the traffic back; the end of what it waits for is not waited for.
func TestPlainScriptIsEnded(t *testing.T) {
	w := newTeam(t)
	held := filepath.Join(w.folder, "held")
	slow := w.write("bin/slow", "#!/bin/sh\ncase \"$* \" in \"wait \"*\"--step 50% \"*) : >"+held+"; exec sleep 600 ;; esac\nexec "+w.program+" \"$@\"\n")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "./rollout.sh", "all")
	var said bytes.Buffer
	c.Stdout, c.Stderr, c.WaitDelay = &said, &said, time.Minute
	c.Env = append(slices.Clone(w.env), "SERIN_VERSION=8.1", "SERIN_OUTPUT="+w.folder+"/8.1", "SERIN_GATE=true", "SERIN_PROGRAM="+slow)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.until("step that waits", func(engine.Status) bool { _, err := os.Stat(held); return err == nil })
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != 130 || errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("%v (what it started is still there if it is WaitDelay); want exit code 130:\n%s", err, said.String())
	}
	w.ended("Aborted", "8.1")
}

// TestGitHubWorkflows carries the workflows out, as GitHub would, with their own
// scripts: let in everywhere; refused at the third gate; a run that never began.
func TestGitHubWorkflows(t *testing.T) {
	w := newTeam(t)
	good := w.ship("12.1", nil)
	w.ended("Promoted", "12.1")
	for name, j := range good {
		if want := map[bool]string{true: "skipped", false: "success"}[name == "revert"]; j.result != want {
			t.Errorf("let in everywhere: job %s: %s, want %s\n%s", name, j.result, want, j.log)
		}
	}
	s, err := w.status()
	if err != nil || len(s.Rollout.Approvals) != 5 || s.Rollout.Approvals[2].OnBehalfOf != "ann" || s.Rollout.Approvals[2].EvidenceDigest != good["percent1"].outputs["evidence"] {
		t.Errorf("approvals %+v (%v), evidence shown %v", s.Rollout.Approvals, err, good["percent1"].outputs)
	}
	for _, says := range []string{"Waits for approval of step 50%", "### Traffic by step"} {
		if !strings.Contains(good["percent10"].summary, says) {
			t.Errorf("the summary before the gate lacks %q:\n%s", says, good["percent10"].summary)
		}
	}
	refused := w.ship("13.1", func(job string) bool { return job != "percent10" })
	w.ended("Aborted", "13.1")
	for name, want := range map[string]string{"percent1": "success", "percent10": "failure", "percent50": "skipped", "promote": "skipped", "revert": "success"} {
		if refused[name].result != want {
			t.Errorf("refused at 10%%: job %s: %s, want %s\n%s", name, refused[name].result, want, refused[name].log)
		}
	}
	never := w.ship("14.1", func(job string) bool { return job != "shadow" })
	if r := never["revert"]; r.result != "success" || !strings.Contains(r.log, "nothing to revert") {
		t.Errorf("nothing began: revert %s\n%s", r.result, r.log)
	}
	w.ended("Aborted", "13.1")
}
