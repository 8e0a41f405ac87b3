package server

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerUID asks the kernel who connected (LOCAL_PEERCRED, unix(4)).
func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", err)
	}
	var cred *unix.Xucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("asking for the peer of a socket: %w", credErr)
	}
	return cred.Uid, nil
}
