package azure

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tasks say what a task does: they return a script to run, or none.
var tasks = map[string]func(a *agent, in map[string]string) (script string, err error){
	"checkout": func(a *agent, in map[string]string) (string, error) {
		if in["repository"] != "self" {
			return "", fmt.Errorf("repository %q: only self", in["repository"])
		}
		return "", nil
	},
	"download": func(_ *agent, in map[string]string) (string, error) {
		if in["source"] != "none" {
			return "", fmt.Errorf("source %q: only none", in["source"])
		}
		return "", nil
	},
	"publish": func(_ *agent, in map[string]string) (string, error) {
		_, err := os.Stat(in["path"])
		return "", err
	},
	"Bash@3":               func(_ *agent, in map[string]string) (string, error) { return in["script"], nil },
	"CmdLine@2":            func(_ *agent, in map[string]string) (string, error) { return in["script"], nil }, // on Linux a shell too
	"KubeloginInstaller@0": func(*agent, map[string]string) (string, error) { return "", nil },
	"AzureCLI@2":           azureCLI,
	"Kubernetes@1":         kubernetesLogin,
}

func azureCLI(a *agent, in map[string]string) (string, error) {
	if _, known := a.run.Connections[in["azureSubscription"]]; !known {
		return "", fmt.Errorf("there is no service connection %q", in["azureSubscription"])
	}
	if in["scriptType"] != "bash" || in["scriptLocation"] != "scriptPath" {
		return "", errors.New("only scriptType bash with a scriptPath")
	}
	path := filepath.Join(a.run.Repository, in["scriptPath"])
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return "bash " + path, nil
}

// kubernetesLogin sets KUBECONFIG for the steps that follow.
func kubernetesLogin(a *agent, in map[string]string) (string, error) {
	file := a.run.Connections[in["kubernetesServiceEndpoint"]]
	if file == "" || in["command"] != "login" {
		return "", fmt.Errorf("there is no Kubernetes connection %q, or the command is not login", in["kubernetesServiceEndpoint"])
	}
	a.vars.set("KUBECONFIG", file)
	return "", nil
}

// How an agent ends a script that was cancelled. The real one signals the task, which is between it and the script, and kills
// what is left when the job ends; here the script and all that it started get the signals.
const (
	afterInterrupt = 7500 * time.Millisecond
	afterTerminate = 2500 * time.Millisecond
)

// execute runs a script as the agent does, and follows what it says.
func (a *agent) execute(step, script string, env map[string]string) int {
	if a.run.over.Err() != nil {
		a.run.broken(a.stage.Name, errors.New("the run is over: nothing more is run"))
		return 1
	}
	file := filepath.Join(a.temp, "step.sh")
	if err := os.WriteFile(file, []byte(a.macros(script)), 0o700); err != nil {
		a.run.broken(a.stage.Name, err)
		return 1
	}
	c := exec.Command("bash", "--noprofile", "--norc", file)
	c.Dir, c.Env, c.SysProcAttr = a.run.Repository, a.environment(env), &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	c.Stdout, c.Stderr, c.WaitDelay = w, w, 5*time.Second
	stop := a.ctx.Done()
	if a.ctx.Err() != nil { // what runs after the cancellation has its own time
		stop = nil
	}
	if err := c.Start(); err != nil {
		a.run.broken(a.stage.Name, err)
		return 1
	}
	read := make(chan struct{})
	go func() { defer close(read); a.follow(step, r) }()
	ended := make(chan struct{})
	go end(c.Process.Pid, stop, a.run.over.Done(), ended)
	err := c.Wait()
	close(ended)
	_ = w.Close()
	<-read
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil:
		a.run.broken(a.stage.Name, err)
		return 1
	}
	return 0
}

// end asks a cancelled script to end, then insists; once the run is over it does not ask.
func end(group int, stop, over, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-over:
	case <-stop:
	}
	for _, next := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, afterInterrupt}, {syscall.SIGTERM, afterTerminate}, {syscall.SIGKILL, 0}} {
		_ = syscall.Kill(-group, next.signal)
		select {
		case <-ended:
			return
		case <-over:
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return
		case <-time.After(next.wait):
		}
	}
}

func (a *agent) follow(step string, r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if i := strings.Index(line, "##vso["); i >= 0 {
			if err := a.command(step, line[i+len("##vso["):]); err != nil {
				a.run.broken(a.stage.Name, err)
			}
		}
		a.run.log(a.stage.Name, line)
	}
	_, _ = io.Copy(io.Discard, r)
}

var escapes = strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]", "%AZP25", "%")

// command carries out a logging command: area.action key=value;…]data.
func (a *agent) command(step, text string) error {
	head, data, ok := strings.Cut(text, "]")
	if !ok {
		return fmt.Errorf("##vso[%s: no ] ends it", text)
	}
	action, rest, _ := strings.Cut(head, " ")
	properties := map[string]string{}
	for _, p := range strings.Split(rest, ";") {
		k, v, _ := strings.Cut(p, "=")
		properties[strings.ToLower(strings.TrimSpace(k))] = escapes.Replace(v)
	}
	data = escapes.Replace(data)
	switch action {
	case "task.setvariable":
		a.setVariable(step, properties, data)
	case "task.uploadsummary":
		body, err := os.ReadFile(data)
		if err != nil {
			return fmt.Errorf("##vso[task.uploadsummary]: %w", err)
		}
		a.run.mu.Lock()
		a.run.Summaries = append(a.run.Summaries, Summary{a.stage.Name, strings.TrimSuffix(filepath.Base(data), ".md"), string(body)})
		a.run.mu.Unlock()
	case "task.prependpath":
		a.paths = append([]string{data}, a.paths...)
	case "task.logissue", "task.setsecret":
	default:
		return fmt.Errorf("##vso[%s]: not known to this interpreter", action)
	}
	return nil
}

// setVariable sets a variable for later steps; an output variable carries its step's name.
func (a *agent) setVariable(step string, p map[string]string, value string) {
	name := p["variable"]
	if strings.EqualFold(p["isoutput"], "true") {
		if step == "" {
			a.run.broken(a.stage.Name, fmt.Errorf("output variable %s of a step without a name can never be read", name))
			return
		}
		a.out[step+"."+name] = value
		name = step + "." + name
	}
	a.vars.set(name, value)
}
