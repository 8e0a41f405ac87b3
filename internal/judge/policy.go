package judge

import (
	"fmt"
	"math"
)

// Policy is what a rollout is judged by. It is frozen when the rollout starts
// and stored with it: margins chosen after the data were seen would void the
// error bounds (docs/judge.md).
type Policy struct {
	// FalseRevert is the chance, over the whole rollout and however often one
	// looks, that a candidate within every RevertAbove is reverted. In (0, 0.5].
	FalseRevert float64 `json:"falseRevert"`
	// FalsePromote is the chance that a candidate at or beyond the PromoteBelow
	// of any required metric is ever found promotable. In (0, 0.5].
	FalsePromote float64 `json:"falsePromote"`

	Errors    RatioMargin      `json:"errors"`
	Latency   LatencyMargin    `json:"latency"`
	Invalid   ShareMargin      `json:"invalid"`             // share of the candidate's answers without a usable score
	Mean      *ShareMargin     `json:"mean,omitempty"`      // relative shift of the mean score, either way; nil: not judged
	Cutoffs   []Cutoff         `json:"cutoffs,omitempty"`   // same order as Counts.Above
	Agreement *AgreementMargin `json:"agreement,omitempty"` // of shadow pairs; nil: not judged

	// Sticky: a coin per client. The judge always counts the Units fields; with
	// sticky routing these are the first event of each kind per client and epoch.
	Sticky bool `json:"sticky,omitempty"`
	// Unrecorded: nobody reads production's answers (adopted as it ran). Scores have
	// nothing to be compared with then: NotJudgeable.
	Unrecorded bool `json:"unrecorded,omitempty"`
	// MinCalibration is the number of stable requests before edges are frozen.
	MinCalibration uint64 `json:"minCalibration"`
	// HarmBudget is the number of extra failed requests that the next step may
	// cost; compare HarmOfNext with it.
	HarmBudget float64 `json:"harmBudget"`
}

// noScores is why what compares scores is NotJudgeable where production has no recorder.
const noScores = "production has no recorder yet: there are no scores of its to compare with"

// RatioMargin bounds candidate / production. OrWithin (absolute, 0 = off) is the
// excess that is acceptable however large the ratio: without it an error-free
// production could never be matched.
type RatioMargin struct {
	RevertAbove  float64 `json:"revertAbove"`
	PromoteBelow float64 `json:"promoteBelow"`
	OrWithin     float64 `json:"orWithin,omitempty"`
}

// LatencyMargin bounds candidate latency / production latency at quantiles At.
// Histograms have 8 buckets to the doubling: what is really tested is
// TestedLatency of the margins.
type LatencyMargin struct {
	RevertAbove  float64   `json:"revertAbove"`
	PromoteBelow float64   `json:"promoteBelow"`
	At           []float64 `json:"at"`
}

// ShareMargin bounds a share (0..1), or a relative shift.
type ShareMargin struct {
	RevertAbove  float64 `json:"revertAbove"`
	PromoteBelow float64 `json:"promoteBelow"`
}

// Cutoff bounds the ratio of the shares of rows that score above Value, either
// way: 1.25 allows a quarter more, and a fifth less.
type Cutoff struct {
	Value        float64 `json:"value"`
	RevertAbove  float64 `json:"revertAbove"`
	PromoteBelow float64 `json:"promoteBelow"`
}

// AgreementMargin bounds the share of shadow pairs whose scores differ by no more
// than Tolerance.
type AgreementMargin struct {
	Tolerance    float64 `json:"tolerance"`
	RevertBelow  float64 `json:"revertBelow"`
	PromoteAbove float64 `json:"promoteAbove"`
	// RepeatBP is the share of shadowed requests, in basis points, that stable is asked
	// twice: what it disagrees about with itself is not held against the candidate,
	// which is not reverted before enough is known of it. 0: never asked, and taken to
	// repeat itself.
	RepeatBP int `json:"repeatBP,omitempty"`
}

// Default margins of a declared cut-off (product.md leaves them to the judge):
// a quarter more rows above it is no reason to revert, half as many again is too
// much to promote.
const (
	CutoffRevertAbove  = 1.25
	CutoffPromoteBelow = 1.5
)

// DefaultPolicy returns the careful engineer's defaults of the document's judge
// block; mean, cut-offs and agreement are judged only if declared.
func DefaultPolicy() Policy {
	return Policy{
		FalseRevert: 0.01, FalsePromote: 0.05,
		Errors:         RatioMargin{RevertAbove: 1.25, PromoteBelow: 2, OrWithin: 0.001},
		Latency:        LatencyMargin{RevertAbove: 1.1, PromoteBelow: 1.25, At: []float64{0.5, 0.9, 0.99}},
		Invalid:        ShareMargin{RevertAbove: 0.001, PromoteBelow: 0.01},
		MinCalibration: 1000,
		HarmBudget:     50,
	}
}

