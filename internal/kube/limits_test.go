package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"short", 10, "short"}, {"exactly 10", 10, "exactly 10"}, {"one too long", 11, "one too lo…"}, {"ünïcödé wörds", 8, "ünïcödé…"}, {"", 5, ""},
	} {
		if got := cut(c.text, c.most); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.most, got, c.want)
		}
	}
	got := cut(strings.Repeat("ä", 40_000), mostMessage)
	if n := utf8.RuneCountInString(got); n != mostMessage || !strings.Contains(got, "(7232 more characters; all of it: serin status)") {
		t.Errorf("%d characters that end with %q, want %d and a note", n, got[len(got)-80:], mostMessage)
	}
}

// TestARolloutShowsItsConditionsAndWhatItIsJudgedBy: plan and policy are frozen in its
// spec; what is wrong with it is no longer said once it has ended.
func TestARolloutShowsItsConditionsAndWhatItIsJudgedBy(t *testing.T) {
	w := newWorld(t, testEndpoint())
	r := newRecord(testKey, w.api, w.api)
	rec := testRecord(3)
	rec.Policy = judge.DefaultPolicy()
	rec.State.Attempt = &rollout.Attempt{ID: "safe-driver-2", Number: 2, To: r2, Plan: w.resolved.Plan}
	if err := r.Save(t.Context(), rec, engine.Additions{}); err != nil {
		t.Fatal(err)
	}
	e := testEndpoint()
	st := engine.Status{Conditions: []engine.Condition{
		{Type: engine.Ready, Status: "True", Reason: "Serving"}, {Type: engine.EvidenceLimited, Status: "True", Reason: "AccessLogLacks", Message: strings.Repeat("x", mostMessage+1)},
	}}
	if err := r.showRollout(t.Context(), e, rec, st, 7); err != nil {
		t.Fatal(err)
	}
	var s v1alpha1.ScoringRollout
	if err := w.get("safe-driver-2", &s); err != nil {
		t.Fatal(err)
	}
	var policy judge.Policy
	if err := json.Unmarshal(s.Spec.Policy.Raw, &policy); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec.Policy, policy); diff != "" {
		t.Errorf("frozen policy (-want +got):\n%s", diff)
	}
	c := meta.FindStatusCondition(s.Status.Conditions, engine.EvidenceLimited)
	if len(s.Status.Conditions) != 1 || c == nil || c.Status != metav1.ConditionTrue || c.Reason != "AccessLogLacks" || c.ObservedGeneration != 7 || utf8.RuneCountInString(c.Message) != mostMessage {
		t.Errorf("conditions %+v, want EvidenceLimited alone, of generation 7, cut", s.Status.Conditions)
	}
	if s.Status.ObservedGeneration != 7 {
		t.Errorf("observed generation %d, want 7", s.Status.ObservedGeneration)
	}
	a := *rec.State.Attempt
	a.Outcome, a.Reason, a.Message, a.EndedAt = rollout.Aborted, rollout.AbortedByPerson, strings.Repeat("long ", 10_000), time.Now()
	if err := r.fileOne(t.Context(), e, &engine.RolloutRecord{ID: a.ID, Attempt: a, Policy: rec.Policy}); err != nil {
		t.Fatal(err)
	}
	if err := w.get("safe-driver-2", &s); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(s.Status.Conditions, engine.EvidenceLimited); c.Status != metav1.ConditionFalse || c.Reason != "Ended" {
		t.Errorf("after its end: %+v", c)
	}
	if n := utf8.RuneCountInString(s.Status.Message); n != mostMessage {
		t.Errorf("a message of %d characters", n)
	}
}
