package azure

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// agent runs the steps of one job.
type agent struct {
	run   *Run
	stage *Stage
	job   *Job
	vars  values
	out   map[string]string // output variables, STEP.NAME
	temp  string
	paths []string // prepended
	state Result   // Agent.JobStatus
	ctx   context.Context
}

// job evaluates a job's condition and runs its steps.
func (r *Run) job(s *Stage, j *Job) *jobRecord {
	record := &jobRecord{result: Skipped, outputs: map[string]string{}}
	in, run, err := r.starts(s, j)
	if err != nil {
		record.result = r.broken(s.Name, err)
		return record
	}
	if !run {
		return record
	}
	temp, err := os.MkdirTemp("", "agent")
	if err != nil {
		record.result = r.broken(s.Name, err)
		return record
	}
	defer func() { _ = os.RemoveAll(temp) }()
	ctx := r.over
	// A run that was cancelled before cancels no job that starts afterwards.
	if r.cancelled.Err() == nil {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(r.cancelled, stop)()
	}
	if j.Minutes > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(j.Minutes*float64(time.Minute)))
		defer stop()
	}
	a := &agent{run: r, stage: s, job: j, out: map[string]string{}, temp: temp, state: Succeeded, ctx: ctx}
	if a.vars, err = r.resolve(r.variables(s.Variables, j.Variables), in); err != nil {
		record.result = r.broken(s.Name, err)
		return record
	}
	record.result = a.steps()
	for name, value := range a.out {
		if j.Deployment { // runOnce: the job's name stands before the step's once more
			name = j.Name + "." + name
		}
		record.outputs[name] = value
	}
	return record
}

// starts evaluates a job's condition.
func (r *Run) starts(s *Stage, j *Job) (names map[string]any, run bool, err error) {
	names, status, err := r.jobScope(s, j)
	if err == nil {
		run, err = r.condition(j.Condition, scope{names, status})
	}
	return names, run, err
}

// jobScope is what a job's condition and its variables may name.
func (r *Run) jobScope(s *Stage, j *Job) (map[string]any, map[string]function, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	view := func(x *jobRecord) map[string]any {
		outputs := map[string]any{}
		for k, v := range x.outputs {
			outputs[k] = v
		}
		return map[string]any{"result": string(x.result), "outputs": outputs}
	}
	before, direct := map[string]Result{}, map[string]any{}
	r.jobsBefore(s, j, before)
	for _, d := range j.DependsOn {
		direct[d] = view(r.jobs[s.Name][d])
	}
	stages := map[string]any{}
	for _, d := range s.DependsOn { // others need a dependsOn
		jobs := map[string]any{}
		for name, x := range r.jobs[d] {
			jobs[name] = view(x)
		}
		stages[d] = jobs
	}
	names := map[string]any{"dependencies": direct, "stageDependencies": stages}
	return names, r.statusOf(before), r.known(names, j.Variables, s.Variables)
}

func (r *Run) jobsBefore(s *Stage, j *Job, into map[string]Result) {
	for _, d := range j.DependsOn {
		into[d] = r.jobs[s.Name][d].result
		for _, other := range s.Jobs {
			if other.Name == d {
				r.jobsBefore(s, other, into)
			}
		}
	}
}

// runtime tells a runtime expression, which is the whole of a value.
func runtime(value string) bool { return strings.HasPrefix(strings.TrimSpace(value), "$[") }

// resolve evaluates runtime expressions.
func (r *Run) resolve(in values, names map[string]any) (values, error) {
	out := values{}
	for k, v := range in {
		if runtime(v) {
			inner := strings.TrimPrefix(strings.TrimSpace(v), "$[")
			x, err := evaluate(strings.TrimSuffix(inner, "]"), scope{names: names})
			if err != nil {
				return nil, fmt.Errorf("variable %s: %w", k, err)
			}
			v = text(x)
		}
		out[k] = v
	}
	return out, nil
}

