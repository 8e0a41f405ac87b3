package rollout

import (
	"fmt"
	"math"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// move takes the running attempt forward, holds it, or reverts it.
func (t *turn) move() {
	a := t.running()
	if t.d.Transition {
		return
	}
	if a == nil {
		if t.s.Stable != nil && t.d.Reason == "" {
			t.say(judge.Hold, UpToDate, fmt.Sprintf("version %s is in production", t.s.Stable.Version))
		}
		return
	}
	switch {
	case t.s.Stable == nil:
		t.first(a)
	case a.Ending != nil:
		t.carryOut(a)
	case t.reverts(a):
	default:
		t.keepFlags(a)
		t.tryEnter(a)
	}
}

// first serves the very first version as soon as it is ready: there is nothing
// to compare it with, and the decision says so.
func (t *turn) first(a *Attempt) {
	st := t.status(t.s.Candidate)
	switch {
	case st.Ready:
		t.promote(FirstVersion, fmt.Sprintf("first version %s is ready and serves all requests; there was no production version to compare it with, so it was not judged", a.To.Version))
	case st.CrashLooping:
		t.end(Ending{Reverted, CrashLoop, fmt.Sprintf("first version %s crash-loops (%d restarts): %s; nothing is served. Apply a version that starts", a.To.Version, st.Restarts, orUnknown(st.Failure))})
	case a.NotReadyFor >= a.Plan.ProgressDeadline:
		t.end(Ending{Reverted, ProgressDeadline, fmt.Sprintf("first version %s was not ready within %s: %s; nothing is served", a.To.Version, a.Plan.ProgressDeadline, orUnknown(st.Failure))})
	default:
		t.say(judge.Hold, Starting, fmt.Sprintf("waiting for the first version %s to become ready (%s of %s)", a.To.Version, a.NotReadyFor.Round(time.Second), a.Plan.ProgressDeadline))
	}
}

func orUnknown(failure string) string {
	if failure == "" {
		return "the platform gives no cause"
	}
	return failure
}

// carryOut ends the attempt as decided, once stable can take the traffic back.
func (t *turn) carryOut(a *Attempt) {
	a.AtGate = false
	t.keepFlags(a)
	if t.onlyCandidateServes() {
		t.say(judge.Hold, StableNotReady, t.waitsForStable(*a.Ending))
		return
	}
	t.finish(*a.Ending)
}

// reverts reverts the attempt if it must be: also at a gate, in a pause, in a freeze.
func (t *turn) reverts(a *Attempt) bool {
	st, v := t.status(t.s.Candidate), t.in.Verdict
	switch {
	case st.CrashLooping:
		t.end(Ending{Reverted, CrashLoop, fmt.Sprintf("version %s crash-loops (%d restarts): %s", a.To.Version, st.Restarts, orUnknown(st.Failure))})
	case a.NotReadyFor >= a.Plan.ProgressDeadline:
		t.end(Ending{Reverted, ProgressDeadline, fmt.Sprintf("version %s was not ready for %s in all: %s", a.To.Version, a.Plan.ProgressDeadline, orUnknown(st.Failure))})
	case a.Step >= 0 && v.Action == judge.Revert:
		t.end(Ending{Reverted, v.Reason, v.Message})
	default:
		return t.timedOut(a)
	}
	return true
}

// timedOut carries out onTimeout: Revert ends the attempt, Hold says so for ever.
func (t *turn) timedOut(a *Attempt) bool {
	reason, what := t.overtime(a)
	if reason == "" {
		return false
	}
	if a.Plan.OnTimeout == TimeoutRevert {
		t.end(Ending{Reverted, reason, what})
		return true
	}
	t.keepFlags(a)
	a.AtGate = false
	what += ". Holding the weights; end it with serin promote or serin abort"
	if a.TimedOut == "" {
		a.TimedOut = reason
		t.note(judge.Hold, reason, what)
	}
	t.say(judge.Hold, reason, what)
	return true
}

// overtime says which of the rollout's times is over, if one is.
func (t *turn) overtime(a *Attempt) (Reason, string) {
	switch {
	case a.Plan.MaxDuration > 0 && a.JudgedFor >= a.Plan.MaxDuration:
		return MaxDurationReached, fmt.Sprintf("%s of judging passed without a decision: %s", a.Plan.MaxDuration, t.in.Verdict.Message)
	case a.Plan.ApprovalTimeout > 0 && a.GateFor >= a.Plan.ApprovalTimeout:
		return ApprovalTimedOut, fmt.Sprintf("nobody approved step %s within %s", t.nextName(a), a.Plan.ApprovalTimeout)
	}
	return "", ""
}

// TimedOut reports whether a rollout that is held for this reason moves no more by itself.
func TimedOut(r Reason) bool { return r == MaxDurationReached || r == ApprovalTimedOut }

func (t *turn) nextName(a *Attempt) string {
	if a.Step+1 < len(a.Plan.Steps) {
		return a.Plan.Steps[a.Step+1].Name
	}
	return ""
}

// keepFlags keeps the routes of the present step as they must be now: no weight
// on a candidate that is not ready, warm-up and calibration as long as they last.
func (t *turn) keepFlags(a *Attempt) {
	if a.Step < 0 {
		return
	}
	t.route(t.routing(a, a.Step))
}

func (t *turn) routing(a *Attempt, step int) Routing {
	p := a.Plan.Steps[step]
	r := Routing{Rollout: a.ID, Step: step, Stable: t.s.Stable.Name, Candidate: a.To.Name, WeightBP: p.WeightBP, ShadowBP: p.ShadowBP}
	if step > 0 {
		r.BeforeBP = a.Plan.Steps[step-1].WeightBP
	}
	if !t.status(t.s.Candidate).Ready {
		r.WeightBP, r.ShadowBP = 0, 0
	}
	r.Warmup = a.ReadyFor < a.Plan.Warmup
	r.Calibrating = !t.in.Calibrated
	return r
}

// gate is one thing that the next step waits for.
type gate struct {
	reason  Reason
	message string
}

// tryEnter enters the next step, or says what it waits for.
func (t *turn) tryEnter(a *Attempt) {
	next := a.Step + 1
	if next >= len(a.Plan.Steps) {
		return
	}
	p := a.Plan.Steps[next]
	g, approvalOnly := t.gates(a, p)
	a.AtGate = approvalOnly
	switch {
	case g == nil && p.WeightBP == fullWeight:
		t.promote(AllRequiredPass, fmt.Sprintf("version %s promoted: %s", a.To.Version, t.in.Verdict.Message))
	case g == nil:
		t.enter(a, next)
	case approvalOnly && a.Asked != p.Name:
		a.Asked = p.Name
		t.letLook(a)
		t.note(judge.Hold, g.reason, g.message)
	default:
		t.say(judge.Hold, g.reason, g.message)
	}
}

// letLook opens the header's way to a candidate that waits for its first approval, and
// no other: who approves can try it before any client meets it.
func (t *turn) letLook(a *Attempt) {
	if a.Step < 0 && t.s.Stable != nil {
		t.route(Routing{Rollout: a.ID, Stable: t.s.Stable.Name, Candidate: a.To.Name})
	}
}

func (t *turn) enter(a *Attempt, next int) {
	a.Step, a.StepFor, a.NotReadyFor, a.GateFor = next, 0, 0, 0
	t.route(t.routing(a, next))
	p := a.Plan.Steps[next]
	what := fmt.Sprintf("%s of requests to version %s", Percent(p.WeightBP), a.To.Version)
	if p.ShadowBP > 0 {
		what = fmt.Sprintf("%s of requests copied to version %s", Percent(p.ShadowBP), a.To.Version)
	}
	t.note(judge.Advance, StepEntered, fmt.Sprintf("entered step %s: %s", p.Name, what))
}

// promote gives all traffic to the candidate and keeps the old version ready.
func (t *turn) promote(reason Reason, message string) {
	a, c := t.s.Attempt, *t.s.Candidate
	a.Outcome, a.Reason, a.Message, a.EndedAt, a.Step = Promoted, reason, message, t.in.Now, len(a.Plan.Steps)-1
	a.Ending, a.AtGate = nil, false
	old := t.s.Stable
	t.drop(&t.s.Previous)
	t.s.Stable, t.s.Candidate = &c, nil
	t.route(Routing{Rollout: a.ID, Step: a.Step, Stable: c.Name})
	t.actions = append(t.actions, PromoteRevision{c})
	if old != nil {
		t.s.Previous = &Kept{Revision: *old, Until: t.in.Now.Add(a.Plan.KeepOld)}
	}
	t.note(judge.Advance, reason, message)
}

// bake watches the promoted version while the old one is still kept: there is no
// control arm any more, so only total breakage and crash loops count. Failures
// from before its routes were in force are the old version's.
func (t *turn) bake() {
	a := t.s.Attempt
	if t.d.Transition || !t.inForce() || t.s.Previous == nil || t.s.Stable == nil || a == nil || a.Outcome != Promoted || !t.status(&t.s.Previous.Revision).Ready {
		return
	}
	st := t.status(t.s.Stable)
	switch {
	case st.CrashLooping:
		t.swapBack(RolledBack, BakeFailed, fmt.Sprintf("version %s crash-loops after its promotion (%s): back to version %s", t.s.Stable.Version, orUnknown(st.Failure), t.s.Previous.Revision.Version))
	case broken(t.in.Recent):
		t.swapBack(RolledBack, BakeFailed, fmt.Sprintf("version %s failed all of its last %d requests after its promotion: back to version %s", t.s.Stable.Version, t.in.Recent.Requests[judge.Stable], t.s.Previous.Revision.Version))
	}
}

// breakageLeast is how many failures without one success end a bake.
const breakageLeast = 5

// broken reports that the version in production answers nothing but errors.
func broken(w judge.Window) bool {
	n := w.Requests[judge.Stable]
	return n >= breakageLeast && w.Errors[judge.Stable] == n
}

// swapBack makes the kept version stable again: one change of routes.
func (t *turn) swapBack(outcome Outcome, reason Reason, message string) {
	a, bad, old := t.s.Attempt, *t.s.Stable, t.s.Previous.Revision
	if a.To.Name == bad.Name { // else a later attempt has its own outcome already
		a.Outcome, a.Reason, a.Message, a.EndedAt = outcome, reason, message, t.in.Now
	}
	t.drop(&t.s.Failed)
	t.s.Stable, t.s.Previous = &old, nil
	t.block(bad.Digest)
	t.setAside(a, bad, a.Plan.KeepFailed)
	t.actions = append(t.actions, PromoteRevision{old})
	t.note(judge.Revert, reason, message)
}

// Percent writes basis points as 12.5%.
func Percent(bp int) string {
	if bp%100 == 0 {
		return fmt.Sprintf("%d%%", bp/100)
	}
	return fmt.Sprintf("%.4g%%", float64(bp)/100)
}

// capacity returns how many ready replicas a share needs of the candidate.
func capacity(weightBP, stableReady int) int {
	return int(math.Ceil(float64(weightBP) * float64(max(stableReady, 1)) / fullWeight))
}
