package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inProduction is a world in which v1 serves and v2 is at its first step of 10%.
func inProduction(t *testing.T, steps ...PlanStep) *world {
	t.Helper()
	w := newWorld(t)
	w.in.Plan.Steps = append(steps, PlanStep{Name: "100%", WeightBP: fullWeight})
	w.in.Wish = Wish{Digest: "one", Version: "v1"}
	w.tick(time.Second)
	w.tick(time.Second)
	w.in.Wish = Wish{Digest: "two", Version: "v2"}
	w.tick(time.Second)
	w.tick(time.Second)
	return w
}

func TestPromise2NoReadyCapacityGetsNoTraffic(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	if w.state.Routing.WeightBP != 1000 {
		t.Fatalf("weight %d, want 1000", w.state.Routing.WeightBP)
	}
	for i := range 200 { // readiness comes and goes: checkStep watches the weights
		w.observe(w.state.live()[len(w.state.live())-1].Name, RevisionStatus{Started: true, Ready: i%3 == 0, ReadyReplicas: 1})
		w.tick(time.Second)
	}
	if a := w.state.Attempt; a.Outcome != Reverted || a.Reason != ProgressDeadline {
		t.Errorf("outcome %q, reason %s; want %q, %s", a.Outcome, a.Reason, Reverted, ProgressDeadline)
	}
}

func TestPromise3ABrokenVersionIsRevertedWithoutAPerson(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	w.observe("ep-r2", RevisionStatus{Started: true, CrashLooping: true, Restarts: 3, Failure: "exit status 1"})
	w.tick(time.Second)
	if a := w.state.Attempt; a.Outcome != Reverted || a.Reason != CrashLoop || !strings.Contains(a.Message, "exit status 1") {
		t.Errorf("outcome %q, reason %s, message %q; want %q, %s and the platform's cause", a.Outcome, a.Reason, a.Message, Reverted, CrashLoop)
	}
}

func TestPromise4TooLittleDataHolds(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	w.state.Attempt.Plan.MinRequests, w.in.CandidateRequests = 100, 3
	w.in.Verdict.Promotable = true
	for range 100 {
		w.tick(time.Second)
	}
	if w.state.Attempt.Outcome != Running || w.last.Reason != WaitingForRequests || !strings.Contains(w.last.Message, "97 more") {
		t.Errorf("outcome %q, %s: %s; want it to hold and to say how many more", w.state.Attempt.Outcome, w.last.Reason, w.last.Message)
	}
}

func TestRestoreBringsBackWhatIsRecorded(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	want := []Action{StartRevision{*w.state.Stable}, StartRevision{*w.state.Candidate}, SetRouting{w.state.Routing}, PromoteRevision{*w.state.Stable}}
	if diff := cmp.Diff(want, Restore(w.state)); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if got := Restore(NewState("ep")); len(got) != 0 {
		t.Errorf("an endpoint that never served is restored by %v", got)
	}
}

func TestEndedNamesTheAttemptThatEndedOnce(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	running := w.state
	if a := Ended(NewState("ep"), running); a != nil {
		t.Errorf("a running attempt is said to have ended: %+v", a)
	}
	w.in.Wish = Wish{Digest: "three", Version: "v3"}
	w.tick(time.Second)
	ended := w.state
	if a := Ended(running, ended); a == nil || a.To.Version != "v2" || a.Outcome != Superseded || len(a.History) == 0 {
		t.Errorf("ended %+v, want v2, Superseded, with its history", a)
	}
	w.tick(time.Second)
	if a := Ended(ended, w.state); a != nil {
		t.Errorf("the attempt ended twice: %+v", a)
	}
}

func TestAStateOfAnotherVersionIsNotTouched(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000})
	w.state.Version = stateVersion + 1
	before := w.state
	if actions := w.tick(time.Second); len(actions) != 0 || w.last.Reason != StateUnreadable || w.state.Routing != before.Routing {
		t.Errorf("actions %v, reason %s; want none and %s", actions, w.last.Reason, StateUnreadable)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	w := inProduction(t, PlanStep{Name: "10%", WeightBP: 1000, MinDuration: time.Hour})
	for i := range mostProcessed + 10 {
		w.in.Actions = []ActionRequest{{ID: fmt.Sprint(i), Kind: []ActionKind{Pause, Resume}[i%2], By: "ann"}}
		w.state, _, _ = Step(w.state, w.in)
	}
	if n := len(w.state.Processed); n != mostProcessed || w.state.Processed[n-1].ID != fmt.Sprint(mostProcessed+9) {
		t.Errorf("%d actions are remembered, the last is %v; want the last %d", n, w.state.Processed[n-1], mostProcessed)
	}
	turns := &turn{s: w.state, in: w.in}
	for i := range mostHistory + mostBlocked {
		turns.note(w.last.Action, Paused, fmt.Sprint(i))
		turns.block(fmt.Sprint("digest ", i))
	}
	if h, b := turns.s.Attempt.History, turns.s.Blocked; len(h) != mostHistory || len(b) != mostBlocked || h[len(h)-1].Message != fmt.Sprint(mostHistory+mostBlocked-1) {
		t.Errorf("%d lines of history and %d blocked versions; want %d and %d", len(h), len(b), mostHistory, mostBlocked)
	}
}

