// Package report turns the record of a rollout into what people and pipelines read:
// JSON, Markdown for a job's summary, and one screen for whoever stands at a gate.
// It is pure: the same facts give the same text.
package report

import (
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Schema names the JSON shape; docs/report.schema.json describes it.
const Schema = "serin.dev/report/v1"

// Facts are what a report is made of: one rollout, running or ended.
type Facts struct {
	Endpoint, Namespace, Address string
	At                           time.Time // when the facts were read
	ID                           string
	Number                       int
	From                         *rollout.Revision // nil: it was the first version
	To                           rollout.Revision
	Images                       map[string]string // by revision, where known
	StartedAt                    time.Time
	EndedAt                      *time.Time
	Outcome                      rollout.Outcome
	Paused                       bool
	Decision                     Decision
	Steps                        []Step
	Weights                      Weights // in a rollout that runs
	Verdict                      judge.Verdict
	Counts                       Counts
	Digest                       string // of the evidence
	Approvals                    []rollout.Approval
	Events                       []Event
	// Flags are what a command line needs to speak to this endpoint.
	Flags string
}

// Report is what is said of a rollout. Its JSON is documented in docs/report.md.
type Report struct {
	Schema    string             `json:"schema"`
	Endpoint  string             `json:"endpoint"`
	Namespace string             `json:"namespace,omitempty"`
	Address   string             `json:"address,omitempty"`
	At        time.Time          `json:"at"`
	Rollout   string             `json:"rollout"`
	Number    int                `json:"number"`
	Result    Result             `json:"result"`
	Outcome   string             `json:"outcome,omitempty"`
	Paused    bool               `json:"paused,omitempty"`
	From      *Version           `json:"from,omitempty"`
	To        Version            `json:"to"`
	StartedAt time.Time          `json:"startedAt"`
	EndedAt   *time.Time         `json:"endedAt,omitempty"`
	Seconds   float64            `json:"seconds"`
	Decision  Decision           `json:"decision"`
	Weights   *Weights           `json:"weights,omitempty"`
	Steps     []Step             `json:"steps"`
	Clients   Clients            `json:"clients"`
	Agreement *Agreement         `json:"agreement,omitempty"`
	Verdict   Verdict            `json:"verdict"`
	Metrics   []Metric           `json:"metrics"`
	Evidence  EvidenceNote       `json:"evidence"`
	Approvals []rollout.Approval `json:"approvals"`
	Events    []Event            `json:"events"`
	Gate      *GateNote          `json:"gate,omitempty"`
}

// Result is the outcome in one of four words, as the exit codes of `serin wait` tell
// them apart.
type Result string

// The results.
const (
	Running      Result = "running"
	Promoted     Result = "promoted"
	Reverted     Result = "reverted"     // by the judge, the plan or a person, or taken back later
	Inconclusive Result = "inconclusive" // held: it will not move by itself
)

// Version is one of the two revisions.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Digest   string `json:"digest"` // of all that makes a version
	Image    string `json:"image,omitempty"`
}

// Decision is the last decision, and the metric that it stands on, if one alone does.
type Decision struct {
	Action  string    `json:"action"` // Advance, Hold, Revert
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	Metric  *Metric   `json:"metric,omitempty"`
}

// Weights are the candidate's shares now, in basis points.
type Weights struct {
	PlannedBP int `json:"plannedBP"`
	InForceBP int `json:"inForceBP"`
	ShadowBP  int `json:"shadowBP"`
}

// Counts are sums over requests.
type Counts struct {
	StableRequests    uint64 `json:"stableRequests"`
	StableErrors      uint64 `json:"stableErrors"`
	CandidateRequests uint64 `json:"candidateRequests"`
	CandidateErrors   uint64 `json:"candidateErrors"`
	FellBack          uint64 `json:"fellBack"` // of the errors, those that another version answered
	Pairs             uint64 `json:"pairs"`
	Compared          uint64 `json:"compared"`
	Disagreed         uint64 `json:"disagreed"`
	Dropped           uint64 `json:"dropped"`
}

