package kube

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

type applyConfiguration = runtime.ApplyConfiguration

func testEndpoint() *v1alpha1.ScoringEndpoint {
	return &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: testKey.Namespace, Name: testKey.Name, UID: "u1"}}
}

func testRecord(epoch uint32) engine.Record {
	rec := engine.Record{Endpoint: testKey.Name, SavedAt: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Document: "x", State: rollout.NewState(testKey.Name), Revisions: map[string]string{"d1": "{}"}}
	rec.State.Routing.Epoch = epoch
	rec.Evidence = judge.Evidence{Epochs: []judge.EpochEvidence{{Info: judge.EpochInfo{ID: epoch}, Arms: [2]judge.Counts{{Requests: 7}}}}}
	return rec
}

// TestPromise6RecordInTheCluster: what was saved is what a standby reads; who has
// lost the leadership cannot write over it; someone who edits the same object is no
// reason to lose a decision.
func TestPromise6RecordInTheCluster(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, testEndpoint())
	old := newRecord(testKey, w.api, w.api)
	if _, found, err := old.Load(ctx, ""); found || err != nil {
		t.Fatalf("an endpoint without a record: found %v, %v", found, err)
	}
	if err := old.Save(ctx, testRecord(1), engine.Additions{Entries: []engine.Entry{{Kind: engine.EntryAction, By: "ann", Message: "Approve: ok"}}}); err != nil {
		t.Fatal(err)
	}
	var e v1alpha1.ScoringEndpoint
	if err := w.get(testKey.Name, &e); err != nil {
		t.Fatal(err)
	}
	e.Labels = map[string]string{"someone": "edits"}
	if err := w.api.Update(ctx, &e); err != nil {
		t.Fatal(err)
	}
	if err := old.Save(ctx, testRecord(2), engine.Additions{}); err != nil {
		t.Fatalf("after an edit of the object: %v", err)
	}
	standby := newRecord(testKey, w.api, w.api)
	got, found, err := standby.Load(ctx, "")
	asJSON := func(r engine.Record) string {
		text, err := json.Marshal(struct {
			engine.Record
			Counts judge.Evidence
		}{r, r.Evidence})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if diff := cmp.Diff(asJSON(testRecord(2)), asJSON(got)); !found || err != nil || diff != "" {
		t.Fatalf("found %v, %v, (-want +got)\n%s", found, err, diff)
	}
	if audit, _ := standby.Audit(ctx, "", 10); len(audit) != 1 || audit[0].By != "ann" {
		t.Errorf("audit %+v, want ann's approval", audit)
	}
	if err := standby.Save(ctx, testRecord(3), engine.Additions{}); err != nil {
		t.Fatal(err)
	}
	if err := old.Save(ctx, testRecord(9), engine.Additions{}); !errors.Is(err, errFenced) {
		t.Errorf("the old leader's save: %v, want it refused", err)
	}
}

func TestUnreadableRecordIsNotStartedAfresh(t *testing.T) {
	ctx := context.Background()
	e := testEndpoint()
	e.Status.Record = `{"record": {`
	w := newWorld(t, e)
	r := newRecord(testKey, w.api, w.api)
	if _, _, err := r.Load(ctx, ""); err == nil {
		t.Error("half a record is taken for none")
	}
}

// TestEndedRolloutsAreFiled: a rollout that ended is in the record until it is in an
// object of its own, with the judgements behind its transitions; the oldest go.
func TestEndedRolloutsAreFiled(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, testEndpoint())
	r := newRecord(testKey, w.api, w.api)
	if _, _, err := r.Load(ctx, ""); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= rolloutsKept+2; n++ {
		id := testKey.Name + "-" + string(rune('a'+n))
		a := rollout.Attempt{ID: id, Number: n, To: r2, Outcome: rollout.Promoted, Reason: rollout.AllRequiredPass}
		with := engine.Additions{
			Entries: []engine.Entry{{Kind: engine.EntryTransition, Rollout: id, Reason: "AllRequiredPass", Judged: &engine.Judgement{Reason: "AllRequiredPass"}}},
			Ended:   []engine.RolloutRecord{{ID: id, Attempt: a}},
		}
		if err := r.Save(ctx, testRecord(uint32(n)), with); err != nil {
			t.Fatal(err)
		}
		if err := r.file(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var list v1alpha1.ScoringRolloutList
	if err := w.api.List(ctx, &list, client.InNamespace(testKey.Namespace)); err != nil || len(list.Items) != rolloutsKept {
		t.Errorf("%d rollouts are kept (%v), want %d", len(list.Items), err, rolloutsKept)
	}
	got, err := r.Rollouts(ctx, "", 1)
	if err != nil || len(got) != 1 || got[0].Attempt.Number != rolloutsKept+2 || len(got[0].Decisions) != 1 {
		t.Errorf("the latest rollout: %+v, %v; want number %d with its decision", got, err, rolloutsKept+2)
	}
}

// counting counts what is read, and can lose answers.
type counting struct {
	client.Client
	reads int
	lose  bool
}

func (c *counting) Get(ctx context.Context, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	c.reads++
	return c.Client.Get(ctx, k, o, opts...)
}

func (c *counting) Status() client.SubResourceWriter { return losing{c.Client.Status(), c} }

type losing struct {
	client.SubResourceWriter
	c *counting
}

func (l losing) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	if err := l.SubResourceWriter.Patch(ctx, o, p, opts...); err != nil || !l.c.lose {
		return err
	}
	l.c.lose = false
	return context.DeadlineExceeded
}

