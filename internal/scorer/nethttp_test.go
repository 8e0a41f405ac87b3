//go:build unix

package scorer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// netHTTP answers POST /score with the same scoring and headers on net/http: the other side of ADR 0003.
func netHTTP(s *Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.o.MaxBodyBytes))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		started := time.Now()
		sc := s.takeScratch()
		defer sc.release()
		if err := s.scoreBody(sc, body, started); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h := w.Header()
		id := r.Header.Get("X-Request-Id")
		h["X-Request-Id"], h["X-Ms-Request-Id"] = []string{id}, []string{id}
		h["X-Ms-Run-Function-Failed"] = []string{"False"}
		h["X-Ms-Run-Fn-Exec-Ms"] = []string{strconv.FormatFloat(float64(time.Since(started))/1e6, 'f', 3, 64)}
		h["Content-Type"] = []string{typeJSON}
		h["Content-Length"] = []string{strconv.Itoa(len(sc.result))}
		w.Write(sc.result)
	})
}

// BenchmarkHTTP: CPU time of the whole process per request, client included, so the difference of the two is the
// difference of the servers.
func BenchmarkHTTP(b *testing.B) {
	s, addr := serve(b, Options{Model: model(b, "binary_wide.txt")})
	b.Run("fasthttp", func(b *testing.B) { benchServer(b, addr, len(s.names)) })
	b.Run("nethttp", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		server := &http.Server{Handler: netHTTP(s), ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout}
		defer server.Close()
		go server.Serve(ln)
		benchServer(b, ln.Addr().String(), len(s.names))
	})
}

func benchServer(b *testing.B, addr string, width int) {
	row := "0"
	for range width - 1 {
		row += ",0.610327781"
	}
	body := `{"data":[[` + row + `],[` + row + `]]}`
	request := []byte(fmt.Sprintf("POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: 00000000-0000-4000-8000-000000000000\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	before := cpu()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		skipAnswer(b, r)
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// skipAnswer reads one answer without making anything of it: the client should cost little.
func skipAnswer(b *testing.B, r *bufio.Reader) {
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if len(line) == 2 {
			break
		}
		const name = "Content-Length: "
		if len(line) > len(name) && string(line[:len(name)]) == name {
			length, _ = strconv.Atoi(string(line[len(name) : len(line)-2]))
		}
	}
	if _, err := r.Discard(length); err != nil {
		b.Fatal(err)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
