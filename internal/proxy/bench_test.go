//go:build linux

package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// The benchmark measures the CPU time of this process, which is the gateway; clients and scorers are raw sockets in a
// process of their own. On two cores: taskset -c 0 go test -run xxx -bench Path ./internal/proxy

const loadEnv = "SERIN_PROXY_LOAD"

func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) != "" {
		load(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

const benchBody = 1200

// load opens two scorers, prints their addresses, and then for each line "address connections requests" sends that many.
func load(in io.Reader, out io.Writer) {
	runtime.GOMAXPROCS(1)
	fmt.Fprintln(out, rawScorer(), rawScorer())
	var addr string
	var conns, n int
	for {
		if _, err := fmt.Fscanln(in, &addr, &conns, &n); err != nil {
			return
		}
		fmt.Fprintln(out, rawClients(addr, conns, n))
	}
}

func rawScorer() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	const body = `{"result": [0.03123456789, 0.0212345678]}`
	answer := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 16<<10)
				for have := 0; ; {
					n, err := c.Read(buf[have:])
					if err != nil {
						return
					}
					have += n
					if i := bytes.Index(buf[:have], []byte("\r\n\r\n")); i >= 0 && have >= i+4+benchBody {
						have = 0
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// rawClients returns how many answers were not 200.
func rawClients(addr string, conns, n int) int64 {
	request := []byte("POST /score HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(benchBody) + "\r\n\r\n" + strings.Repeat("x", benchBody))
	var left, bad atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range conns {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				bad.Add(1)
				return
			}
			defer c.Close()
			buf := make([]byte, 16<<10)
			for left.Add(-1) >= 0 {
				_, _ = c.Write(request)
				if m, err := c.Read(buf); err != nil || !bytes.HasPrefix(buf[:m], []byte("HTTP/1.1 200")) {
					bad.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	return bad.Load()
}

// bodyTap reads every answer's body, as a recorder does.
type bodyTap struct{ bytes atomic.Int64 }

func (t *bodyTap) Primary(x *Exchange)  { t.bytes.Add(int64(len(x.Body))) }
func (t *bodyTap) Pair(_, _ *Exchange)  {}
func (t *bodyTap) Again(_, _ *Exchange) {}

func BenchmarkPath(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	if path, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() == 1 {
		cmd = exec.Command(path, "-c", "1", os.Args[0])
	}
	cmd.Env = append(os.Environ(), loadEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	out := bufio.NewReader(pipe)
	var stable, candidate string
	if _, err := fmt.Fscanln(out, &stable, &candidate); err != nil {
		b.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	tap := new(bodyTap)
	g := New(Config{Tap: tap})
	if err := g.Swap(&Table{Rollout: "bench", Epoch: 7, WeightBP: 1000, Stable: &Target{Revision: "r1", Addr: stable}, Candidate: &Target{Revision: "r2", Addr: candidate}, Fallback: true, CandidateTimeout: time.Second}); err != nil {
		b.Fatal(err)
	}
	for name, serve := range map[string]func(net.Listener) error{"gateway": g.Serve, "fasthttp": twinFasthttp(stable), "reverseproxy": twinReverse(stable)} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		go func() { _ = serve(ln) }()
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			fmt.Fprintln(in, ln.Addr(), 32, b.N)
			var bad int64
			if _, err := fmt.Fscanln(out, &bad); err != nil || bad != 0 {
				b.Fatalf("%d bad answers, %v", bad, err)
			}
			b.ReportMetric(float64(cpuTime()-before)/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// twinFasthttp and twinReverse forward and do nothing else.
func twinFasthttp(addr string) func(net.Listener) error {
	to := &fasthttp.HostClient{Addr: addr, MaxConns: 1000, DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true, NoDefaultUserAgentHeader: true}
	s := &fasthttp.Server{DisableHeaderNamesNormalizing: true, NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		if err := to.DoTimeout(&ctx.Request, &ctx.Response, 10*time.Second); err != nil {
			ctx.SetStatusCode(502)
		}
	}}
	return s.Serve
}

func twinReverse(addr string) func(net.Listener) error {
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 256}
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	return s.Serve
}