func TestRevertsIsTrueOnlyForReverts(t *testing.T) {
	if (Decision{Action: "Hold"}).Reverts() || !(Decision{Action: "Revert"}).Reverts() {
		t.Error("Reverts is wrong for Hold or Revert")
	}
}

func TestWindow(t *testing.T) {
	friday := Window{Cron: "0 17 * * FRI", Duration: 63 * time.Hour, TimeZone: "Europe/Berlin"}
	for at, want := range map[string]bool{
		"2026-01-09T15:59:59Z": false, "2026-01-09T16:00:00Z": true, "2026-01-11T12:00:00Z": true, "2026-01-12T06:59:59Z": true, "2026-01-12T07:00:00Z": false,
		// Summer time began on the Sunday: 63 hours later is 09:00 of that Monday.
		"2026-03-30T06:30:00Z": true, "2026-03-30T07:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		in, until := friday.Contains(now)
		if in != want || in && !until.After(now) {
			t.Errorf("%s: in %t until %s, want in %t", at, in, until, want)
		}
	}
	never := Window{Cron: "0 0 30 2 *", Duration: time.Hour, TimeZone: "UTC"}
	if in, _ := never.Contains(time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC)); in {
		t.Error("the 30th of February has come")
	}
}

func TestAnInvalidWindowIsRefusedAndFreezes(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, w := range []Window{
		{Cron: "never", Duration: time.Hour, TimeZone: "UTC"},
		{Cron: "0 17 * * FRI", Duration: time.Hour, TimeZone: "Moon"},
	} {
		if field, err := w.Validate(); err == nil || field == "duration" {
			t.Errorf("%+v is accepted", w)
		}
		if in, until := w.Contains(now); !in || !until.After(now) {
			t.Errorf("%+v does not freeze, though it asked for caution", w)
		}
	}
	for _, d := range []time.Duration{0, -time.Second, longestFreeze + 1} {
		if field, err := (Window{Cron: "0 17 * * FRI", Duration: d, TimeZone: "UTC"}).Validate(); err == nil || field != "duration" {
			t.Errorf("duration %s: error %v, want one that names it", d, err)
		}
	}
	if _, err := (Window{Cron: "0 17 * * FRI", Duration: time.Hour, TimeZone: "Europe/Berlin"}).Validate(); err != nil {
		t.Errorf("a good window is refused: %v", err)
	}
}

// TestWhatClientsDrewBeforeIsOfTheFrozenPlan: a document that is applied meanwhile has
// other steps.
func TestWhatClientsDrewBeforeIsOfTheFrozenPlan(t *testing.T) {
	w := newWorld(t)
	w.in.Plan.HarmBudget = 100
	w.in.Plan.Steps = []PlanStep{{Name: "10%", WeightBP: 1000}, {Name: "50%", WeightBP: 5000}, {Name: "100%", WeightBP: fullWeight}}
	for _, v := range []string{"v1", "v2"} {
		w.in.Wish = Wish{Digest: v, Version: v}
		for range 2 {
			w.step()
		}
	}
	if r := w.state.Routing; r.WeightBP != 1000 || r.BeforeBP != 0 {
		t.Fatalf("routes of the first step: %+v", w.state.Routing)
	}
	w.in.Plan.Steps = []PlanStep{{Name: "30%", WeightBP: 3000}, {Name: "40%", WeightBP: 4000}, {Name: "100%", WeightBP: fullWeight}}
	for range 5 {
		w.tick(time.Second)
	}
	if r := w.state.Routing; r.WeightBP != 5000 || r.BeforeBP != 1000 {
		t.Errorf("routes of the second step: %+v, want 50 %% after 10 %%", r)
	}
}
