//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child on one core, with its output in a file.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed then
}

// launch starts args on a core. Should we die, the kernel ends the child.
func launch(folder, name string, core int, env []string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(folder, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("making a log: %w", err)
	}
	defer out.Close()
	p.cmd = exec.Command("taskset", append([]string{"-c", strconv.Itoa(core)}, args...)...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = folder, append(os.Environ(), env...), out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended stands in its ProcessState
		close(p.ended)
	}()
	return p, nil
}

// stop asks the child to end, and insists after a while.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
		return nil
	case <-time.After(20 * time.Second):
	}
	return errors.Join(fmt.Errorf("process %d did not end on SIGTERM and was killed", p.cmd.Process.Pid), p.cmd.Process.Kill())
}

// waitForPort waits until the child listens.
func (p *process) waitForPort(port int, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("it ended (%s): %s", p.cmd.ProcessState, p.lastWords())
		default:
		}
		if conn, err := net.Dial("tcp", address(port)); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("it does not listen on port %d after %s: %s", port, patience, p.lastWords())
}

func (p *process) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// usage is CPU time.
type usage struct{ user, system time.Duration }

func (u usage) total() time.Duration { return u.user + u.system }

// cpu is the time that a process has used, all its threads; with its children's if
// tree is set.
func cpu(pid int, tree bool) (usage, error) {
	u, _, err := stat(strconv.Itoa(pid))
	if err != nil {
		return u, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	if !tree {
		return u, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return u, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	for _, e := range entries {
		if child, parent, err := stat(e.Name()); err == nil && parent == pid {
			u = usage{u.user + child.user, u.system + child.system}
		}
	}
	return u, nil
}

func stat(pid string) (u usage, parent int, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return u, 0, err
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 13 {
		return u, 0, fmt.Errorf("%q is no process", pid)
	}
	user, errUser := strconv.ParseInt(f[11], 10, 64)
	system, errSystem := strconv.ParseInt(f[12], 10, 64)
	parent, errParent := strconv.Atoi(f[1])
	return usage{time.Duration(user) * tick, time.Duration(system) * tick}, parent, errors.Join(errUser, errSystem, errParent)
}
