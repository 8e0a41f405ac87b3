package server

import (
	"fmt"
	"net"
	"syscall"
)

// peerUID asks the kernel who connected (SO_PEERCRED, unix(7)).
func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", credErr)
	}
	return cred.Uid, nil
}
