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
	if a == nil {
		if t.s.Stable != nil && t.d.Reason == "" {
			t.say(judge.Hold, UpToDate, fmt.Sprintf("version %s is in production", t.s.Stable.Version))
		}
		return
	}
	switch {
	case t.s.Stable == nil:
		t.first(a)
	case t.reverts(a):
	case a.Step < 0:
		t.tryEnter(a)
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
		t.end(Reverted, CrashLoop, fmt.Sprintf("first version %s crash-loops (%d restarts): %s; nothing is served. Apply a version that starts", a.To.Version, st.Restarts, orUnknown(st.Failure)), true)
	case a.NotReadyFor >= a.Plan.ProgressDeadline:
		t.end(Reverted, ProgressDeadline, fmt.Sprintf("first version %s was not ready within %s: %s; nothing is served", a.To.Version, a.Plan.ProgressDeadline, orUnknown(st.Failure)), true)
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

// reverts reverts the attempt if it must be: also at a gate, in a pause, in a freeze.
func (t *turn) reverts(a *Attempt) bool {
	st, v := t.status(t.s.Candidate), t.in.Verdict
	exposed := t.s.Routing.WeightBP > 0 && t.s.Routing.Candidate == t.s.Candidate.Name
	stableDown := !t.status(t.s.Stable).Ready
	switch {
	case st.CrashLooping:
		t.revert(CrashLoop, fmt.Sprintf("version %s crash-loops (%d restarts): %s", a.To.Version, st.Restarts, orUnknown(st.Failure)), exposed && stableDown)
	case a.NotReadyFor >= a.Plan.ProgressDeadline:
		t.revert(ProgressDeadline, fmt.Sprintf("version %s was not ready for %s in all: %s", a.To.Version, a.Plan.ProgressDeadline, orUnknown(st.Failure)), exposed && stableDown)
	case a.Step >= 0 && v.Action == judge.Revert:
		t.revert(v.Reason, v.Message, exposed && stableDown && st.Ready)
	default:
		return t.timedOut(a)
	}
	return true
}

// revert ends the attempt, unless stable could not take the traffic back.
func (t *turn) revert(reason Reason, message string, cannot bool) {
	if cannot {
		t.say(judge.Hold, StableNotReady, fmt.Sprintf("would revert (%s: %s), but stable %s has no ready scorer: holding the weights. Mend stable, or serin promote", reason, message, t.s.Stable.Name))
		return
	}
	t.end(Reverted, reason, message, true)
}

// timedOut carries out onTimeout: Revert ends the attempt, Hold says so for ever.
func (t *turn) timedOut(a *Attempt) bool {
	reason, what := Reason(""), ""
	switch {
	case a.Plan.MaxDuration > 0 && a.JudgedFor >= a.Plan.MaxDuration:
		reason, what = MaxDurationReached, fmt.Sprintf("%s of judging passed without a decision: %s", a.Plan.MaxDuration, t.in.Verdict.Message)
	case a.Plan.ApprovalTimeout > 0 && a.GateFor >= a.Plan.ApprovalTimeout:
		reason, what = ApprovalTimedOut, fmt.Sprintf("nobody approved step %s within %s", t.nextName(a), a.Plan.ApprovalTimeout)
	default:
		return false
	}
	if a.Plan.OnTimeout == TimeoutRevert {
		t.end(Reverted, reason, what, true)
		return true
	}
	t.keepFlags(a)
	t.say(judge.Hold, reason, what+". Holding the weights; end it with serin promote or serin abort")
	return true
}

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
	if g == nil {
		a.GateFor = 0
		if p.WeightBP == fullWeight {
			t.promote(AllRequiredPass, fmt.Sprintf("version %s promoted: %s", a.To.Version, t.in.Verdict.Message))
			return
		}
		t.enter(a, next)
		return
	}
	if approvalOnly {
		a.GateFor += t.tick()
	} else {
		a.GateFor = 0
	}
	t.say(judge.Hold, g.reason, g.message)
}

func (t *turn) tick() time.Duration {
	if t.s.TickedAt.IsZero() {
		return 0
	}
	return min(max(t.in.Now.Sub(t.s.TickedAt), 0), longestTick)
}

func (t *turn) enter(a *Attempt, next int) {
	a.Step, a.StepFor, a.NotReadyFor = next, 0, 0
	t.route(t.routing(a, next))
	p := a.Plan.Steps[next]
	what := fmt.Sprintf("%s of requests to version %s", percent(p.WeightBP), a.To.Version)
	if p.ShadowBP > 0 {
		what = fmt.Sprintf("%s of requests copied to version %s", percent(p.ShadowBP), a.To.Version)
	}
	t.note(judge.Advance, StepEntered, fmt.Sprintf("entered step %s: %s", p.Name, what))
}

// promote gives all traffic to the candidate and keeps the old version ready.
func (t *turn) promote(reason Reason, message string) {
	a, c := t.s.Attempt, *t.s.Candidate
	a.Outcome, a.Reason, a.Message, a.EndedAt, a.Step = Promoted, reason, message, t.in.Now, len(a.Plan.Steps)-1
	old := t.s.Stable
	t.drop(&t.s.Previous)
	t.s.Stable, t.s.Candidate = &c, nil
	t.route(Routing{Rollout: a.ID, Step: a.Step, Stable: c.Name})
	t.actions = append(t.actions, PromoteRevision{c})
	if old != nil {
		k := &Kept{Revision: *old, Until: t.in.Now.Add(a.Plan.KeepOld)}
		t.s.Previous = k
	}
	t.note(judge.Advance, reason, message)
}

// bake watches the promoted version while the old one is still kept: there is no
// control arm any more, so only total breakage and crash loops count.
func (t *turn) bake() {
	a := t.s.Attempt
	if t.s.Previous == nil || t.s.Stable == nil || a == nil || a.Outcome != Promoted || !t.status(&t.s.Previous.Revision).Ready {
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
	a.Outcome, a.Reason, a.Message, a.EndedAt = outcome, reason, message, t.in.Now
	t.s.Stable, t.s.Previous = &old, nil
	t.drop(&t.s.Failed)
	t.s.Failed = &Kept{Revision: bad, Until: t.in.Now.Add(a.Plan.KeepFailed), Failed: true}
	t.block(bad.Digest)
	t.route(Routing{Rollout: a.ID, Step: a.Step, Stable: old.Name, Candidate: bad.Name})
	t.actions = append(t.actions, PromoteRevision{old})
	t.note(judge.Revert, reason, message)
}

// percent writes basis points as 12.5%.
func percent(bp int) string {
	if bp%100 == 0 {
		return fmt.Sprintf("%d%%", bp/100)
	}
	return fmt.Sprintf("%.4g%%", float64(bp)/100)
}

// capacity returns how many ready replicas a share needs of the candidate.
func capacity(weightBP, stableReady int) int {
	return int(math.Ceil(float64(weightBP) * float64(max(stableReady, 1)) / fullWeight))
}
