package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// The screen of whoever stands at a gate.
const (
	gateLines   = 24
	gateColumns = 100
	gateSteps   = 6
)

// Screen is what an approver has to see, on one screen of plain text: weights,
// requests and errors of both, agreement, the verdict with value, bound and n, the
// digest of the evidence, and what to type.
func (r Report) Screen() string {
	top := []string{
		fmt.Sprintf("%s of %s: %s, %s", r.Rollout, r.name(), r.versions(), r.since()),
		strings.ToUpper(r.headline()[:1]) + r.headline()[1:] + r.where(),
	}
	if r.Gate == nil { // else it says what the verdict says
		top = append(top, wrapped("  ", r.Decision.Reason+": "+r.Decision.Message, 2)...)
	}
	top = append(top, r.stepLines()...)
	top = append(top, r.clientLine())
	if a := r.Agreement; a != nil {
		top = append(top, fmt.Sprintf("agreement  %s of %s shadow pairs, %s disagreed%s", amount(a.Share, "share"), number(a.Compared), number(a.Disagreed), a.says()))
	}
	bottom := r.commandLines()
	lines := append(top, r.metricLines(gateLines-len(top)-len(bottom))...)
	for i, l := range lines {
		lines[i] = cut(strings.TrimRight(Defuse(l), " "), gateColumns)
	}
	return strings.Join(append(lines, bottom...), "\n") + "\n"
}

// commandLines name the evidence, and what to type. A command is never cut.
func (r Report) commandLines() []string {
	lines := []string{fmt.Sprintf("evidence   %s, as of %s", Plain(r.Evidence.Digest), stamp(r.At))}
	if g := r.Gate; g != nil {
		lines = append(lines, command("approve    ", g.Approve)...)
		lines = append(lines, command("reject     ", g.Reject)...)
	}
	return lines
}

// where says which step and which weights are in force.
func (r Report) where() string {
	if r.Weights == nil {
		return ""
	}
	text := fmt.Sprintf("; weight %s planned, %s in force", rollout.Percent(r.Weights.PlannedBP), rollout.Percent(r.Weights.InForceBP))
	if r.Weights.ShadowBP > 0 {
		text += ", " + rollout.Percent(r.Weights.ShadowBP) + " copied"
	}
	return text
}

func (r Report) clientLine() string {
	c := r.Clients
	text := fmt.Sprintf("clients    %s requests, %s failed", number(c.Requests), errorsOf(c.Failed, c.Requests))
	if c.FellBack > 0 {
		text += fmt.Sprintf("; another version answered %s that one failed", number(c.FellBack))
	}
	return text
}

// stepLines is a table of the steps around the present one.
func (r Report) stepLines() []string {
	first := max(0, min(r.lastEntered()-gateSteps+3, len(r.Steps)-gateSteps))
	shown := r.Steps[first:min(first+gateSteps, len(r.Steps))]
	name := "step"
	if len(shown) < len(r.Steps) {
		name = fmt.Sprintf("step (of %d)", len(r.Steps))
	}
	format := "%s%-14s %11s %7s %12s %11s %12s %11s %12s"
	lines := []string{fmt.Sprintf(format, " ", name, "planned", "seen", "stable req.", "errors", "cand. req.", "errors", "lasted")}
	for _, s := range shown {
		mark, c := " ", s.Counts
		if s.State == "Current" {
			mark = ">"
		}
		state := strings.ToLower(s.State)
		if s.EnteredAt != nil {
			state = lasting(s.Seconds)
		}
		lines = append(lines, fmt.Sprintf(format, mark, cut(Plain(s.Name), 14), s.planned(), s.seen(), number(c.StableRequests), rated(c.StableErrors, c.StableRequests), number(c.CandidateRequests), rated(c.CandidateErrors, c.CandidateRequests), state))
	}
	return lines
}

// rated writes errors with their share in few columns.
func rated(k, n uint64) string {
	if k == 0 || n == 0 {
		return number(k)
	}
	return fmt.Sprintf("%s %.2g%%", number(k), 100*float64(k)/float64(n))
}

// lastEntered is the index of the last step entered, or -1.
func (r Report) lastEntered() int {
	for i, s := range slices.Backward(r.Steps) {
		if s.EnteredAt != nil {
			return i
		}
	}
	return -1
}

var marks = map[string]string{"Pass": "pass", "Fail": "FAIL", "Inconclusive": "open", "NotJudgeable": "none"}

// metricLines are the verdict and its metrics, in a number of lines: what failed
// first, then what is required.
func (r Report) metricLines(room int) []string {
	if !r.judged() {
		return []string{"verdict    nothing is judged"}
	}
	text := strings.TrimPrefix(r.Verdict.Reason+": "+r.Verdict.Message, ": ")
	if r.Verdict.Message == r.Decision.Message {
		text = r.Verdict.Reason + ", as said above"
	}
	lines := wrapped("           ", text, 2)
	lines[0] = "verdict    " + strings.TrimLeft(lines[0], " ")
	all := slices.Clone(r.Metrics)
	slices.SortStableFunc(all, func(a, b Metric) int { return a.rank() - b.rank() })
	room = max(room-len(lines), 1)
	for i, m := range all {
		if i == room-1 && len(all) > room {
			return append(lines, fmt.Sprintf("  and %d more metrics: serin report", len(all)-i))
		}
		lines = append(lines, m.line())
	}
	return lines
}

func (m Metric) rank() int {
	switch {
	case m.Outcome == string(judge.Fail):
		return 0
	case m.Required:
		return 1
	}
	return 2
}

func (m Metric) line() string {
	value, bound := m.value(), m.between()
	if value == "" {
		return fmt.Sprintf("  %s %-14s %s", marks[m.Outcome], cut(Plain(m.Name), 14), Plain(m.Message))
	}
	return fmt.Sprintf("  %s %-14s %9s  %-20s decides at %-8s n %s and %s", marks[m.Outcome], cut(Plain(m.Name), 14), value, bound, m.decidesAt(), number(m.N.Stable), number(m.N.Candidate))
}

// wrapped breaks text into indented lines, at most a number of them.
func wrapped(indent, text string, most int) (lines []string) {
	line := indent
	words := strings.Fields(Plain(text))
	for i, w := range words {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > gateColumns {
			if len(lines) == most-1 {
				return append(lines, cut(line+" "+strings.Join(words[i:], " "), gateColumns))
			}
			lines, line = append(lines, line), indent
		}
		if line != indent {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// command puts a command on one line, or on two as a shell reads them.
func command(label, text string) []string {
	if utf8.RuneCountInString(label+text) <= gateColumns {
		return []string{label + text}
	}
	if at := strings.Index(text, " --step "); at > 0 {
		return []string{label + text[:at] + ` \`, strings.Repeat(" ", len(label)) + text[at+1:]}
	}
	return []string{label + text}
}

// cut ends a text that is too long with an ellipsis.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return string(runes[:most-1]) + "…"
}
