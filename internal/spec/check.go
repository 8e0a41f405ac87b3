package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// checker collects problems and notes.
type checker struct {
	lines    map[string][2]int
	problems []Problem
	broken   []Problem // those of them that hide other fields: what could not be read
	notes    []string
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &Errors{c.problems}
}

func (c *checker) bad(path, problem, remedy string) {
	if c.follows(path) {
		return
	}
	at := c.lines[path]
	c.problems = append(c.problems, Problem{Path: path, Line: at[0], Column: at[1], Problem: problem, Remedy: remedy})
}

// follows reports that a field may be wrong only because of what could not be read: it
// is that field, above or below it, or one that is missing where another has a wrong name.
func (c *checker) follows(path string) bool {
	return slices.ContainsFunc(c.broken, func(b Problem) bool {
		beside := b.Path[:max(strings.LastIndexByte(b.Path, '.'), 0)]
		return within(path, b.Path) || within(b.Path, path) || !c.written(path) && within(path, beside)
	})
}

// within reports whether a path is another, or below it.
func within(path, of string) bool {
	rest, below := strings.CutPrefix(path, of)
	return below && (of == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (c *checker) note(text string) { c.notes = append(c.notes, text) }

// written reports whether the document itself holds the field.
func (c *checker) written(path string) bool { _, ok := c.lines[path]; return ok }

// has reports whether a problem of the field is known.
func (c *checker) has(path string) bool {
	return slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Path == path })
}

