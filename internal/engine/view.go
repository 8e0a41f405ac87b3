package engine

import (
	"slices"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Status returns what is shown of the endpoint now, to a person: from then on an
// approval may name its evidence.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.status()
	if a := e.rec.State.Attempt; a != nil && a.Outcome == rollout.Running {
		e.shown.add(stepOf(a), st.Rollout.Evidence.Digest)
	}
	return st
}

// Glance is Status for programs that look all the time, such as metrics: what they
// saw nobody was shown.
func (e *Engine) Glance() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status()
}

func (e *Engine) status() Status {
	s := e.rec.State
	st := Status{
		Endpoint: e.cfg.Endpoint, At: e.cfg.Clock(),
		Stable: e.revision(s.Stable), Candidate: e.revision(s.Candidate),
		Weights: Weights{Epoch: s.Routing.Epoch, PlannedBP: s.Routing.WeightBP, ShadowBP: s.Routing.ShadowBP},
	}
	st.Weights.InForceBP = e.inForce()
	if s.Previous != nil {
		st.Previous = e.revision(&s.Previous.Revision)
	}
	if s.Failed != nil && st.Candidate == nil {
		st.Candidate = e.revision(&s.Failed.Revision)
	}
	st.Traffic.RequestsPerSecond, st.Traffic.CandidatePerSecond = e.span.rate()
	if s.Attempt != nil {
		st.Rollout = e.rollout(s.Attempt)
	}
	st.Conditions = e.conditions()
	return st
}

// inForce returns the weight of the epoch that the router was seen to use: nothing
// is assumed of what was asked for. It is 0 when nobody knows.
func (e *Engine) inForce() int {
	f := e.observed.InForce
	if f.Overwritten || f.Epoch == 0 {
		return 0
	}
	if r := e.rec.State.Routing; f.Epoch == r.Epoch {
		return r.WeightBP
	}
	ep, _ := e.rec.Evidence.Epoch(f.Epoch)
	return ep.Info.WeightBP
}

func (e *Engine) revision(r *rollout.Revision) *RevisionView {
	if r == nil {
		return nil
	}
	o := e.observed.Revisions[r.Name]
	return &RevisionView{Name: r.Name, Version: r.Version, Digest: r.Digest, Ready: o.Ready, ReadyReplicas: o.ReadyReplicas, WantReplicas: o.WantReplicas, Restarts: o.Restarts, Failure: o.Failure}
}

// rollout shows the running attempt, or the last.
func (e *Engine) rollout(a *rollout.Attempt) *RolloutView {
	r := viewOf(a, e.last.Verdict, ofAttempt(e.rec.Evidence, a.FirstEpoch, e.rec.CountedSince))
	if a.Outcome == rollout.Running {
		r.Decision = DecisionView{Action: string(e.decision.Action), Reason: string(e.decision.Reason), Message: e.decision.Message, At: e.decided}
	}
	return r
}

// View shows a rollout that ended, as it was when it was last judged.
func (r RolloutRecord) View() RolloutView {
	return *viewOf(&r.Attempt, r.Verdict, r.Evidence)
}

func viewOf(a *rollout.Attempt, v judge.Verdict, ev judge.Evidence) *RolloutView {
	r := &RolloutView{
		ID: a.ID, Number: a.Number, To: a.To.Version, FromRevision: a.From, ToRevision: &a.To, StartedAt: a.StartedAt, Outcome: string(a.Outcome),
		Step: max(a.Step, 0), Paused: a.Paused, Verdict: v, Evidence: view(ev, a.FirstEpoch), Steps: stepsOf(a, ev),
	}
	if a.From != nil {
		r.From = a.From.Version
	}
	if a.Outcome != rollout.Running {
		r.EndedAt = &a.EndedAt
		r.Decision = DecisionView{Action: string(judge.Advance), Reason: string(a.Reason), Message: a.Message, At: a.EndedAt}
		if a.Outcome != rollout.Promoted {
			r.Decision.Action = string(judge.Revert)
		}
	}
	if a.Step >= 0 && a.Step < len(a.Plan.Steps) {
		r.StepName = a.Plan.Steps[a.Step].Name
	}
	r.Approvals = slices.Clone(a.Approvals)
	return r
}

// view sums the evidence of a rollout for people.
func view(e judge.Evidence, first uint32) EvidenceView {
	v := EvidenceView{Digest: digest(e)}
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		if ep.Info.ID < first {
			continue
		}
		s, c := &ep.Arms[judge.Stable], &ep.Arms[judge.Candidate]
		v.StableRequests += s.Requests
		v.StableErrors += s.Errors
		v.CandidateRequests += c.Requests
		v.CandidateErrors += c.Errors
		v.FellBack += s.FellBack + c.FellBack
		v.Pairs += ep.Shadow.N
		v.Compared += ep.Shadow.Compared
		v.Disagreed += ep.Shadow.Disagreed
		v.Dropped += s.Dropped + c.Dropped + ep.Shadow.Dropped
	}
	return v
}
