package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/judge"
)

// Where agreement is judged, stable is asked the same request again for each of the first RepeatFirst shadowed requests
// of a rollout that are judged, and then for a share of repeatBP (1 %): the same in both modes.
const (
	RepeatFirst = 100
	repeatBP    = 100
)

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
	p.Latency.At = nil
	for i, q := range j.Latency.At {
		path := fmt.Sprintf("spec.judge.latency.at[%d]", i)
		v := read(c, path, q, quantileOf, "write for example p99")
		if v > 0 && slices.Contains(p.Latency.At, v) {
			c.bad(path, q+" is written twice", "keep one of them")
		}
		p.Latency.At = append(p.Latency.At, v)
	}
	p.Invalid = judge.ShareMargin{RevertAbove: percent("invalid.revertAbove", j.Invalid.RevertAbove), PromoteBelow: percent("invalid.promoteBelow", j.Invalid.PromoteBelow)}
	if s := j.Scores; s != nil {
		c.scores(&p, *s, percent)
	}
	if a := j.Agreement; a != nil {
		p.Agreement = &judge.AgreementMargin{RepeatBP: repeatBP, Tolerance: read(c, "spec.judge.agreement.tolerance", a.Tolerance, numberOf, `write for example "0.01"`), RevertBelow: percent("agreement.revertBelow", a.RevertBelow), PromoteAbove: percent("agreement.promoteAbove", a.PromoteAbove)}
	}
	if err := p.Validate(); err != nil && len(c.problems) == 0 {
		c.invalid(err)
	}
	return p
}

func (c *checker) scores(p *judge.Policy, s v1alpha1.ScoreLimits, percent func(path, text string) float64) {
	if s.Mean == nil && len(s.Cutoffs) == 0 {
		c.bad("spec.judge.scores", "declares nothing", `write mean: {}, or cutoffs: ["0.05"], or take it out`)
	}
	if s.Mean != nil {
		p.Mean = &judge.ShareMargin{RevertAbove: percent("scores.mean.revertAbove", s.Mean.RevertAbove), PromoteBelow: percent("scores.mean.promoteBelow", s.Mean.PromoteBelow)}
	}
	for i, text := range s.Cutoffs {
		path := fmt.Sprintf("spec.judge.scores.cutoffs[%d]", i)
		v := read(c, path, text, numberOf, `write for example "0.05"`)
		if slices.ContainsFunc(p.Cutoffs, func(k judge.Cutoff) bool { return k.Value == v }) && !c.has(path) {
			c.bad(path, text+" is written twice", "keep one of them")
		}
		p.Cutoffs = append(p.Cutoffs, judge.Cutoff{Value: v, RevertAbove: judge.CutoffRevertAbove, PromoteBelow: judge.CutoffPromoteBelow})
	}
}

// labels are reported, never judged; they may be required only where they can
// come in time.
func (c *checker) labels(l *v1alpha1.Labels, longest time.Duration) {
	if l == nil {
		return
	}
	c.oneOf("spec.judge.labels.loss", l.Loss, "LogLoss", "Brier", "Poisson", "Gamma", "Tweedie")
	maturity := c.positive("spec.judge.labels.maturity", l.Maturity)
	if l.Required && maturity >= longest && longest > 0 {
		c.bad("spec.judge.labels.required", fmt.Sprintf("labels take %s to come, the rollout lasts %s at most", maturity, longest), "make labels.maturity shorter than rollout.maxDuration, or take required out")
	}
	c.note("spec.judge.labels is read, but labels are not used yet")
}

// invalid says which field the judge refuses: its message names it in backticks.
func (c *checker) invalid(err error) {
	text := strings.TrimPrefix(err.Error(), "checking policy: ")
	parts := strings.SplitN(text, "`", 3)
	if len(parts) < 3 {
		c.bad("spec.judge", text, "see docs/document.md")
		return
	}
	c.bad("spec.judge."+parts[1], strings.TrimSpace(parts[2]), "promoteBelow lies beyond revertAbove, and both within what docs/document.md allows")
}

func numberOf(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != v || v > 1e15 || v < -1e15 {
		return 0, fmt.Errorf("%q must be a number", s)
	}
	return v, nil
}
