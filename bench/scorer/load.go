package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// body is the OpenHack's sample request: two rows of 57 numbers.
const body = `{"data":[[0,1,8,1,0,0,1,0,0,0,0,0,0,0,12,1,0,0,0.5,0.3,0.610327781,7,1,-1,0,-1,1,1,1,2,1,65,1,0.316227766,0.669556409,0.352136337,3.464101615,0.1,0.8,0.6,1,1,6,3,6,2,9,1,1,1,12,0,1,1,0,0,1],[4,2,5,1,0,0,0,0,1,0,0,0,0,0,5,1,0,0,0.9,0.5,0.771362431,4,1,-1,0,0,11,1,1,0,1,103,1,0.316227766,0.60632002,0.358329457,2.828427125,0.4,0.5,0.4,3,3,8,4,10,2,7,2,0,3,10,0,0,1,1,0,1]]}`

type result struct {
	requests      int
	cpu, p50, p99 float64 // microseconds
	rate          float64 // requests per second of the run
}

// client keeps its connection as long as the server lets it.
type client struct {
	addr    string
	request []byte
	conn    net.Conn
	r       *bufio.Reader
}

func newClient(addr string) *client {
	return &client{addr: addr, request: fmt.Appendf(nil, "POST /score HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)}
}

func (c *client) send() error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got status %d: %s", resp.StatusCode, text)
	}
	if resp.Close {
		c.close()
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func measure(ctx context.Context, s *server, o options) (result, error) {
	warm := newClient(s.addr)
	defer warm.close()
	for range o.warmup {
		if err := warm.send(); err != nil {
			return result{}, err
		}
	}
	before, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	began := time.Now()
	times, err := load(ctx, s, o)
	if err != nil {
		return result{}, err
	}
	took := time.Since(began)
	after, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	slices.Sort(times)
	n := len(times)
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return result{requests: n, cpu: us(after-before) / float64(n), p50: us(times[n/2]), p99: us(times[n*99/100]), rate: float64(n) / took.Seconds()}, ctx.Err()
}

func load(ctx context.Context, s *server, o options) ([]time.Duration, error) {
	var wg sync.WaitGroup
	all, errs := make([][]time.Duration, o.connections), make([]error, o.connections)
	end := time.Now().Add(o.duration)
	for i := range o.connections {
		wg.Go(func() {
			c := newClient(s.addr)
			defer c.close()
			for began := time.Now(); began.Before(end) && ctx.Err() == nil; {
				if errs[i] = c.send(); errs[i] != nil {
					return
				}
				now := time.Now()
				all[i] = append(all[i], now.Sub(began))
				began = now
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(all...), nil
}

func report(o options, serin, azure []result) {
	a, b := median(serin), median(azure)
	fmt.Printf("\nmedians of %d runs of %s, %d connection(s), two rows a request, pinned %t, num_threads %d\n\n", o.rounds, o.duration, o.connections, o.pin, o.threads)
	fmt.Printf("| server | CPU us/request | requests/s per core | p50 us | p99 us | requests/s seen |\n|---|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		r    result
	}{{"serin scorer", a}, {"azmlinfsrv", b}} {
		fmt.Printf("| %s | %.1f | %.0f | %.0f | %.0f | %.0f |\n", row.name, row.r.cpu, 1e6/row.r.cpu, row.r.p50, row.r.p99, row.r.rate)
	}
	fmt.Printf("\nratio of CPU time: 1/%.1f\n", b.cpu/a.cpu)
}

func median(rs []result) result {
	pick := func(f func(result) float64) float64 {
		var v []float64
		for _, r := range rs {
			v = append(v, f(r))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return result{
		cpu: pick(func(r result) float64 { return r.cpu }), p50: pick(func(r result) float64 { return r.p50 }),
		p99: pick(func(r result) float64 { return r.p99 }), rate: pick(func(r result) float64 { return r.rate }),
	}
}
