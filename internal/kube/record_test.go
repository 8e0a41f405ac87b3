package kube

import (
	"context"
	"encoding/json"
	"errors"
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