// Step is one step of the plan and what came of it.
type Step struct {
	Name      string     `json:"name"`
	WeightBP  int        `json:"weightBP"`
	ShadowBP  int        `json:"shadowBP"`
	SeenBP    *int       `json:"seenBP"` // null: no request was routed in it
	Approval  bool       `json:"approval"`
	State     string     `json:"state"` // Done, Current, Waiting, Skipped
	EnteredAt *time.Time `json:"enteredAt,omitempty"`
	Seconds   float64    `json:"seconds"`
	Counts    StepCounts `json:"counts"`
}

// StepCounts are of the requests that were routed in a step.
type StepCounts struct {
	StableRequests    uint64 `json:"stableRequests"`
	StableErrors      uint64 `json:"stableErrors"`
	CandidateRequests uint64 `json:"candidateRequests"`
	CandidateErrors   uint64 `json:"candidateErrors"`
	FellBack          uint64 `json:"fellBack"`
	Pairs             uint64 `json:"pairs"`
	Disagreed         uint64 `json:"disagreed"`
}

// Clients is what those who called the endpoint saw while the rollout ran.
type Clients struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`   // an error reached the client
	FellBack uint64 `json:"fellBack"` // failed by one version, answered by another
}

// Agreement is how often shadow answers were alike.
type Agreement struct {
	Pairs     uint64  `json:"pairs"`
	Compared  uint64  `json:"compared"`
	Disagreed uint64  `json:"disagreed"`
	Share     float64 `json:"share"` // of Compared that agree
	// Judged: the document declares agreement. Without it answers agree if they are equal.
	Judged bool `json:"judged"`
}

// Verdict is what the judge says of the whole.
type Verdict struct {
	Action       string   `json:"action"`
	Reason       string   `json:"reason"`
	Message      string   `json:"message"`
	Promotable   bool     `json:"promotable"`
	LogE         float64  `json:"logE"`
	LogERevertAt float64  `json:"logERevertAt"`
	Unjudged     []string `json:"unjudged,omitempty"`
}

// Metric is what the judge says of one.
type Metric struct {
	Name      string  `json:"name"`
	Outcome   string  `json:"outcome"`
	Reason    string  `json:"reason"`
	Required  bool    `json:"required"`
	Value     float64 `json:"value"`
	Lower     float64 `json:"lower"` // both 0: the metric gives no bound
	Upper     float64 `json:"upper"`
	Open      bool    `json:"open,omitempty"` // not bounded from above yet
	Threshold float64 `json:"threshold"`
	Unit      string  `json:"unit"` // x, share, relative
	N         Both    `json:"n"`
	Needed    uint64  `json:"needed,omitempty"`
	Message   string  `json:"message"`
}

// Both are counts of the two arms.
type Both struct {
	Stable    uint64 `json:"stable"`
	Candidate uint64 `json:"candidate"`
}

// EvidenceNote names the evidence, so that an approval can say what it saw.
type EvidenceNote struct {
	Digest string `json:"digest"`
	Counts
}

// Event is one line of the audit.
type Event struct {
	At             time.Time `json:"at"`
	Kind           string    `json:"kind"`
	By             string    `json:"by,omitempty"`
	OnBehalfOf     string    `json:"onBehalfOf,omitempty"`
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	EvidenceDigest string    `json:"evidenceDigest,omitempty"`
	Accepted       *bool     `json:"accepted,omitempty"`
}

// GateNote says what the rollout waits for, and what to type. It is there while
// nothing but the approval is missing.
type GateNote struct {
	Step    string `json:"step"`
	Approve string `json:"approve"`
	Reject  string `json:"reject"`
}

// Build makes the report.
func Build(f Facts) Report {
	r := Report{
		Schema: Schema, Endpoint: f.Endpoint, Namespace: f.Namespace, Address: f.Address, At: f.At, Rollout: f.ID, Number: f.Number,
		Result: resultOf(f), Outcome: string(f.Outcome), Paused: f.Paused, To: versionOf(f.To, f.Images), StartedAt: f.StartedAt, EndedAt: f.EndedAt,
		Decision: f.Decision, Steps: stepsOf(f), Clients: clientsOf(f.Counts), Agreement: agreementOf(f),
		Verdict: verdictOf(f.Verdict), Metrics: []Metric{}, Evidence: EvidenceNote{f.Digest, f.Counts}, Approvals: append([]rollout.Approval{}, f.Approvals...),
		Events: append([]Event{}, f.Events...),
	}
	if f.From != nil {
		v := versionOf(*f.From, f.Images)
		r.From = &v
	}
	if f.Outcome == rollout.Running {
		r.Weights = &f.Weights
	}
	r.Seconds = max(endOf(f).Sub(f.StartedAt), 0).Seconds()
	for _, m := range f.Verdict.Metrics {
		r.Metrics = append(r.Metrics, metricOf(m))
	}
	slices.SortStableFunc(r.Events, func(a, b Event) int { return a.At.Compare(b.At) })
	r.Decision.Metric = decisive(r)
	r.Gate = gateOf(f)
	return r
}

func endOf(f Facts) time.Time {
	if f.EndedAt != nil {
		return *f.EndedAt
	}
	return f.At
}

func resultOf(f Facts) Result {
	switch {
	case f.Outcome == rollout.Promoted:
		return Promoted
	case f.Outcome != rollout.Running:
		return Reverted
	case rollout.TimedOut(rollout.Reason(f.Decision.Reason)):
		return Inconclusive
	}
	return Running
}

func versionOf(r rollout.Revision, images map[string]string) Version {
	return Version{Version: r.Version, Revision: r.Name, Digest: r.Digest, Image: images[r.Name]}
}

// stepsOf adds how long each step lasted, and which were skipped.
func stepsOf(f Facts) []Step {
	out := append([]Step{}, f.Steps...)
	end := endOf(f)
	for i := len(out) - 1; i >= 0; i-- {
		switch s := &out[i]; {
		case s.EnteredAt != nil:
			s.Seconds = max(end.Sub(*s.EnteredAt), 0).Seconds()
			end = *s.EnteredAt
		case s.State != "Waiting": // a person went past it
			s.State = "Skipped"
		}
	}
	return out
}

func clientsOf(c Counts) Clients {
	errors := c.StableErrors + c.CandidateErrors
	return Clients{Requests: c.StableRequests + c.CandidateRequests, Failed: errors - min(c.FellBack, errors), FellBack: c.FellBack}
}

func agreementOf(f Facts) *Agreement {
	c := f.Counts
	if c.Compared == 0 {
		return nil
	}
	judged := slices.ContainsFunc(f.Verdict.Metrics, func(m judge.Metric) bool { return m.Name == "agreement" })
	return &Agreement{c.Pairs, c.Compared, c.Disagreed, 1 - float64(min(c.Disagreed, c.Compared))/float64(c.Compared), judged}
}

// says is what the share means where nothing was declared.
func (a Agreement) says() string {
	if a.Judged {
		return ""
	}
	return "; none was declared, so these are all that are not equal"
}

func verdictOf(v judge.Verdict) Verdict {
	return Verdict{string(v.Action), string(v.Reason), v.Message, v.Promotable, v.LogE, v.LogERevertAt, v.Unjudged}
}

func metricOf(m judge.Metric) Metric {
	return Metric{
		Name: m.Name, Outcome: string(m.Outcome), Reason: string(m.Reason), Required: m.Required, Value: m.Value, Lower: m.Lower, Upper: m.Upper, Open: m.Open,
		Threshold: m.Threshold, Unit: m.Unit, N: Both{m.N[judge.Stable], m.N[judge.Candidate]}, Needed: m.Needed, Message: m.Message,
	}
}

// judged reports whether the judge had anything to look at.
func (r Report) judged() bool {
	return len(r.Metrics) > 0 && r.Evidence.CandidateRequests+r.Evidence.Pairs > 0
}

// decisive is the metric that the decision stands on: one that failed, else while it
// runs or is held the first required one that is not decided.
func decisive(r Report) *Metric {
	for i := range r.Metrics {
		if m := &r.Metrics[i]; m.Outcome == string(judge.Fail) && r.Decision.Reason == m.Reason {
			return m
		}
	}
	if !r.judged() || r.Result != Running && r.Result != Inconclusive {
		return nil
	}
	for i := range r.Metrics {
		if m := &r.Metrics[i]; m.Required && m.Outcome == string(judge.Inconclusive) {
			return m
		}
	}
	return nil
}
