package engine

import (
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Status is what is shown of an endpoint: by the API, the CLI and the console.
// Its JSON shape is documented in docs/api.md and tested.
type Status struct {
	Endpoint   string        `json:"endpoint"`
	Namespace  string        `json:"namespace,omitempty"`
	At         time.Time     `json:"at"`
	Address    string        `json:"address,omitempty"` // of the scoring endpoint
	Stable     *RevisionView `json:"stable,omitempty"`
	Candidate  *RevisionView `json:"candidate,omitempty"`
	Previous   *RevisionView `json:"previous,omitempty"` // kept ready for rollback
	Weights    Weights       `json:"weights"`
	Rollout    *RolloutView  `json:"rollout,omitempty"` // the running one, or the last
	Traffic    Traffic       `json:"traffic"`
	Conditions []Condition   `json:"conditions"`
}

// RevisionView is one revision as it is now.
type RevisionView struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Image   string `json:"image,omitempty"` // in a cluster
	Ready   bool   `json:"ready"`
	// ReadyReplicas of WantReplicas scorers are ready.
	ReadyReplicas int    `json:"readyReplicas"`
	WantReplicas  int    `json:"wantReplicas"`
	Restarts      int    `json:"restarts"`
	Failure       string `json:"failure,omitempty"`
}

// Weights are the candidate's shares in basis points: as planned, and as in force.
type Weights struct {
	Epoch     uint32 `json:"epoch"`
	PlannedBP int    `json:"plannedBP"`
	InForceBP int    `json:"inForceBP"`
	ShadowBP  int    `json:"shadowBP"`
}

// RolloutView is one rollout: where it stands and why.
type RolloutView struct {
	ID     string `json:"id"`
	Number int    `json:"number"`
	From   string `json:"from,omitempty"` // version of stable
	To     string `json:"to"`             // version of the candidate
	// FromRevision and ToRevision name them, with the digests of what makes a version.
	FromRevision *rollout.Revision  `json:"fromRevision,omitempty"`
	ToRevision   *rollout.Revision  `json:"toRevision,omitempty"`
	StartedAt    time.Time          `json:"startedAt"`
	EndedAt      *time.Time         `json:"endedAt,omitempty"`
	Outcome      string             `json:"outcome,omitempty"` // empty while it runs
	Step         int                `json:"step"`
	StepName     string             `json:"stepName"`
	Steps        []StepView         `json:"steps"`
	Paused       bool               `json:"paused,omitempty"`
	Decision     DecisionView       `json:"decision"`
	Verdict      judge.Verdict      `json:"verdict"`
	Evidence     EvidenceView       `json:"evidence"`
	Approvals    []rollout.Approval `json:"approvals,omitempty"`
}

// StepView is one step of the frozen plan.
type StepView struct {
	Name     string `json:"name"`
	WeightBP int    `json:"weightBP"`
	ShadowBP int    `json:"shadowBP,omitempty"`
	Approval bool   `json:"approval,omitempty"`
	State    string `json:"state"` // Done, Current, Waiting
	// EnteredAt is when it was entered; Counts are of the requests routed in it.
	EnteredAt *time.Time  `json:"enteredAt,omitempty"`
	Counts    *StepCounts `json:"counts,omitempty"`
}

// StepCounts are what came of the requests that were routed while a step lasted.
type StepCounts struct {
	StableRequests    uint64 `json:"stableRequests"`
	StableErrors      uint64 `json:"stableErrors"`
	CandidateRequests uint64 `json:"candidateRequests"`
	CandidateErrors   uint64 `json:"candidateErrors"`
	FellBack          uint64 `json:"fellBack"`
	Pairs             uint64 `json:"pairs"`
	Disagreed         uint64 `json:"disagreed"`
	// SeenBP is the share that the candidate really got while the step's weight was
	// in force; of a shadow step, the share of which it got a copy.
	SeenBP int `json:"seenBP"`
}

// DecisionView is the last decision in words.
type DecisionView struct {
	Action  string    `json:"action"` // Advance, Hold, Revert
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// EvidenceView sums the evidence of the running rollout.
type EvidenceView struct {
	Digest            string `json:"digest"`
	StableRequests    uint64 `json:"stableRequests"`
	StableErrors      uint64 `json:"stableErrors"`
	CandidateRequests uint64 `json:"candidateRequests"`
	CandidateErrors   uint64 `json:"candidateErrors"`
	FellBack          uint64 `json:"fellBack"`
	Pairs             uint64 `json:"pairs"`
	Compared          uint64 `json:"compared"` // pairs whose answers could be compared
	Disagreed         uint64 `json:"disagreed"`
	Dropped           uint64 `json:"dropped"`
}

// Traffic is what flows now.
type Traffic struct {
	RequestsPerSecond  float64 `json:"requestsPerSecond"`
	CandidatePerSecond float64 `json:"candidatePerSecond"`
}

// Condition follows the Kubernetes API conventions.
type Condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"` // True, False, Unknown
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"lastTransitionTime"`
}

// Change is one field that an applied document changes.
type Change struct {
	Path       string `json:"path"`
	Old        string `json:"old"`
	New        string `json:"new"`
	NewVersion bool   `json:"newVersion"` // starts a rollout
}

// ApplyResult says what applying a document does, or would do in a dry run.
type ApplyResult struct {
	Endpoint   string   `json:"endpoint"`
	DryRun     bool     `json:"dryRun"`
	Changes    []Change `json:"changes"`
	NewVersion bool     `json:"newVersion"`
	Notes      []string `json:"notes"` // fields not used here, and the like
	Message    string   `json:"message"`
	// Version that the document asks for, and Steps, the plan of a rollout that tries it.
	Version string     `json:"version,omitempty"`
	Steps   []StepView `json:"steps,omitempty"`
	// Rollout is the one that tries the document's version, or that brought it into
	// production if it is the last; empty in a dry run.
	Rollout string `json:"rollout,omitempty"`
	// Held is why a version that the document asks for is not tried.
	Held string `json:"held,omitempty"`
}

// ActionRequest is what a person or a pipeline asks for.
type ActionRequest struct {
	ID             string `json:"id,omitempty"`
	Action         string `json:"action"`
	Rollout        string `json:"rollout,omitempty"` // empty: the running one
	Step           string `json:"step,omitempty"`
	Reason         string `json:"reason,omitempty"`
	By             string `json:"by,omitempty"` // set by the server from the caller's identity
	OnBehalfOf     string `json:"onBehalfOf,omitempty"`
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
}

// ActionResult is what became of it.
type ActionResult struct {
	ID       string `json:"id"`
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// Event is one line for those who watch: a transition, an action, a fault.
type Event struct {
	Seq   uint64 `json:"seq"`
	Entry Entry  `json:"entry"`
}

// Kinds of audit entries.
const (
	EntryApplied    = "Applied"
	EntryAction     = "Action"
	EntryTransition = "Transition"
	EntryFault      = "Fault"
)