// TestASaveReadsNothing as long as nobody else writes the object, and also when the
// one who does is the one that shows the status.
func TestASaveReadsNothing(t *testing.T) {
	w := newWorld(t, testEndpoint())
	api := &counting{Client: w.api}
	r := newRecord(testKey, api, api)
	if _, _, err := r.Load(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	save := func(epoch uint32, reads int) {
		t.Helper()
		api.reads = 0
		if err := r.Save(t.Context(), testRecord(epoch), engine.Additions{}); err != nil {
			t.Fatal(err)
		}
		if api.reads != reads {
			t.Errorf("save %d read %d times, want %d", epoch, api.reads, reads)
		}
	}
	save(1, 0)
	save(2, 0)
	var e v1alpha1.ScoringEndpoint
	if err := w.get(testKey.Name, &e); err != nil {
		t.Fatal(err)
	}
	before := e.DeepCopy()
	e.Status.Message = "shown"
	if err := w.api.Status().Patch(t.Context(), &e, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	r.saw(&e)
	save(3, 0)
	if err := w.get(testKey.Name, &e); err != nil || e.Status.Message != "shown" {
		t.Errorf("message %q (%v): a save took away what was shown", e.Status.Message, err)
	}
	e.Labels = map[string]string{"someone": "edits"}
	if err := w.api.Update(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	save(4, 1)
	save(5, 0)
	other := newRecord(testKey, w.api, w.api)
	if _, _, err := other.Load(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := other.Save(t.Context(), testRecord(6), engine.Additions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.get(testKey.Name, &e); err != nil {
		t.Fatal(err)
	}
	r.saw(&e) // somebody else's record makes no version of ours
	if err := r.Save(t.Context(), testRecord(7), engine.Additions{}); !errors.Is(err, errFenced) {
		t.Errorf("after another controller's save: %v, want it refused", err)
	}
}

// TestASaveWhoseAnswerIsLost: what it wrote is not taken for another controller's.
func TestASaveWhoseAnswerIsLost(t *testing.T) {
	w := newWorld(t, testEndpoint())
	api := &counting{Client: w.api}
	r := newRecord(testKey, api, api)
	if _, _, err := r.Load(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	api.lose = true
	if err := r.Save(t.Context(), testRecord(1), engine.Additions{}); err == nil {
		t.Fatal("the answer was lost and nobody says so")
	}
	if err := r.Save(t.Context(), testRecord(2), engine.Additions{}); err != nil {
		t.Errorf("the next save: %v", err)
	}
}

// TestARecordThatIsTooLargeLosesItsOldestLines, never a decision.
func TestARecordThatIsTooLargeLosesItsOldestLines(t *testing.T) {
	next := saved{Record: testRecord(1)}
	for i := range 100 {
		e := entry{Entry: engine.Entry{Kind: engine.EntryTransition, Message: strings.Repeat("x", 12_000)}}
		if i%2 == 0 {
			e.Judged = &engine.Judgement{Reason: strings.Repeat("y", 1000)}
		}
		next.Audit = append(next.Audit, e)
	}
	got, text, err := fitted(next)
	if err != nil || len(text) > mostRecord || len(got.Audit) < 70 {
		t.Errorf("%d bytes, %d lines (%v); want at most %d bytes, and most lines", len(text), len(got.Audit), err, mostRecord)
	}
	if len(next.Audit) != 100 || next.Audit[0].Judged == nil {
		t.Error("bounding changed what it was given")
	}
	next.Record.Document = strings.Repeat("z", mostRecord)
	if _, _, err := fitted(next); err == nil {
		t.Error("a record that fits in no way is taken to fit")
	}
}
