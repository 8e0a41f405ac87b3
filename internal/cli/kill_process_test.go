package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

const killPatience = 90 * time.Second // for what happens far sooner

// served is a `serin serve` in a process of its own, which can be killed and
// started again with the same command.
type served struct {
	t                   *testing.T
	file, state, folder string
	cmd                 *exec.Cmd
	quit                context.CancelFunc // of cmd
	out                 safeBuffer
	events              chan engine.Entry // of the present life; closed when it ends
	killed              time.Time
	mu                  sync.Mutex
	downs               []interval // from a kill until it serves again
}

type interval struct{ from, to time.Time }

// quittable is a program that quit makes say where it hangs. What it leaves running does not keep anybody waiting for its
// output.
func quittable(name string, args ...string) (c *exec.Cmd, quit context.CancelFunc) {
	ctx, quit := context.WithCancel(context.Background())
	c = exec.CommandContext(ctx, name, args...)
	c.WaitDelay = 10 * time.Second
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) }
	return c, quit
}

// ends waits for a quittable program that was told to end.
func ends(t *testing.T, c *exec.Cmd, quit context.CancelFunc) error {
	t.Helper()
	late := time.AfterFunc(soon, func() {
		t.Errorf("%s did not end within %s of being told to", strings.Join(c.Args[1:], " "), soon)
		quit()
	})
	defer late.Stop()
	return c.Wait()
}

// start starts serve and waits until it serves; it returns what it says then.
func (s *served) start() engine.Status {
	s.t.Helper()
	s.cmd, s.quit = quittable(os.Args[0], "serve", "-f", s.file, "--state", s.state)
	s.cmd.Stderr = &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var st engine.Status
	s.until("serve to serve", func() bool {
		var err error
		st, err = s.status()
		return err == nil && st.Address != "" && st.Stable != nil && st.Stable.Ready
	})
	s.mu.Lock()
	if !s.killed.IsZero() {
		s.downs = append(s.downs, interval{s.killed, time.Now()})
	}
	s.mu.Unlock()
	s.events = make(chan engine.Entry, 1000)
	go s.listen(s.events)
	return st
}

// kill kills serve as the kernel would, in whatever it is doing.
func (s *served) kill() {
	s.t.Helper()
	s.mu.Lock()
	s.killed = time.Now()
	s.mu.Unlock()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.cmd.Wait()
	s.quit()
}

// down reports whether serve was down at some time of an interval.
func (s *served) down(i interval) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.downs {
		if !i.to.Before(d.from) && !i.from.After(d.to) {
			return true
		}
	}
	return false
}

func (s *served) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), killPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			st, err := s.status()
			s.t.Fatalf("waited %s for %s; weights %+v, rollout %+v, conditions %+v, %v\n%s", killPatience, what, st.Weights, st.Rollout, st.Conditions, err, s.out.String())
		case <-tick.C:
		}
	}
}

func (s *served) status() (engine.Status, error) {
	c := connection{state: s.state}
	cl, err := c.openHTTP()
	if err != nil {
		return engine.Status{}, err
	}
	defer cl.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(s.t.Context(), killPatience)
	defer cancel()
	return cl.Status(ctx)
}

// ask asks for an action and reports whether it was answered as accepted.
func (s *served) ask(verb string, flags ...string) bool {
	var out, errs safeBuffer
	args := append([]string{verb, "--state", s.state}, flags...)
	ctx, cancel := context.WithTimeout(s.t.Context(), killPatience)
	defer cancel()
	return Run(ctx, args, IO{In: strings.NewReader(""), Out: &out, Err: &errs}) == ExitDone
}

// listen reads the stream of events until serve ends.
func (s *served) listen(to chan<- engine.Entry) {
	defer close(to)
	c := connection{state: s.state}
	cl, err := c.openHTTP()
	if err != nil {
		return
	}
	path, err := cl.path(s.t.Context(), "/events")
	if err != nil {
		return
	}
	resp, err := cl.send(s.t.Context(), http.MethodGet, path, nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	lines, kind := bufio.NewScanner(resp.Body), ""
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = k
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var e engine.Entry
		if ok && kind == "entry" && json.Unmarshal([]byte(data), &e) == nil {
			to <- e
		}
	}
}

// ownerless lists processes that serve started and that no living serve owns: they
// run in the document's folder.
func (s *served) ownerless() (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, cwd := range all {
		if where, err := os.Readlink(cwd); err != nil || where != s.folder {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(cwd)))
		if !descends(pid, s.cmd.Process.Pid) {
			pids = append(pids, fmt.Sprint(pid))
		}
	}
	return pids
}

func descends(pid, from int) bool {
	for ; pid > 1; pid = parent(pid) {
		if pid == from {
			return true
		}
	}
	return false
}

// parent reads the fourth field of /proc/PID/stat; the second may hold blanks.
func parent(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	n, _ := strconv.Atoi(fields[1])
	return n
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
