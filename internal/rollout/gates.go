package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// gates returns the first thing that entering step p waits for, or nil. The
// approval comes last, so that who approves sees a step that is otherwise ready;
// approvalOnly tells that nothing else is missing.
func (t *turn) gates(a *Attempt, p PlanStep) (g *gate, approvalOnly bool) {
	checks := []func(*Attempt, PlanStep) *gate{t.pauseGate, t.readyGate, t.stableGate, t.freezeGate, t.evidenceGate, t.routeGate, t.durationGate, t.requestGate, t.verdictGate, t.shadowGate, t.harmGate, t.promoteGate}
	for _, check := range checks {
		if g := check(a, p); g != nil {
			return g, false
		}
	}
	if g := t.approvalGate(a, p); g != nil {
		return g, true
	}
	return nil, false
}

func (t *turn) readyGate(a *Attempt, p PlanStep) *gate {
	st := t.status(t.s.Candidate)
	if !st.Ready {
		return &gate{CandidateNotReady, fmt.Sprintf("version %s is not ready (%s of %s)%s", a.To.Version, a.NotReadyFor.Round(time.Second), a.Plan.ProgressDeadline, because(st.Failure))}
	}
	need := capacity(max(p.WeightBP, p.ShadowBP), t.status(t.s.Stable).ReadyReplicas)
	if have := max(st.ReadyReplicas, 1); have < need {
		return &gate{WaitingForCapacity, fmt.Sprintf("step %s needs %d ready scorers of version %s; ready: %d", p.Name, need, a.To.Version, have)}
	}
	return nil
}

func because(failure string) string {
	if failure == "" {
		return ""
	}
	return ": " + failure
}

func (t *turn) stableGate(*Attempt, PlanStep) *gate {
	if !t.status(t.s.Stable).Ready {
		return &gate{StableNotReady, fmt.Sprintf("stable %s is not ready%s: without it nothing can be compared. serin promote goes forward all the same", t.s.Stable.Name, because(t.status(t.s.Stable).Failure))}
	}
	return nil
}

func (t *turn) pauseGate(a *Attempt, _ PlanStep) *gate {
	if a.Paused {
		return &gate{Paused, "paused by a person; serin resume goes on"}
	}
	return nil
}

func (t *turn) freezeGate(*Attempt, PlanStep) *gate {
	if in, until := t.frozen(); in {
		return &gate{Frozen, fmt.Sprintf("no step forward before %s (freeze); reverts still happen", until.Format(time.RFC3339))}
	}
	return nil
}

// evidenceGate stops while so much of the evidence is known to be missing that what
// is left may say something else. It comes before the gates that wait for evidence,
// or those would be waited for without a word about why it does not come.
func (t *turn) evidenceGate(a *Attempt, _ PlanStep) *gate {
	if a.Step < 0 {
		return nil
	}
	for _, l := range t.in.Observed.Losses {
		unrecorded := l.Kind == LossNoRecorder && l.Revision == t.s.Stable.Name // adopted: said in a condition, and no fault
		if l.TooMany() && !unrecorded && (l.Revision == a.To.Name || l.Revision == t.s.Stable.Name) {
			return &gate{judge.EvidenceMissing, l.String() + "; reverts still happen"}
		}
	}
	return nil
}

func (t *turn) routeGate(a *Attempt, _ PlanStep) *gate {
	if a.Step < 0 || t.inForce() {
		return nil
	}
	what := fmt.Sprintf("the routes of step %s (epoch %d) are not in force yet", a.Plan.Steps[a.Step].Name, t.s.Routing.Epoch)
	if t.in.Observed.InForce.Overdue() {
		what += fmt.Sprintf(", although requests come in: for %s they have gone by older ones", t.in.Observed.InForce.Stale.Round(time.Second))
	}
	return &gate{WaitingForRoute, what}
}

func (t *turn) durationGate(a *Attempt, _ PlanStep) *gate {
	if a.Step < 0 {
		return nil
	}
	if a.ReadyFor < a.Plan.Warmup {
		return &gate{WarmingUp, fmt.Sprintf("version %s warms up: %s of %s; not judged yet", a.To.Version, a.ReadyFor.Round(time.Second), a.Plan.Warmup)}
	}
	if least := a.Plan.Steps[a.Step].MinDuration; a.StepFor < least {
		return &gate{WaitingForDuration, fmt.Sprintf("step %s lasts at least %s, %s have passed", a.Plan.Steps[a.Step].Name, least, a.StepFor.Round(time.Second))}
	}
	return nil
}

