package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// glance is how long a wait for an answer lasts before somebody looks whether the client is still there.
	glance = 200 * time.Millisecond
	// slack saves setting a deadline anew for each request: one that is still this far away will do.
	slack = 50 * time.Millisecond
)

// link is a TCP connection that is used with few system calls. One goroutine uses it at a time.
type link struct {
	net.Conn
	raw   syscall.RawConn // nil: the plain way
	armed time.Time       // deadline in force for reads (and, to a scorer, writes)

	// The exchange under way, for step.
	out, in []byte
	tried   bool
	sent, n int
	err     error
	step    func(uintptr) bool
	put     func(uintptr) bool
	peek    func(uintptr)
	gone    bool
}

func newLink(nc net.Conn) *link {
	l := &link{Conn: nc}
	if c, ok := nc.(syscall.Conn); ok && direct {
		if raw, err := c.SyscallConn(); err == nil {
			l.raw = raw
		}
	}
	l.step, l.put = l.exchange, l.push
	l.peek = func(fd uintptr) { l.gone = ended(fd) }
	return l
}

// ask writes out, waits for what comes back and reads it into in. It returns how much was written and read. Writing
// inside the wait saves the read that finds nothing: the poller's memory is cleared before the question is asked, so the
// answer cannot be missed.
func (l *link) ask(out, in []byte) (sent, n int, err error) {
	if l.raw == nil {
		return 0, 0, nil
	}
	l.out, l.in, l.tried, l.sent, l.n, l.err = out, in, false, 0, 0, nil
	err = l.raw.Read(l.step)
	l.out, l.in = nil, nil
	if err == nil {
		err = l.err
	}
	if errors.Is(err, syscall.EAGAIN) { // of the write; a read waits
		err = nil
	}
	return l.sent, l.n, err
}

func (l *link) exchange(fd uintptr) bool {
	if !l.tried {
		l.tried = true
		l.sent, l.err = tryWrite(fd, l.out)
		return l.err != nil || l.sent < len(l.out)
	}
	l.n, l.err = tryRead(fd, l.in)
	switch {
	case errors.Is(l.err, syscall.EAGAIN):
		l.err = nil
		return false
	case l.err == nil && l.n == 0:
		l.err = io.EOF
	}
	return true
}

// write writes all of b.
func (l *link) write(b []byte) error {
	if l.raw != nil && len(b) > 0 {
		l.out, l.sent = b, 0
		err := l.raw.Write(l.put)
		l.out = nil
		if err != nil {
			return err
		}
		if b = b[l.sent:]; len(b) == 0 {
			return nil
		}
	}
	_, err := l.Conn.Write(b)
	return err
}

func (l *link) push(fd uintptr) bool {
	if n, err := tryWrite(fd, l.out); err == nil {
		l.sent = n
	}
	return true // what is left, and the error, is met in the plain way
}

// arm sets the deadline of the next steps, if the one in force is too near or beyond until.
func (l *link) arm(now, until time.Time) {
	if l.armed.Before(now.Add(slack)) || l.armed.After(until) {
		l.armed = now.Add(glance)
		if l.armed.After(until) {
			l.armed = until
		}
		_ = l.SetDeadline(l.armed) // fails on a closed connection only, which the next step will tell
	}
}

// left says whether the peer has closed the connection or its sending half.
func (l *link) left() bool {
	if l.raw == nil {
		return false
	}
	l.gone = false
	if err := l.raw.Control(l.peek); err != nil {
		return true
	}
	return l.gone
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
