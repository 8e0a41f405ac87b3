//go:build unix

// Package azureml_test rolls out `serin scorer` against a scoring server that nobody here wrote.
package azureml_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	setupMost   = 10 * time.Minute // a cold virtual environment downloads about 150 MB
	startMost   = 2 * time.Minute
	rolloutMost = 3 * time.Minute
	fewestPairs = 400
	tolerance   = 1e-9
	model       = "../safe-driver/models/v1.txt"
)

// TestSameModelInAzureMLsServerAndInSerinIsPromoted: production is azmlinfsrv with real LightGBM, the candidate
// `serin scorer` with the same model text. They must agree on every pair, no client may see a failure, and the
// candidate must be promoted.
func TestSameModelInAzureMLsServerAndInSerinIsPromoted(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("skipped because of -short: it makes a Python environment from PyPI and runs a rollout of half a minute")
	}
	for _, file := range []string{"score.py", model} {
		mustRead(t, file) // else only the scorers do
	}
	s := system{bin: buildSerin(t), path: azureEnvironment(t), state: t.TempDir()}
	s.serve(t, "endpoint.yaml")
	load := s.startLoad(t)
	s.mustRun(t, document(t, "endpoint-serin.yaml"), "apply", "-f", "-")
	s.waitCandidateReady(t)
	s.compareArms(t)
	s.mustRun(t, nil, "wait", "--timeout", rolloutMost.String())
	seen := load.stop(t)

	r := s.status(t).Rollout
	if r.Outcome != "Promoted" || r.From != "azureml" || r.To != "serin" {
		t.Errorf("rollout from %q to %q ended %q (%s), want from azureml to serin, Promoted", r.From, r.To, r.Outcome, r.Decision.Message)
	}
	if r.Evidence.Pairs < fewestPairs || r.Evidence.Disagreed != 0 {
		t.Errorf("%d of %d shadow pairs disagree, want 0 of at least %d", r.Evidence.Disagreed, r.Evidence.Pairs, fewestPairs)
	}
	if seen.Failed != 0 || seen.ByStatus["200"] != seen.Sent || seen.FellBack != 0 || len(seen.ByRevision) != 2 {
		t.Errorf("clients saw %+v, want every answer a 200, none in the candidate's place, from both revisions", seen)
	}
	t.Logf("%s in %.0f s: %d pairs, %d disagreed; %d requests, %d failed", r.Outcome, r.EndedAt.Sub(r.StartedAt).Seconds(), r.Evidence.Pairs, r.Evidence.Disagreed, seen.Sent, seen.Failed)
}

// TestDocumentsAreValid needs no Python.
func TestDocumentsAreValid(t *testing.T) {
	s := system{bin: buildSerin(t)}
	for _, f := range []string{"endpoint.yaml", "endpoint-serin.yaml", "endpoint-back.yaml"} {
		s.mustRun(t, nil, "validate", "-f", f)
	}
}

// document is a file of this folder, listening on a free port.
func document(t *testing.T, file string) []byte {
	t.Helper()
	text := mustRead(t, file)
	free := bytes.Replace(text, []byte("127.0.0.1:8080"), []byte("127.0.0.1:0"), 1)
	if bytes.Equal(free, text) {
		t.Fatalf("%s does not listen on 127.0.0.1:8080: the test cannot move it to a free port", file)
	}
	return free
}

// system is the real program with a record of its own. It runs in this folder, where documents on stdin start from.
type system struct {
	bin, path, state, address string
}

