package engine

import (
	"math"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// StepsOf are the steps of a plan, none of them entered.
func StepsOf(p rollout.Plan) []StepView {
	steps := make([]StepView, len(p.Steps))
	for i, s := range p.Steps {
		steps[i] = StepView{Name: s.Name, WeightBP: s.WeightBP, ShadowBP: s.ShadowBP, Approval: s.Approval || p.ApprovalEvery, State: "Waiting"}
	}
	return steps
}

// stepsOf shows the steps of the plan: where the attempt stands, when each was
// entered, and what the requests routed in it gave.
func stepsOf(a *rollout.Attempt, ev judge.Evidence) []StepView {
	all := StepsOf(a.Plan)
	for i := range all {
		s := &all[i]
		switch {
		case i < a.Step || a.Outcome == rollout.Promoted:
			s.State = "Done"
		case i == a.Step && a.Outcome == rollout.Running:
			s.State = "Current"
		}
		if s.EnteredAt = enteredAt(a, i); s.EnteredAt != nil {
			s.Counts = countsOf(a, i, ev)
		}
	}
	return all
}

// entering are the reasons of transitions that enter a step; promotion enters the last.
var entering = []rollout.Reason{rollout.StepEntered, rollout.AllRequiredPass, rollout.PromotedByPerson, rollout.FirstVersion}

// enteredAt is when a step was entered, nil if it was not.
func enteredAt(a *rollout.Attempt, step int) *time.Time {
	for _, h := range a.History {
		if h.Step == step && slices.Contains(entering, h.Reason) {
			return &h.At
		}
	}
	return nil
}

// countsOf sums the epochs of one step, those in which the candidate was not ready
// and had no share too. The share seen is of the epochs with the step's own.
func countsOf(a *rollout.Attempt, step int, ev judge.Evidence) *StepCounts {
	var c StepCounts
	var got, of uint64
	p := a.Plan.Steps[step]
	for i := range ev.Epochs {
		ep := &ev.Epochs[i]
		if ep.Info.ID < a.FirstEpoch || ep.Info.Step != step {
			continue
		}
		s, t := &ep.Arms[judge.Stable], &ep.Arms[judge.Candidate]
		c.StableRequests, c.StableErrors = c.StableRequests+s.Requests, c.StableErrors+s.Errors
		c.CandidateRequests, c.CandidateErrors = c.CandidateRequests+t.Requests, c.CandidateErrors+t.Errors
		c.FellBack, c.Pairs, c.Disagreed = c.FellBack+s.FellBack+t.FellBack, c.Pairs+ep.Shadow.N, c.Disagreed+ep.Shadow.Disagreed
		switch {
		case ep.Info.Tampered:
		case p.WeightBP > 0 && ep.Info.WeightBP == p.WeightBP:
			got, of = got+t.Requests, of+s.Requests+t.Requests
		case p.ShadowBP > 0 && ep.Info.ShadowBP == p.ShadowBP:
			got, of = got+ep.Shadow.N, of+s.Requests
		}
	}
	if of > 0 {
		c.SeenBP = int(math.Round(10000 * float64(got) / float64(of)))
	}
	return &c
}
