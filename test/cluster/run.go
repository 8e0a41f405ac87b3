package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// run is a node process that was started, and the folder that it writes.
type run struct {
	config node.Config
	cmd    *exec.Cmd
	input  io.Closer // its end ends the node
	lock   *os.File
	ended  chan struct{}
}

// launch starts the node process. It inherits the lock: as long as it lives, its folder is in use. A full node inherits
// the socket as well that its registry is to answer on.
func launch(c node.Config, program string, lock *os.File, clone uintptr, sockets ...*os.File) (*run, error) {
	if err := node.WriteJSON(c.Path(), c); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, "log"), 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.Dir, "log", "node.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, c.Path())
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, append([]*os.File{lock}, sockets...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: clone}
	r := &run{config: c, cmd: cmd, lock: lock, ended: make(chan struct{})}
	if c.Owned {
		if r.input, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the node: %w", err)
	}
	go func() {
		_ = cmd.Wait() // it ends by being killed; what its status file says is what counts
		close(r.ended)
	}()
	return r, nil
}

// end kills the node, and with it everything that it started.
func (r *run) end() error {
	defer r.lock.Close()
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-r.ended:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("the node (process %d) did not end within a minute of being killed", r.cmd.Process.Pid)
	}
}

// awaitReady answers when the node has started all its programs, or why it could not.
func (r *run) awaitReady(ctx context.Context) error {
	for {
		s, err := r.config.ReadStatus()
		if err != nil {
			return err
		}
		if s.Failed != "" || len(s.Exited) > 0 {
			return r.failure(s)
		}
		if s.Ready {
			return nil
		}
		select {
		case <-r.ended:
			return fmt.Errorf("the node ended: %s", r.logTail("node"))
		default:
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for the node: %w", err)
		}
	}
}

func (r *run) failure(s node.Status) error {
	var why []error
	if s.Failed != "" {
		why = append(why, errors.New(s.Failed))
	}
	for name, how := range s.Exited {
		why = append(why, fmt.Errorf("%s: %s: %s", name, how, r.logTail(name)))
	}
	return errors.Join(why...)
}

func (r *run) logTail(name string) string {
	path := filepath.Join(r.config.Dir, "log", name+".log")
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return path + " ends:\n" + tail(string(b), 8)
}

// Processes answers the programs of the cluster by name, with the process ids that this machine knows them by.
func (c *Cluster) Processes() (map[string]int, error) {
	s, err := readState(c.Dir)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, path := range stats {
		p, err := readProcess(path)
		if err == nil && p.parent == s.PID { // one that ended meanwhile is none of ours to report
			found[p.name] = p.id
		}
	}
	return found, nil
}

type process struct {
	id, parent int
	name       string
	started    string // clock ticks since boot: tells a process from a later one with its id
}

func readProcess(path string) (p process, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	head, rest, ok := strings.Cut(string(b), ") ")
	id, _, ok2 := strings.Cut(head, " (")
	fields := strings.Fields(rest)
	if !ok || !ok2 || len(fields) < 20 {
		return p, fmt.Errorf("%s: not understood: %q", path, b)
	}
	if p.id, err = strconv.Atoi(id); err != nil {
		return p, err
	}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, err
	}
	p.started = fields[19]
	// The kernel cuts the name in stat at 15 characters; the program's path has all of it.
	exe, err := os.Readlink(filepath.Join(filepath.Dir(path), "exe"))
	if err != nil {
		return p, err
	}
	p.name = filepath.Base(exe)
	return p, nil
}
