package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command says how one revision is run: any HTTP server that listens on $PORT.
type Command struct {
	Revision  string   `json:"-"`
	Args      []string `json:"args"`          // "$PORT" is replaced by the port chosen
	Env       []string `json:"env,omitempty"` // NAME=value, besides the owner's
	Dir       string   `json:"dir"`
	Readiness string   `json:"readiness"` // path of the readiness probe
	// ReadyWithin is the time that a start may take; 0, as in older records: 2 minutes.
	ReadyWithin time.Duration `json:"readyWithin,omitempty"`
}

const (
	probeEvery     = 100 * time.Millisecond // until ready
	probeReady     = time.Second            // afterwards
	probeTimeout   = 2 * time.Second
	probeFailures  = 3 // in a row, then no longer ready
	backoffFirst   = 100 * time.Millisecond
	backoffMost    = 10 * time.Second
	crashesToLoop  = 3                // short lives in a row
	shortLife      = 10 * time.Second // a life that ends sooner is a crash
	failureLines   = 3                // of output quoted in a failure
	outputDelay    = time.Second      // for the rest of the output of a scorer that ended
	readyWithin    = 2 * time.Minute  // if the command does not say
	lookupFailures = 127              // exit code of the leash when the command cannot be started
)

// ProcessStatus is what is known of one revision's process.
type ProcessStatus struct {
	Ready        bool
	Addr         string // host:port of the present life
	PID          int    // of the leash
	Restarts     int
	CrashLooping bool
	Failure      string // the last exit, with its last lines of output
	Since        time.Time
}

// process keeps one scorer running until stopped.
type process struct {
	command Command
	self    string // path of our own binary, which holds the leash
	logger  *slog.Logger
	changed func()
	client  *http.Client
	port    func() (int, error)

	mu     sync.Mutex
	status ProcessStatus
	out    output

	cancel context.CancelFunc
	done   chan struct{}
}

func startProcess(self string, c Command, logger *slog.Logger, changed func()) *process {
	p := newProcess(self, c, logger, changed)
	p.start()
	return p
}

func newProcess(self string, c Command, logger *slog.Logger, changed func()) *process {
	return &process{
		command: c, self: self, logger: logger.With("revision", c.Revision), changed: changed,
		client: &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
		port:   freePort, done: make(chan struct{}),
	}
}

func (p *process) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.keepRunning(ctx)
}

// Status returns a copy of what is known now.
func (p *process) Status() ProcessStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Stop ends the scorer (SIGTERM, then SIGKILL) and waits for it.
func (p *process) Stop() {
	p.cancel()
	<-p.done
}

// Output returns the scorer's last lines.
func (p *process) Output(n int) []string { return p.out.LastLines(n) }

func (p *process) update(change func(*ProcessStatus)) {
	p.mu.Lock()
	before := p.status
	change(&p.status)
	same := before == p.status
	p.mu.Unlock()
	if !same {
		p.changed()
	}
}

// keepRunning starts the scorer again whenever it ends, ever more slowly.
func (p *process) keepRunning(ctx context.Context) {
	defer close(p.done)
	backoff, short := backoffFirst, 0
	for ctx.Err() == nil {
		began := time.Now()
		failure, late := p.live(ctx)
		if ctx.Err() != nil {
			p.update(func(s *ProcessStatus) { s.Ready = false })
			return
		}
		if late || time.Since(began) < shortLife {
			short++
		} else {
			short, backoff = 1, backoffFirst
		}
		p.logger.Warn("scorer ended", "failure", failure, "restart_in", backoff)
		p.update(func(s *ProcessStatus) {
			s.Ready, s.Failure = false, failure
			s.Restarts++
			s.CrashLooping = short >= crashesToLoop
		})
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffMost)
	}
}

