//go:build linux

package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// contender is a gateway that can be started.
type contender struct {
	name, title string
	start       func(*bench) (*gateway, error)
}

var contenders = []contender{
	{"haproxy", "HAProxy", startHAProxy},
	{"nginx", "nginx", startNginx},
	{"envoy", "Envoy", func(b *bench) (*gateway, error) { return startEnvoy(b, 0) }},
	{"envoy-als", "Envoy with its gRPC access log", startEnvoyWithLog},
	{"reverseproxy", "Go's ReverseProxy", startReverse},
	{"serin", "Serin", startSerin},
}

//go:embed haproxy.cfg.tmpl
var haproxyConfig string

//go:embed nginx.conf.tmpl
var nginxConfig string

//go:embed envoy.yaml.tmpl
var envoyConfig string

//go:embed serin.yaml.tmpl
var serinConfig string

// settings fill the templates.
type settings struct {
	Folder                             string
	Port, Stable, Candidate, AccessLog int
	Version, Command                   string // Serin's
}

func (b *bench) write(name, text string, s settings) (string, error) {
	path := filepath.Join(b.folder, name)
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("writing a configuration: %w", err)
	}
	err = template.Must(template.New(name).Parse(text)).Execute(f, s)
	return path, errors.Join(err, f.Close())
}

// simple starts a gateway that has one configuration file and one command.
func (b *bench) simple(name, file, config string, s settings, env []string, command func(file string) []string) (*gateway, error) {
	var err error
	if s.Port, err = freePort(); err != nil {
		return nil, err
	}
	s.Folder, s.Stable, s.Candidate = b.folder, b.stable, b.candidate
	path, err := b.write(file, config, s)
	if err != nil {
		return nil, err
	}
	p, err := launch(b.folder, name, b.o.gatewayCore, env, command(path)...)
	if err != nil {
		return nil, err
	}
	g := &gateway{process: p, port: s.Port, tree: true, stop: p.stop}
	if err := p.waitForPort(s.Port, 20*time.Second); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return g, nil
}

func startHAProxy(b *bench) (*gateway, error) {
	program, err := debian("haproxy")
	if err != nil {
		return nil, err
	}
	return b.simple("haproxy", "haproxy.cfg", haproxyConfig, settings{}, nil, func(file string) []string { return []string{program, "-db", "-f", file} })
}

func startNginx(b *bench) (*gateway, error) {
	program, err := debian("nginx")
	if err != nil {
		return nil, err
	}
	return b.simple("nginx", "nginx.conf", nginxConfig, settings{}, nil, func(file string) []string {
		return []string{program, "-p", b.folder, "-c", file, "-e", "stderr"}
	})
}

func startEnvoy(b *bench, accessLog int) (*gateway, error) {
	program, err := envoy(b.cache)
	if err != nil {
		return nil, err
	}
	name := "envoy"
	if accessLog > 0 {
		name = "envoy-als"
	}
	return b.simple(name, name+".yaml", envoyConfig, settings{AccessLog: accessLog}, nil, func(file string) []string {
		return []string{program, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"}
	})
}

// startEnvoyWithLog adds a sink of the access log, and counts what arrives there.
func startEnvoyWithLog(b *bench) (*gateway, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	sink, err := launch(b.folder, "sink", b.o.othersCore, []string{fmt.Sprintf("PORT=%d", port), "GOMAXPROCS=1"}, b.self, "-sink")
	if err != nil {
		return nil, err
	}
	if err := sink.waitForPort(port, 10*time.Second); err != nil {
		return nil, errors.Join(err, sink.stop())
	}
	g, err := startEnvoy(b, port)
	if err != nil {
		return nil, errors.Join(err, sink.stop())
	}
	gateway := g.stop
	g.stop = func() error { return errors.Join(gateway(), sink.stop()) }
	g.recorded = func() (int, error) {
		time.Sleep(2 * time.Second) // Envoy flushes once a second
		if err := sink.stop(); err != nil {
			return 0, err
		}
		g.stop = gateway
		var n int
		_, err := fmt.Sscanf(sink.lastWords(), sinkReport, &n)
		return n, err
	}
	return g, nil
}

func startReverse(b *bench) (*gateway, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := launch(b.folder, "reverseproxy", b.o.gatewayCore, []string{fmt.Sprintf("PORT=%d", port), "GOMAXPROCS=1"}, b.self, "-reverse", address(b.stable)+","+address(b.candidate))
	if err != nil {
		return nil, err
	}
	if err := p.waitForPort(port, 10*time.Second); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &gateway{process: p, port: port, tree: true, stop: p.stop}, nil
}

// startSerin starts the real `serin serve` and a rollout that stays at its first
// step, 10 %, because the second wants an approval that nobody gives. Its scorers
// are its children, so its own CPU time is counted without theirs.
func startSerin(b *bench) (*gateway, error) {
	program, err := b.buildSerin()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	document := func(version, arm string) (string, error) {
		command, err := json.Marshal(b.scorerCommand(arm))
		if err != nil {
			return "", err
		}
		return b.write("serin-"+version+".yaml", serinConfig, settings{Port: port, Version: version, Command: string(command)})
	}
	first, err := document("1", "stable")
	if err != nil {
		return nil, err
	}
	second, err := document("2", "candidate")
	if err != nil {
		return nil, err
	}
	state := filepath.Join(b.folder, "state")
	p, err := launch(b.folder, "serin", b.o.gatewayCore, []string{"GOMAXPROCS=1"}, program, "serve", "-f", first, "--state", state)
	if err != nil {
		return nil, err
	}
	g := &gateway{process: p, port: port, stop: p.stop, recorded: func() (int, error) { return serinRecorded(program, state) }}
	if err := g.rollOut(program, second, state); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, p.lastWords()), p.stop())
	}
	return g, nil
}

func (g *gateway) rollOut(program, document, state string) error {
	if err := g.process.waitForPort(g.port, 20*time.Second); err != nil {
		return err
	}
	if err := g.waitForAnswer(20 * time.Second); err != nil {
		return err
	}
	if out, err := exec.Command(program, "wait", "--state", state, "--timeout", "20s").CombinedOutput(); err != nil {
		return fmt.Errorf("waiting for the first version: %w: %s", err, out)
	}
	if out, err := exec.Command(program, "apply", "-f", document, "--state", state).CombinedOutput(); err != nil {
		return fmt.Errorf("applying the second version: %w: %s", err, out)
	}
	return nil
}

// serinRecorded asks how many requests of the rollout stand in the evidence, and
// makes sure that it still runs.
func serinRecorded(program, state string) (int, error) {
	time.Sleep(2 * time.Second) // evidence is gathered once a second
	text, err := exec.Command(program, "status", "-o", "json", "--state", state).Output()
	if err != nil {
		return 0, fmt.Errorf("asking serin for its status: %w", err)
	}
	var s struct {
		Rollout struct {
			To, Outcome string
			Evidence    struct{ StableRequests, CandidateRequests int }
		}
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, fmt.Errorf("reading serin's status: %w", err)
	}
	if s.Rollout.To != "2" || s.Rollout.Outcome != "" {
		return 0, fmt.Errorf("the rollout has ended: %s", strings.TrimSpace(string(text)))
	}
	return s.Rollout.Evidence.StableRequests + s.Rollout.Evidence.CandidateRequests, nil
}