func (s *system) command(ctx context.Context, stdin []byte, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = append(os.Environ(), "SERIN_STATE="+s.state, "PATH="+s.path+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

func (s *system) mustRun(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rolloutMost+time.Minute)
	defer cancel()
	cmd := s.command(ctx, stdin, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("serin %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

// serve starts `serin serve` and waits until production, azmlinfsrv, answers.
func (s *system) serve(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.command(ctx, document(t, file), "serve", "-f", "-")
	log, err := os.Create(filepath.Join(t.TempDir(), "serve.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			seen, err := s.command(ctx, nil, "status").CombinedOutput()
			t.Logf("serin status said (%v):\n%s", err, seen)
		}
		cancel()
		<-ended
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("serin serve said:\n%s", text)
		}
	})
	waitFor(t, startMost, "production answers", func() bool {
		select {
		case <-ended:
			t.Fatal("serin serve ended")
		default:
		}
		var st status
		cmd := s.command(t.Context(), nil, "status", "-o", "json")
		if out, err := cmd.Output(); err != nil || json.Unmarshal(out, &st) != nil || st.Stable == nil || !st.Stable.Ready || st.Address == "" {
			return false
		}
		s.address = st.Address
		_, err := s.ask("green")
		return err == nil
	})
}

func waitFor(t *testing.T, most time.Duration, what string, met func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(most); !met(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after %s it does not hold that %s", most, what)
		}
	}
}

// status is what the test reads of `serin status -o json`.
type status struct {
	Address           string
	Stable, Candidate *struct{ Ready bool }
	Rollout           *struct {
		From, To, Outcome  string
		StartedAt, EndedAt time.Time
		Decision           struct{ Message string }
		Evidence           struct{ Pairs, Disagreed int }
	}
}

func (s *system) status(t *testing.T) status {
	t.Helper()
	var st status
	if err := json.Unmarshal(s.mustRun(t, nil, "status", "-o", "json"), &st); err != nil || st.Rollout == nil {
		t.Fatalf("status has no rollout: %v", err)
	}
	return st
}

func (s *system) waitCandidateReady(t *testing.T) {
	t.Helper()
	waitFor(t, startMost, "the candidate is ready", func() bool {
		st := s.status(t)
		if st.Rollout.Outcome != "" {
			t.Fatalf("the rollout ended %s before its candidate was ready: %s", st.Rollout.Outcome, st.Rollout.Decision.Message)
		}
		return st.Candidate != nil && st.Candidate.Ready
	})
}

// answer is a scorer's answer to the sample request.
type answer struct {
	scores        []float64
	route, server string
}

func (s *system) ask(version string) (answer, error) {
	sample, err := os.ReadFile("../safe-driver/sample.json")
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequest(http.MethodPost, s.address, bytes.NewReader(sample))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Api-Version", version)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	var body struct{ Result []float64 }
	if err := json.Unmarshal(text, &body); err != nil || resp.StatusCode != http.StatusOK {
		return answer{}, errors.New(resp.Status + ": " + string(text))
	}
	return answer{body.Result, resp.Header.Get("X-Serin-Route"), resp.Header.Get("Server")}, nil
}

// compareArms reaches both runtimes by header: one question, the same two numbers.
func (s *system) compareArms(t *testing.T) {
	t.Helper()
	green, err := s.ask("green")
	if err != nil {
		t.Fatalf("asking production by header: %v", err)
	}
	blue, err := s.ask("blue")
	if err != nil {
		t.Fatalf("asking the candidate by header: %v", err)
	}
	if !strings.HasSuffix(green.route, ".safe-driver-r1") || !strings.HasPrefix(green.server, "gunicorn") {
		t.Errorf("x-api-version: green was answered by %q, server %q; want revision r1 in gunicorn", green.route, green.server)
	}
	if !strings.HasSuffix(blue.route, ".safe-driver-r2") || strings.HasPrefix(blue.server, "gunicorn") {
		t.Errorf("x-api-version: blue was answered by %q, server %q; want revision r2, not gunicorn", blue.route, blue.server)
	}
	if len(green.scores) != 2 || len(blue.scores) != 2 {
		t.Fatalf("two rows got %v and %v, want two numbers each", green.scores, blue.scores)
	}
	for i := range green.scores {
		if !(math.Abs(green.scores[i]-blue.scores[i]) <= tolerance) || !(green.scores[i] > 0 && green.scores[i] < 1) {
			t.Errorf("row %d: azmlinfsrv says %v, serin scorer %v; want one probability within %g", i, green.scores[i], blue.scores[i], tolerance)
		}
	}
}

// load is `serin load` at work.
type load struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// tally is what the test reads of what `serin load -o json` saw.
type tally struct {
	Sent, Failed, FellBack int
	ByStatus, ByRevision   map[string]int
}

// startLoad keeps the rate modest: azmlinfsrv has one worker that takes one request at a time.
func (s *system) startLoad(t *testing.T) *load {
	t.Helper()
	l := &load{cmd: s.command(t.Context(), nil, "load", "--url", s.address, "--rate", "150", "--rows", "2", "--concurrency", "8", "--duration", (startMost + 2*rolloutMost).String(), "-o", "json")}
	l.cmd.Stdout = &l.out
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l.cmd.ProcessState == nil {
			_ = l.cmd.Process.Kill()
			_ = l.cmd.Wait()
		}
	})
	return l
}

func (l *load) stop(t *testing.T) tally {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stopping the load: %v", err)
	}
	var seen tally
	if err := errors.Join(l.cmd.Wait(), json.Unmarshal(l.out.Bytes(), &seen)); err != nil {
		t.Fatalf("reading what the load saw: %v\n%s", err, l.out.Bytes())
	}
	return seen
}