// live runs the scorer once and returns why it ended. late: it was never ready, and
// was ended for that.
func (p *process) live(ctx context.Context) (failure string, late bool) {
	p.out.Reset()
	port, err := p.port()
	if err != nil {
		return err.Error(), false
	}
	cmd := p.build(port)
	leash, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Sprintf("making the leash: %v", err), false
	}
	if err := cmd.Start(); err != nil {
		return fmt.Sprintf("starting the leash: %v", err), false
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p.update(func(s *ProcessStatus) { s.Addr, s.PID, s.Since = addr, cmd.Process.Pid, time.Now() })
	ended := waitFor(cmd)
	probing, stopProbing := context.WithCancel(ctx)
	defer stopProbing()
	ready := make(chan struct{})
	go p.probe(probing, addr, sync.OnceFunc(func() { close(ready) }))
	within := cmp.Or(p.command.ReadyWithin, readyWithin)
	select {
	case err := <-ended:
		return p.describe(err), false
	case <-ctx.Done():
	case <-ready:
		select {
		case err := <-ended:
			return p.describe(err), false
		case <-ctx.Done():
		}
	case <-time.After(within):
		failure, late = fmt.Sprintf("not ready within %s of its start (spec.scorer.readiness.timeout): GET %s got no 2xx answer", within, p.command.Readiness), true
	}
	stopProbing()
	_ = leash.Close()
	if err := <-ended; err != nil {
		p.logger.Debug("scorer stopped", "how", err)
	}
	return failure + p.lastWords(), late
}

// waitFor tells how a leash ended, once all that it held has ended too.
func waitFor(cmd *exec.Cmd) <-chan error {
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		endGroup(cmd.Process.Pid, syscall.SIGKILL) // what outlived the leash
		ended <- err
	}()
	return ended
}

func (p *process) build(port int) *exec.Cmd {
	args := []string{LeashVerb, "--"}
	for _, a := range p.command.Args {
		args = append(args, strings.ReplaceAll(a, "$PORT", strconv.Itoa(port)))
	}
	cmd := exec.Command(p.self, args...)
	cmd.Dir = p.command.Dir
	cmd.Env = append(append(os.Environ(), p.command.Env...), "PORT="+strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	// Should the leash be killed, what it left behind may hold the output open.
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// describe says how a life ended, with the scorer's own last words.
func (p *process) describe(err error) string {
	var exit *exec.ExitError
	what := "exited with code 0"
	if errors.As(err, &exit) {
		what = fmt.Sprintf("exited with code %d", exit.ExitCode())
		if exit.ExitCode() == lookupFailures {
			what = fmt.Sprintf("could not start %q", p.command.Args[0])
		}
	} else if err != nil {
		what = err.Error()
	}
	return what + p.lastWords()
}

func (p *process) lastWords() string {
	lines := p.out.LastLines(failureLines)
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines, " | ")
}

// probe asks the readiness path until the context ends, and says when it is ready.
func (p *process) probe(ctx context.Context, addr string, isReady func()) {
	every, failures := time.NewTicker(probeEvery), 0
	defer every.Stop()
	ready := false
	for {
		ok := p.ask(ctx, "http://"+addr+p.command.Readiness)
		if ctx.Err() != nil {
			return
		}
		switch {
		case ok && !ready:
			ready, failures = true, 0
			every.Reset(probeReady)
			isReady()
			p.update(func(s *ProcessStatus) { s.Ready, s.Failure = true, "" })
		case ok:
			failures = 0
			p.update(func(s *ProcessStatus) { s.CrashLooping = s.CrashLooping && time.Since(s.Since) < shortLife })
		case ready:
			if failures++; failures >= probeFailures {
				ready = false
				every.Reset(probeEvery)
				p.update(func(s *ProcessStatus) { s.Ready, s.Failure = false, "readiness probe failed" })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (p *process) ask(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode >= 200 && resp.StatusCode < 300
}

// freePort asks the kernel for a port that nobody listens on. Another program may
// take it before the scorer does; the scorer then ends and is started on another.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
