package engine

import (
	"cmp"
	"fmt"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Types of conditions. All but Ready are True when something is wrong.
const (
	Ready              = "Ready"
	Degraded           = "Degraded"
	WeightsOverwritten = "WeightsOverwritten"
	EvidenceLimited    = "EvidenceLimited"
	RouteNotInForce    = "RouteNotInForce"
	FallingBack        = "FallingBack"
)

const (
	asExpected = "AsExpected"
	// overwrittenShown is how long after weights were put back it is still said: that
	// takes a fraction of a second, and somebody has to see it.
	overwrittenShown = 10 * time.Minute
)

// conditions says what is wrong, each with value, bound and what to do next.
func (e *Engine) conditions() []Condition {
	all := []Condition{e.ready(), e.degraded(), e.weightsOverwritten(), e.evidenceLimited(), e.routeNotInForce(), e.fallingBack()}
	for i := range all {
		c := &all[i]
		if before, known := e.conditioned[c.Type]; known && before.Status == c.Status {
			c.Since = before.Since
		}
		e.conditioned[c.Type] = *c
	}
	return all
}

func (e *Engine) expected(kind, message string) Condition {
	return Condition{Type: kind, Status: "False", Reason: asExpected, Message: message, Since: e.decided}
}

func (e *Engine) wrong(kind, reason, message string) Condition {
	return Condition{Type: kind, Status: "True", Reason: reason, Message: message, Since: e.cfg.Clock()}
}

func (e *Engine) ready() Condition {
	c := Condition{Type: Ready, Status: "False", Reason: "NoStable", Message: "no version serves yet", Since: e.decided}
	if a := e.rec.State.Attempt; a != nil && a.Outcome != rollout.Running {
		c.Message = "no version serves: " + a.Message
	}
	if s := e.rec.State.Stable; s != nil {
		c.Reason, c.Message = string(rollout.StableNotReady), fmt.Sprintf("%s is not ready", s.Name)
		if e.observed.Revisions[s.Name].Ready {
			c.Status, c.Reason, c.Message = "True", "Serving", fmt.Sprintf("%s serves", s.Name)
		}
	}
	return c
}

func (e *Engine) degraded() Condition {
	if e.fault == "" {
		return e.expected(Degraded, "the record and the routes are as they should be")
	}
	return Condition{Type: Degraded, Status: "True", Reason: "HoldingLastWeights", Message: e.fault, Since: e.faultAt}
}

func (e *Engine) weightsOverwritten() Condition {
	o := e.rec.State.Overwritten
	age := time.Duration(0)
	if o != nil {
		age = e.cfg.Clock().Sub(o.At)
	}
	switch {
	case e.observed.InForce.Overwritten:
		return e.wrong(WeightsOverwritten, "Overwritten", fmt.Sprintf("%s changed the weights; they are being put back, and requests routed meanwhile are not judged", cmp.Or(e.observed.InForce.By, "someone else")))
	case o == nil:
		return e.expected(WeightsOverwritten, "nobody else changed the weights")
	case age >= overwrittenShown:
		return e.expected(WeightsOverwritten, fmt.Sprintf("nobody else changed the weights since %s", o.At.UTC().Format(time.RFC3339)))
	}
	return e.wrong(WeightsOverwritten, "PutBack", fmt.Sprintf("%s changed the weights at %s; they were put back as planned (epoch %d), and requests routed meanwhile are not judged. Whoever writes these routes beside Serin must stop; said for %s", cmp.Or(o.By, "someone else"), o.At.UTC().Format(time.RFC3339), o.Epoch, overwrittenShown))
}

func (e *Engine) evidenceLimited() Condition {
	s := e.rec.State
	if s.Stable != nil && e.observed.Revisions[s.Stable.Name].Unrecorded {
		return e.wrong(EvidenceLimited, "ScoresNotJudgeable", fmt.Sprintf("%s was adopted as it runs and has no recorder: errors and latency are judged, scores and shadow pairs are not; serin adopt --restart, or the next version, changes that", s.Stable.Name))
	}
	for _, l := range e.observed.Losses {
		ours := s.Stable != nil && s.Stable.Name == l.Revision || s.Candidate != nil && s.Candidate.Name == l.Revision
		if ours && l.TooMany() {
			return e.wrong(EvidenceLimited, string(l.Kind), l.String()+". What it lacks is not judged")
		}
	}
	return e.expected(EvidenceLimited, "the gateway and the recorders count the same requests")
}

func (e *Engine) routeNotInForce() Condition {
	f, epoch := e.observed.InForce, e.rec.State.Routing.Epoch
	if f.Epoch == epoch || !f.Overdue() {
		return e.expected(RouteNotInForce, "no request is known to go by older routes")
	}
	return e.wrong(RouteNotInForce, "OlderRoutesInUse", fmt.Sprintf("%s after the routes of epoch %d were written requests still go by older ones (at most %s are expected): see whether the mesh passes routes on to the gateway (istioctl proxy-status), and whether another VirtualService has the same hosts", f.Stale.Round(time.Second), epoch, rollout.RoutesDue))
}

// fallingBack says that the version in production fails requests which clients do not see fail yet.
func (e *Engine) fallingBack() Condition {
	stable, previous := e.rec.State.Stable, e.rec.State.Previous
	if stable == nil || previous == nil {
		return e.expected(FallingBack, "no version before stable is kept: stable answers for itself")
	}
	var requests, failed, answered uint64
	for i := range e.rec.Evidence.Epochs {
		if ep := &e.rec.Evidence.Epochs[i]; ep.Info.ID >= e.rec.StableSince {
			c := &ep.Arms[judge.Stable]
			requests, failed, answered = requests+c.Requests, failed+c.Errors, answered+c.FellBack
		}
	}
	old := previous.Revision
	if answered == 0 {
		return e.expected(FallingBack, fmt.Sprintf("version %s, which is kept, answered nothing in the place of stable", old.Version))
	}
	until, back := fmt.Sprintf("and does so until %s (rollout.keepOld): from then on clients see such failures", previous.Until.UTC().Format(time.RFC3339)), "serin rollback brings"
	if !e.observed.Revisions[old.Name].Ready {
		until = "and is not ready now: clients see such failures"
	}
	if a := e.rec.State.Attempt; a != nil && a.Outcome == rollout.Running {
		back = "serin abort, then serin rollback bring"
	}
	return e.wrong(FallingBack, "PreviousAnswers", fmt.Sprintf("version %s failed %d of %d requests since its promotion; version %s answered %d of them, %s. See the log of %s; %s version %s back",
		stable.Version, failed, requests, old.Version, answered, until, stable.Name, back, old.Version))
}
