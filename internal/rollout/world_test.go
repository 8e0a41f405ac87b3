package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// world plays everything around Step: clock, platform, judge. It checks after
// each call what must always hold.
type world struct {
	t         *testing.T
	state     State
	in        Input
	last      Decision
	auto      bool   // revisions are ready as soon as they are started
	broken    string // this one is not, all the same
	lagging   bool   // routes do not come into force
	perSecond uint64
}

func newWorld(t *testing.T) *world {
	return &world{t: t, state: NewState("ep"), auto: true, in: Input{
		Now: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), Calibrated: true, ReactionLag: time.Second, TotalRPS: 100,
		Observed: Observed{Revisions: map[string]RevisionStatus{}}, Verdict: fine,
		Plan: Plan{Steps: []PlanStep{{Name: "100%", WeightBP: fullWeight}}, OnTimeout: TimeoutHold, ProgressDeadline: time.Minute},
	}}
}

var fine = judge.Verdict{Action: judge.Advance, Reason: judge.WithinBounds, Message: "nothing speaks against the next step"}

// step calls Step, checks the invariants and lets the platform act.
func (w *world) step() []Action {
	w.t.Helper()
	before := w.state
	next, actions, d := Step(w.state, w.in)
	checkStep(w.t, before, w.in, next, actions, d)
	w.state, w.last, w.in.Actions = next, d, nil
	w.apply(actions)
	a, b := next.Attempt, before.Attempt
	switch {
	case a == nil:
	case b == nil || a.ID != b.ID:
		w.in.CandidateRequests, w.in.Verdict = 0, fine
	case a.Step != b.Step:
		w.in.CandidateRequests = 0
	}
	return actions
}

// apply is a platform that does at once what it is asked for.
func (w *world) apply(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case StartRevision:
			if _, runs := w.in.Observed.Revisions[a.Revision.Name]; !runs {
				w.observe(a.Revision.Name, RevisionStatus{Started: true})
				if w.auto && a.Revision.Name != "ep-"+w.broken {
					w.observe(a.Revision.Name, RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1})
				}
			}
		case StopRevision:
			w.in.Observed.Revisions = maps.Clone(w.in.Observed.Revisions)
			delete(w.in.Observed.Revisions, a.Revision.Name)
		case SetRouting:
			if !w.lagging {
				w.in.Observed.InForce = InForce{Epoch: a.Routing.Epoch}
			}
		}
	}
}

func (w *world) observe(name string, st RevisionStatus) {
	w.in.Observed.Revisions = maps.Clone(w.in.Observed.Revisions)
	w.in.Observed.Revisions[name] = st
}

// tick lets time pass, then steps.
func (w *world) tick(d time.Duration) []Action {
	w.t.Helper()
	w.in.Now = w.in.Now.Add(d)
	if a := w.state.Attempt; a != nil && a.Outcome == Running && w.state.Routing.WeightBP+w.state.Routing.ShadowBP > 0 {
		w.in.CandidateRequests += uint64(d.Seconds() * float64(w.perSecond))
	}
	return w.step()
}

// restart writes the state to JSON, forgets all else, and restores the platform.
func (w *world) restart() []Action {
	w.t.Helper()
	w.state = reread(w.t, text(w.t, w.state))
	w.in.Observed = Observed{Revisions: map[string]RevisionStatus{}}
	actions := Restore(w.state)
	w.apply(actions)
	return actions
}

func reread(t *testing.T, s string) State {
	t.Helper()
	var out State
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		t.Fatalf("reading the state: %v", err)
	}
	return out
}

func text(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("writing %T: %v", v, err)
	}
	return string(raw)
}

// outcome is all that a call of Step returns, to be compared.
type outcome struct {
	State    State
	Actions  []Action
	Decision Decision
}

func outcomeOf(s State, actions []Action, d Decision) outcome { return outcome{s, actions, d} }

// checkStep checks what must hold after every call of Step, whatever happens.
func checkStep(t *testing.T, before State, in Input, after State, actions []Action, d Decision) {
	t.Helper()
	was, given := text(t, before), text(t, in)
	got := outcome{after, actions, d}
	if again := outcomeOf(Step(before, in)); !reflect.DeepEqual(again, got) {
		t.Fatalf("Step answered the same input in two ways:\n%+v\n%+v", got, again)
	}
	restarted := outcomeOf(Step(reread(t, was), in))
	if text(t, restarted.State) != text(t, after) || !reflect.DeepEqual(restarted.Actions, actions) || !reflect.DeepEqual(restarted.Decision, d) {
		t.Fatalf("Step answered otherwise after a restart:\n%+v\n%+v", got, restarted)
	}
	if text(t, before) != was || text(t, in) != given {
		t.Fatal("Step changed its argument")
	}
	for _, broken := range slices.Concat(routesHold(before, in, after, actions), actionsHold(before, in, after, actions, d), movesHold(before, in, after, d), settles(in, after)) {
		t.Fatalf("%s\nbefore: %s\nafter:  %s\ninput:  %s", broken, was, text(t, after), given)
	}
}

