package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/serin-dev/serin/internal/rollout"
)

// Trial is what became of a version that a document asks for.
type Trial struct {
	Rollout string // that tries it; empty where none does
	Held    string // why it is not tried
	Settled bool   // false: the next rounds will tell
}

// TrialOf says what becomes of a version. last is the rollout that was the latest
// before the document was applied: one of another name began because of it. A
// pipeline that asks again for what it brought into production gets the same answer.
func TrialOf(s rollout.State, digest, last string) Trial {
	a := s.Attempt
	runs := a != nil && a.Outcome == rollout.Running
	switch {
	case a != nil && a.To.Digest == digest && (runs || a.Outcome == rollout.Promoted || a.ID != last):
		return Trial{Rollout: a.ID, Settled: true}
	case runs: // ends first
		return Trial{}
	case s.Stable != nil && s.Stable.Digest == digest:
		return Trial{Settled: true}
	case slices.Contains(s.Blocked, digest):
		return Trial{Settled: true, Held: "this version was reverted, rejected or aborted before and is not tried again by itself: serin retry, or apply another version"}
	}
	return Trial{}
}

// Explain says it in the result of applying a document.
func (t Trial) Explain(r *ApplyResult, version string) {
	r.Rollout, r.Held = t.Rollout, t.Held
	switch {
	case !r.NewVersion || t.Rollout != "":
	case t.Held != "" && t.Settled:
		r.Message = fmt.Sprintf("version %s is asked for", version)
	case t.Settled:
		r.Message = fmt.Sprintf("version %s is in production", version)
	}
}

// LastRollout names the running rollout, or the last; it is empty if there was none.
func LastRollout(s rollout.State) string {
	if s.Attempt == nil {
		return ""
	}
	return s.Attempt.ID
}

// triedWithin bounds the rounds until a wish has become a rollout: what is on trial
// ends in one, and the next begins.
const triedWithin = 3

// Try goes round the loop until it is known what becomes of a version.
func (e *Engine) Try(ctx context.Context, digest, last string) (t Trial) {
	for range triedWithin {
		e.Settle(ctx)
		if t = TrialOf(e.Record().State, digest, last); t.Settled {
			return t
		}
	}
	t.Held = fmt.Sprintf("no rollout of it has begun yet (%s)", orWaiting(e.Glance()))
	return t
}

func orWaiting(st Status) string {
	if st.Rollout == nil {
		return "nothing has run before"
	}
	return st.Rollout.ID + ": " + st.Rollout.Decision.Reason
}