// steps runs them in order; each one's condition counts, also after a failure.
func (a *agent) steps() Result {
	a.vars.set("Agent.TempDirectory", a.temp)
	a.vars.set("Agent.ToolsDirectory", filepath.Join(a.temp, "tools"))
	a.vars.set("Pipeline.Workspace", filepath.Join(a.temp, "workspace"))
	a.vars.set("Build.ArtifactStagingDirectory", filepath.Join(a.temp, "artifacts"))
	a.vars.set("System.DefaultWorkingDirectory", a.run.Repository)
	a.vars.set("Build.SourcesDirectory", a.run.Repository)
	a.vars.set("System.StageName", a.stage.Name)
	a.vars.set("System.JobName", a.job.Name)
	for _, s := range a.job.Steps {
		run, err := a.run.condition(s.Condition, a.scope())
		if err != nil {
			a.state = a.run.broken(a.stage.Name, err)
			continue
		}
		if run {
			a.account(s, a.step(s))
		}
	}
	return a.state
}

// scope is what a step's condition may name: the status functions ask the job's state.
func (a *agent) scope() scope {
	is := func(states ...Result) function {
		return func([]node, scope) (any, error) { return slices.Contains(states, a.state), nil }
	}
	a.vars.set("Agent.JobStatus", string(a.state))
	return scope{map[string]any{"variables": a.vars}, map[string]function{
		"always":            is(Succeeded, SucceededWithIssues, Failed, Canceled),
		"canceled":          is(Canceled),
		"failed":            is(Failed),
		"succeeded":         is(Succeeded, SucceededWithIssues),
		"succeededOrFailed": is(Succeeded, SucceededWithIssues, Failed),
	}}
}

// account takes a step's exit code into the job's state.
func (a *agent) account(s *Step, code int) {
	if s.Name != "" {
		a.run.mu.Lock()
		a.run.codes[a.stage.Name+"/"+s.Name] = code
		a.run.mu.Unlock()
	}
	switch {
	case a.run.cancelled.Err() != nil && a.ctx.Err() != nil:
		a.state = Canceled
	case code == 0:
	case s.ContinueOnError:
		if a.state == Succeeded {
			a.state = SucceededWithIssues
		}
	default:
		a.state = Failed
	}
}

var macro = regexp.MustCompile(`\$\(([A-Za-z0-9_.]+)\)`)

// macros replaces $(NAME); one without a value stays as it is.
func (a *agent) macros(in string) string {
	for range 5 { // a value may name others
		out := macro.ReplaceAllStringFunc(in, func(m string) string {
			key := m[2 : len(m)-1]
			for _, from := range []values{a.vars, a.run.Secrets} {
				if v, _ := from.lookup(key); v != nil {
					return text(v)
				}
			}
			return m
		})
		if out == in {
			break
		}
		in = out
	}
	return in
}

// step runs one step and returns its exit code.
func (a *agent) step(s *Step) int {
	inputs := map[string]string{}
	for k, v := range s.Inputs {
		inputs[k] = a.macros(v)
	}
	env := map[string]string{}
	for k, v := range s.Env {
		env[k] = a.macros(v)
	}
	a.run.log(a.stage.Name, "== "+s.Task+" "+s.Display)
	a.run.does(a.stage.Name+"/"+a.job.Name, fmt.Sprintf("runs step %q", cmp.Or(s.Display, s.Name, s.Task)))
	task, known := tasks[s.Task]
	if !known {
		a.run.broken(a.stage.Name, fmt.Errorf("task %s is not known to this interpreter", s.Task))
		return 1
	}
	script, err := task(a, inputs)
	if err != nil {
		a.run.broken(a.stage.Name, fmt.Errorf("%s: %w", s.Task, err))
		return 1
	}
	if script == "" {
		return 0
	}
	return a.execute(s.Name, script, env)
}

// environment is what a script gets: the agent's own, the variables, the step's.
func (a *agent) environment(more map[string]string) []string {
	all := map[string]string{}
	for _, kv := range append(os.Environ(), a.run.Env...) {
		k, v, _ := strings.Cut(kv, "=")
		all[k] = v
	}
	for k, v := range a.vars {
		all[strings.NewReplacer(".", "_", " ", "_").Replace(strings.ToUpper(k))] = a.macros(v)
	}
	maps.Copy(all, more)
	all["TF_BUILD"] = "True"
	all["PATH"] = strings.Join(append(slices.Clone(a.paths), all["PATH"]), ":")
	var out []string
	for k, v := range all {
		out = append(out, k+"="+v)
	}
	return out
}
