package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Result is what became of a stage, a job or a step.
type Result string

// Results, as the documentation names them.
const (
	Succeeded           Result = "Succeeded"
	SucceededWithIssues Result = "SucceededWithIssues"
	Skipped             Result = "Skipped"
	Failed              Result = "Failed"
	Canceled            Result = "Canceled"
)

// Answer is what became of an approval.
type Answer int

// Answers of a gate.
const (
	Approved Answer = iota
	Rejected
	TimedOut
	unanswered // whoever was asked is gone
)

// Run is one run of a pipeline.
type Run struct {
	Pipeline   *Pipeline
	Predefined map[string]string // variables that the service sets, such as Build.BuildNumber
	Secrets    map[string]string // variables that scripts get only where they are mapped
	// Gate is asked before a stage with an environment starts, and answers when a person would have.
	Gate func(ctx context.Context, stage, environment string) Answer
	// RejectedAs is the result of a stage whose approval was rejected: the documentation
	// says that it is not executed, and leaves open whether it counts as failed or skipped.
	RejectedAs  Result
	Locks       *Locks            // exclusive locks of environments; nil: the check is not set
	Connections map[string]string // service connections: name → kubeconfig, empty for Azure
	Repository  string            // folder that checkout gives
	Env         []string          // of the agent
	Log         func(stage, line string)
	Limit       time.Duration // of the whole run; 0: mostOfARun

	all, gates sync.WaitGroup
	over       context.Context // ends when nothing may run any more
	stop       context.CancelFunc
	late       *time.Timer
	cancel     context.CancelFunc
	cancelled  context.Context

	mu        sync.Mutex
	doing     map[string]activity // of stages and jobs
	hung      error
	stages    map[string]Result
	jobs      map[string]map[string]*jobRecord // stage → job
	codes     map[string]int                   // stage/step → exit code
	Summaries []Summary
}

// Summary is a text of the run's summary page.
type Summary struct{ Stage, Title, Text string }

type jobRecord struct {
	result  Result
	outputs map[string]string // as stageDependencies names them
}

// Start begins the run, which ends with ctx or after its limit at the latest; Wait waits for that.
func (r *Run) Start(ctx context.Context) {
	r.stages, r.jobs, r.codes, r.doing = map[string]Result{}, map[string]map[string]*jobRecord{}, map[string]int{}, map[string]activity{}
	r.bound(ctx)
	r.cancelled, r.cancel = context.WithCancel(r.over)
	done := map[string]chan struct{}{}
	for _, s := range r.Pipeline.Stages {
		done[s.Name] = make(chan struct{})
	}
	for _, s := range r.Pipeline.Stages {
		r.all.Go(func() {
			defer close(done[s.Name])
			for _, d := range s.DependsOn {
				<-done[d]
			}
			result := r.stage(s)
			r.mu.Lock()
			r.stages[s.Name] = result
			r.mu.Unlock()
			r.log(s.Name, "stage "+string(result))
		})
	}
}

// Cancel cancels the run, as a person does.
func (r *Run) Cancel() { r.cancel() }

// Results returns what became of each stage so far.
func (r *Run) Results() map[string]Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.stages)
}

// Codes returns the exit codes of named steps, as STAGE/STEP.
func (r *Run) Codes() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.codes)
}

func (r *Run) log(stage, line string) {
	if r.Log != nil {
		r.Log(stage, line)
	}
}

// broken is how a mistake in the pipeline ends its stage.
func (r *Run) broken(stage string, err error) Result {
	r.log(stage, "##[error]"+err.Error())
	return Failed
}

// stage runs a stage: condition, then the gates, then the lock, then its jobs.
func (r *Run) stage(s *Stage) Result {
	defer r.does(s.Name, "")
	in, err := r.stageScope(s)
	if err != nil {
		return r.broken(s.Name, err)
	}
	run, err := r.condition(s.Condition, in)
	switch {
	case err != nil:
		return r.broken(s.Name, err)
	case !run:
		return Skipped
	}
	environments := s.environments()
	for _, e := range environments {
		r.does(s.Name, "waits at the gate of "+e)
		switch r.gate(s.Name, e) {
		case Rejected:
			return r.RejectedAs
		case TimedOut:
			return Skipped
		case unanswered:
			return r.broken(s.Name, errors.New("whoever was asked at the gate of "+e+" is gone without an answer"))
		case Approved:
		}
		if r.cancelled.Err() != nil {
			return Canceled
		}
	}
	for _, e := range environments {
		r.does(s.Name, "waits for the lock of "+e)
		unlock, ok := r.Locks.acquire(r.cancelled, e, s.LockBehavior)
		if !ok {
			return Canceled
		}
		defer unlock()
	}
	r.does(s.Name, "runs jobs")
	return r.allJobs(s)
}

func (s *Stage) environments() (out []string) {
	for _, j := range s.Jobs {
		if j.Environment != "" && !slices.Contains(out, j.Environment) {
			out = append(out, j.Environment)
		}
	}
	return out
}

func (r *Run) gate(stage, environment string) Answer {
	if r.Gate == nil {
		return Approved
	}
	answer := make(chan Answer, 1)
	r.gates.Go(func() {
		a := unanswered // what t.Fatal leaves
		defer func() { answer <- a }()
		a = r.Gate(r.cancelled, stage, environment)
	})
	select {
	case a := <-answer:
		return a
	case <-r.cancelled.Done():
		return Approved // and then it is found cancelled
	}
}

