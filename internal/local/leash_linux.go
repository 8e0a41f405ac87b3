package local

import (
	"os/exec"
	"runtime"
	"syscall"
)

// childAttributes: should the leash itself be killed, the kernel kills the child.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// startLocked starts cmd from a thread that lives as long as the process: the
// kernel ties the death signal to the thread that forked.
func startLocked(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		started <- cmd.Start()
		if cmd.Process != nil {
			select {}
		}
	}()
	return <-started
}
