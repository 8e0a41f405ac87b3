package judge

import (
	"fmt"
	"math"
)

// RatioMargin bounds a ratio of rates, candidate over stable.
type RatioMargin struct {
	RevertAbove  float64 `json:"revertAbove"`  // a ratio within it is never reverted, but by chance FalseRevert
	PromoteBelow float64 `json:"promoteBelow"` // a ratio at or beyond it is never promoted, but by chance FalsePromote
	// OrWithin is an absolute margin on the difference of the rates; 0 is none. A
	// candidate within either margin may be promoted: a pair without errors has no ratio.
	OrWithin float64 `json:"orWithin,omitempty"`
}

// LatencyMargin bounds the ratio of latencies at quantiles of stable's.
type LatencyMargin struct {
	RevertAbove  float64   `json:"revertAbove"`
	PromoteBelow float64   `json:"promoteBelow"`
	At           []float64 `json:"at"` // quantiles, such as 0.99
}

// ShareMargin bounds a share of answers, or a relative shift.
type ShareMargin struct {
	RevertAbove  float64 `json:"revertAbove"`
	PromoteBelow float64 `json:"promoteBelow"`
}

// AgreementMargin bounds the share of shadow pairs whose scores agree.
type AgreementMargin struct {
	Tolerance    float64 `json:"tolerance"` // absolute difference of two scores that still agree
	RevertBelow  float64 `json:"revertBelow"`
	PromoteAbove float64 `json:"promoteAbove"`
}

// Policy says what is good enough; it is frozen when a rollout starts.
type Policy struct {
	FalseRevert    float64          `json:"falseRevert"`
	FalsePromote   float64          `json:"falsePromote"`
	Errors         RatioMargin      `json:"errors"`
	Latency        LatencyMargin    `json:"latency"`
	Invalid        ShareMargin      `json:"invalid"`
	Mean           *ShareMargin     `json:"mean,omitempty"` // relative shift of the mean score, either way
	Cutoffs        []float64        `json:"cutoffs,omitempty"`
	Agreement      *AgreementMargin `json:"agreement,omitempty"`
	Sticky         bool             `json:"sticky,omitempty"`
	MinCalibration uint64           `json:"minCalibration"`
}

// DefaultPolicy is what a careful engineer would choose (product.md).
func DefaultPolicy() Policy {
	return Policy{
		FalseRevert: 0.01, FalsePromote: 0.05,
		Errors:         RatioMargin{RevertAbove: 1.25, PromoteBelow: 2, OrWithin: 0.001},
		Latency:        LatencyMargin{RevertAbove: 1.1, PromoteBelow: 1.25, At: []float64{.5, .9, .99}},
		Invalid:        ShareMargin{RevertAbove: 0.001, PromoteBelow: 0.01},
		MinCalibration: 1000,
	}
}

// Validate names the first field that makes no sense.
func (p Policy) Validate() error {
	in := func(name string, v, low, high float64) error {
		if math.IsNaN(v) || v <= low || v >= high {
			return fmt.Errorf("%s: %v: must be more than %v and less than %v", name, v, low, high)
		}
		return nil
	}
	margin := func(name string, revert, promote float64) error {
		if !(promote > revert) {
			return fmt.Errorf("%s: promoteBelow %v must be greater than revertAbove %v", name, promote, revert)
		}
		return nil
	}
	checks := []error{
		in("falseRevert", p.FalseRevert, 0, 0.5), in("falsePromote", p.FalsePromote, 0, 0.5),
		in("errors.revertAbove", p.Errors.RevertAbove, 0.999, 1000), margin("errors", p.Errors.RevertAbove, p.Errors.PromoteBelow),
		in("latency.revertAbove", p.Latency.RevertAbove, 0.999, 1000), margin("latency", p.Latency.RevertAbove, p.Latency.PromoteBelow),
		in("invalid.revertAbove", p.Invalid.RevertAbove, 0, 1), margin("invalid", p.Invalid.RevertAbove, p.Invalid.PromoteBelow), in("invalid.promoteBelow", p.Invalid.PromoteBelow, 0, 1),
	}
	if p.Mean != nil {
		checks = append(checks, in("scores.mean.revertAbove", p.Mean.RevertAbove, 0, 100), margin("scores.mean", p.Mean.RevertAbove, p.Mean.PromoteBelow))
	}
	if a := p.Agreement; a != nil {
		checks = append(checks, in("agreement.revertBelow", a.RevertBelow, 0, 1), in("agreement.promoteAbove", a.PromoteAbove, a.RevertBelow, 1))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}