func (r *Run) allJobs(s *Stage) Result {
	r.mu.Lock()
	r.jobs[s.Name] = map[string]*jobRecord{}
	r.mu.Unlock()
	done := map[string]chan struct{}{}
	for _, j := range s.Jobs {
		done[j.Name] = make(chan struct{})
	}
	var all sync.WaitGroup
	for _, j := range s.Jobs {
		all.Go(func() {
			defer close(done[j.Name])
			for _, d := range j.DependsOn {
				<-done[d]
			}
			record := r.job(s, j)
			r.does(s.Name+"/"+j.Name, "")
			r.mu.Lock()
			r.jobs[s.Name][j.Name] = record
			r.mu.Unlock()
		})
	}
	all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var results []Result
	for _, j := range r.jobs[s.Name] {
		results = append(results, j.result)
	}
	return together(results)
}

// together is the result of a whole by those of its parts.
func together(parts []Result) Result {
	for _, worst := range []Result{Failed, Canceled, SucceededWithIssues, Succeeded} {
		if slices.Contains(parts, worst) {
			return worst
		}
	}
	return Skipped
}

// condition evaluates a condition; none means succeeded().
func (r *Run) condition(c string, s scope) (bool, error) {
	if c == "" {
		c = "succeeded()"
	}
	v, err := evaluate(c, s)
	return truth(v), err
}

// stageScope is what a stage's condition may name.
func (r *Run) stageScope(s *Stage) (scope, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	direct := map[string]any{}
	for _, d := range s.DependsOn {
		outputs := map[string]any{}
		for job, record := range r.jobs[d] {
			for name, value := range record.outputs {
				outputs[job+"."+name] = value
			}
		}
		direct[d] = map[string]any{"result": string(r.stages[d]), "outputs": outputs}
	}
	before := map[string]Result{}
	r.ancestors(s, before)
	names := map[string]any{"dependencies": direct}
	return scope{names, r.statusOf(before)}, r.known(names, s.Variables)
}

// known adds the variables that a condition may name: those from around it with their values. Its own runtime expressions
// are evaluated when it runs, which the condition has not decided yet.
func (r *Run) known(names map[string]any, own []Variable, around ...[]Variable) error {
	names["variables"] = r.variables(around...)
	values, err := r.resolve(r.variables(around...), names)
	for _, v := range own {
		if !runtime(v.Value) {
			values.set(v.Name, v.Value)
		}
	}
	names["variables"] = values
	return err
}

// ancestors collects the results of all that a stage depends on, recursively.
func (r *Run) ancestors(s *Stage, into map[string]Result) {
	for _, d := range s.DependsOn {
		if _, known := into[d]; known {
			continue
		}
		into[d] = r.stages[d]
		for _, other := range r.Pipeline.Stages {
			if other.Name == d {
				r.ancestors(other, into)
			}
		}
	}
}

// statusOf are the job status check functions over what came before.
func (r *Run) statusOf(before map[string]Result) map[string]function {
	cancelled := r.cancelled != nil && r.cancelled.Err() != nil
	good := []Result{Succeeded, SucceededWithIssues}
	constant := func(v bool) function { return func([]node, scope) (any, error) { return v, nil } }
	return map[string]function{
		"always":   constant(true),
		"canceled": constant(cancelled),
		"succeeded": chosen(before, func(some []Result) bool {
			return !cancelled && !slices.ContainsFunc(some, func(x Result) bool { return !slices.Contains(good, x) })
		}),
		"failed": chosen(before, func(some []Result) bool { return slices.Contains(some, Failed) }),
		// "like always(), except it will evaluate False when the pipeline is canceled"
		"succeededOrFailed": chosen(before, func([]Result) bool { return !cancelled }),
	}
}

// chosen applies a check to all results, or to those that the arguments name.
func chosen(before map[string]Result, check func([]Result) bool) function {
	return func(args []node, s scope) (any, error) {
		if len(args) == 0 {
			return check(slices.Collect(maps.Values(before))), nil
		}
		var some []Result
		for _, a := range args {
			v, err := a.eval(s)
			if err != nil {
				return nil, err
			}
			x, known := before[text(v)]
			if !known {
				return nil, fmt.Errorf("%q is not before this", text(v))
			}
			some = append(some, x)
		}
		return check(some), nil
	}
}

// values are variables: flat, their names without regard to case.
type values map[string]string

func (v values) lookup(key string) (any, error) {
	for k, x := range v {
		if strings.EqualFold(k, key) {
			return x, nil
		}
	}
	return nil, nil
}

func (v values) set(key, value string) {
	for k := range v {
		if strings.EqualFold(k, key) {
			delete(v, k)
		}
	}
	v[key] = value
}

// variables merges predefined ones, the pipeline's, and those of what is within.
func (r *Run) variables(more ...[]Variable) values {
	out := values{}
	maps.Copy(out, r.Predefined)
	for _, list := range append([][]Variable{r.Pipeline.Variables}, more...) {
		for _, v := range list {
			out.set(v.Name, v.Value)
		}
	}
	return out
}