// blind says that the present step is a shadow step beside a stable whose answers
// nobody records: it warms the candidate up, and can show no pairs.
func (t *turn) blind(a *Attempt) bool {
	return a.Step >= 0 && a.Plan.Steps[a.Step].ShadowBP > 0 && t.status(t.s.Stable).Unrecorded
}

func (t *turn) requestGate(a *Attempt, _ PlanStep) *gate {
	if a.Step < 0 || t.blind(a) || t.in.CandidateRequests >= a.Plan.MinRequests {
		return nil
	}
	missing := a.Plan.MinRequests - t.in.CandidateRequests
	return &gate{WaitingForRequests, fmt.Sprintf("step %s needs %d judged requests to the candidate, %d were; %d more%s", a.Plan.Steps[a.Step].Name, a.Plan.MinRequests, t.in.CandidateRequests, missing, t.lasting(a, missing))}
}

// lasting says how long n more candidate requests take at the present traffic.
func (t *turn) lasting(a *Attempt, n uint64) string {
	p := a.Plan.Steps[a.Step]
	rate := t.in.TotalRPS * float64(max(p.WeightBP, p.ShadowBP)) / fullWeight
	if rate <= 0 {
		return "; there is no traffic now"
	}
	return fmt.Sprintf(", about %s at the present traffic", time.Duration(float64(n)/rate*float64(time.Second)).Round(time.Second))
}

// verdictGate stops at a verdict that forbids any step: routing or collection
// broken, both arms failing, a metric that fails.
func (t *turn) verdictGate(a *Attempt, _ PlanStep) *gate {
	v := t.in.Verdict
	if v.Reason == judge.TooLittleData && t.blind(a) {
		return nil
	}
	if a.Step >= 0 && v.Action != judge.Advance {
		return &gate{v.Reason, v.Message}
	}
	return nil
}

// shadowGate keeps a rollout in its last shadow step until what only shadow pairs
// can show is shown: no later step could make up for it.
func (t *turn) shadowGate(a *Attempt, p PlanStep) *gate {
	if a.Step < 0 || a.Plan.Steps[a.Step].ShadowBP == 0 || p.ShadowBP > 0 {
		return nil
	}
	for _, m := range t.in.Verdict.Metrics {
		if m.ShadowOnly && m.Required && m.Outcome == judge.Inconclusive {
			return &gate{WaitingForEvidence, fmt.Sprintf("only shadow pairs can decide this: %s", m.Message)}
		}
	}
	return nil
}

func (t *turn) harmGate(a *Attempt, p PlanStep) *gate {
	if a.Step < 0 || p.WeightBP == 0 || p.WeightBP == fullWeight || a.Plan.Steps[a.Step].WeightBP == 0 {
		// Out of a shadow step there is no error rate of the candidate under weight yet.
		return nil
	}
	v := t.in.Verdict
	harm := judge.HarmOfNext(v.ExtraErrorRate, t.in.TotalRPS*float64(p.WeightBP)/fullWeight, t.in.ReactionLag.Seconds(), p.WeightBP)
	if harm <= a.Plan.HarmBudget {
		return nil
	}
	remedy := fmt.Sprintf("the candidate's extra error rate is only known to be below %.2f %% so far; more requests narrow it", 100*v.ExtraErrorRate)
	if least := judge.HarmOfNext(0, 0, 0, p.WeightBP); least > a.Plan.HarmBudget {
		remedy = fmt.Sprintf("the judge has to see about %.0f before it acts there, so this step cannot be entered; apply the version anew with a greater budget, or serin promote", least)
	}
	return &gate{HarmBudgetExceeded, fmt.Sprintf("step %s could cost up to %.0f extra failed requests, rollout.harmBudget is %.0f: %s", p.Name, harm, a.Plan.HarmBudget, remedy)}
}

func (t *turn) promoteGate(_ *Attempt, p PlanStep) *gate {
	if p.WeightBP == fullWeight && !t.in.Verdict.Promotable {
		return &gate{WaitingForEvidence, "not enough evidence to promote: " + t.in.Verdict.Message}
	}
	return nil
}

func (t *turn) approvalGate(a *Attempt, p PlanStep) *gate {
	if !p.Approval && !a.Plan.ApprovalEvery {
		return nil
	}
	if slices.ContainsFunc(a.Approvals, func(x Approval) bool { return x.Step == p.Name }) {
		return nil
	}
	return &gate{WaitingForApproval, fmt.Sprintf("step %s asks for approval: serin approve --step %s (%s)", p.Name, p.Name, t.in.Verdict.Message)}
}
