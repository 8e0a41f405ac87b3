package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
)

const kills = 20

// serveProcess is a `serin serve` of its own, which can be killed.
type serveProcess struct {
	t           *testing.T
	file, state string
	cmd         *exec.Cmd
	out         bytes.Buffer
}

func (s *serveProcess) start() {
	s.t.Helper()
	s.cmd = exec.Command(os.Args[0], "serve", "-f", s.file, "--state", s.state)
	s.cmd.Stderr = &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *serveProcess) kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

// status waits until the API answers and stable is ready.
func (s *serveProcess) status() engine.Status {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var st engine.Status
		code, out, _ := run(s.t, "status", "-o", "json", "--state", s.state)
		if code == ExitDone && json.Unmarshal([]byte(out), &st) == nil && st.Stable != nil && st.Stable.Ready && st.Address != "" {
			return st
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not back within 30 s:\n%s", s.out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestPromise6 kills serve at random moments of a rollout under load. After each
// restart the rollout is the same one, no further back and with no less evidence
// than a second before; it is promoted once; clients see nothing but the time
// that the process was down.
func TestPromise6KillLosesNoDecision(t *testing.T) {
	folder, err := demoFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	address := freeAddress(t)
	document := func(version string) string {
		tr := trial{name: version, scorer: "{model: models/" + version + ".txt}", shadow: true, fallback: "Stable"}
		file := filepath.Join(folder, version+".yaml")
		text := strings.Replace(string(tr.document()), "127.0.0.1:0", address, 1)
		text = strings.Replace(text, "{weight: 100%}", "{weight: 100%, approval: Required}", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	s := &serveProcess{t: t, file: document("v1"), state: filepath.Join(folder, "state")}
	s.start()
	s.status()
	stop := startLoad(t, "http://"+address+"/score")
	if code, _, errs := run(t, "apply", "-f", document("v2"), "--state", s.state); code != ExitDone {
		t.Fatalf("apply: %s", errs)
	}
	s.file = filepath.Join(folder, "v2.yaml")
	before := s.status()
	rng := rand.New(rand.NewPCG(6, 6))
	for range kills {
		pause := time.NewTimer(time.Duration(100+rng.IntN(900)) * time.Millisecond)
		<-pause.C
		s.kill()
		s.start()
		after := s.status()
		checkNoLoss(t, before, after)
		before = after
	}
	if code, _, errs := run(t, "approve", "--step", "100%", "--state", s.state); code != ExitDone && code != ExitForbidden {
		t.Fatalf("approve: %s", errs)
	}
	approveAndFinish(t, s)
	sum := stop()
	if n := sum.ByStatus["502"] + sum.ByStatus["503"] + sum.ByStatus["504"] + sum.ByStatus["500"]; n != 0 {
		t.Errorf("%d requests were answered with an error: %v; only a process that is down may cost requests", n, sum.ByStatus)
	}
}

func checkNoLoss(t *testing.T, before, after engine.Status) {
	t.Helper()
	a, b := before.Rollout, after.Rollout
	switch {
	case a.ID != b.ID:
		t.Errorf("rollout %s became %s", a.ID, b.ID)
	case b.Step < a.Step:
		t.Errorf("step %d became %d", a.Step, b.Step)
	case b.Evidence.Pairs < a.Evidence.Pairs || b.Evidence.CandidateRequests < a.Evidence.CandidateRequests:
		t.Errorf("evidence shrank: %+v became %+v", a.Evidence, b.Evidence)
	case after.Weights.Epoch < before.Weights.Epoch:
		t.Errorf("epoch %d became %d", before.Weights.Epoch, after.Weights.Epoch)
	}
}

// approveAndFinish approves the last step as soon as it is next, and waits.
func approveAndFinish(t *testing.T, s *serveProcess) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		st := s.status()
		if st.Rollout.Outcome == "Promoted" {
			break
		}
		if st.Rollout.Outcome != "" || time.Now().After(deadline) {
			t.Fatalf("the rollout came to %q: %s", st.Rollout.Outcome, st.Rollout.Decision.Message)
		}
		run(t, "approve", "--step", "100%", "--state", s.state)
		time.Sleep(200 * time.Millisecond)
	}
	s.kill()
	s.start()
	st := s.status()
	if st.Stable.Version != "v2" || st.Rollout.Outcome != "Promoted" {
		t.Errorf("after the last kill: stable %s, outcome %s; want v2 promoted", st.Stable.Version, st.Rollout.Outcome)
	}
	_, out, _ := run(t, "history", "--state", s.state)
	if n := strings.Count(out, "-2 Promoted"); n != 1 {
		t.Errorf("the history holds the promotion %d times, want once:\n%s", n, out)
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("serve did not end well: %v\n%s", err, s.out.String())
	}
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

// startLoad sends traffic until the function returned is called.
func startLoad(t *testing.T, url string) func() *tally {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	sum, g := newTally(), safedriver.NewGenerator(11)
	tr := traffic{url: url, header: http.Header{"Content-Type": {"application/json"}}, rate: 200, concurrency: 8, timeout: 10 * time.Second,
		next: func() []byte { return g.RequestBody(nil, 2) }, seen: sum.add}
	var wait sync.WaitGroup
	wait.Go(func() { tr.run(ctx) })
	return func() *tally {
		cancel()
		wait.Wait()
		return sum
	}
}
