package judge

// Reason is one CamelCase word, the same in condition, event, log and metric.
type Reason string

// Reasons of the judge.
const (
	ReasonErrors         Reason = "ErrorRate"
	ReasonLatency        Reason = "Latency"
	ReasonInvalid        Reason = "InvalidAnswers"
	ReasonConstant       Reason = "ConstantScores"
	ReasonMean           Reason = "ScoreShift"
	ReasonCutoff         Reason = "CutoffShare"
	ReasonAgreement      Reason = "Disagreement"
	ReasonShadowErrors   Reason = "ShadowErrors"
	ReasonBreakage       Reason = "TotalBreakage"
	ReasonBothFailing    Reason = "BothArmsFailing"
	ReasonSampleRatio    Reason = "SampleRatioMismatch"
	ReasonTooLittle      Reason = "TooLittleData"
	ReasonCalibrating    Reason = "Calibrating"
	ReasonCombined       Reason = "CombinedEvidence"
	ReasonWithinBounds   Reason = "WithinBounds"
	ReasonNotObserved    Reason = "NotObserved"
	ReasonStillUncertain Reason = "StillUncertain"
)

// Action is what the evidence as a whole asks for.
type Action string

// The actions.
const (
	Advance Action = "Advance" // nothing speaks against the next step
	Hold    Action = "Hold"
	Revert  Action = "Revert"
)

// Outcome is the verdict on one metric.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "Pass"
	Inconclusive Outcome = "Inconclusive"
	Fail         Outcome = "Fail"
	NotJudgeable Outcome = "NotJudgeable"
)

// Metric is the verdict on one metric, with what it stands on.
type Metric struct {
	Name      string    `json:"name"`
	Outcome   Outcome   `json:"outcome"`
	Reason    Reason    `json:"reason"`
	Required  bool      `json:"required"` // promotion needs Pass
	Value     float64   `json:"value"`
	Lower     float64   `json:"lower"`
	Upper     float64   `json:"upper"`
	Threshold float64   `json:"threshold"`
	Unit      string    `json:"unit"` // x, share, relative
	N         [2]uint64 `json:"n"`    // stable's and the candidate's units
	// LogRevert and LogPromote are log e-values against the two nulls.
	LogRevert  float64 `json:"logRevert"`
	LogPromote float64 `json:"logPromote"`
	Needed     uint64  `json:"needed,omitempty"` // estimate of further candidate units until Pass; 0: unknown
	Message    string  `json:"message"`
}

// Verdict is the judgement on all the evidence of a rollout.
type Verdict struct {
	Action     Action   `json:"action"`
	Promotable bool     `json:"promotable"`
	Reason     Reason   `json:"reason"`
	Message    string   `json:"message"`
	Metrics    []Metric `json:"metrics"`
	LogE       float64  `json:"logE"` // combined, against "within revertAbove everywhere"
	// ExtraErrorRate is an upper confidence bound on the candidate's extra errors per request.
	ExtraErrorRate float64 `json:"extraErrorRate"`
}

// Window holds the counts of the last seconds, for the breaker.
type Window struct {
	Requests     [2]uint64 `json:"requests"`
	Errors       [2]uint64 `json:"errors"`
	Pairs        uint64    `json:"pairs"`
	ShadowErrors uint64    `json:"shadowErrors"`
	BothFailed   uint64    `json:"bothFailed"`
}
