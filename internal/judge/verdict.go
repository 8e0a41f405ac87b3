package judge

// Reason is the one word for why: the same in condition, event, log, metric, CLI
// and console.
type Reason string

// The reasons of a verdict and of its metrics.
const (
	WithinBounds        Reason = "WithinBounds"        // nothing speaks against the next step
	Promotable          Reason = "Promotable"          // every required metric has passed
	ErrorRate           Reason = "ErrorRate"           // the candidate fails more requests than production
	Refusals            Reason = "Refusals"            // the candidate refuses (4xx) more than production
	Latency             Reason = "Latency"             // the candidate is slower
	InvalidAnswers      Reason = "InvalidAnswers"      // answers without a usable score
	ConstantScores      Reason = "ConstantScores"      // one score for everybody, while production's vary
	ScoreShift          Reason = "ScoreShift"          // the mean score moved
	CutoffShare         Reason = "CutoffShare"         // the share above a cut-off moved
	Disagreement        Reason = "Disagreement"        // shadow answers differ
	ShadowErrors        Reason = "ShadowErrors"        // the candidate fails shadow copies that production answered
	TotalBreakage       Reason = "TotalBreakage"       // the breaker: nearly every recent request failed, production's did not
	BothArmsFailing     Reason = "BothArmsFailing"     // not the candidate's fault, as far as one can tell
	SampleRatioMismatch Reason = "SampleRatioMismatch" // routing or collection is broken
	TooLittleData       Reason = "TooLittleData"       // nothing was judged yet, or not enough to decide
	Calibrating         Reason = "Calibrating"         // production's latency edges are not known yet
	EvidenceMissing     Reason = "EvidenceMissing"     // most answers were dropped or cannot be read
)

// Outcome is the verdict on one metric.
type Outcome string

// The outcomes of a metric. Too little data is Inconclusive, never Pass.
const (
	Pass         Outcome = "Pass"
	Inconclusive Outcome = "Inconclusive"
	Fail         Outcome = "Fail"
	// NotJudgeable: the plan or the answers can never give this metric evidence
	// (an agreement without a shadow step). It does not block promotion; whoever
	// promotes reports it.
	NotJudgeable Outcome = "NotJudgeable"
)

// Action is the verdict on the whole.
type Action string

// The actions. Advance means that nothing in the evidence forbids the next
// step; plan, budget, approval and freeze still may.
const (
	Advance Action = "Advance"
	Hold    Action = "Hold"
	Revert  Action = "Revert"
)

// Metric is what was found out about one metric. Every number is finite.
type Metric struct {
	Name    string  `json:"name"` // errors, latency, invalid, refusals, shadow errors, mean, "cutoff 0.05", agreement
	Outcome Outcome `json:"outcome"`
	Reason  Reason  `json:"reason"`
	Value   float64 `json:"value"` // the estimate, in Unit
	// Lower and Upper bound it at 1 - FalsePromote, valid at any time; both 0
	// when the metric gives no such bound. Open: Upper is not bounded yet.
	Lower float64 `json:"lower"`
	Upper float64 `json:"upper"`
	Open  bool    `json:"open,omitempty"`
	// Threshold is the margin of the decision nearest at hand, as really tested:
	// for latency after rounding to whole buckets.
	Threshold float64   `json:"threshold"`
	Unit      string    `json:"unit"` // "x" (ratio), "share", "relative"
	N         [2]uint64 `json:"n"`    // stable, candidate; pairs are counted in both
	Required  bool      `json:"required,omitempty"`
	// ShadowOnly: only shadow steps give this metric evidence.
	ShadowOnly bool `json:"shadowOnly,omitempty"`
	// EvidenceRevert and EvidencePromote are log e-values: 0 is none, ln(1/a)
	// decides at level a.
	EvidenceRevert  float64 `json:"evidenceRevert"`
	EvidencePromote float64 `json:"evidencePromote"`
	Needed          uint64  `json:"needed,omitempty"` // rough number of further candidate units until decidable; 0: unknown or decided
	// Undecidable says why no number of further requests would decide the metric, if
	// both arms go on as they are.
	Undecidable string `json:"undecidable,omitempty"`
	Message     string `json:"message"` // one line: value, bound, n
}

// Verdict is what Judge says.
type Verdict struct {
	Action Action `json:"action"`
	// Promotable: every required metric is Pass or NotJudgeable, at least one of
	// them Pass, and nothing speaks for Hold or Revert.
	Promotable bool `json:"promotable,omitempty"`
	// Unjudged lists required metrics that are NotJudgeable.
	Unjudged []string `json:"unjudged,omitempty"`
	Reason   Reason   `json:"reason"`
	Message  string   `json:"message"`
	Metrics  []Metric `json:"metrics,omitempty"`
	LogE     float64  `json:"logE"` // combined evidence for revert, natural log
	// LogERevertAt is the LogE at which the combined evidence reverts.
	LogERevertAt float64 `json:"logERevertAt"`
	// ExtraErrorRate is the upper confidence bound (1 - FalsePromote, any time)
	// of the candidate's error rate minus production's; 1 without data.
	ExtraErrorRate float64 `json:"extraErrorRate"`
	Digest         string  `json:"digest,omitempty"` // of the evidence; filled in by the caller
}

// Window are the additive counts of the recent past (about ten seconds), which
// the evidence holds too: what the breaker looks at. Warm-up counts.
type Window struct {
	WeightBP int       `json:"weightBP"` // greatest routing weight in force during the window; 0: the greatest of the evidence is taken
	Requests [2]uint64 `json:"requests"` // routed by weight, per arm
	Errors   [2]uint64 `json:"errors"`
	// SameKey are those of Errors whose sticky key had failed before in its epoch: they
	// count for the share that fails, but one bad client is one event.
	SameKey [2]uint64 `json:"sameKey,omitzero"`

	ShadowPairs      uint64 `json:"shadowPairs,omitempty"`
	ShadowBothFailed uint64 `json:"shadowBothFailed,omitempty"`
	ShadowOnlyStable uint64 `json:"shadowOnlyStable,omitempty"` // only stable failed
	ShadowOnlyShadow uint64 `json:"shadowOnlyShadow,omitempty"` // only the candidate failed: error or invalid answer
}

// Add adds o's counts to w.
func (w *Window) Add(o Window) {
	w.WeightBP = max(w.WeightBP, o.WeightBP)
	for a := range w.Requests {
		w.Requests[a] += o.Requests[a]
		w.Errors[a] += o.Errors[a]
		w.SameKey[a] += o.SameKey[a]
	}
	w.ShadowPairs += o.ShadowPairs
	w.ShadowBothFailed += o.ShadowBothFailed
	w.ShadowOnlyStable += o.ShadowOnlyStable
	w.ShadowOnlyShadow += o.ShadowOnlyShadow
}
