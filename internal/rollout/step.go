package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// Step decides what happens next. It changes neither argument; the same input
// gives the same output. The actions are to be taken after the state is recorded.
func Step(state State, in Input) (State, []Action, Decision) {
	t := &turn{s: state.clone(), in: in}
	if in.Observed.StateUnreadable || state.Version != stateVersion {
		t.say(judge.Hold, StateUnreadable, "the recorded state cannot be read: holding the last weights; restore the record")
		return state, nil, t.d
	}
	t.elapse()
	t.act()
	t.begin()
	t.move()
	t.bake()
	t.expire()
	t.ensure()
	t.s.TickedAt = in.Now
	return t.s, t.actions, t.d
}

// Restore returns the actions that bring a platform that knows nothing back to
// the recorded state. Called by the engine after a restart.
func Restore(s State) []Action {
	var actions []Action
	for _, r := range s.live() {
		actions = append(actions, StartRevision{r})
	}
	if s.Stable != nil {
		actions = append(actions, SetRouting{s.Routing})
	}
	return actions
}

// Ended returns the attempt that ended between two states, or nil.
func Ended(before, after State) *Attempt {
	a := after.Attempt
	if b := before.Attempt; b != nil && b.Outcome == Running && a != nil && a.ID != b.ID {
		superseded := *b
		superseded.Outcome, superseded.Reason = Superseded, SupersededByVersion
		superseded.Message, superseded.EndedAt = "a newer version was applied", a.StartedAt
		return &superseded
	}
	if a == nil || a.Outcome == Running || before.Attempt != nil && before.Attempt.ID == a.ID && before.Attempt.Outcome == a.Outcome {
		return nil
	}
	return a
}

// turn is one call of Step at work.
type turn struct {
	s       State
	in      Input
	actions []Action
	d       Decision
}