// routesHold: only what is ready gets traffic, epochs grow, one change a call.
func routesHold(before State, in Input, after State, actions []Action) (broken []string) {
	r, b := after.Routing, before.Routing
	if r.Epoch != b.Epoch && r.Epoch != b.Epoch+1 || r.Epoch == b.Epoch && !r.sameRules(b) {
		broken = append(broken, "routes changed without an epoch of their own")
	}
	if in.Observed.StateUnreadable || before.Version != stateVersion {
		return broken
	}
	if r.WeightBP+r.ShadowBP > 0 && (after.Candidate == nil || r.Candidate != after.Candidate.Name || !in.Observed.Revisions[r.Candidate].Ready) {
		broken = append(broken, "a share for a candidate that is not ready")
	}
	if a := after.Attempt; r.WeightBP+r.ShadowBP > 0 && (a.Outcome != Running || r.WeightBP > a.Plan.Steps[a.Step].WeightBP || r.ShadowBP > a.Plan.Steps[a.Step].ShadowBP) {
		broken = append(broken, "a greater share than the step's")
	}
	if kept := after.Previous; kept == nil && r.Previous != "" || kept != nil && r.Previous != kept.Revision.Name {
		broken = append(broken, "the version behind stable is not the one that is kept")
	}
	routes := 0
	for _, a := range actions {
		if s, ok := a.(SetRouting); ok {
			routes++
			if s.Routing != r {
				broken = append(broken, "the routes asked for are not those recorded")
			}
		}
	}
	if routes > 1 || routes == 0 && r != b {
		broken = append(broken, fmt.Sprintf("%d changes of routes in one call", routes))
	}
	return broken
}

// actionsHold: what is live runs, nothing stops that a route names, routes first;
// every action asked for is answered once.
func actionsHold(before State, in Input, after State, actions []Action, d Decision) (broken []string) {
	started := map[string]bool{}
	names := []string{after.Routing.Stable, after.Routing.Candidate, after.Routing.Previous}
	for i, a := range actions {
		if i > 0 && rank(a) < rank(actions[i-1]) {
			broken = append(broken, "actions out of order")
		}
		switch a := a.(type) {
		case StartRevision:
			started[a.Revision.Name] = true
		case StopRevision:
			if slices.Contains(names, a.Revision.Name) || slices.Contains(after.live(), a.Revision) {
				broken = append(broken, "stops "+a.Revision.Name+", which is still in use")
			}
		}
	}
	if in.Observed.StateUnreadable || before.Version != stateVersion {
		return broken
	}
	for _, r := range after.live() {
		if _, known := in.Observed.Revisions[r.Name]; !known && !started[r.Name] {
			broken = append(broken, r.Name+" does not run and is not started")
		}
	}
	if len(d.ActionResults) > len(in.Actions) || !d.Transition && len(d.ActionResults) < len(in.Actions) {
		broken = append(broken, fmt.Sprintf("%d answers to %d actions", len(d.ActionResults), len(in.Actions)))
	}
	return broken
}

// movesHold: no step forward that a gate forbids, no end without a word, no end undone.
func movesHold(before State, in Input, after State, d Decision) (broken []string) {
	a, b := after.Attempt, before.Attempt
	if a != nil && (d.Reason == "" || d.Message == "") {
		broken = append(broken, "no reason or no message")
	}
	if a == nil {
		return broken
	}
	if d.Transition && (d.Reason == StepEntered || d.Reason == AllRequiredPass) {
		frozen := false
		for _, f := range a.Plan.Freeze {
			in, _ := f.Contains(in.Now)
			frozen = frozen || in
		}
		// Beside a stable that nobody records a shadow step has nothing to judge.
		blind := b.Step >= 0 && b.Plan.Steps[b.Step].ShadowBP > 0 && in.Observed.Revisions[before.Stable.Name].Unrecorded && in.Verdict.Reason == judge.TooLittleData
		lost := slices.ContainsFunc(in.Observed.Losses, func(l Loss) bool { return l.TooMany() && l.Revision == a.To.Name })
		if a.Paused || frozen || lost && b.Step >= 0 || b.Step >= 0 && in.Verdict.Action != judge.Advance && !blind || d.Reason == AllRequiredPass && !in.Verdict.Promotable || !in.Observed.Revisions[before.Stable.Name].Ready {
			broken = append(broken, "a step forward that a gate forbids")
		}
	}
	if b != nil && a.ID == b.ID && b.Outcome != Running && a.Outcome != b.Outcome && (b.Outcome != Promoted || a.Outcome != RolledBack) {
		broken = append(broken, fmt.Sprintf("outcome %s became %s", b.Outcome, a.Outcome))
	}
	if b != nil && a.ID == b.ID && len(a.History) > len(b.History)+1 {
		broken = append(broken, "two transitions in one call")
	}
	if b != nil && a.ID != b.ID && (b.Outcome == Running || slices.Contains(after.Blocked, a.To.Digest)) {
		broken = append(broken, "a new attempt over a running one, or of a version that failed")
	}
	if a.Outcome != Running && (a.Reason == "" || a.Message == "" || a.EndedAt.IsZero() || after.Candidate != nil) {
		broken = append(broken, "an end without reason, message, time, or with a candidate left")
	}
	return broken
}

// settles: the same input again leads to nothing new, once what waits for a call
// of its own (a transition, an action) has had it.
func settles(in Input, s State) []string {
	for range 3 + len(in.Actions) {
		s, _, _ = Step(s, in)
	}
	again, actions, d := Step(s, in)
	if d.Transition || !reflect.DeepEqual(s, again) {
		return []string{"the same input again and again does not come to rest: " + d.Message}
	}
	if broken := actionsHold(s, in, again, actions, d); len(broken) > 0 {
		return broken
	}
	return nil
}
