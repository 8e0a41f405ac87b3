package local

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func keep(t *testing.T, c Command) *process {
	t.Helper()
	p := startProcess(testBinary(t), c, logger(t), func() {})
	t.Cleanup(p.Stop)
	return p
}

func TestProcessIsReadyAndStops(t *testing.T) {
	p := keep(t, stubOf("ep-r1", "serves", "well"))
	until(t, "readiness", func() bool { return p.Status().Ready })
	st := p.Status()
	resp, err := http.Get("http://" + st.Addr + "/") //nolint:noctx // loopback, answers at once
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := p.Output(1); len(got) != 1 || got[0] != "serving well" {
		t.Errorf("output %q, want its last line", got)
	}
	pids := append(below(st.PID), st.PID)
	p.Stop()
	if p.Status().Ready {
		t.Error("ready after its stop")
	}
	until(t, "leash and scorer to be gone", func() bool { return !anyAlive(pids) })
}

// TestPromise3CrashLoopSaysWhy: the last words of the scorer are the reason.
func TestPromise3CrashLoopSaysWhy(t *testing.T) {
	p := keep(t, stubOf("ep-r1", "dies"))
	until(t, "the crash loop", func() bool { return p.Status().CrashLooping })
	st := p.Status()
	if st.Ready || st.Restarts < crashesToLoop || !strings.Contains(st.Failure, "exited with code 3") || !strings.Contains(st.Failure, "the model is of no use") {
		t.Errorf("status %+v; want no readiness, %d restarts, the exit code and the last words", st, crashesToLoop)
	}
}

// TestPromise3NeverReadyIsStartedAgain: a start that takes too long is a short life,
// however long it took.
func TestPromise3NeverReadyIsStartedAgain(t *testing.T) {
	c := stubOf("ep-r1", "idle")
	c.ReadyWithin = 500 * time.Millisecond
	p := keep(t, c)
	until(t, "the crash loop", func() bool { return p.Status().CrashLooping })
	st := p.Status()
	if st.Ready || st.Restarts < crashesToLoop || !strings.Contains(st.Failure, "not ready within 500ms") || !strings.Contains(st.Failure, "readiness.timeout") {
		t.Errorf("status %+v; want no readiness, %d restarts, and the limit named", st, crashesToLoop)
	}
}

// TestReadyInTimeStays: the limit is for the start only.
func TestReadyInTimeStays(t *testing.T) {
	c := stubOf("ep-r1", "serves")
	c.ReadyWithin = patience
	p := keep(t, c)
	until(t, "readiness", func() bool { return p.Status().Ready })
	if st := p.Status(); st.Restarts != 0 || st.Failure != "" {
		t.Errorf("status %+v, want no restart", st)
	}
}

func TestCommandThatDoesNotExistIsNamed(t *testing.T) {
	p := keep(t, Command{Revision: "ep-r1", Args: []string{"no-such-scorer", "--port", "$PORT"}, Readiness: "/"})
	until(t, "the failure", func() bool { return p.Status().Failure != "" })
	if f := p.Status().Failure; !strings.Contains(f, `could not start "no-such-scorer"`) || !strings.Contains(f, "not found") {
		t.Errorf("failure %q does not name the command and the cause", f)
	}
}

// TestPortTakenByAnotherProgram: the scorer is started again on another port, and
// the other program is not taken for it once the scorer has ended.
func TestPortTakenByAnotherProgram(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	taken := other.Listener.Addr().(*net.TCPAddr).Port
	asked := 0
	p := newProcess(testBinary(t), stubOf("ep-r1", "serves"), logger(t), func() {})
	p.port = func() (int, error) {
		if asked++; asked == 1 {
			return taken, nil
		}
		return freePort()
	}
	p.start()
	t.Cleanup(p.Stop)
	until(t, "readiness", func() bool { return p.Status().Ready })
	if st := p.Status(); st.Restarts == 0 || strings.HasSuffix(st.Addr, fmt.Sprintf(":%d", taken)) {
		t.Errorf("status %+v; want it started again on another port than %d", st, taken)
	}
}

// TestDeafScorerIsKilled after the grace that it gets.
func TestDeafScorerIsKilled(t *testing.T) {
	p := keep(t, stubOf("ep-r1", "deaf"))
	until(t, "readiness", func() bool { return p.Status().Ready })
	pids := append(below(p.Status().PID), p.Status().PID)
	p.Stop()
	until(t, "the deaf scorer to be gone", func() bool { return !anyAlive(pids) })
}

// below lists the processes that descend from pid.
func below(pid int) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if fields := statOf(child); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			pids = append(append(pids, child), below(child)...)
		}
	}
	return pids
}

// statOf returns the fields of /proc/PID/stat from the third, the state, on.
func statOf(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

func anyAlive(pids []int) bool {
	for _, pid := range pids {
		if fields := statOf(pid); len(fields) > 0 && fields[0] != "Z" {
			return true
		}
	}
	return false
}

func TestOutputKeepsTheLastLines(t *testing.T) {
	var o output
	for i := range 10_000 {
		fmt.Fprintf(&o, "line %d\n", i)
	}
	fmt.Fprint(&o, "\xff half")
	if got := o.LastLines(2); len(got) != 2 || got[0] != "line 9999" || got[1] != "? half" {
		t.Errorf("last lines %q", got)
	}
	if len(o.tail) > outputLimit {
		t.Errorf("%d bytes are kept, want at most %d", len(o.tail), outputLimit)
	}
	o.Reset()
	if got := o.LastLines(2); got != nil {
		t.Errorf("after a reset: %q", got)
	}
}
