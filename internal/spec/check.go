package spec

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
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
	notes    []string
}

func (c *checker) bad(path, problem, remedy string) {
	at := c.lines[path]
	c.problems = append(c.problems, Problem{Path: path, Line: at[0], Column: at[1], Problem: problem, Remedy: remedy})
}

func (c *checker) note(text string) { c.notes = append(c.notes, text) }

// written reports whether the document itself holds the field.
func (c *checker) written(path string) bool { _, ok := c.lines[path]; return ok }

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
	if d == 0 && len(c.problems) == 0 {
		c.bad(path, "must be greater than 0", "write for example 10s")
	}
	return d
}

func (c *checker) head(e v1alpha1.ScoringEndpoint) {
	if e.APIVersion != v1alpha1.APIVersion {
		c.bad("apiVersion", fmt.Sprintf("%q is not known", e.APIVersion), "write apiVersion: "+v1alpha1.APIVersion)
	}
	if e.Kind != v1alpha1.Kind {
		c.bad("kind", fmt.Sprintf("%q is not known", e.Kind), "write kind: "+v1alpha1.Kind)
	}
	if !dnsLabel.MatchString(e.Name) {
		c.bad("metadata.name", fmt.Sprintf("%q is no name", e.Name), "use up to 50 lower-case letters, digits and -, for example safe-driver")
	}
}

func (c *checker) scorer(s v1alpha1.Scorer) {
	if s.Image == "" && s.Local == nil {
		c.bad("spec.scorer", "says neither image nor local", "write image (Kubernetes), local (one machine), or both")
	}
	if l := s.Local; l != nil && (l.Model == "") == (len(l.Command) == 0) {
		c.bad("spec.scorer.local", "must have either model or command", "write local: {model: FILE} or local: {command: [PROGRAM, …]}")
	}
	if s.Local != nil && len(s.Local.Command) > 0 && s.Local.Command[0] == "" {
		c.bad("spec.scorer.local.command[0]", "is empty", "write the program to run")
	}
	if s.Port < 0 || s.Port > 65535 {
		c.bad("spec.scorer.port", fmt.Sprintf("%d is no port", s.Port), "must be from 1 to 65535")
	}
	seen := map[string]bool{}
	for i, e := range s.Env {
		path := fmt.Sprintf("spec.scorer.env[%d].name", i)
		switch {
		case e.Name == "" || strings.ContainsAny(e.Name, "= \x00"):
			c.bad(path, fmt.Sprintf("%q is no name of a variable", e.Name), "use letters, digits and _")
		case e.Name == "PORT":
			c.bad(path, "PORT is set by Serin", "take it out")
		case seen[e.Name]:
			c.bad(path, fmt.Sprintf("%q is set twice", e.Name), "keep one of them")
		}
		seen[e.Name] = true
	}
	if len(s.Version) > 63 {
		c.bad("spec.scorer.version", "is longer than 63 characters", "shorten it")
	}
}

func (c *checker) scaling(s v1alpha1.Scaling) {
	if s.Replicas != nil && (s.Min != nil || s.Max != nil || s.CPU != "") {
		c.bad("spec.scaling", "has both replicas and min, max or cpu", "write either replicas, or min, max and cpu")
	}
	if s.Replicas != nil && *s.Replicas < 1 {
		c.bad("spec.scaling.replicas", fmt.Sprintf("%d is too few", *s.Replicas), "must be at least 1")
	}
	if s.Min != nil && s.Max != nil && *s.Min > *s.Max {
		c.bad("spec.scaling.min", "is greater than max", "write min at most max")
	}
}

func (c *checker) contract(k v1alpha1.Contract) {
	if !strings.HasPrefix(k.Path, "/") {
		c.bad("spec.contract.path", fmt.Sprintf("%q is no path", k.Path), "write for example /score")
	}
	c.oneOf("spec.contract.protocol", k.Protocol, "Auto", "AzureML", "MLflow", "KServeV1", "OpenInferenceV2", "JSONPath")
	if (k.Protocol == "JSONPath") != (k.JSONPath != "") {
		c.bad("spec.contract.jsonPath", "goes with protocol JSONPath, and only with it", "write protocol: JSONPath and jsonPath: $.scores[*]")
	}
}

func (c *checker) readiness(r v1alpha1.Readiness) Readiness {
	if !strings.HasPrefix(r.Path, "/") {
		c.bad("spec.scorer.readiness.path", fmt.Sprintf("%q is no path", r.Path), "write for example /")
	}
	return Readiness{Path: r.Path, Timeout: c.positive("spec.scorer.readiness.timeout", r.Timeout)}
}

