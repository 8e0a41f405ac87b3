package rollout

import (
	"fmt"
	"slices"
)

// act answers the actions that were asked for, each once.
func (t *turn) act() {
	for _, r := range t.in.Actions {
		if slices.Contains(t.s.Processed, r.ID) {
			t.reply(r, true, AlreadyDone, "this action was answered before")
			continue
		}
		t.s.Processed = append(t.s.Processed, r.ID)
		t.s.Processed = t.s.Processed[max(0, len(t.s.Processed)-mostProcessed):]
		t.actOn(r)
	}
}

func (t *turn) reply(r ActionRequest, accepted bool, reason Reason, message string) {
	t.d.ActionResults = append(t.d.ActionResults, ActionResult{ID: r.ID, Accepted: accepted, Reason: reason, Message: message})
}

func (t *turn) actOn(r ActionRequest) {
	if t.s.Attempt != nil && r.Rollout != "" && r.Rollout != t.s.Attempt.ID {
		t.reply(r, false, WrongRollout, fmt.Sprintf("rollout %q is not the present one, which is %q", r.Rollout, t.s.Attempt.ID))
		return
	}
	switch r.Kind {
	case Rollback:
		t.rollback(r)
		return
	case Retry:
		t.retry(r)
		return
	}
	a := t.running()
	if a == nil {
		t.reply(r, false, NothingRuns, t.nothingRuns(r))
		return
	}
	switch r.Kind {
	case Approve:
		t.approve(a, r)
	case Reject:
		t.stopBy(r, Rejected, RejectedByPerson, fmt.Sprintf("rejected by %s%s", r.By, why(r)))
	case Abort:
		t.stopBy(r, Aborted, AbortedByPerson, fmt.Sprintf("aborted by %s%s", r.By, why(r)))
	case Pause, Resume:
		t.pause(a, r)
	case Promote:
		t.promoteBy(a, r)
	default:
		t.reply(r, false, UnknownAction, fmt.Sprintf("%q is no action: use Approve, Reject, Pause, Resume, Promote, Abort, Rollback or Retry", r.Kind))
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
	if r.Step == "" {
		r.Step = next
	}
	index := slices.IndexFunc(a.Plan.Steps, func(p PlanStep) bool { return p.Name == r.Step })
	switch {
	case index < 0:
		t.reply(r, false, WrongStep, fmt.Sprintf("the plan has no step %q; the next one is %q", r.Step, next))
	case index <= a.Step || slices.ContainsFunc(a.Approvals, func(x Approval) bool { return x.Step == r.Step }):
		t.reply(r, true, AlreadyDone, fmt.Sprintf("step %s is approved or entered already", r.Step))
	case r.Step != next:
		t.reply(r, false, WrongStep, fmt.Sprintf("step %q is not next: the next one is %q", r.Step, next))
	case r.Unseen:
		t.reply(r, false, EvidenceNotShown, fmt.Sprintf("evidence %s was not shown of %s in this step, so nobody can have approved step %s on it; look again (serin status) and approve what you see", r.EvidenceDigest, a.ID, r.Step))
	default:
		a.Approvals = append(a.Approvals, Approval{Step: r.Step, By: r.By, OnBehalfOf: r.OnBehalfOf, At: r.At, EvidenceDigest: r.EvidenceDigest})
		t.reply(r, true, ActionAccepted, fmt.Sprintf("step %s of %s approved by %s", r.Step, a.ID, r.By))
	}
}

func (t *turn) stopBy(r ActionRequest, outcome Outcome, reason Reason, message string) {
	if t.s.Stable != nil && t.s.Routing.WeightBP > 0 && !t.status(t.s.Stable).Ready && t.status(t.s.Candidate).Ready {
		t.reply(r, false, StableNotReady, fmt.Sprintf("stable %s has no ready scorer to take the traffic back; mend it, or promote", t.s.Stable.Name))
		return
	}
	t.end(outcome, reason, message, true)
	t.reply(r, true, ActionAccepted, message+": all traffic goes to stable")
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

// promoteBy skips steps and evidence; a candidate that is not ready is refused.
func (t *turn) promoteBy(a *Attempt, r ActionRequest) {
	if !t.status(t.s.Candidate).Ready {
		t.reply(r, false, CandidateNotReady, fmt.Sprintf("version %s has no ready scorer: it cannot take the traffic", a.To.Version))
		return
	}
	message := fmt.Sprintf("version %s promoted by %s without waiting for evidence%s", a.To.Version, r.By, why(r))
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