// below lists the fields written in an object, in the order of their names.
func (c *checker) below(path string) (out []string) {
	for p := range c.lines {
		if rest, ok := strings.CutPrefix(p, path+"."); ok && !strings.ContainsAny(rest, ".[") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// read applies a reader of a quantity and reports its error with a remedy.
func read[T any](c *checker, path, text string, reader func(string) (T, error), remedy string) T {
	v, err := reader(text)
	if err != nil {
		c.bad(path, err.Error(), remedy)
	}
	return v
}

func (c *checker) oneOf(path, v string, allowed ...string) {
	if !slices.Contains(allowed, v) {
		c.bad(path, fmt.Sprintf("%q is not known", v), "write one of: "+strings.Join(allowed, ", "))
	}
}

func (c *checker) duration(path, text string) time.Duration {
	return read(c, path, text, durationOf, "write for example 30s, 10m or 24h")
}

// positive is a duration that must be more than nothing.
func (c *checker) positive(path, text string) time.Duration {
	d := c.duration(path, text)
	if d == 0 && !c.has(path) {
		c.bad(path, "must be greater than 0", "write for example 10s")
	}
	return d
}

func (c *checker) plan(r v1alpha1.Rollout) rollout.Plan {
	c.oneOf("spec.rollout.approval", r.Approval, "AsMarked", "EveryStep")
	c.oneOf("spec.rollout.onTimeout", r.OnTimeout, "Hold", "Revert")
	if *r.MinRequests < 0 {
		c.bad("spec.rollout.minRequests", fmt.Sprintf("%d is negative", *r.MinRequests), "must be 0 or more")
	}
	if *r.HarmBudget < 0 {
		c.bad("spec.rollout.harmBudget", fmt.Sprintf("%d is negative", *r.HarmBudget), "must be 0 or more")
	}
	p := rollout.Plan{
		ApprovalEvery: r.Approval == "EveryStep", MinRequests: uint64(max(*r.MinRequests, 0)), HarmBudget: float64(*r.HarmBudget), OnTimeout: rollout.OnTimeout(r.OnTimeout),
		Warmup: c.duration("spec.rollout.warmup", r.Warmup), MaxDuration: c.positive("spec.rollout.maxDuration", r.MaxDuration),
		ApprovalTimeout: c.positive("spec.rollout.approvalTimeout", r.ApprovalTimeout), ProgressDeadline: c.positive("spec.rollout.progressDeadline", r.ProgressDeadline),
		KeepFailed: c.duration("spec.rollout.keepFailed", r.KeepFailed), KeepOld: c.duration("spec.rollout.keepOld", r.KeepOld),
	}
	for i, f := range r.Freeze {
		p.Freeze = append(p.Freeze, c.freeze(fmt.Sprintf("spec.rollout.freeze[%d]", i), f))
	}
	p.Steps = c.steps(r.Steps)
	return p
}

func (c *checker) freeze(path string, f v1alpha1.Freeze) rollout.Window {
	w := rollout.Window{Cron: f.Cron, Duration: c.positive(path+".duration", f.Duration), TimeZone: f.TimeZone}
	if c.has(path + ".duration") {
		return w
	}
	if field, err := w.Validate(); err != nil {
		c.bad(path+"."+field, err.Error(), `write for example {cron: "0 17 * * FRI", duration: 63h, timeZone: Europe/Berlin}`)
	}
	return w
}

// together checks what only several fields can get wrong, and says which have no
// effect beside the others.
func (c *checker) together(s v1alpha1.ScoringEndpointSpec, p rollout.Plan) {
	var least time.Duration
	asks, shadow, weight := p.ApprovalEvery, false, false
	for i, step := range p.Steps {
		path := fmt.Sprintf("spec.rollout.steps[%d]", i)
		asks, shadow = asks || step.Approval, shadow || step.ShadowBP > 0
		if p.ApprovalEvery && s.Rollout.Steps[i].Approval == "None" {
			c.note(path + ".approval: None has no effect with approval: EveryStep")
		}
		if step.WeightBP == 10000 {
			if step.MinDuration > 0 {
				c.note(path + ".minDuration has no effect: this step is the promotion; keepOld says how long the old version stays")
			}
			continue
		}
		least += step.MinDuration
		weight = weight || step.WeightBP > 0
		if need := judge.HarmOfNext(0, 0, 0, step.WeightBP); i > 0 && p.Steps[i-1].WeightBP > 0 && need > p.HarmBudget && !c.has("spec.rollout.harmBudget") {
			c.bad("spec.rollout.harmBudget", fmt.Sprintf("%.0f can never let step %s begin: the judge has to see about %.0f failures before it acts there", p.HarmBudget, step.Name, need), fmt.Sprintf("write at least %.0f, or take the step out", need))
		}
	}
	if !weight {
		c.note("spec.rollout.steps has no weight before the promotion: errors and latency are judged by requests of clients, so only serin promote ends such a plan")
	}
	if p.MaxDuration > 0 && least+p.Warmup >= p.MaxDuration && !c.has("spec.rollout.maxDuration") {
		c.bad("spec.rollout.maxDuration", fmt.Sprintf("%s is over before the plan: the steps' minDuration and the warm-up take %s", p.MaxDuration, least+p.Warmup), "make it longer, or the steps shorter")
	}
	if !asks && c.written("spec.rollout.approvalTimeout") {
		c.note("spec.rollout.approvalTimeout has no effect: no step asks for approval")
	}
	if s.Judge.Agreement != nil && !shadow {
		c.note("spec.judge.agreement is not judged: no step of the plan is a shadow step")
	}
}

func (c *checker) steps(steps []v1alpha1.Step) []rollout.PlanStep {
	if len(steps) == 0 || len(steps) > 50 {
		c.bad("spec.rollout.steps", fmt.Sprintf("has %d steps", len(steps)), "write 1 to 50, the last of them weight: 100%")
		return nil
	}
	var out []rollout.PlanStep
	names, last := map[string]bool{}, 0
	for i, s := range steps {
		path := fmt.Sprintf("spec.rollout.steps[%d]", i)
		p := rollout.PlanStep{Name: s.Name, MinDuration: c.duration(path+".minDuration", s.MinDuration), Approval: s.Approval == "Required"}
		if s.Approval != "" {
			c.oneOf(path+".approval", s.Approval, "Required", "None")
		}
		last = c.share(&p, path, s, last)
		if c.word(path+".name", s.Name); len(s.Name) > 63 {
			c.bad(path+".name", "is longer than 63 characters", "shorten it")
		}
		if names[s.Name] {
			c.bad(path+".name", fmt.Sprintf("%q is used twice", s.Name), "give the steps different names")
		}
		names[s.Name] = true
		out = append(out, p)
	}
	if last != 10000 {
		c.bad(fmt.Sprintf("spec.rollout.steps[%d]", len(steps)-1), "the last step must be the promotion", "end the list with {weight: 100%}")
	}
	return out
}

// share reads what a step moves; last is the weight before it, and then of it.
func (c *checker) share(p *rollout.PlanStep, path string, s v1alpha1.Step, last int) int {
	switch {
	case (s.Shadow == "") == (s.Weight == ""):
		c.bad(path, "must have either shadow or weight", "write {shadow: 100%} or {weight: 10%}")
	case s.Shadow != "":
		p.ShadowBP = c.step(path+".shadow", s.Shadow)
		if last > 0 {
			c.bad(path+".shadow", "a shadow step comes after a weight step", "put shadow steps first")
		}
	default:
		p.WeightBP = c.step(path+".weight", s.Weight)
		if p.WeightBP > 0 && p.WeightBP <= last {
			c.bad(path+".weight", fmt.Sprintf("%s is not more than the step before", s.Weight), "let weights grow from step to step")
		}
	}
	return max(last, p.WeightBP)
}

// step reads a share that is more than nothing.
func (c *checker) step(path, text string) int {
	bp := read(c, path, text, percentBP, "write for example 10%")
	if bp == 0 && !c.has(path) {
		c.bad(path, "0% moves nothing", "write at least 0.01%")
	}
	return bp
}
