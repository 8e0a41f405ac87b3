package node

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// programs are the children: started, reaped, and reported when they end. As the first process of its namespace the
// node is also the parent of every orphan there, so it reaps whatever ends instead of waiting for one child at a time.
type programs struct {
	config  Config
	mu      sync.Mutex
	running map[int]string
	status  Status
}

func newPrograms(c Config) *programs {
	p := &programs{config: c, running: map[int]string{}, status: Status{Exited: map[string]string{}}}
	ended := make(chan os.Signal, 16)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			p.reap()
		}
	}()
	return p
}

// start runs argv with its output in log/NAME.log.
func (p *programs) start(name string, argv []string) error {
	log, err := os.OpenFile(p.config.path("log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	// Not the environment of whoever ran the test: a proxy named there would get the image pulls.
	env := []string{"HOME=/root", "PATH=" + p.config.Containerd + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"}
	p.mu.Lock() // so that an early end finds the name
	defer p.mu.Unlock()
	child, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: p.config.Dir, Env: env, Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	p.running[child.Pid] = name
	return nil
}

func (p *programs) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if name, ours := p.running[pid]; ours {
			delete(p.running, pid)
			p.status.Exited[name] = ending(ws)
			p.write()
		}
	}
}

func ending(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "killed by " + ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

func (p *programs) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Ready = true
	p.write()
}

func (p *programs) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Failed = err.Error()
	p.write()
}

func (p *programs) write() {
	if err := WriteJSON(p.config.StatusPath(), p.status); err != nil {
		fmt.Fprintln(os.Stderr, "writing the status:", err)
	}
}