func (c *checker) traffic(t v1alpha1.Traffic) Traffic {
	colon := strings.LastIndexByte(t.Listen, ':')
	if n, err := strconv.Atoi(t.Listen[colon+1:]); colon < 1 || err != nil || n < 0 || n > 65535 {
		c.bad("spec.traffic.listen", fmt.Sprintf("%q is no address", t.Listen), "write for example 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces")
	}
	if t.Header.Stable == t.Header.Candidate {
		c.bad("spec.traffic.header.candidate", "is the same as stable", "use two different values")
	}
	if strings.ContainsAny(t.Header.Name, " :\r\n\t") {
		c.bad("spec.traffic.header.name", fmt.Sprintf("%q is no header name", t.Header.Name), "write for example x-api-version")
	}
	if t.Sticky.Cookie != "" && t.Sticky.Header != "" {
		c.bad("spec.traffic.sticky", "has both cookie and header", "keep one of them")
	}
	c.oneOf("spec.traffic.fallback", t.Fallback, "Stable", "None")
	out := Traffic{
		Listen: t.Listen, Header: t.Header, Sticky: t.Sticky, Fallback: t.Fallback == "Stable",
		CandidateTimeout: c.positive("spec.traffic.candidateTimeout", t.CandidateTimeout), Timeout: c.positive("spec.traffic.timeout", t.Timeout),
		MaxBodyBytes: read(c, "spec.traffic.maxBodyBytes", t.MaxBodyBytes, sizeOf, "write for example 4Mi"),
	}
	if out.Fallback && out.CandidateTimeout >= out.Timeout && out.Timeout > 0 {
		c.bad("spec.traffic.candidateTimeout", fmt.Sprintf("%s leaves stable no time within timeout %s", out.CandidateTimeout, out.Timeout), "make it shorter than spec.traffic.timeout, or write fallback: None")
	}
	return out
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
		w := rollout.Window{Cron: f.Cron, Duration: c.positive(fmt.Sprintf("spec.rollout.freeze[%d].duration", i), f.Duration), TimeZone: f.TimeZone}
		if err := w.Validate(); err != nil {
			c.bad(fmt.Sprintf("spec.rollout.freeze[%d]", i), err.Error(), `write for example {cron: "0 17 * * FRI", duration: 63h, timeZone: Europe/Berlin}`)
		}
		p.Freeze = append(p.Freeze, w)
	}
	p.Steps = c.steps(r.Steps)
	return p
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
			last = max(last, p.WeightBP)
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

// step reads a share that is more than nothing.
func (c *checker) step(path, text string) int {
	bp := read(c, path, text, percentBP, "write for example 10%")
	if bp == 0 && !slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Path == path }) {
		c.bad(path, "0% moves nothing", "write at least 0.01%")
	}
	return bp
}

func (c *checker) notify(list []v1alpha1.Notify) {
	for i, n := range list {
		path := fmt.Sprintf("spec.notify[%d]", i)
		if u, err := url.Parse(n.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			c.bad(path+".url", "is no http or https address", "write for example https://example.com/hook")
		}
		if n.Format != "" {
			c.oneOf(path+".format", n.Format, "CloudEvents", "Slack", "Teams")
		}
	}
}

func (c *checker) policy(j v1alpha1.Judge) judge.Policy {
	percent := func(path, text string) float64 {
		return read(c, "spec.judge."+path, text, percentOf, "write for example 1%")
	}
	ratio := func(path, text string) float64 {
		return read(c, "spec.judge."+path, text, ratioOf, "write for example 1.25x")
	}
	p := judge.DefaultPolicy()
	p.FalseRevert, p.FalsePromote = percent("falseRevert", j.FalseRevert), percent("falsePromote", j.FalsePromote)
	p.Errors = judge.RatioMargin{RevertAbove: ratio("errors.revertAbove", j.Errors.RevertAbove), PromoteBelow: ratio("errors.promoteBelow", j.Errors.PromoteBelow), OrWithin: read(c, "spec.judge.errors.orWithin", j.Errors.OrWithin, pointsOf, "write for example 0.1pp")}
	p.Latency = judge.LatencyMargin{RevertAbove: ratio("latency.revertAbove", j.Latency.RevertAbove), PromoteBelow: ratio("latency.promoteBelow", j.Latency.PromoteBelow)}
	for i, q := range j.Latency.At {
		p.Latency.At = append(p.Latency.At, read(c, fmt.Sprintf("spec.judge.latency.at[%d]", i), q, quantileOf, "write for example p99"))
	}
	p.Invalid = judge.ShareMargin{RevertAbove: percent("invalid.revertAbove", j.Invalid.RevertAbove), PromoteBelow: percent("invalid.promoteBelow", j.Invalid.PromoteBelow)}
	if s := j.Scores; s != nil {
		if s.Mean != nil {
			p.Mean = &judge.ShareMargin{RevertAbove: percent("scores.mean.revertAbove", s.Mean.RevertAbove), PromoteBelow: percent("scores.mean.promoteBelow", s.Mean.PromoteBelow)}
		}
		for i, text := range s.Cutoffs {
			v := read(c, fmt.Sprintf("spec.judge.scores.cutoffs[%d]", i), text, numberOf, `write for example "0.05"`)
			p.Cutoffs = append(p.Cutoffs, judge.Cutoff{Value: v, RevertAbove: judge.CutoffRevertAbove, PromoteBelow: judge.CutoffPromoteBelow})
		}
	}
	if a := j.Agreement; a != nil {
		p.Agreement = &judge.AgreementMargin{Tolerance: read(c, "spec.judge.agreement.tolerance", a.Tolerance, numberOf, `write for example "0.01"`), RevertBelow: percent("agreement.revertBelow", a.RevertBelow), PromoteAbove: percent("agreement.promoteAbove", a.PromoteAbove)}
	}
	if l := j.Labels; l != nil {
		c.oneOf("spec.judge.labels.loss", l.Loss, "LogLoss", "Brier", "Poisson", "Gamma", "Tweedie")
		c.duration("spec.judge.labels.maturity", l.Maturity)
		c.note("spec.judge.labels is read, but labels are not used yet")
	}
	if err := p.Validate(); err != nil && len(c.problems) == 0 {
		c.bad("spec.judge", err.Error(), "promoteBelow must lie beyond revertAbove")
	}
	return p
}

func numberOf(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != v || v > 1e15 || v < -1e15 {
		return 0, fmt.Errorf("%q must be a number", s)
	}
	return v, nil
}
