package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	patience = time.Minute // for processes; a condition is met far sooner
	look     = 5 * time.Millisecond
	// testGrace replaces stopGrace in the tests' leashes.
	testGrace = 300 * time.Millisecond
)

// TestMain lets the test binary stand in for serin's leash, and for scorers.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case LeashVerb:
			os.Exit(leash(os.Args[3:], os.Stdin, os.Stdout, os.Stderr, testGrace))
		case "stub":
			os.Exit(stub(os.Args[2], os.Args[3:]))
		case "owner":
			os.Exit(owner(os.Args[2:]))
		}
	}
	// The race detector lets every process sleep for a second when it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// stub is a scorer that behaves as its kind says.
func stub(kind string, args []string) int {
	switch kind {
	case "dies":
		fmt.Println("reading the model")
		fmt.Fprintln(os.Stderr, "the model is of no use")
		return 3
	case "idle": // never ready
		fmt.Println("reading a model that is never read")
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		<-ended
		return 0
	case "deaf": // to SIGTERM
		signal.Ignore(syscall.SIGTERM)
	case "parent": // of a program that outlives it
		child := exec.Command(os.Args[0], "stub", "deaf")
		child.Env = append(os.Environ(), "PORT=0")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return 1
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	says := strings.Join(args, " ")
	fmt.Println("serving", says)
	ended := make(chan os.Signal, 1)
	if kind != "deaf" {
		signal.Notify(ended, syscall.SIGTERM)
	}
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			os.Exit(4)
		}
		if kind == "fails" && r.Method == http.MethodPost {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, `{"result": [0.1]}`)
	})}
	go func() { _ = s.Serve(ln) }()
	<-ended
	_ = s.Shutdown(context.Background())
	return 0
}

// owner starts a leash, says its pid, and waits to be killed.
func owner(args []string) int {
	cmd := exec.Command(os.Args[0], append([]string{LeashVerb, "--"}, args...)...)
	leash, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	defer leash.Close()
	if err := cmd.Start(); err != nil {
		return 1
	}
	fmt.Println(cmd.Process.Pid)
	_ = cmd.Wait()
	return 0
}

// stubOf is the command of a stub.
func stubOf(revision string, words ...string) Command {
	return Command{Revision: revision, Args: append([]string{os.Args[0], "stub"}, words...), Readiness: "/"}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s for %s", patience, what)
		case <-tick.C:
		}
	}
}

// logged is a log that tests may read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logger writes to a buffer that is shown when the test fails.
func logger(t *testing.T) *slog.Logger {
	l := &logged{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.String())
		}
	})
	return slog.New(slog.NewTextHandler(l, nil))
}

func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}
