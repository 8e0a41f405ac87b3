// Package rollout decides what happens next: Step takes the recorded state and
// what is, and returns the new state, the actions to take and the decision in
// words. It is level-driven: called again with the same input it says the same.
package rollout

import (
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// Reason is one CamelCase word, the same in condition, event, log and metric.
type Reason = judge.Reason

// Reasons of the state machine; the judge has its own.
const (
	FirstVersion        Reason = "FirstVersion"
	Starting            Reason = "Starting"
	StepEntered         Reason = "StepEntered"
	AllRequiredPass     Reason = "AllRequiredPass"
	UpToDate            Reason = "UpToDate"
	WaitingForDuration  Reason = "WaitingForDuration"
	WaitingForRequests  Reason = "WaitingForRequests"
	WaitingForApproval  Reason = "WaitingForApproval"
	WaitingForRoute     Reason = "RouteNotInForce"
	WaitingForCapacity  Reason = "WaitingForCapacity"
	WaitingForEvidence  Reason = "WaitingForEvidence"
	HarmBudgetExceeded  Reason = "HarmBudgetExceeded"
	Frozen              Reason = "Frozen"
	Paused              Reason = "Paused"
	WarmingUp           Reason = "WarmingUp"
	CandidateNotReady   Reason = "CandidateNotReady"
	StableNotReady      Reason = "StableNotReady"
	CrashLoop           Reason = "CrashLoop"
	ProgressDeadline    Reason = "ProgressDeadlineExceeded"
	MaxDurationReached  Reason = "MaxDurationReached"
	ApprovalTimedOut    Reason = "ApprovalTimedOut"
	RejectedByPerson    Reason = "Rejected"
	AbortedByPerson     Reason = "Aborted"
	PromotedByPerson    Reason = "PromotedByPerson"
	RolledBackByPerson  Reason = "RolledBack"
	BakeFailed          Reason = "BakeFailed"
	SupersededByVersion Reason = "Superseded"
	VersionFailedBefore Reason = "VersionFailedBefore"
	WeightsOverwritten  Reason = "WeightsOverwritten"
	StateUnreadable     Reason = "StateUnreadable"
	ActionAccepted      Reason = "Accepted"
	AlreadyDone         Reason = "AlreadyDone"
	NothingRuns         Reason = "NothingRuns"
	WrongRollout        Reason = "WrongRollout"
	WrongStep           Reason = "WrongStep"
	EvidenceNotShown    Reason = "EvidenceNotShown"
	NotPossibleNow      Reason = "NotPossibleNow"
	UnknownAction       Reason = "UnknownAction"
	stateVersion               = 1
	mostHistory                = 200
	mostProcessed              = 512
	mostBlocked                = 64
	fullWeight                 = 10000
	longestTick                = 5 * time.Second // a longer gap was a stop or a clock jump, and is not counted
)

// OnTimeout says what a rollout does when its time is over.
type OnTimeout string

// What may happen at a time-out.
const (
	TimeoutHold   OnTimeout = "Hold"
	TimeoutRevert OnTimeout = "Revert"
)

// Plan is how a rollout moves, frozen when it starts.
type Plan struct {
	Steps            []PlanStep    `json:"steps"`
	ApprovalEvery    bool          `json:"approvalEvery,omitempty"`
	MinRequests      uint64        `json:"minRequests"`
	HarmBudget       float64       `json:"harmBudget"` // extra failed requests that the next step may cost
	Warmup           time.Duration `json:"warmup"`
	MaxDuration      time.Duration `json:"maxDuration"` // judged time
	OnTimeout        OnTimeout     `json:"onTimeout"`
	ApprovalTimeout  time.Duration `json:"approvalTimeout"`
	ProgressDeadline time.Duration `json:"progressDeadline"`
	KeepFailed       time.Duration `json:"keepFailed"`
	KeepOld          time.Duration `json:"keepOld"`
	Freeze           []Window      `json:"freeze,omitempty"`
}

// PlanStep is one step: a shadow share or a weight, in basis points.
type PlanStep struct {
	Name        string        `json:"name"`
	ShadowBP    int           `json:"shadowBP,omitempty"`
	WeightBP    int           `json:"weightBP,omitempty"`
	MinDuration time.Duration `json:"minDuration,omitempty"`
	Approval    bool          `json:"approval,omitempty"`
}

// Revision is one immutable version of the scorer.
type Revision struct {
	Name    string `json:"name"` // safe-driver-r7
	Number  int    `json:"number"`
	Digest  string `json:"digest"`  // of what means a new version
	Version string `json:"version"` // shown to people
}

// Wish is the version that the document asks for.
type Wish struct {
	Digest  string `json:"digest"`
	Version string `json:"version"`
}

// Routing is what the router must do, in one piece.
type Routing struct {
	Epoch     uint32 `json:"epoch"`
	Rollout   string `json:"rollout,omitempty"`
	Step      int    `json:"step"`
	Stable    string `json:"stable,omitempty"`
	Candidate string `json:"candidate,omitempty"` // with weight 0: reachable by header only
	// Previous is asked what stable fails, while it is kept and if the document wants it.
	Previous string `json:"previous,omitempty"`
	WeightBP int    `json:"weightBP"`
	ShadowBP int    `json:"shadowBP"`
	// BeforeBP is the weight of the step before: clients that keep their arm and drew
	// stable then draw again.
	BeforeBP int `json:"beforeBP,omitempty"`
	// Warmup and Calibrating requests are not judged, or not by latency.
	Warmup      bool `json:"warmup,omitempty"`
	Calibrating bool `json:"calibrating,omitempty"`
	// HandOver asks the candidate's own end to hand all its requests to stable at once.
	HandOver bool `json:"handOver,omitempty"`
}

// sameRules reports whether both route alike, whatever their epochs. Who stands behind stable is asked by its own end, not
// by the router, and no request can show it.
func (r Routing) sameRules(o Routing) bool {
	r.Epoch, o.Epoch, r.Previous, o.Previous = 0, 0, "", ""
	return r == o
}

// Outcome is how a rollout ended; empty while it runs.
type Outcome string

// How a rollout may end.
const (
	Running    Outcome = ""
	Promoted   Outcome = "Promoted"
	Reverted   Outcome = "Reverted"
	Rejected   Outcome = "Rejected"
	Aborted    Outcome = "Aborted"
	Superseded Outcome = "Superseded"
	RolledBack Outcome = "RolledBack"
)

// Attempt is one rollout: its frozen plan, where it stands and how it ended.
// Durations only grow while Step is called: stops and clock jumps do not count.
type Attempt struct {
	ID        string    `json:"id"`
	Number    int       `json:"number"`
	Plan      Plan      `json:"plan"`
	From      *Revision `json:"from,omitempty"`
	To        Revision  `json:"to"`
	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	// Step is the index of the step entered; -1 before the first.
	Step        int           `json:"step"`
	ReadyFor    time.Duration `json:"readyFor"`    // candidate's life since it was first ready
	NotReadyFor time.Duration `json:"notReadyFor"` // since the last step was entered; oscillation does not reset it
	StepFor     time.Duration `json:"stepFor"`     // in force, not paused
	JudgedFor   time.Duration `json:"judgedFor"`
	GateFor     time.Duration `json:"gateFor"`          // waiting for the approval of the next step; another gate between does not reset it
	AtGate      bool          `json:"atGate,omitempty"` // nothing but the approval is missing now
	Asked       string        `json:"asked,omitempty"`  // step whose approval was asked for
	TimedOut    Reason        `json:"timedOut,omitempty"`
	FirstEpoch  uint32        `json:"firstEpoch"`
	Approvals   []Approval    `json:"approvals,omitempty"`
	Paused      bool          `json:"paused,omitempty"`
	Ending      *Ending       `json:"ending,omitempty"` // decided, and waits for stable
	Outcome     Outcome       `json:"outcome,omitempty"`
	Reason      Reason        `json:"reason,omitempty"`
	Message     string        `json:"message,omitempty"`
	History     []Transition  `json:"history,omitempty"`
}

// Ending is how an attempt ends without promotion.
type Ending struct {
	Outcome Outcome `json:"outcome"`
	Reason  Reason  `json:"reason"`
	Message string  `json:"message"`
}

// Approval is who let the rollout enter a step, and on what evidence.
type Approval struct {
	Step           string    `json:"step"`
	By             string    `json:"by"`
	OnBehalfOf     string    `json:"onBehalfOf,omitempty"`
	At             time.Time `json:"at"`
	EvidenceDigest string    `json:"evidenceDigest,omitempty"`
}

// Transition is one line of a rollout's history.
type Transition struct {
	At      time.Time `json:"at"`
	Step    int       `json:"step"`
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"`
}

// Kept is a revision that runs on without weight until a time.
type Kept struct {
	Revision Revision  `json:"revision"`
	Until    time.Time `json:"until"`
	Failed   bool      `json:"failed,omitempty"` // a reverted candidate, reachable by header
}

// State is all that is recorded of an endpoint. JSON-stable; Version guards it.
type State struct {
	Version      int       `json:"version"`
	Endpoint     string    `json:"endpoint"`
	Stable       *Revision `json:"stable,omitempty"`
	Previous     *Kept     `json:"previous,omitempty"` // kept ready for rollback
	Failed       *Kept     `json:"failed,omitempty"`   // kept for debugging
	Candidate    *Revision `json:"candidate,omitempty"`
	Attempt      *Attempt  `json:"attempt,omitempty"` // the running one, or the last
	Routing      Routing   `json:"routing"`
	NextRevision int       `json:"nextRevision"`
	NextAttempt  int       `json:"nextAttempt"`
	// Blocked digests failed: they are not tried again by themselves.
	Blocked   []string   `json:"blocked,omitempty"`
	Processed []Answered `json:"processed,omitempty"` // actions already answered
	PutBack   uint32     `json:"putBack,omitempty"`   // epoch that answered overwritten weights, until it is in force
	// Overwritten is the last time that someone else changed the weights.
	Overwritten *Overwriting `json:"overwritten,omitempty"`
	TickedAt    time.Time    `json:"tickedAt,omitzero"`
}

// Overwriting is somebody else's change of the weights, and what answered it.
type Overwriting struct {
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"`
	Epoch uint32    `json:"epoch"` // that put them back
}

// Answered is an action that is not to be taken twice, and what became of it.
type Answered struct {
	ID      string `json:"id"`
	Refused Reason `json:"refused,omitempty"`
}

// NewState is the state of an endpoint that has never served.
func NewState(endpoint string) State {
	return State{Version: stateVersion, Endpoint: endpoint, NextRevision: 1, NextAttempt: 1}
}

// RevisionStatus is what the platform sees of a revision.
type RevisionStatus struct {
	Started       bool
	Ready         bool
	ReadyReplicas int
	WantReplicas  int
	Restarts      int
	CrashLooping  bool
	Failure       string
	// Unrecorded: nobody reads its answers, so there are neither scores nor pairs.
	Unrecorded bool
}

// InForce is what the router does, as seen.
type InForce struct {
	Epoch       uint32
	Overwritten bool   // someone else changed the weights
	By          string // who did, as far as the platform knows
	// Stale is how long after the last routes were written requests still went by
	// older ones; 0 where nobody asked, or the routes are in force.
	Stale time.Duration
}

// Observed is what is.
type Observed struct {
	Revisions map[string]RevisionStatus
	InForce   InForce
	// Losses are what is known to be missing of the last minutes' evidence.
	Losses          []Loss
	StateUnreadable bool
}

// ActionKind is what a person may ask.
type ActionKind string

// The actions.
const (
	Approve  ActionKind = "Approve"
	Reject   ActionKind = "Reject"
	Pause    ActionKind = "Pause"
	Resume   ActionKind = "Resume"
	Promote  ActionKind = "Promote"
	Abort    ActionKind = "Abort"
	Rollback ActionKind = "Rollback"
	Retry    ActionKind = "Retry"
)

// ActionRequest is one action asked for; ID makes it idempotent.
type ActionRequest struct {
	ID             string
	Kind           ActionKind
	Rollout, Step  string
	By, OnBehalfOf string
	Reason         string
	At             time.Time
	EvidenceDigest string
	Unseen         bool // nobody was shown this evidence in the present step
}

// ActionResult says what became of it.
type ActionResult struct {
	ID       string
	Accepted bool
	Reason   Reason
	Message  string
}

// Input is all that Step looks at, as values.
type Input struct {
	Now               time.Time
	Wish              Wish
	Plan              Plan
	Observed          Observed
	Verdict           judge.Verdict
	Recent            judge.Window // counts of the last seconds
	CandidateRequests uint64       // judged, in the present step; pairs in a shadow step
	TotalRPS          float64      // of the endpoint
	ReactionLag       time.Duration
	Calibrated        bool // latency edges are frozen
	EvidenceDigest    string
	Actions           []ActionRequest
}

// Action is something for the platform to do. All are idempotent.
type Action interface{ isAction() }

// SetRouting puts weights, shadow and header routes in force.
type SetRouting struct{ Routing Routing }

// StartRevision runs a revision.
type StartRevision struct{ Revision Revision }

// StopRevision drains and ends a revision that no route names any more.
type StopRevision struct{ Revision Revision }

// PromoteRevision tells the platform that a revision is now stable.
type PromoteRevision struct{ Revision Revision }

func (SetRouting) isAction()      {}
func (StartRevision) isAction()   {}
func (StopRevision) isAction()    {}
func (PromoteRevision) isAction() {}

// Decision is what was decided, in words for a tired person at 3 a.m.
type Decision struct {
	Action        judge.Action
	Reason        Reason
	Message       string
	Transition    bool // something changed: goes to the audit
	ActionResults []ActionResult
}

// Reverts reports whether the decision sends traffic back to safety.
func (d Decision) Reverts() bool { return d.Action == judge.Revert }
