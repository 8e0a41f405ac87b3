//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
)

const (
	bodies    = 256 // different requests, sent in turn
	patience  = 10 * time.Second
	deviation = 5 // standard deviations of the split that chance is given
)

// load is a closed loop of clients against one gateway, in one thread.
type load struct {
	poller   *poller
	sockets  map[int]*client
	requests [][]byte
	next     int
	arms     map[string]int // body → arm: 0 stable, 1 candidate
}

type client struct {
	*socket
	sent time.Time
}

// tally is what the clients saw.
type tally struct {
	arms  [2]int
	times []time.Duration
	took  time.Duration
}

func (t *tally) requests() int { return t.arms[0] + t.arms[1] }

func newLoad(port, connections int) (*load, error) {
	l := &load{sockets: map[int]*client{}, requests: requests(port), arms: map[string]int{}}
	for arm, name := range []string{"stable", "candidate"} {
		list, err := scores(name)
		if err != nil {
			return nil, err
		}
		for _, body := range list {
			l.arms[body] = arm
		}
	}
	var err error
	if l.poller, err = newPoller(); err != nil {
		return nil, err
	}
	for range connections {
		s, err := connect(port)
		if err != nil {
			l.close()
			return nil, err
		}
		l.sockets[s.fd] = &client{socket: s}
		if err := l.poller.add(s.fd); err != nil {
			l.close()
			return nil, fmt.Errorf("watching a connection: %w", err)
		}
	}
	return l, nil
}

func requests(port int) [][]byte {
	g := safedriver.NewGenerator(1)
	var out [][]byte
	for range bodies {
		body := g.RequestBody(nil, rows)
		out = append(out, fmt.Appendf(nil, "POST /score HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: bench\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", port, len(body), body))
	}
	return out
}

func (l *load) close() {
	for fd := range l.sockets {
		unix.Close(fd)
	}
	unix.Close(l.poller.fd)
}

// drive sends for a while and waits for what is under way. Each answer must be a
// whole one of an arm's; the first that is not ends the run.
func (l *load) drive(ctx context.Context, d time.Duration) (tally, error) {
	t := tally{times: make([]time.Duration, 0, 1<<20)}
	begin := time.Now()
	end := begin.Add(d)
	for _, c := range l.sockets {
		if err := l.send(c); err != nil {
			return t, err
		}
	}
	for waiting := len(l.sockets); waiting > 0; {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		events, err := l.poller.wait(int(patience.Milliseconds()))
		if err != nil {
			return t, err
		}
		if len(events) == 0 {
			return t, fmt.Errorf("no answer within %s", patience)
		}
		for _, e := range events {
			c := l.sockets[int(e.Fd)]
			whole, err := l.receive(c, &t)
			if err != nil {
				return t, fmt.Errorf("after %d requests: %w", t.requests(), err)
			}
			if !whole {
				continue
			}
			if time.Now().After(end) {
				waiting--
			} else if err := l.send(c); err != nil {
				return t, err
			}
		}
	}
	t.took = time.Since(begin)
	return t, nil
}

func (l *load) send(c *client) error {
	c.sent = time.Now()
	l.next++
	if err := c.write(l.requests[l.next%len(l.requests)]); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

func (l *load) receive(c *client, t *tally) (whole bool, err error) {
	if err := c.fill(); err != nil {
		return false, fmt.Errorf("reading an answer: %w", err)
	}
	m, err := parse(c.in[:c.used])
	if err != nil || m.size == 0 {
		return false, err
	}
	arm, known := l.arms[string(m.body)]
	if !bytes.HasPrefix(m.first, []byte("HTTP/1.1 200 ")) || !known || m.size != c.used {
		return false, fmt.Errorf("not a scorer's answer: %q", c.in[:c.used])
	}
	if m.close {
		return false, fmt.Errorf("the gateway closes the connection: keep-alive is part of the job")
	}
	t.times = append(t.times, time.Since(c.sent))
	t.arms[arm]++
	c.drop(m.size)
	return true, nil
}

// checkSplit refuses a split that is not 90/10 within chance.
func (t *tally) checkSplit() error {
	n := float64(t.requests())
	want := n / 10
	if off := math.Abs(float64(t.arms[1]) - want); off > deviation*math.Sqrt(n*.1*.9) {
		return fmt.Errorf("the candidate got %d of %.0f requests, want %.0f by chance: this is no 90/10 split", t.arms[1], n, want)
	}
	return nil
}

func (t *tally) quantile(percent int) time.Duration {
	slices.Sort(t.times)
	return t.times[(len(t.times)-1)*percent/100]
}
