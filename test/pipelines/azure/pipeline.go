// Package azure interprets pipelines of Azure DevOps, as far as Serin's need it: templates, the order and the conditions
// of stages, jobs and steps, deployment jobs, the gates of environments, output variables, cancellation. It executes the
// steps' own scripts. What it does not know it refuses, so that nothing is passed over in silence.
package azure

import (
	"fmt"
	"slices"
	"strings"
)

// Pipeline is a pipeline after its templates were expanded.
type Pipeline struct {
	Name         string
	LockBehavior string
	Variables    []Variable
	Stages       []*Stage
}

// Variable is one of a pipeline, a stage or a job; its value may be a runtime expression.
type Variable struct{ Name, Value string }

// Stage is a stage; without dependsOn it depends on the one before it.
type Stage struct {
	Name, Display, Condition, LockBehavior string
	DependsOn                              []string
	Variables                              []Variable
	Jobs                                   []*Job
	Skippable                              bool // who queues a run may leave it out
}

// Job is a job, or a deployment job with an environment.
type Job struct {
	Name, Display, Condition string
	Environment              string // of a deployment job
	Deployment               bool
	Minutes                  float64
	DependsOn                []string
	Variables                []Variable
	Steps                    []*Step
}

// Step is a script or a task.
type Step struct {
	Name, Display, Condition string
	Task                     string // such as AzureCLI@2; Bash@3 for `bash`
	Inputs, Env              map[string]string
	ContinueOnError          bool
}

// Load expands a pipeline file; parameters are what a person gives when queueing.
func Load(file string, parameters map[string]string) (*Pipeline, error) {
	given := newMapping()
	for k, v := range parameters {
		given.set(k, v)
	}
	top, err := expandFile(file, given, map[string]any{})
	if err != nil {
		return nil, err
	}
	p, err := pipelineOf(top)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// reader reads the properties of a mapping, and tells of those nobody read.
type reader struct {
	*mapping
	what string
	read []string
	err  error
}

func read(v any, what string) *reader {
	m, ok := v.(*mapping)
	r := &reader{mapping: m, what: what}
	if !ok {
		r.mapping, r.err = newMapping(), fmt.Errorf("%s: a mapping was expected", what)
	}
	return r
}

func (r *reader) take(key string) any {
	r.read = append(r.read, key)
	return r.items[key]
}

func (r *reader) text(key string) string {
	v := r.take(key)
	switch v.(type) {
	case []any, *mapping:
		r.fail(fmt.Errorf("%s: %s: a text was expected", r.what, key))
	}
	return text(v)
}

func (r *reader) list(key string) []any {
	v, ok := r.take(key).([]any)
	if _, has := r.items[key]; has && !ok {
		r.fail(fmt.Errorf("%s: %s: a list was expected", r.what, key))
	}
	return v
}

// names reads a text or a list of them; has tells a list that is empty from none.
func (r *reader) names(key string) (out []string, has bool) {
	v, has := r.items[key]
	r.take(key)
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		for _, x := range v {
			out = append(out, text(x))
		}
	}
	return out, has
}

