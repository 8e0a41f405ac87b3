package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// tree draws the status of an endpoint: what is wrong first, then what is on
// trial and why it stands where it does, then what runs.
func tree(w io.Writer, st engine.Status, p paint) {
	name := st.Endpoint
	if st.Namespace != "" {
		name = st.Namespace + "/" + name
	}
	fmt.Fprintf(w, "%s%s%s  %s\n", p.bold, name, p.off, st.Address)
	for _, c := range st.Conditions {
		if notable(c) {
			fmt.Fprintf(w, "%s▲ %s=%s %s: %s%s\n", p.bad, c.Type, c.Status, c.Reason, c.Message, p.off)
		}
	}
	fmt.Fprintf(w, "  traffic    %.1f requests/s, %.1f of them to the candidate\n", st.Traffic.RequestsPerSecond, st.Traffic.CandidatePerSecond)
	fmt.Fprintf(w, "  weights    candidate %s planned, %s\n", rollout.Percent(st.Weights.PlannedBP), inForce(st.Weights, p))
	if st.Rollout != nil {
		rolloutTree(w, st, p)
	}
	revision(w, "stable", st.Stable, p)
	revision(w, "kept for rollback", st.Previous, p)
	role := "candidate"
	if st.Rollout != nil && st.Rollout.Outcome != "" {
		role = "kept for debugging, reached by header only"
	}
	revision(w, role, st.Candidate, p)
}

func inForce(x engine.Weights, p paint) string {
	text := rollout.Percent(x.InForceBP) + " in force"
	if x.InForceBP != x.PlannedBP {
		text = p.warn + text + ": the routes lag behind" + p.off
	}
	if x.ShadowBP > 0 {
		text += "; shadow " + rollout.Percent(x.ShadowBP)
	}
	return text
}

func notable(c engine.Condition) bool {
	switch c.Type {
	case engine.Ready, "Accepted", "Current":
		return c.Status != "True"
	case engine.Degraded, engine.WeightsOverwritten, engine.EvidenceLimited, engine.RouteNotInForce, engine.FallingBack:
		return c.Status == "True"
	}
	return false
}

func revision(w io.Writer, role string, r *engine.RevisionView, p paint) {
	if r == nil {
		return
	}
	state := p.good + "✔ ready" + p.off
	if !r.Ready {
		state = p.warn + "◌ not ready" + p.off
	}
	fmt.Fprintf(w, "⧉ %s  version %s  %s  %s%s", r.Name, r.Version, role, state, pods(r)+restarts(r.Restarts))
	if r.Failure != "" {
		fmt.Fprintf(w, "  %s%s%s", p.bad, r.Failure, p.off)
	}
	fmt.Fprintln(w)
	if r.Image != "" {
		fmt.Fprintf(w, "  %s%s%s\n", p.dim, r.Image, p.off)
	}
}

// pods says how many of a cluster's pods are ready; one machine has no image.
func pods(r *engine.RevisionView) string {
	if r.Image == "" {
		return ""
	}
	return fmt.Sprintf("  pods %d/%d", r.ReadyReplicas, r.WantReplicas)
}

func restarts(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("  restarted %d times", n)
}

func rolloutTree(w io.Writer, st engine.Status, p paint) {
	r := st.Rollout
	fmt.Fprintf(w, "⟳ %s  version %s → %s  %s\n", r.ID, orNone(r.From), r.To, whereItStands(st, p))
	fmt.Fprintf(w, "│ %s\n", stepsLine(r, p))
	fmt.Fprintf(w, "│ %s\n", decisionLine(r, p))
	if r.Outcome == "" {
		for _, line := range remaining(st) {
			fmt.Fprintf(w, "│   needs      %s\n", line)
		}
	}
	if todo := whatToDo(st); todo != "" {
		fmt.Fprintf(w, "│   %s→ %s%s\n", p.bold, todo, p.off)
	}
	evidenceLines(w, r.Evidence, p)
	for _, m := range r.Verdict.Metrics {
		fmt.Fprintf(w, "│   %s %-14s %s\n", p.outcome(string(m.Outcome)), m.Name, metricLine(m))
	}
	for _, a := range r.Approvals {
		fmt.Fprintf(w, "│   approved %s by %s%s at %s on evidence %s\n", a.Step, a.By, behalf(a.OnBehalfOf), a.At.Format(time.RFC3339), orNone(a.EvidenceDigest))
	}
}

// whereItStands is the one thing to read when there is time for one only.
func whereItStands(st engine.Status, p paint) string {
	r := st.Rollout
	switch {
	case r.Outcome != "":
		ended := ""
		if r.EndedAt != nil {
			ended = ", " + ago(st.At.Sub(*r.EndedAt)) + " ago"
		}
		return fmt.Sprintf("%s %s%s", p.outcome(r.Outcome), strings.ToUpper(r.Outcome), ended)
	case r.Paused:
		return fmt.Sprintf("%sPAUSED%s at step %s, started %s ago", p.warn, p.off, stepLine(r), ago(st.At.Sub(r.StartedAt)))
	case held(r):
		return fmt.Sprintf("%sHELD%s at step %s: it will not move by itself", p.bad, p.off, stepLine(r))
	}
	return fmt.Sprintf("step %s, started %s ago", stepLine(r), ago(st.At.Sub(r.StartedAt)))
}

