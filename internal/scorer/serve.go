package scorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrServed is what a second Serve returns: a Server serves one listener, once.
var ErrServed = errors.New("the scorer already serves or has been shut down")

// Serve answers on ln until Shutdown, then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	tracked := &trackingListener{Listener: ln, conns: &s.conns}
	if !s.adopt(tracked) {
		return errors.Join(ErrServed, ln.Close())
	}
	s.log.Info("scorer serves", "address", ln.Addr().String(), "model", s.o.ModelName, "features", len(s.names))
	if s.o.FailAll || s.o.FailOnMissing != "" || s.o.Delay > 0 || s.o.Noise > 0 {
		s.log.Warn("rehearsal fault is on", "delay", s.o.Delay, "failOnMissing", s.o.FailOnMissing, "failAll", s.o.FailAll, "noise", s.o.Noise)
	}
	if err := s.http.Serve(tracked); err != nil {
		return fmt.Errorf("serving on %q: %w", ln.Addr(), err)
	}
	return nil
}

// adopt keeps ln, so that a Shutdown that comes before fasthttp knows of it still closes it.
func (s *Server) adopt(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln != nil || s.draining.Load() {
		return false
	}
	s.ln = ln
	s.serving.Store(true)
	return true
}

func (s *Server) closeListener() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln != nil {
		s.ln.Close()
	}
}

// Shutdown first says not ready, keeps accepting for Linger, then takes no new connections and waits for requests in
// flight. When ctx ends before them their connections are cut, and the error says how many.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	s.mu.Unlock()
	s.linger(ctx)
	s.closeListener()
	err := s.http.ShutdownWithContext(ctx)
	if err == nil {
		return nil
	}
	cut := s.conns.closeAll() // before the handlers are told: what counts as cut is not answered any more
	if !s.hasCut.Swap(true) {
		close(s.cut)
	}
	return fmt.Errorf("draining the scorer, %d connections cut: %w", cut, err)
}

func (s *Server) linger(ctx context.Context) {
	if s.o.Linger <= 0 || !s.serving.Load() {
		return
	}
	fires, stop := s.timer(s.o.Linger)
	defer stop()
	select {
	case <-fires:
	case <-ctx.Done():
	}
}

// Run listens on o.Listen, tells ready the address, serves, and drains for at most o.DrainTimeout when ctx ends.
func Run(ctx context.Context, o Options, ready func(addr string)) error {
	s, err := New(o)
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("listening on %q: %w", s.o.Listen, err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	if ready != nil {
		ready(ln.Addr().String())
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Linger+s.o.DrainTimeout)
	defer cancel()
	err = s.Shutdown(drain)
	if serveErr := <-served; !errors.Is(serveErr, ErrServed) { // ErrServed: ctx ended before Serve began
		err = errors.Join(err, serveErr)
	}
	return err
}

// connections are those open now: fasthttp leaves them running when a shutdown times out, so they are kept here to be
// cut.
type connections struct {
	mu   sync.Mutex
	open map[*trackedConn]struct{}
	cut  bool
}

func (c *connections) add(t *trackedConn) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return false
	}
	c.open[t] = struct{}{}
	return true
}

func (c *connections) remove(t *trackedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, t)
}

func (c *connections) closeAll() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for t := range c.open {
		t.Conn.Close()
	}
	return len(c.open)
}

type trackingListener struct {
	net.Listener
	conns  *connections
	closed atomic.Bool
}

// Close closes once: Shutdown and fasthttp both do it, and a second close would count as a failed shutdown.
func (l *trackingListener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.Listener.Close()
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, conns: l.conns}
	if !l.conns.add(t) {
		c.Close()
		return nil, net.ErrClosed
	}
	return t, nil
}

const (
	unreadBytes = 64 << 20
	unreadTime  = 2 * time.Second
)

// trackedConn leaves connections on Close. A client that is still sending a refused body would get a reset instead of
// the answer if the socket was closed over unread bytes, so those are read for a bounded while first.
type trackedConn struct {
	net.Conn
	conns  *connections
	unread atomic.Bool
	closed atomic.Bool
}

func (t *trackedConn) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	if t.unread.Load() {
		t.drain()
	}
	t.conns.remove(t)
	return t.Conn.Close()
}

func (t *trackedConn) drain() {
	half, ok := t.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if t.SetReadDeadline(time.Now().Add(unreadTime)) == nil {
		_, _ = io.CopyN(io.Discard, t.Conn, unreadBytes)
	}
}