func (r *reader) texts(key string) map[string]string {
	out := map[string]string{}
	m, _ := r.take(key).(*mapping)
	if m != nil {
		for k, v := range m.items {
			out[k] = text(v)
		}
	}
	return out
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// done returns the first thing that was wrong; ignored are properties without meaning here.
func (r *reader) done(ignored ...string) error {
	for _, k := range r.keys {
		if !slices.Contains(r.read, k) && !slices.Contains(ignored, k) {
			r.fail(fmt.Errorf("%s: property %q is not known to this interpreter", r.what, k))
		}
	}
	return r.err
}

func variablesOf(r *reader) []Variable {
	var out []Variable
	switch v := r.take("variables").(type) {
	case *mapping:
		for _, k := range v.keys {
			out = append(out, Variable{k, text(v.items[k])})
		}
	case []any:
		for _, x := range v {
			one := read(x, r.what+": variables")
			out = append(out, Variable{one.text("name"), one.text("value")})
			r.fail(one.done())
		}
	}
	return out
}

func pipelineOf(top *mapping) (*Pipeline, error) {
	r := read(top, "pipeline")
	p := &Pipeline{Name: r.text("name"), LockBehavior: r.text("lockBehavior"), Variables: variablesOf(r)}
	before := []string{}
	for _, v := range r.list("stages") {
		s, err := stageOf(v, before, p.LockBehavior)
		if err != nil {
			return nil, err
		}
		before = []string{s.Name}
		p.Stages = append(p.Stages, s)
	}
	if jobs, has := r.items["jobs"]; has { // a pipeline of one stage
		r.take("jobs")
		s := newMapping()
		s.set("stage", "__default")
		s.set("jobs", jobs)
		one, err := stageOf(s, nil, "")
		if err != nil {
			return nil, err
		}
		p.Stages = append(p.Stages, one)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, r.done("trigger", "pr", "pool")
}

// check refuses names that are there twice, and dependencies on what is not there.
func (p *Pipeline) check() error {
	seen := map[string]bool{}
	for _, s := range p.Stages {
		for _, d := range s.DependsOn {
			if !seen[d] {
				return fmt.Errorf("stage %s depends on %s, which is not before it", s.Name, d)
			}
		}
		if seen[s.Name] {
			return fmt.Errorf("stage %s is there twice", s.Name)
		}
		seen[s.Name] = true
		jobs := map[string]bool{}
		for _, j := range s.Jobs {
			if jobs[j.Name] {
				return fmt.Errorf("stage %s: job %s is there twice", s.Name, j.Name)
			}
			for _, d := range j.DependsOn {
				if !jobs[d] {
					return fmt.Errorf("stage %s: job %s depends on %s, which is not before it", s.Name, j.Name, d)
				}
			}
			jobs[j.Name] = true
		}
	}
	return nil
}

func stageOf(v any, before []string, lock string) (*Stage, error) {
	r := read(v, "stage")
	s := &Stage{Name: r.text("stage"), Display: r.text("displayName"), Condition: r.text("condition"), LockBehavior: r.text("lockBehavior"), Variables: variablesOf(r)}
	r.what = "stage " + s.Name
	if s.LockBehavior == "" {
		s.LockBehavior = lock
	}
	s.Skippable = !strings.EqualFold(r.text("isSkippable"), "false")
	var has bool
	if s.DependsOn, has = r.names("dependsOn"); !has {
		s.DependsOn = before
	}
	for _, v := range r.list("jobs") {
		j, err := jobOf(v)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", s.Name, err)
		}
		s.Jobs = append(s.Jobs, j)
	}
	return s, r.done()
}

func jobOf(v any) (*Job, error) {
	r := read(v, "job")
	j := &Job{Name: r.text("job"), Display: r.text("displayName"), Condition: r.text("condition"), Variables: variablesOf(r)}
	if name := r.text("deployment"); name != "" {
		j.Name, j.Deployment, j.Environment = name, true, r.text("environment")
	}
	r.what = "job " + j.Name
	if strings.Contains(j.Environment, ".") {
		r.fail(fmt.Errorf("%s: environment %s: resources of an environment are not known to this interpreter", r.what, j.Environment))
	}
	j.DependsOn, _ = r.names("dependsOn")
	j.Minutes, _ = number(r.text("timeoutInMinutes"))
	steps := r.list("steps")
	if j.Deployment {
		steps = deploySteps(r)
	}
	for _, v := range steps {
		s, err := stepOf(v)
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", j.Name, err)
		}
		j.Steps = append(j.Steps, s)
	}
	if len(j.Steps) == 0 {
		r.fail(fmt.Errorf("job %s: no steps", j.Name))
	}
	return j, r.done("pool")
}

// deploySteps are those of strategy runOnce; another one is not known here.
func deploySteps(r *reader) []any {
	strategy := read(r.take("strategy"), r.what+": strategy")
	once := read(strategy.take("runOnce"), r.what+": strategy: runOnce")
	deploy := read(once.take("deploy"), r.what+": deploy")
	steps := deploy.list("steps")
	for _, x := range []*reader{strategy, once, deploy} {
		r.fail(x.done())
	}
	return steps
}

// shorthands are steps that are tasks in short; the key's value goes to that input.
var shorthands = map[string][2]string{
	"bash": {"Bash@3", "script"}, "script": {"CmdLine@2", "script"}, "checkout": {"checkout", "repository"},
	"download": {"download", "source"}, "publish": {"publish", "path"},
}

func stepOf(v any) (*Step, error) {
	r := read(v, "step")
	s := &Step{Name: r.text("name"), Display: r.text("displayName"), Condition: r.text("condition"), Task: r.text("task"), Inputs: r.texts("inputs"), Env: r.texts("env")}
	for key, as := range shorthands {
		if _, has := r.items[key]; has {
			s.Task, s.Inputs[as[1]] = as[0], r.text(key)
		}
	}
	for _, key := range []string{"fetchDepth", "artifact"} {
		if _, has := r.items[key]; has {
			s.Inputs[key] = r.text(key)
		}
	}
	s.ContinueOnError = strings.EqualFold(r.text("continueOnError"), "true")
	if r.what = "step " + s.Task; s.Task == "" {
		r.fail(fmt.Errorf("step with %v: not known to this interpreter", r.keys))
	}
	return s, r.done()
}
