package rollout

import (
	"fmt"
	"slices"
	"time"
)

// act answers the actions that were asked for, each once. What comes after a
// transition waits for the next call.
func (t *turn) act() {
	for _, r := range t.in.Actions {
		if t.d.Transition {
			return
		}
		if i := slices.IndexFunc(t.s.Processed, func(p Answered) bool { return p.ID == r.ID }); i >= 0 {
			t.again(r, t.s.Processed[i])
			continue
		}
		t.actOn(r)
		given := t.d.ActionResults[len(t.d.ActionResults)-1]
		done := Answered{ID: r.ID}
		if !given.Accepted {
			done.Refused = given.Reason
		}
		t.s.Processed = append(t.s.Processed, done)
		t.s.Processed = t.s.Processed[max(0, len(t.s.Processed)-mostProcessed):]
	}
}

// again answers an action that was answered before: a crash may repeat it.
func (t *turn) again(r ActionRequest, before Answered) {
	if before.Refused != "" {
		t.reply(r, false, before.Refused, "this action was refused before; to try again, ask anew")
		return
	}
	t.reply(r, true, AlreadyDone, "this action was carried out before")
}

func (t *turn) reply(r ActionRequest, accepted bool, reason Reason, message string) {
	t.d.ActionResults = append(t.d.ActionResults, ActionResult{ID: r.ID, Accepted: accepted, Reason: reason, Message: message})
}

var actionKinds = []ActionKind{Approve, Reject, Pause, Resume, Promote, Abort, Rollback, Retry}

func (t *turn) actOn(r ActionRequest) {
	a := t.running()
	switch {
	case !slices.Contains(actionKinds, r.Kind):
		t.reply(r, false, UnknownAction, fmt.Sprintf("%q is no action: use Approve, Reject, Pause, Resume, Promote, Abort, Rollback or Retry", r.Kind))
	case t.s.Attempt != nil && r.Rollout != "" && r.Rollout != t.s.Attempt.ID:
		t.reply(r, false, WrongRollout, fmt.Sprintf("rollout %q is not the present one, which is %q", r.Rollout, t.s.Attempt.ID))
	case r.Kind == Rollback:
		t.rollback(r)
	case r.Kind == Retry:
		t.retry(r)
	case a == nil:
		t.reply(r, false, NothingRuns, t.nothingRuns(r))
	case r.Kind == Promote:
		t.promoteBy(a, r)
	case r.Kind == Abort:
		t.stopBy(a, r, Ending{Aborted, AbortedByPerson, fmt.Sprintf("aborted by %s%s", r.By, why(r))})
	case r.Kind == Reject:
		t.stopBy(a, r, Ending{Rejected, RejectedByPerson, fmt.Sprintf("rejected by %s%s", r.By, why(r))})
	case t.s.Stable == nil:
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("the first version %s serves as soon as it is ready: there is no step to %s; serin abort stops it", a.To.Version, r.Kind))
	case r.Kind == Approve:
		t.approve(a, r)
	default:
		t.pause(a, r)
	}
}

func (t *turn) nothingRuns(r ActionRequest) string {
	if t.s.Attempt == nil {
		return fmt.Sprintf("no rollout runs, so there is nothing to %s", r.Kind)
	}
	return fmt.Sprintf("no rollout runs, so there is nothing to %s; the last one, %s, ended %s", r.Kind, t.s.Attempt.ID, t.s.Attempt.Outcome)
}

func why(r ActionRequest) string {
	if r.Reason == "" {
		return ""
	}
	return ": " + r.Reason
}

// approve lets the rollout enter the next step, and no other.
func (t *turn) approve(a *Attempt, r ActionRequest) {
	next := t.nextName(a)
	over, _ := t.overtime(a)
	if r.Step == "" {
		r.Step = next
	}
	index := slices.IndexFunc(a.Plan.Steps, func(p PlanStep) bool { return p.Name == r.Step })
	switch {
	case index < 0:
		t.reply(r, false, WrongStep, fmt.Sprintf("the plan has no step %q; the next one is %q", r.Step, next))
	case index <= a.Step || slices.ContainsFunc(a.Approvals, func(x Approval) bool { return x.Step == r.Step }):
		t.reply(r, true, AlreadyDone, fmt.Sprintf("step %s is approved or entered already", r.Step))
	case a.Ending != nil:
		t.reply(r, false, NotPossibleNow, t.waitsForStable(*a.Ending))
	case over != "":
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("the time of %s is over (%s): it does not move by itself any more; serin promote or serin abort ends it", a.ID, over))
	case r.Step != next:
		t.reply(r, false, WrongStep, fmt.Sprintf("step %q is not next: the next one is %q", r.Step, next))
	case r.Unseen:
		t.reply(r, false, EvidenceNotShown, fmt.Sprintf("evidence %s was not shown of %s in this step, so nobody can have approved step %s on it; look again (serin status) and approve what you see", r.EvidenceDigest, a.ID, r.Step))
	default:
		a.Approvals = append(a.Approvals, Approval{Step: r.Step, By: r.By, OnBehalfOf: r.OnBehalfOf, At: r.At, EvidenceDigest: r.EvidenceDigest})
		t.reply(r, true, ActionAccepted, fmt.Sprintf("step %s of %s approved by %s", r.Step, a.ID, r.By))
	}
}

