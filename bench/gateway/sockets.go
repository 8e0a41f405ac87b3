//go:build linux

package main

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// poller waits for many sockets in one thread: cheaper than a goroutine each, and
// cheap is what the parties beside the gateway have to be.
type poller struct {
	fd     int
	events [256]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	return &poller{fd: fd}, nil
}

func (p *poller) add(fd int) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// wait returns who can be read; nobody after the timeout.
func (p *poller) wait(milliseconds int) ([]unix.EpollEvent, error) {
	for {
		n, err := unix.EpollWait(p.fd, p.events[:], milliseconds)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("waiting for sockets: %w", err)
		}
		return p.events[:n], nil
	}
}

// socket is one connection with what it has read so far.
type socket struct {
	fd   int
	in   []byte
	used int
}

func newSocket(fd int) *socket { return &socket{fd: fd, in: make([]byte, 8<<10)} }

// fill reads what there is; io.EOF when the other side has closed.
func (s *socket) fill() error {
	if s.used == len(s.in) {
		s.in = append(s.in, make([]byte, len(s.in))...)
	}
	n, err := unix.Read(s.fd, s.in[s.used:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	s.used += n
	return nil
}

// drop forgets the message at the start of the buffer.
func (s *socket) drop(n int) { s.used = copy(s.in, s.in[n:s.used]) }

func (s *socket) write(b []byte) error {
	n, err := unix.Write(s.fd, b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("wrote %d of %d bytes: the socket's buffer is full", n, len(b))
	}
	return err
}

func connect(port int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	if err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = tune(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to port %d: %w", port, err)
	}
	return newSocket(fd), nil
}

func tune(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func listen(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("making a socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, fmt.Errorf("setting up a socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("binding port %d: %w", port, err)
	}
	if err := unix.Listen(fd, 512); err != nil {
		return 0, fmt.Errorf("listening on port %d: %w", port, err)
	}
	return fd, nil
}

func pinThread(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pinning the load to core %d: %w", core, err)
	}
	return nil
}
