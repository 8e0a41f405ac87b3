package local

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestPromise6NoScorerWithoutOwner kills the owner, and the leash, with -9: nothing
// that they started stays, not even what a scorer started in turn.
func TestPromise6NoScorerWithoutOwner(t *testing.T) {
	for _, kind := range []string{"serves", "deaf", "parent"} {
		t.Run("owner of "+kind, func(t *testing.T) {
			cmd := exec.Command(testBinary(t), "owner", testBinary(t), "stub", kind)
			cmd.Env = append(os.Environ(), "PORT=0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			leashPID, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			pids := awaitFamily(t, leashPID, kind)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			until(t, "all that it started to be gone", func() bool { return !anyAlive(pids) })
		})
		t.Run("leash of "+kind, func(t *testing.T) {
			p := keep(t, stubOf("ep-r1", kind))
			until(t, "readiness", func() bool { return p.Status().Ready })
			pids := awaitFamily(t, p.Status().PID, kind)
			if err := syscall.Kill(p.Status().PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "all that it held to be gone", func() bool { return !anyAlive(pids) })
			until(t, "a new life", func() bool { return p.Status().Ready && p.Status().Restarts > 0 })
		})
	}
}

// awaitFamily waits until a stub, and its child, run below a leash.
func awaitFamily(t *testing.T, leash int, kind string) []int {
	t.Helper()
	want := 1
	if kind == "parent" {
		want = 2
	}
	var pids []int
	until(t, "the scorer to run", func() bool { pids = below(leash); return len(pids) >= want })
	return append(pids, leash)
}
