package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestPromise6RecordBeforeAct: whatever the platform is asked for is in the record
// already, but for the routes of a revert.
func TestPromise6RecordBeforeAct(t *testing.T) {
	w := newWorld(t)
	seen := map[string]int{}
	w.platform.Refuse = func(a rollout.Action) error {
		rec, _, err := w.recorder.Load(t.Context(), "ep")
		if err != nil {
			return err
		}
		seen[fmt.Sprintf("%T", a)]++
		s := rec.State
		switch a := a.(type) {
		case rollout.SetRouting:
			if s.Routing != a.Routing {
				t.Errorf("routes %+v are asked for, %+v are recorded", a.Routing, s.Routing)
			}
		case rollout.StartRevision:
			if s.Candidate == nil || *s.Candidate != a.Revision {
				t.Errorf("%s is started, and not recorded: %+v", a.Revision.Name, s)
			}
		case rollout.PromoteRevision:
			if s.Stable == nil || *s.Stable != a.Revision {
				t.Errorf("%s is promoted, and not recorded: %+v", a.Revision.Name, s)
			}
		case rollout.StopRevision:
			if s.Previous != nil && s.Previous.Revision == a.Revision || s.Candidate != nil && *s.Candidate == a.Revision {
				t.Errorf("%s is stopped, and recorded to run: %+v", a.Revision.Name, s)
			}
		}
		return nil
	}
	w.inProduction("v1")
	w.promoted("v2")
	w.clock.move(2 * time.Hour) // keepOld
	w.until("v1 gone", 10, 0, func() bool { return w.Status().Previous == nil })
	if len(seen) != 4 {
		t.Errorf("saw %v; want all four kinds of action", seen)
	}
}

// TestPromise6RecordCannotBeWritten: the last weights hold and say so; nothing but
// a revert goes on, and is recorded as soon as it can be.
func TestPromise6RecordCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	before := w.platform.Routing()
	w.recorder.Broken = errDisk
	for range 50 {
		w.round(1000, 0)
	}
	if got := w.platform.Routing(); got != before {
		t.Errorf("routes %+v became %+v while the record could not be written", before, got)
	}
	w.degraded(true)
	if c := w.condition("Degraded"); !strings.Contains(c.Message, errDisk.Error()) {
		t.Errorf("condition %+v does not say why", c)
	}
	w.until("the revert", 200, 1, func() bool { return w.platform.Routing().WeightBP == 0 })
	w.degraded(true)
	if n := len(w.rollouts()); n != 1 {
		t.Fatalf("%d rollouts are filed on a broken disk, want that of v1", n)
	}
	w.recorder.Broken = nil
	w.round(10, 0)
	w.degraded(false)
	if all := w.rollouts(); len(all) != 2 || all[0].Attempt.Outcome != rollout.Reverted {
		t.Errorf("filed %+v, want the revert on top", all)
	}
	entries, err := w.recorder.Audit(t.Context(), "ep", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{engine.EntryFault, engine.EntryTransition} {
		if !slices.ContainsFunc(entries[:4], func(e engine.Entry) bool { return e.Kind == kind }) {
			t.Errorf("the audit lacks the %s that could not be written: %+v", kind, entries[:4])
		}
	}
	w.open()
	w.round(10, 0)
	if s := w.Status(); s.Rollout.Outcome != "Reverted" || w.platform.Routing().WeightBP != 0 {
		t.Errorf("after a restart: %+v", s.Rollout)
	}
}

// slowDisk calls before whenever something is saved.
type slowDisk struct {
	engine.Recorder
	before func(engine.Record)
}

func (d slowDisk) Save(ctx context.Context, r engine.Record, with engine.Additions) error {
	d.before(r)
	return d.Recorder.Save(ctx, r, with)
}

// TestPromise7RevertDoesNotWaitForTheDisk: while the record of a revert is being
// written, the candidate's traffic is gone already; what else is done comes later.
func TestPromise7RevertDoesNotWaitForTheDisk(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	saves := 0
	config := w.config()
	config.Recorder = slowDisk{w.recorder, func(r engine.Record) {
		if r.State.Attempt == nil || r.State.Attempt.Outcome != rollout.Reverted {
			return
		}
		if saves++; saves > 1 {
			return
		}
		deadline := time.Now().Add(30 * time.Second)
		for w.platform.Routing().WeightBP > 0 {
			if time.Now().After(deadline) {
				t.Error("the routes of a revert waited for its record")
				return
			}
			runtime.Gosched()
		}
		for _, a := range w.platform.Applied() {
			if _, stops := a.(rollout.StopRevision); stops {
				t.Errorf("%+v before it was recorded", a)
			}
		}
	}}
	e, _, err := engine.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.Engine = e
	if err := e.Restore(t.Context(), w.wish); err != nil {
		t.Fatal(err)
	}
	w.onTrial("v2")
	w.platform.Applied()
	w.until("the revert", 100, 1, func() bool { return w.Status().Rollout.Outcome == "Reverted" })
	if saves == 0 {
		t.Error("the revert was not recorded")
	}
	for _, a := range w.platform.Applied() {
		if isRouting(a) {
			t.Errorf("%+v was put in force twice", a)
		}
	}
}

