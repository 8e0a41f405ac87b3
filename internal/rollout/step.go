package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// Step decides what happens next. It changes neither argument; the same input
// gives the same output. The actions are to be taken, in their order, after the
// state is recorded. At most one transition and one change of routes happen in a
// call, so that each is recorded for itself: actions asked for that are not
// answered, and whatever else is due, wait for the next call.
func Step(state State, in Input) (State, []Action, Decision) {
	t := &turn{s: state.clone(), in: in, was: state.Routing}
	if in.Observed.StateUnreadable || state.Version != stateVersion {
		t.unreadable()
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
	slices.SortStableFunc(t.actions, func(a, b Action) int { return rank(a) - rank(b) })
	return t.s, t.actions, t.d
}

// unreadable holds the last weights: what is not known cannot be decided on, and
// an answer that cannot be recorded would be given twice.
func (t *turn) unreadable() {
	const message = "the recorded state cannot be read: holding the last weights; restore the record"
	t.say(judge.Hold, StateUnreadable, message)
	for _, r := range t.in.Actions {
		t.reply(r, false, StateUnreadable, message+", then ask again")
	}
}

// rank orders the actions of one call: nothing is routed to before it was asked
// to start, nothing stops before the routes have left it.
func rank(a Action) int {
	switch a.(type) {
	case StartRevision:
		return 0
	case SetRouting:
		return 1
	case PromoteRevision:
		return 2
	}
	return 3
}

// Restore returns the actions that bring a platform that knows nothing back to
// the recorded state. Called by the engine after a restart.
func Restore(s State) []Action {
	var actions []Action
	for _, r := range s.live() {
		actions = append(actions, StartRevision{r})
	}
	if s.Stable != nil {
		actions = append(actions, SetRouting{s.Routing}, PromoteRevision{*s.Stable})
	}
	return actions
}

// Ended returns the attempt that ended between two states, or nil.
func Ended(before, after State) *Attempt {
	a, b := after.Attempt, before.Attempt
	if a == nil || a.Outcome == Running || b != nil && b.ID == a.ID && b.Outcome == a.Outcome {
		return nil
	}
	return a
}

// turn is one call of Step at work.
type turn struct {
	s       State
	in      Input
	was     Routing // when the turn began
	actions []Action
	d       Decision
}

func (s State) clone() State {
	c := s
	c.Stable, c.Candidate = copied(s.Stable), copied(s.Candidate)
	c.Previous, c.Failed, c.Overwritten = copied(s.Previous), copied(s.Failed), copied(s.Overwritten)
	c.Blocked, c.Processed = slices.Clone(s.Blocked), slices.Clone(s.Processed)
	if s.Attempt != nil {
		a := *s.Attempt
		a.From, a.Ending = copied(a.From), copied(a.Ending)
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

// route asks for routes; the epoch grows, by one in a turn, when the rules change.
func (t *turn) route(r Routing) {
	r.Epoch = t.was.Epoch
	if !r.sameRules(t.was) {
		r.Epoch++
	}
	t.s.Routing = r
}

// tick is the time since the last call. A gap longer than a tick can be was a
// stop or a clock that jumped: not counted.
func (t *turn) tick() time.Duration {
	if t.s.TickedAt.IsZero() {
		return 0
	}
	return min(max(t.in.Now.Sub(t.s.TickedAt), 0), longestTick)
}

// elapse lets the attempt's clocks grow by the time since the last call.
func (t *turn) elapse() {
	a := t.running()
	if a == nil {
		return
	}
	dt := t.tick()
	if t.status(t.s.Candidate).Ready || a.ReadyFor > 0 {
		a.ReadyFor += dt
	}
	if !t.status(t.s.Candidate).Ready {
		a.NotReadyFor += dt
	}
	if a.AtGate {
		a.GateFor += dt
	}
	if a.Step < 0 || !t.inForce() || a.Paused {
		return
	}
	a.StepFor += dt
	if frozen, _ := t.frozen(); !frozen && !a.AtGate {
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
// in production nor on trial, and has not failed before. What is on trial ends
// first; the new attempt begins in the next call.
func (t *turn) begin() {
	w, a := t.in.Wish, t.running()
	if w.Digest == "" || t.d.Transition || a != nil && a.To.Digest == w.Digest {
		return
	}
	stable, failed := t.s.Stable != nil && t.s.Stable.Digest == w.Digest, slices.Contains(t.s.Blocked, w.Digest)
	switch {
	case a != nil && stable:
		t.end(Ending{Superseded, SupersededByVersion, fmt.Sprintf("the document asks for version %s again, which is in production", t.s.Stable.Version)})
	case a != nil && failed:
		t.end(Ending{Superseded, SupersededByVersion, fmt.Sprintf("the document asks for version %s, which failed before", w.Version)})
	case a != nil:
		t.end(Ending{Superseded, SupersededByVersion, fmt.Sprintf("version %s was applied while version %s was on trial", w.Version, a.To.Version)})
	case stable:
	case failed:
		t.say(judge.Hold, VersionFailedBefore, fmt.Sprintf("version %s was reverted, rejected or aborted before and is not tried again by itself: serin retry, or apply another version", w.Version))
	default:
		t.start(w)
	}
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

// end ends the attempt without promotion. While the candidate serves and stable
// has no ready scorer, taking the traffic back would only do harm: then the end is
// decided all the same, and carried out as soon as it helps.
func (t *turn) end(e Ending) {
	a := t.s.Attempt
	switch {
	case a.Ending != nil:
	case t.onlyCandidateServes():
		a.Ending = &e
		t.note(judge.Hold, StableNotReady, t.waitsForStable(e))
	default:
		t.finish(e)
	}
}

func (t *turn) waitsForStable(e Ending) string {
	return fmt.Sprintf("ends %s (%s) as soon as stable %s has a ready scorer to take the traffic back; mend it, or serin promote", e.Outcome, e.Message, t.s.Stable.Name)
}

func (t *turn) onlyCandidateServes() bool {
	return t.s.Routing.WeightBP > 0 && !t.status(t.s.Stable).Ready && t.status(t.s.Candidate).Ready
}

// finish takes the traffic back to stable; then the candidate is set aside.
func (t *turn) finish(e Ending) {
	a, c := t.s.Attempt, *t.s.Candidate
	a.Outcome, a.Reason, a.Message, a.EndedAt, a.Ending = e.Outcome, e.Reason, e.Message, t.in.Now, nil
	t.s.Candidate = nil
	action, keep := judge.Revert, a.Plan.KeepFailed
	if e.Outcome == Superseded {
		action, keep = judge.Hold, 0
	} else {
		t.block(c.Digest)
	}
	if t.s.Stable == nil {
		t.actions = append(t.actions, StopRevision{c})
	} else {
		t.setAside(a, c, keep)
	}
	t.note(action, e.Reason, e.Message)
}

// setAside routes everything to stable; c stays for debugging, by header only, or
// stops.
func (t *turn) setAside(a *Attempt, c Revision, keep time.Duration) {
	r := Routing{Rollout: a.ID, Step: a.Step, Stable: t.s.Stable.Name}
	if keep > 0 {
		r.Candidate, r.HandOver = c.Name, true
		t.s.Failed = &Kept{Revision: c, Until: t.in.Now.Add(keep), Failed: true}
	} else {
		t.actions = append(t.actions, StopRevision{c})
	}
	t.route(r)
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

// ensure repeats what has to be and is not: a revision that does not run, one that
// runs though it ended, routes that are not in force or were overwritten.
func (t *turn) ensure() {
	t.stopEnded()
	for _, r := range t.s.live() {
		if _, known := t.in.Observed.Revisions[r.Name]; !known && !slices.Contains(t.actions, Action(StartRevision{r})) {
			t.actions = append(t.actions, StartRevision{r})
		}
	}
	if t.s.Stable == nil {
		return
	}
	t.standBehind()
	t.putBack()
	if t.s.Routing != t.was || !t.inForce() {
		t.actions = append(t.actions, SetRouting{t.s.Routing})
	}
}

// standBehind puts the version before stable behind it, for as long as it is kept.
func (t *turn) standBehind() {
	t.s.Routing.Previous = ""
	if t.s.Previous != nil {
		t.s.Routing.Previous = t.s.Previous.Revision.Name
	}
}

// stopEnded stops what a crash left running. Revisions that this record never
// numbered are left alone: they may be production by a record that was lost.
func (t *turn) stopEnded() {
	for _, name := range slices.Sorted(maps.Keys(t.in.Observed.Revisions)) {
		number, err := strconv.Atoi(strings.TrimPrefix(name, t.s.Endpoint+"-r"))
		used := slices.ContainsFunc(t.s.live(), func(r Revision) bool { return r.Name == name })
		asked := slices.ContainsFunc(t.actions, func(a Action) bool { s, ok := a.(StopRevision); return ok && s.Revision.Name == name })
		if err == nil && number > 0 && number < t.s.NextRevision && !used && !asked {
			t.actions = append(t.actions, StopRevision{Revision{Name: name, Number: number}})
		}
	}
}

// putBack answers weights that someone else changed with a new epoch, so that the
// requests routed meanwhile are told apart; one epoch for each time it is seen.
func (t *turn) putBack() {
	f := t.in.Observed.InForce
	switch {
	case !f.Overwritten && t.inForce():
		t.s.PutBack = 0
	case !f.Overwritten || t.d.Transition || t.s.Routing.Epoch != t.was.Epoch:
	case t.s.PutBack != t.s.Routing.Epoch || t.inForce():
		t.s.Routing.Epoch++
		t.s.PutBack = t.s.Routing.Epoch
		t.s.Overwritten = &Overwriting{At: t.in.Now, By: f.By, Epoch: t.s.Routing.Epoch}
		t.note(judge.Hold, WeightsOverwritten, cmp.Or(f.By, "someone else")+" changed the weights: put back as planned")
	}
}