// ago rounds as people do.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func stepsLine(r *engine.RolloutView, p paint) string {
	parts := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		name := s.Name
		if s.State == "Current" {
			name = p.bold + name + p.off
		}
		if s.Approval {
			name += p.dim + " (approval)" + p.off
		}
		state := s.State
		if r.Outcome != "" && r.Outcome != string(rollout.Promoted) && i == r.Step && r.StepName != "" {
			state = r.Outcome
		}
		parts[i] = p.outcome(state) + " " + name
	}
	return strings.Join(parts, "  ")
}

// decisionLine is why it stands there. The message often begins with what the
// step line says already; it is left whole, as the log has it.
func decisionLine(r *engine.RolloutView, p paint) string {
	colour := ""
	if r.Decision.Action == string(judge.Revert) || held(r) {
		colour = p.bad
	}
	return fmt.Sprintf("%s%s%s%s: %s", p.bold, colour, r.Decision.Reason, p.off, r.Decision.Message)
}

func evidenceLines(w io.Writer, e engine.EvidenceView, p paint) {
	fellBack := ""
	if e.FellBack > 0 {
		fellBack = fmt.Sprintf(" · %d answered by another version", e.FellBack)
	}
	fmt.Fprintf(w, "│   evidence   stable %d requests, %d errors · candidate %d requests, %d errors%s", e.StableRequests, e.StableErrors, e.CandidateRequests, e.CandidateErrors, fellBack)
	if e.Pairs > 0 {
		fmt.Fprintf(w, " · %d shadow pairs, %d disagreed", e.Pairs, e.Disagreed)
	}
	fmt.Fprintf(w, "  %s%s%s\n", p.dim, e.Digest, p.off)
	if e.Dropped > 0 {
		fmt.Fprintf(w, "│   %s%d answers were not recorded for want of room%s\n", p.warn, e.Dropped, p.off)
	}
}

// remaining says how much more evidence the rollout needs, and how long that
// takes at the present traffic: of shadow pairs, and of candidate requests.
func remaining(st engine.Status) []string {
	var lines []string
	for _, pairs := range []bool{true, false} {
		var most judge.Metric
		for _, m := range st.Rollout.Verdict.Metrics {
			if m.Required && m.Outcome == judge.Inconclusive && m.ShadowOnly == pairs && m.Needed > most.Needed {
				most = m
			}
		}
		if most.Needed == 0 {
			continue
		}
		lines = append(lines, needs(st, most))
	}
	return lines
}

func needs(st engine.Status, m judge.Metric) string {
	switch {
	case m.ShadowOnly:
		rate := (st.Traffic.RequestsPerSecond - st.Traffic.CandidatePerSecond) * float64(st.Weights.ShadowBP) / 10000
		return fmt.Sprintf("about %d more shadow pairs to decide on %s%s", m.Needed, m.Name, lasting(m.Needed, rate))
	case st.Weights.PlannedBP == 0:
		return fmt.Sprintf("about %d candidate requests to decide on %s; they begin with the first weight step", m.Needed, m.Name)
	}
	return fmt.Sprintf("about %d more candidate requests to decide on %s%s", m.Needed, m.Name, lasting(m.Needed, st.Traffic.CandidatePerSecond))
}

// lasting says how long n more take at a rate.
func lasting(n uint64, rate float64) string {
	if rate <= 0 {
		return "; none come at present"
	}
	return fmt.Sprintf("; %s at the present %.1f/s", ago(time.Duration(float64(n)/rate*float64(time.Second))), rate)
}

// whatToDo is the command that a person may want to type next.
func whatToDo(st engine.Status) string {
	r := st.Rollout
	switch {
	case r.Outcome == string(rollout.Promoted) && st.Previous != nil:
		return fmt.Sprintf("serin rollback goes back to version %s while it is kept", st.Previous.Version)
	case r.Outcome != "" && r.Outcome != string(rollout.Promoted):
		return "all traffic is on stable. serin history --audit says what happened; apply another version, or serin retry"
	case r.Outcome != "":
		return ""
	case held(r):
		return "serin promote or serin abort ends it"
	case r.Paused:
		return "serin resume goes on"
	case r.Decision.Reason == string(rollout.WaitingForApproval):
		n := next(r)
		if n < 0 {
			return ""
		}
		return fmt.Sprintf("serin approve --step %s --evidence %s, or serin reject", r.Steps[n].Name, r.Evidence.Digest)
	}
	return ""
}

func behalf(name string) string {
	if name == "" {
		return ""
	}
	return " for " + name
}

func orNone(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}

// metricLine is the one-line verdict of a metric: value, bound and n.
func metricLine(m judge.Metric) string {
	if m.Message != "" {
		return m.Message
	}
	return strings.TrimSpace(fmt.Sprintf("%s: value %.4g, within [%.4g, %.4g], n %d and %d", m.Reason, m.Value, m.Lower, m.Upper, m.N[0], m.N[1]))
}
