package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// owedMost bounds the faults that wait to be written while nothing can be.
const owedMost = 100

// saved is what the last Save wrote.
type saved struct {
	at       time.Time
	evidence judge.Evidence
}

// round observes, judges, steps, records and applies.
func (e *Engine) round(ctx context.Context) error {
	now := e.cfg.Clock()
	if err := e.observe(ctx); err != nil {
		return errors.Join(err, e.work(ctx))
	}
	evidence := e.evidence()
	in := e.input(now, evidence)
	next, actions, decision := rollout.Step(e.rec.State, in)
	rec := e.rec
	rec.State, rec.Evidence = next, evidence
	if was, is := e.rec.State.Stable, next.Stable; is != nil && (was == nil || was.Name != is.Name) {
		rec.StableSince = next.Routing.Epoch
	}
	with := Additions{Entries: e.entriesOf(now, next, in, decision), Ended: e.ended(next, in)}
	begins := e.begins(&rec)
	handedOver := e.handOver(ctx, actions, decision)
	unrecorded := e.record(ctx, rec, with, decision)
	actions = handedOver()
	if unrecorded != nil && !decision.Reverts() {
		return errors.Join(unrecorded, e.work(ctx))
	}
	e.decision, e.decided = decision, now
	e.answer(decision, unrecorded)
	var err error
	if begins {
		err = e.countFor(rec)
	}
	e.enqueue(actions, decision.Reverts())
	err = errors.Join(unrecorded, err, e.work(ctx))
	if e.changed { // say what is, not what was a moment ago
		err = errors.Join(err, e.observe(ctx))
	}
	return err
}

func (e *Engine) observe(ctx context.Context) error {
	observed, err := e.cfg.Platform.Observe(ctx)
	if err != nil {
		return fmt.Errorf("observing the platform: %w", err)
	}
	e.observed = observed
	if observed.InForce.Overwritten && !slices.ContainsFunc(e.todo, isRouting) {
		// Nobody knows what the requests of these routes were drawn with.
		info := e.epochInfo(e.rec.State.Routing)
		info.Tampered = true
		e.cfg.Source.Begin(info)
	}
	return nil
}

// countFor makes the source count for the rollout that begins, and forgets what no
// rollout will ask for any more.
func (e *Engine) countFor(rec Record) error {
	since := min(rec.StableSince, rec.State.Attempt.FirstEpoch)
	e.base = keep(e.base, func(i judge.EpochInfo) bool { return i.ID >= since })
	if err := e.cfg.Source.Configure(rec.Policy, since); err != nil {
		return fmt.Errorf("counting for rollout %q: %w", rec.State.Attempt.ID, err)
	}
	return nil
}

// handOver begins to put a revert's routes in force: they do not wait for the disk,
// nor does the record wait for a mesh that is busy. Should the process die between
// the two, the revert was not told to anybody yet, and is decided again. The function
// returned waits for the routes and says what is left to be done.
func (e *Engine) handOver(ctx context.Context, actions []rollout.Action, d rollout.Decision) func() []rollout.Action {
	at := slices.IndexFunc(actions, isRouting)
	if at < 0 || !d.Reverts() {
		return func() []rollout.Action { return actions }
	}
	e.announce(actions[at])
	done := make(chan error, 1)
	go func() { done <- e.carryOut(ctx, actions[at]) }()
	return func() []rollout.Action {
		if <-done != nil {
			return actions // it is tried again, and its error told, with the rest
		}
		e.did(actions[at])
		e.todo = slices.DeleteFunc(e.todo, isRouting) // of routes only the latest count
		return slices.Delete(slices.Clone(actions), at, at+1)
	}
}

// record saves before anything is done, but for a revert's routes. Where the record cannot be written only a
// revert goes on: safety does not wait for a disk. Its record is owed then.
func (e *Engine) record(ctx context.Context, rec Record, with Additions, d rollout.Decision) error {
	due := e.dirty || len(e.owed.Entries) > 0 || len(with.Entries) > 0 || moved(e.rec.State, rec.State)
	if !due && !e.stale(rec) {
		e.rec = rec
		return nil
	}
	err := e.save(ctx, rec, with)
	if err != nil && d.Reverts() {
		e.rec, e.dirty = rec, true
		e.owed.Entries = append(e.owed.Entries, with.Entries...)
		e.owed.Ended = append(e.owed.Ended, with.Ended...)
	}
	return err
}

// stale reports that clocks or counts changed and are not written for too long.
// A clock that was set back must not put this off.
func (e *Engine) stale(rec Record) bool {
	age := e.cfg.Clock().Sub(e.saved.at)
	if age >= 0 && age < e.cfg.EvidenceEvery {
		return false
	}
	a := rec.State.Attempt
	return a != nil && a.Outcome == rollout.Running || !reflect.DeepEqual(rec.Evidence, e.saved.evidence)
}

func (e *Engine) save(ctx context.Context, rec Record, with Additions) error {
	rec.SavedAt = e.cfg.Clock()
	all := Additions{Entries: slices.Concat(e.owed.Entries, with.Entries), Ended: slices.Concat(e.owed.Ended, with.Ended)}
	if err := e.cfg.Recorder.Save(ctx, rec, all); err != nil {
		return err
	}
	late := e.owed.Entries
	e.rec, e.saved, e.owed, e.dirty = rec, saved{rec.SavedAt, rec.Evidence}, Additions{}, false
	for _, entry := range slices.Concat(late, with.Entries) {
		if entry.Kind != EntryFault { // told when it happened
			e.publish(entry)
		}
	}
	return nil
}

// begins freezes the policy when an attempt begins, and reports that one does.
func (e *Engine) begins(rec *Record) bool {
	before, after := e.rec.State.Attempt, rec.State.Attempt
	if after == nil || before != nil && before.ID == after.ID {
		return false
	}
	if before != nil && !slices.EqualFunc(e.rec.Policy.Cutoffs, e.wish.Policy.Cutoffs, func(a, b judge.Cutoff) bool { return a.Value == b.Value }) {
		rec.CountedSince = after.FirstEpoch
	}
	rec.Policy, rec.Calibration = e.wish.Policy, nil
	rec.Policy.Unrecorded = after.From != nil && e.observed.Revisions[after.From.Name].Unrecorded
	return true
}

// ended is what a rollout that ended in this step leaves behind.
func (e *Engine) ended(next rollout.State, in rollout.Input) []RolloutRecord {
	ended := rollout.Ended(e.rec.State, next)
	if ended == nil {
		return nil
	}
	r := RolloutRecord{
		ID: ended.ID, EndedAt: e.cfg.Clock(), Attempt: *ended, Policy: e.rec.Policy, Calibration: e.rec.Calibration,
		Evidence: e.last.Evidence, Window: e.last.Window, Verdict: e.last.Verdict,
	}
	if e.judged == nil { // it ended before, and is now taken back
		window := in.Recent
		r.Bake = &window
	}
	return []RolloutRecord{r}
}

// moved reports that more than the clocks changed: that is written at once.
func moved(a, b rollout.State) bool { return !reflect.DeepEqual(still(a), still(b)) }

func still(s rollout.State) rollout.State {
	s.TickedAt = time.Time{}
	if s.Attempt != nil {
		a := *s.Attempt
		a.ReadyFor, a.NotReadyFor, a.StepFor, a.JudgedFor, a.GateFor = 0, 0, 0, 0, 0
		s.Attempt = &a
	}
	return s
}

// digest names evidence: an approval says which it saw.
func digest(ev judge.Evidence) string {
	text, err := json.Marshal(ev)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
