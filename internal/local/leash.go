package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// LeashVerb is the hidden verb that runs a scorer on a leash.
const LeashVerb = "leash"

// stopGrace is how long a scorer may drain between SIGTERM and SIGKILL.
const stopGrace = 10 * time.Second

// Leash runs args as a child in a process group of its own and ends the whole
// group when its standard input closes, which the kernel does for us when the
// owner dies in whatever way. So no scorer is ever left running without an
// owner, not even after kill -9 of the owner. It returns the child's exit code.
func Leash(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "leash: no command given")
		return 2
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = childAttributes()
	// Ctrl-C at the terminal goes to the owner, which drains first.
	signal.Ignore(syscall.SIGINT)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	if err := startLocked(cmd); err != nil {
		fmt.Fprintf(stderr, "leash: starting %q: %v\n", args[0], err)
		return 127
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	released := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, stdin); close(released) }()
	select {
	case err := <-exited:
		endGroup(cmd.Process.Pid, syscall.SIGKILL) // grandchildren that outlived it
		return exitCode(err)
	case <-released:
	case <-terminate:
	}
	endGroup(cmd.Process.Pid, syscall.SIGTERM)
	select {
	case err := <-exited:
		endGroup(cmd.Process.Pid, syscall.SIGKILL)
		return exitCode(err)
	case <-time.After(stopGrace):
		endGroup(cmd.Process.Pid, syscall.SIGKILL)
		return exitCode(<-exited)
	}
}

func endGroup(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 128 + int(syscall.SIGKILL)
}
