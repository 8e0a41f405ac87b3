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
// idempotent: after a crash, or an error, the engine repeats them. Every platform
// passes the suite in enginetest.
type Platform interface {
	// Observe says what is, not what was asked for.
	Observe(ctx context.Context) (rollout.Observed, error)
	// Apply carries out one action. An error leaves the action to be repeated.
	Apply(ctx context.Context, a rollout.Action) error
}

// Source is where evidence comes from.
type Source interface {
	// Configure says what the epochs that begin from now on are judged by: which
	// cut-offs are counted, and within which tolerance two answers agree. Epochs
	// before since are not asked for any more.
	Configure(p judge.Policy, since uint32) error
	// Begin announces a weight epoch before any request of it is routed.
	Begin(e judge.EpochInfo)
	// Snapshot returns all counts since this process began.
	Snapshot() judge.Evidence
	// Notify receives when a candidate failed, so that the loop wakes early.
	Notify() <-chan struct{}
}

// Recorder keeps the record.
type Recorder interface {
	Load(ctx context.Context, endpoint string) (Record, bool, error)
	// Save is atomic: the record and what comes with it, or nothing.
	Save(ctx context.Context, r Record, with Additions) error
	// Rollouts returns rollouts that ended, latest first, each with the judgements
	// of its audit entries, oldest first.
	Rollouts(ctx context.Context, endpoint string, limit int) ([]RolloutRecord, error)
	Audit(ctx context.Context, endpoint string, limit int) ([]Entry, error)
}

// Additions are what a Save adds to what is there.
type Additions struct {
	Entries []Entry
	Ended   []RolloutRecord // replaces one of the same ID
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
	// CountedSince is the first epoch whose scores were counted against the present
	// cut-offs: earlier counts are of other cut-offs.
	CountedSince uint32 `json:"countedSince"`
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
	// Judged is what a Transition stood on. It is stored, and comes back with the
	// rollout's record, not with the audit.
	Judged *Judgement `json:"-"`
}

// Judgement is one verdict with all that it was computed from, but for the policy
// and calibration of its rollout: judge.Judge gives the same verdict again.
type Judgement struct {
	At         time.Time      `json:"at"`
	Reason     string         `json:"reason"`     // of the decision
	Calibrated bool           `json:"calibrated"` // false: judged without calibration
	Evidence   judge.Evidence `json:"evidence"`
	Window     judge.Window   `json:"window"` // what the breaker saw
	Verdict    judge.Verdict  `json:"verdict"`
}

// Recompute judges again what was judged.
func (j Judgement) Recompute(p judge.Policy, c *judge.Calibration) judge.Verdict {
	if !j.Calibrated {
		c = nil
	}
	return judge.Judge(p, c, j.Evidence, j.Window)
}

// RolloutRecord is what is kept of a rollout that ended: enough to recompute
// each of its decisions bit for bit.
type RolloutRecord struct {
	ID          string             `json:"id"`
	EndedAt     time.Time          `json:"endedAt"`
	Attempt     rollout.Attempt    `json:"attempt"`
	Policy      judge.Policy       `json:"policy"`
	Calibration *judge.Calibration `json:"calibration,omitempty"`
	// Evidence, Window and Verdict are those of the last round in which it was judged.
	Evidence judge.Evidence `json:"evidence"`
	Window   judge.Window   `json:"window"`
	Verdict  judge.Verdict  `json:"verdict"`
	// Bake is what the breaker saw when a promoted version was taken back.
	Bake *judge.Window `json:"bake,omitempty"`
	// Decisions are the judgements behind its transitions, oldest first.
	Decisions []Judgement `json:"decisions,omitempty"`
}
