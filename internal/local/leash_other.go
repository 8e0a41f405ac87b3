//go:build !linux

package local

import (
	"os/exec"
	"syscall"
)

// childAttributes puts the child in a group of its own.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func startLocked(cmd *exec.Cmd) error { return cmd.Start() }
