//go:build !linux

package local

import (
	"os/exec"
	"syscall"
)

// childAttributes: should the leash itself be killed, the owner ends its group.
func childAttributes() *syscall.SysProcAttr { return nil }

func startLocked(cmd *exec.Cmd) error { return cmd.Start() }