// MaxCutoffs bounds the number of cut-offs.
const MaxCutoffs = 16

// Validate returns an error that names the first field out of range, what it
// holds and what is allowed. Judge expects a valid policy.
func (p Policy) Validate() error {
	for _, c := range p.checks() {
		if !(c.value >= c.low && c.value <= c.high) || math.IsInf(c.value, 0) {
			return fmt.Errorf("checking policy: `%s` is %v, must be between %v and %v", c.field, c.value, c.low, c.high)
		}
	}
	if len(p.Latency.At) == 0 || len(p.Latency.At) > 8 {
		return fmt.Errorf("checking policy: `latency.at` has %d quantiles, must have 1 to 8", len(p.Latency.At))
	}
	if len(p.Cutoffs) > MaxCutoffs {
		return fmt.Errorf("checking policy: `scores.cutoffs` has %d entries, must have at most %d", len(p.Cutoffs), MaxCutoffs)
	}
	if p.MinCalibration == 0 {
		return fmt.Errorf("checking policy: `minCalibration` is 0, must be at least 1")
	}
	for _, o := range p.orders() {
		if !(o.first < o.second) {
			return fmt.Errorf("checking policy: `%s` is %v, must be less than `%s` (%v)", o.a, o.first, o.b, o.second)
		}
	}
	return nil
}

type check struct {
	field            string
	value, low, high float64
}

func (p Policy) checks() []check {
	tiny, most := 1e-9, 1-1e-9
	out := []check{
		{"falseRevert", p.FalseRevert, tiny, 0.5},
		{"falsePromote", p.FalsePromote, tiny, 0.5},
		{"errors.revertAbove", p.Errors.RevertAbove, 1, 1000},
		{"errors.promoteBelow", p.Errors.PromoteBelow, 1, 1000},
		{"errors.orWithin", p.Errors.OrWithin, 0, most},
		{"latency.revertAbove", p.Latency.RevertAbove, 1, 1000},
		{"latency.promoteBelow", p.Latency.PromoteBelow, math.Exp2(1.0 / bucketsPerDoubling), 1000},
		{"invalid.revertAbove", p.Invalid.RevertAbove, tiny, most},
		{"invalid.promoteBelow", p.Invalid.PromoteBelow, tiny, most},
		{"harmBudget", p.HarmBudget, 0, 1e12},
	}
	for _, q := range p.Latency.At {
		out = append(out, check{"latency.at", q, 0.01, 0.9999})
	}
	if p.Mean != nil {
		out = append(out, check{"scores.mean.revertAbove", p.Mean.RevertAbove, tiny, 1000}, check{"scores.mean.promoteBelow", p.Mean.PromoteBelow, tiny, 1000})
	}
	for _, c := range p.Cutoffs {
		out = append(out, check{"scores.cutoffs.value", c.Value, -MaxScore, MaxScore},
			check{"scores.cutoffs.revertAbove", c.RevertAbove, 1, 1000}, check{"scores.cutoffs.promoteBelow", c.PromoteBelow, 1, 1000})
	}
	if a := p.Agreement; a != nil {
		out = append(out, check{"agreement.tolerance", a.Tolerance, 0, MaxScore},
			check{"agreement.revertBelow", a.RevertBelow, tiny, most}, check{"agreement.promoteAbove", a.PromoteAbove, tiny, most},
			check{"agreement.repeatBP", float64(a.RepeatBP), 0, fullWeight})
	}
	return out
}

type order struct {
	a      string
	first  float64
	b      string
	second float64
}

func (p Policy) orders() []order {
	out := []order{
		{"errors.revertAbove", p.Errors.RevertAbove, "errors.promoteBelow", p.Errors.PromoteBelow},
		{"latency.revertAbove", p.Latency.RevertAbove, "latency.promoteBelow", p.Latency.PromoteBelow},
		{"invalid.revertAbove", p.Invalid.RevertAbove, "invalid.promoteBelow", p.Invalid.PromoteBelow},
	}
	if p.Mean != nil {
		out = append(out, order{"scores.mean.revertAbove", p.Mean.RevertAbove, "scores.mean.promoteBelow", p.Mean.PromoteBelow})
	}
	for _, c := range p.Cutoffs {
		out = append(out, order{"scores.cutoffs.revertAbove", c.RevertAbove, "scores.cutoffs.promoteBelow", c.PromoteBelow})
	}
	if a := p.Agreement; a != nil {
		out = append(out, order{"agreement.revertBelow", a.RevertBelow, "agreement.promoteAbove", a.PromoteAbove})
	}
	return out
}
