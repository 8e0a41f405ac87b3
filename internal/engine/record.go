// Package engine holds the only loop: observe, judge, step, record, apply. It
// decides nothing itself; judge and rollout do. It declares what it needs of a
// place to run in: Platform, Source and Recorder.
package engine

import (
	"context"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Platform is where revisions run and where routes are kept. Its actions are
// idempotent: after a crash the engine repeats them.
type Platform interface {
	// Observe says what is, not what was asked for.
	Observe(ctx context.Context) (rollout.Observed, error)
	// Apply carries out one action. An error leaves the action to be repeated.
	Apply(ctx context.Context, a rollout.Action) error
}

// Source is where evidence comes from.
type Source interface {
	// Begin announces a weight epoch before any request of it is routed.
	Begin(e judge.EpochInfo)
	// Snapshot returns all counts since this process began.
	Snapshot() judge.Evidence
	// Notify receives when a candidate failed, so that the loop wakes early.
	Notify() <-chan struct{}
}

// Recorder keeps the record. Save is atomic: all of it or nothing.
type Recorder interface {
	Load(ctx context.Context, endpoint string) (Record, bool, error)
	Save(ctx context.Context, r Record, entries ...Entry) error
	SaveEvidence(ctx context.Context, r Record) error
	SaveRollout(ctx context.Context, endpoint string, r RolloutRecord) error
	Rollouts(ctx context.Context, endpoint string, limit int) ([]RolloutRecord, error)
	Audit(ctx context.Context, endpoint string, limit int) ([]Entry, error)
}

// Record is all that must survive: with it alone the loop goes on where it was.
type Record struct {
	Endpoint string    `json:"endpoint"`
	SavedAt  time.Time `json:"savedAt"`
	// Document is the text last applied; Previous documents are in the audit.
	Document string        `json:"document"`
	State    rollout.State `json:"state"`
	// Policy and Calibration are frozen while an attempt runs.
	Policy      judge.Policy       `json:"policy"`
	Calibration *judge.Calibration `json:"calibration,omitempty"`
	// StableSince is the first epoch in which the present stable was in production:
	// latency edges come from its own requests only.
	StableSince uint32 `json:"stableSince"`
	// Revisions says how each version that may still have to run is run, by digest;
	// what it says is the platform's own.
	Revisions map[string]string `json:"revisions,omitempty"`
	// Evidence is stored apart: it changes every second.
	Evidence judge.Evidence `json:"-"`
}

// Entry is one line of the audit.
type Entry struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"` // Applied, Action, Transition, Fault
	Rollout  string    `json:"rollout,omitempty"`
	Action   string    `json:"action,omitempty"` // of a Transition: Advance, Hold or Revert
	By       string    `json:"by,omitempty"`
	OnBehalf string    `json:"onBehalfOf,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message"`
	// EvidenceDigest names the evidence that the decision stood on.
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
	Accepted       *bool  `json:"accepted,omitempty"` // of an Action
}

// RolloutRecord is what is kept of a rollout that ended: enough to recompute
// its last decision bit for bit.
type RolloutRecord struct {
	ID          string             `json:"id"`
	EndedAt     time.Time          `json:"endedAt"`
	Attempt     rollout.Attempt    `json:"attempt"`
	Policy      judge.Policy       `json:"policy"`
	Calibration *judge.Calibration `json:"calibration,omitempty"`
	Evidence    judge.Evidence     `json:"evidence"`
	Verdict     judge.Verdict      `json:"verdict"`
}