// stopBy ends the attempt for a person; it works with a broken stable too, but
// does not take traffic away from the only version that serves.
func (t *turn) stopBy(a *Attempt, r ActionRequest, e Ending) {
	if a.Ending != nil {
		t.reply(r, true, AlreadyDone, a.ID+" "+t.waitsForStable(*a.Ending))
		return
	}
	t.end(e)
	switch {
	case a.Ending != nil:
		t.reply(r, true, ActionAccepted, a.ID+" "+t.waitsForStable(e))
	case t.s.Stable == nil:
		t.reply(r, true, ActionAccepted, e.Message+": nothing is served")
	default:
		t.reply(r, true, ActionAccepted, e.Message+": all traffic goes to stable")
	}
}

func (t *turn) pause(a *Attempt, r ActionRequest) {
	want := r.Kind == Pause
	if a.Paused == want {
		t.reply(r, true, AlreadyDone, fmt.Sprintf("%s: nothing to do", a.ID))
		return
	}
	a.Paused = want
	if want {
		t.reply(r, true, ActionAccepted, a.ID+" is paused; judging and reverts go on")
	} else {
		t.reply(r, true, ActionAccepted, a.ID+" goes on")
	}
}

// promoteBy skips steps, evidence and freezes, and says so; a candidate that could
// not carry the traffic is refused.
func (t *turn) promoteBy(a *Attempt, r ActionRequest) {
	st := t.status(t.s.Candidate)
	need := capacity(fullWeight, t.status(t.s.Stable).ReadyReplicas)
	switch {
	case !st.Ready:
		t.reply(r, false, CandidateNotReady, fmt.Sprintf("version %s has no ready scorer: it cannot take the traffic", a.To.Version))
		return
	case max(st.ReadyReplicas, 1) < need:
		t.reply(r, false, WaitingForCapacity, fmt.Sprintf("version %s has %d ready scorers, all traffic needs %d as stable has", a.To.Version, st.ReadyReplicas, need))
		return
	}
	message := fmt.Sprintf("version %s promoted by %s without waiting for evidence%s", a.To.Version, r.By, why(r))
	if frozen, until := t.frozen(); frozen {
		message += fmt.Sprintf(" (in spite of the freeze until %s)", until.Format(time.RFC3339))
	}
	t.promote(PromotedByPerson, message)
	t.reply(r, true, ActionAccepted, message)
}

func (t *turn) rollback(r ActionRequest) {
	switch {
	case t.running() != nil:
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("rollout %s runs: abort it instead", t.s.Attempt.ID))
	case t.s.Previous == nil:
		t.reply(r, false, NotPossibleNow, "no earlier version is kept (rollout.keepOld has passed, or nothing was promoted); apply the earlier document")
	case !t.status(&t.s.Previous.Revision).Ready:
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("the kept version %s is not ready", t.s.Previous.Revision.Version))
	default:
		message := fmt.Sprintf("rolled back to version %s by %s%s", t.s.Previous.Revision.Version, r.By, why(r))
		t.swapBack(RolledBack, RolledBackByPerson, message)
		t.reply(r, true, ActionAccepted, message)
	}
}

// retry lets a version that failed be tried again.
func (t *turn) retry(r ActionRequest) {
	i := slices.Index(t.s.Blocked, t.in.Wish.Digest)
	switch {
	case t.running() != nil:
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("rollout %s runs already", t.s.Attempt.ID))
	case i < 0:
		t.reply(r, false, NotPossibleNow, fmt.Sprintf("version %s has not failed, so there is nothing to retry", t.in.Wish.Version))
	default:
		t.s.Blocked = slices.Delete(t.s.Blocked, i, i+1)
		t.reply(r, true, ActionAccepted, fmt.Sprintf("version %s is tried again", t.in.Wish.Version))
	}
}