// TestPromise7AbortOnABrokenDisk: who aborts gets it, and is told that it is not
// recorded.
func TestPromise7AbortOnABrokenDisk(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	w.recorder.Broken = errDisk
	r := w.act("Abort", "")
	if !r.Accepted || !strings.Contains(r.Message, "not recorded yet") || w.platform.Routing().WeightBP != 0 {
		t.Errorf("answer %+v, routes %+v; want it done, and said that it is not recorded", r, w.platform.Routing())
	}
}

// TestPromise6ApprovalIsAnsweredWhenRecorded: whoever is told so can rely on it.
func TestPromise6ApprovalIsAnsweredWhenRecorded(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.atGate("v2")
	w.recorder.Broken = errDisk
	answer := w.ask(engine.ActionRequest{ID: "a-1", Action: "Approve", Step: "50%", By: "anna"})
	w.until("the approval to be refused by the disk", 10, 0, func() bool { return w.condition("Degraded").Status == "True" })
	for range 20 {
		w.round(10, 0)
	}
	select {
	case r := <-answer:
		t.Fatalf("answered %+v, and it is not recorded", r)
	default:
	}
	w.recorder.Broken = nil
	if r := w.answered(answer); !r.Accepted {
		t.Fatalf("answered %+v", r)
	}
	w.open() // kill -9
	if s := w.Status(); len(s.Rollout.Approvals) != 1 || s.Rollout.Approvals[0].By != "anna" {
		t.Errorf("approvals %+v after a restart", s.Rollout.Approvals)
	}
	again := w.answered(w.ask(engine.ActionRequest{ID: "a-1", Action: "Approve", Step: "50%", By: "anna"}))
	if !again.Accepted || again.Reason != string(rollout.AlreadyDone) {
		t.Errorf("asked again with the same id: %+v", again)
	}
}

// TestPromise8WhatAMetricSawNobodyWasShown: a scrape looks at the evidence, and nobody
// has seen it for that.
func TestPromise8WhatAMetricSawNobodyWasShown(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.atGate("v2")
	approve := func(id, digest string) engine.ActionResult {
		return w.answered(w.ask(engine.ActionRequest{ID: id, Action: "Approve", Step: "50%", By: "anna", EvidenceDigest: digest}))
	}
	w.round(10, 0)
	scraped := w.Glance().Rollout.Evidence.Digest
	if r := approve("a-1", scraped); r.Accepted || r.Reason != string(rollout.EvidenceNotShown) {
		t.Errorf("approved on what only a scrape saw: %+v", r)
	}
	if r := approve("a-2", w.Status().Rollout.Evidence.Digest); !r.Accepted {
		t.Errorf("refused what was shown: %+v", r)
	}
}

// TestPromise6UnreadableRecordIsNeverReplaced: no fresh start, and nothing written.
func TestPromise6UnreadableRecordIsNeverReplaced(t *testing.T) {
	for _, c := range []struct{ name, record, says string }{
		{"broken JSON", `{"endpoint": "ep", "state": {`, "opening endpoint"},
		{"of another kind", `{"state": "none"}`, "opening endpoint"},
		{"newer", `{"endpoint": "ep", "state": {"version": 99}}`, "version 99"},
		{"without a version", `{"endpoint": "ep", "state": {}}`, "version 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.recorder.Put("ep", c.record)
			_, _, err := engine.Open(t.Context(), w.config())
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q in it", err, c.says)
			}
			if n := w.recorder.Saves(); n != 0 {
				t.Errorf("%d records were written over it", n)
			}
		})
	}
}

// TestPromise6EvidenceCountsOnce: counts of earlier processes are added once,
// however often there is a restart.
func TestPromise6EvidenceCountsOnce(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.onTrial("v2")
	view := func() engine.EvidenceView { return w.Status().Rollout.Evidence }
	start := view()
	for range 4 {
		w.round(100, 0)
		w.clock.move(time.Second)
		w.round(0, 0) // saves
		w.open()
		w.round(0, 0)
	}
	w.round(100, 0)
	got := view()
	if got.CandidateRequests-start.CandidateRequests != 50 || got.StableRequests-start.StableRequests != 450 {
		t.Errorf("from %+v to %+v; want 50 and 450 requests more", start, got)
	}
}

// TestPromise6EvidenceIsSavedTwiceASecond, also when the clock is set back; and not
// at every round: each save waits for the disk.
func TestPromise6EvidenceIsSavedTwiceASecond(t *testing.T) {
	w := newWorld(t)
	w.inProduction("v1")
	w.atGate("v2")
	w.round(10, 0)
	for _, jump := range []time.Duration{0, -time.Hour, 24 * time.Hour} {
		w.clock.move(jump)
		before := w.recorder.Saves()
		for range 100 { // 20 s
			w.round(10, 0)
			rec, _, err := w.recorder.Load(t.Context(), "ep")
			if err != nil {
				t.Fatal(err)
			}
			if age := w.clock.time().Sub(rec.SavedAt); age > time.Second || age < 0 {
				t.Fatalf("after a jump of %s the record is %s old", jump, age)
			}
		}
		if n := w.recorder.Saves() - before; n < 20 || n > 45 {
			t.Errorf("%d saves in 20 s after a jump of %s, want about 34", n, jump)
		}
	}
	w.recorder.Broken = errors.New("unplugged")
	w.clock.move(time.Second)
	w.round(10, 0)
	w.degraded(true)
}