func (s State) clone() State {
	c := s
	c.Stable, c.Candidate = copied(s.Stable), copied(s.Candidate)
	c.Previous, c.Failed = copied(s.Previous), copied(s.Failed)
	c.Blocked, c.Processed = slices.Clone(s.Blocked), slices.Clone(s.Processed)
	if s.Attempt != nil {
		a := *s.Attempt
		a.From = copied(a.From)
		a.Approvals, a.History = slices.Clone(a.Approvals), slices.Clone(a.History)
		a.Plan.Steps, a.Plan.Freeze = slices.Clone(a.Plan.Steps), slices.Clone(a.Plan.Freeze)
		c.Attempt = &a
	}
	return c
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// live lists every revision that has to run.
func (s State) live() []Revision {
	var all []Revision
	for _, r := range []*Revision{s.Stable, s.Candidate} {
		if r != nil {
			all = append(all, *r)
		}
	}
	for _, k := range []*Kept{s.Previous, s.Failed} {
		if k != nil {
			all = append(all, k.Revision)
		}
	}
	return all
}

// running returns the attempt that runs, or nil.
func (t *turn) running() *Attempt {
	if a := t.s.Attempt; a != nil && a.Outcome == Running {
		return a
	}
	return nil
}

// say sets the decision; what was said as a transition is not overwritten by less.
func (t *turn) say(action judge.Action, reason Reason, message string) {
	if t.d.Transition {
		return
	}
	t.d.Action, t.d.Reason, t.d.Message = action, reason, message
}

// note records a transition in the history and makes it the decision.
func (t *turn) note(action judge.Action, reason Reason, message string) {
	t.d.Action, t.d.Reason, t.d.Message, t.d.Transition = action, reason, message, true
	if a := t.s.Attempt; a != nil {
		a.History = append(a.History, Transition{At: t.in.Now, Step: a.Step, Reason: reason, Message: message})
		a.History = a.History[max(0, len(a.History)-mostHistory):]
	}
}

func (t *turn) status(r *Revision) RevisionStatus {
	if r == nil {
		return RevisionStatus{}
	}
	return t.in.Observed.Revisions[r.Name]
}

// route asks for routes; the epoch grows when the rules change.
func (t *turn) route(r Routing) {
	r.Epoch = t.s.Routing.Epoch
	if r.sameRules(t.s.Routing) {
		return
	}
	r.Epoch++
	t.s.Routing = r
	t.actions = append(t.actions, SetRouting{r})
}

// elapse lets the attempt's clocks grow by the time since the last call. A gap
// longer than a tick can be was a stop or a clock that jumped: not counted.
func (t *turn) elapse() {
	a := t.running()
	if a == nil || t.s.TickedAt.IsZero() {
		return
	}
	dt := min(max(t.in.Now.Sub(t.s.TickedAt), 0), longestTick)
	if t.status(t.s.Candidate).Ready || a.ReadyFor > 0 {
		a.ReadyFor += dt
	}
	if !t.status(t.s.Candidate).Ready {
		a.NotReadyFor += dt
	}
	if a.Step < 0 || !t.inForce() || a.Paused {
		return
	}
	a.StepFor += dt
	if frozen, _ := t.frozen(); !frozen && a.GateFor == 0 {
		a.JudgedFor += dt
	}
}

func (t *turn) inForce() bool { return t.in.Observed.InForce.Epoch == t.s.Routing.Epoch }

func (t *turn) frozen() (bool, time.Time) {
	for _, w := range t.s.Attempt.Plan.Freeze {
		if in, until := w.Contains(t.in.Now); in {
			return true, until
		}
	}
	return false, time.Time{}
}

// begin starts an attempt when the document asks for a version that is neither
// in production nor on trial, and has not failed before.
func (t *turn) begin() {
	w := t.in.Wish
	if w.Digest == "" {
		return
	}
	a := t.running()
	switch {
	case a != nil && a.To.Digest == w.Digest:
		return
	case t.s.Stable != nil && t.s.Stable.Digest == w.Digest:
		if a != nil {
			t.end(Superseded, SupersededByVersion, fmt.Sprintf("the document asks for version %s again, which is in production", t.s.Stable.Version), false)
		}
		return
	case slices.Contains(t.s.Blocked, w.Digest):
		if a != nil {
			t.end(Superseded, SupersededByVersion, fmt.Sprintf("the document asks for version %s, which failed before", w.Version), false)
		}
		t.say(judge.Hold, VersionFailedBefore, fmt.Sprintf("version %s failed before and is not tried again by itself: serin retry, or apply another version", w.Version))
		return
	case a != nil:
		t.end(Superseded, SupersededByVersion, fmt.Sprintf("version %s was applied while version %s was on trial", w.Version, a.To.Version), false)
	}
	t.start(w)
}

func (t *turn) start(w Wish) {
	t.drop(&t.s.Failed)
	r := Revision{Name: fmt.Sprintf("%s-r%d", t.s.Endpoint, t.s.NextRevision), Number: t.s.NextRevision, Digest: w.Digest, Version: w.Version}
	t.s.NextRevision++
	t.s.Candidate = &r
	t.s.Attempt = &Attempt{
		ID: fmt.Sprintf("%s-%d", t.s.Endpoint, t.s.NextAttempt), Number: t.s.NextAttempt, Plan: t.in.Plan, From: copied(t.s.Stable), To: r,
		StartedAt: t.in.Now, Step: -1, FirstEpoch: t.s.Routing.Epoch + 1,
	}
	t.s.NextAttempt++
	t.s.Attempt.Plan.Steps = slices.Clone(t.in.Plan.Steps)
	t.actions = append(t.actions, StartRevision{r})
	t.note(judge.Hold, Starting, fmt.Sprintf("starting %s (version %s)", r.Name, r.Version))
}

// drop stops a kept revision.
func (t *turn) drop(k **Kept) {
	if *k == nil {
		return
	}
	if t.s.Routing.Candidate == (*k).Revision.Name {
		r := t.s.Routing
		r.Candidate, r.WeightBP, r.ShadowBP, r.HandOver = "", 0, 0, false
		t.route(r)
	}
	t.actions = append(t.actions, StopRevision{(*k).Revision})
	*k = nil
}

// end ends the attempt without promotion: routes first, then the candidate.
func (t *turn) end(outcome Outcome, reason Reason, message string, block bool) {
	a := t.s.Attempt
	a.Outcome, a.Reason, a.Message, a.EndedAt = outcome, reason, message, t.in.Now
	c := *t.s.Candidate
	keep := a.Plan.KeepFailed > 0 && outcome != Superseded && t.s.Stable != nil
	r := Routing{Rollout: a.ID, Step: a.Step}
	if t.s.Stable != nil {
		r.Stable = t.s.Stable.Name
	}
	if keep {
		r.Candidate, r.HandOver = c.Name, true
	}
	t.route(r)
	t.s.Candidate = nil
	if keep {
		t.s.Failed = &Kept{Revision: c, Until: t.in.Now.Add(a.Plan.KeepFailed), Failed: true}
	} else {
		t.actions = append(t.actions, StopRevision{c})
	}
	if block {
		t.block(c.Digest)
	}
	action := judge.Revert
	if outcome == Superseded {
		action = judge.Hold
	}
	t.note(action, reason, message)
}

func (t *turn) block(digest string) {
	if !slices.Contains(t.s.Blocked, digest) {
		t.s.Blocked = append(t.s.Blocked, digest)
		t.s.Blocked = t.s.Blocked[max(0, len(t.s.Blocked)-mostBlocked):]
	}
}

// expire stops what was kept long enough.
func (t *turn) expire() {
	for _, k := range []**Kept{&t.s.Previous, &t.s.Failed} {
		if *k != nil && !t.in.Now.Before((*k).Until) {
			t.drop(k)
		}
	}
}

// ensure repeats what has to be and is not: a revision that does not run, routes
// that are not in force or were overwritten.
func (t *turn) ensure() {
	for _, r := range t.s.live() {
		if _, known := t.in.Observed.Revisions[r.Name]; !known && !t.asked(r) {
			t.actions = append(t.actions, StartRevision{r})
		}
	}
	if t.s.Stable == nil || t.routes() {
		return
	}
	if f := t.in.Observed.InForce; f.Overwritten {
		t.s.Routing.Epoch++
		t.actions = append(t.actions, SetRouting{t.s.Routing})
		t.note(judge.Hold, WeightsOverwritten, "someone else changed the weights: put back as planned")
	} else if f.Epoch != t.s.Routing.Epoch {
		t.actions = append(t.actions, SetRouting{t.s.Routing})
	}
}

func (t *turn) asked(r Revision) bool {
	return slices.Contains(t.actions, Action(StartRevision{r}))
}

func (t *turn) routes() bool {
	return slices.ContainsFunc(t.actions, func(a Action) bool { _, ok := a.(SetRouting); return ok })
}
