package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
)

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// percent writes basis points as 12.5%.
func percent(bp int) string {
	return strconv.FormatFloat(float64(bp)/100, 'f', -1, 64) + "%"
}

// paint holds the colours, empty where the output is no screen.
type paint struct{ good, bad, warn, dim, bold, off string }

func paintFor(w io.Writer) paint {
	if !isTerminal(w) || envOr("NO_COLOR", "") != "" {
		return paint{}
	}
	return paint{good: "\x1b[32m", bad: "\x1b[31m", warn: "\x1b[33m", dim: "\x1b[2m", bold: "\x1b[1m", off: "\x1b[0m"}
}

func (p paint) outcome(o string) string {
	switch o {
	case "Pass", "Promoted", "Done", "Advance":
		return p.good + "✔" + p.off
	case "Fail", "Reverted", "Rejected", "Aborted", "Revert", "RolledBack":
		return p.bad + "✖" + p.off
	case "Current":
		return p.warn + "◌" + p.off
	case "NotJudgeable", "Waiting":
		return p.dim + "•" + p.off
	}
	return p.warn + "◷" + p.off
}

// tree draws the status of an endpoint.
func tree(w io.Writer, st engine.Status, p paint) {
	fmt.Fprintf(w, "%s%s%s  %s\n", p.bold, st.Endpoint, p.off, st.Address)
	fmt.Fprintf(w, "  weights    candidate %s planned, %s in force", percent(st.Weights.PlannedBP), percent(st.Weights.InForceBP))
	if st.Weights.ShadowBP > 0 {
		fmt.Fprintf(w, "; shadow %s", percent(st.Weights.ShadowBP))
	}
	fmt.Fprintf(w, "\n  traffic    %.1f requests/s, %.1f of them to the candidate\n", st.Traffic.RequestsPerSecond, st.Traffic.CandidatePerSecond)
	for _, c := range st.Conditions {
		if notable(c) {
			fmt.Fprintf(w, "  %s%s%s=%s %s: %s\n", p.warn, c.Type, p.off, c.Status, c.Reason, c.Message)
		}
	}
	if st.Rollout != nil {
		rolloutTree(w, st, p)
	}
	revision(w, "├──", "stable", st.Stable, p)
	if st.Previous != nil {
		revision(w, "├──", "kept", st.Previous, p)
	}
	revision(w, "└──", "candidate", st.Candidate, p)
}

func notable(c engine.Condition) bool {
	return c.Type == "Degraded" && c.Status == "True" || c.Type == "Ready" && c.Status != "True"
}

func revision(w io.Writer, branch, role string, r *engine.RevisionView, p paint) {
	if r == nil {
		return
	}
	state := p.good + "✔ ready" + p.off
	if !r.Ready {
		state = p.warn + "◌ not ready" + p.off
	}
	fmt.Fprintf(w, "%s⧉ %s  version %s  %s  %s%s", branch, r.Name, r.Version, role, state, restarts(r.Restarts))
	if r.Failure != "" {
		fmt.Fprintf(w, "  %s%s%s", p.bad, r.Failure, p.off)
	}
	fmt.Fprintln(w)
}

func restarts(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("  restarted %d times", n)
}

func rolloutTree(w io.Writer, st engine.Status, p paint) {
	r := st.Rollout
	fmt.Fprintf(w, "⟳ %s  %s → %s  ", r.ID, orNone(r.From), r.To)
	switch {
	case r.Outcome != "":
		fmt.Fprintf(w, "%s %s\n", p.outcome(r.Outcome), r.Outcome)
	case r.Paused:
		fmt.Fprintln(w, "॥ paused")
	default:
		fmt.Fprintf(w, "step %d/%d\n", r.Step+1, len(r.Steps))
	}
	for _, s := range r.Steps {
		note := ""
		if s.Approval {
			note = p.dim + "  asks for approval" + p.off
		}
		fmt.Fprintf(w, "│  %s %s%s\n", p.outcome(s.State), s.Name, note)
	}
	fmt.Fprintf(w, "│  %s: %s\n", r.Decision.Reason, r.Decision.Message)
	e := r.Evidence
	fmt.Fprintf(w, "│  evidence   stable %d requests, %d errors · candidate %d requests, %d errors (%d answered by stable) · %d shadow pairs, %d disagreed\n",
		e.StableRequests, e.StableErrors, e.CandidateRequests, e.CandidateErrors, e.FellBack, e.Pairs, e.Disagreed)
	if e.Dropped > 0 {
		fmt.Fprintf(w, "│  %s%d answers were not recorded for want of room%s\n", p.warn, e.Dropped, p.off)
	}
	for _, m := range r.Verdict.Metrics {
		fmt.Fprintf(w, "│  %s %-14s %s\n", p.outcome(string(m.Outcome)), m.Name, metricLine(m))
	}
	for _, a := range r.Approvals {
		fmt.Fprintf(w, "│  approved %s by %s%s at %s\n", a.Step, a.By, behalf(a.OnBehalfOf), a.At.Format(time.RFC3339))
	}
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

func printJSONLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
