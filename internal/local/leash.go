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

// Leash runs args as a child and ends it, with all that it started, when its
// standard input closes, which the kernel does for us when the owner dies in
// whatever way. So no scorer is ever left running without an owner, not even after
// kill -9 of the owner. It returns the child's exit code; what the child left
// behind is the owner's to end, by the process group that the leash leads.
func Leash(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return leash(args, stdin, stdout, stderr, stopGrace)
}

func leash(args []string, stdin io.Reader, stdout, stderr io.Writer, grace time.Duration) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "leash: no command given")
		return 2
	}
	if err := syscall.Setpgid(0, 0); err != nil {
		fmt.Fprintf(stderr, "leash: making a process group: %v\n", err)
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
		return exitCode(err)
	case <-released:
	case <-terminate:
	}
	own := os.Getpid()
	endGroup(own, syscall.SIGTERM) // the leash itself only takes note
	select {
	case err := <-exited:
		defer endGroup(own, syscall.SIGKILL) // nobody may be there to do it
		return exitCode(err)
	case <-time.After(grace):
		endGroup(own, syscall.SIGKILL)
		return exitCode(<-exited)
	}
}

// endGroup ends every process of the group that pid leads.
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
