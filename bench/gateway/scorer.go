//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	rows    = 6  // of a request: about 1.2 kB with its head
	answers = 64 // different ones of each arm; one alone would be a constant scorer, which Serin's judge rightly reverts
)

// scores returns the answers of an arm: every client can tell from the body which
// arm answered, and they are as long as a model's.
func scores(arm string) ([]string, error) {
	base, ok := map[string]float64{"stable": 0.02, "candidate": 0.06}[arm]
	if !ok {
		return nil, fmt.Errorf("-scorer %q: must be stable or candidate", arm)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var out []string
	for range answers {
		text := `{"result": [`
		for row := range rows {
			if row > 0 {
				text += ", "
			}
			text += strconv.FormatFloat(base+0.02*rng.Float64(), 'f', 17, 64)
		}
		out = append(out, text+"]}")
	}
	return out, nil
}

// scorerServer answers every request with the next score of its list.
type scorerServer struct {
	poller   *poller
	listener int
	sockets  map[int]*socket
	answers  [][]byte
	next     int
}

func serveScorer(arm, port string) error {
	list, err := scores(arm)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("reading $PORT %q: %w", port, err)
	}
	s := &scorerServer{sockets: map[int]*socket{}}
	for _, body := range list {
		s.answers = append(s.answers, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	if s.poller, err = newPoller(); err != nil {
		return err
	}
	if s.listener, err = listen(n); err != nil {
		return err
	}
	if err := s.poller.add(s.listener); err != nil {
		return fmt.Errorf("watching the listener: %w", err)
	}
	for {
		events, err := s.poller.wait(-1)
		if err != nil {
			return err
		}
		for _, e := range events {
			if int(e.Fd) == s.listener {
				err = s.accept()
			} else if s.answer(s.sockets[int(e.Fd)]) != nil { // gone, or nothing we carry: the gateway sees a reset
				delete(s.sockets, int(e.Fd))
				unix.Close(int(e.Fd))
			}
			if err != nil {
				return err
			}
		}
	}
}

func (s *scorerServer) accept() error {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) {
		return nil
	}
	if err == nil {
		err = tune(fd)
	}
	if err == nil {
		err = s.poller.add(fd)
	}
	if err != nil {
		return fmt.Errorf("accepting: %w", err)
	}
	s.sockets[fd] = newSocket(fd)
	return nil
}

func (s *scorerServer) answer(c *socket) error {
	if err := c.fill(); err != nil {
		return err
	}
	for {
		m, err := parse(c.in[:c.used])
		if err != nil || m.size == 0 {
			return err
		}
		c.drop(m.size)
		if err := c.write(s.answers[s.next%len(s.answers)]); err != nil {
			return err
		}
		s.next++
		if m.close {
			return fmt.Errorf("closing as asked")
		}
	}
}
