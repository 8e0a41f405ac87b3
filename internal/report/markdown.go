package report

import (
	"fmt"
	"strings"

	"github.com/serin-dev/serin/internal/rollout"
)

// escaper takes the meaning out of what others wrote. What is no mark at the place
// where such text stands, in the middle of a line, is left as it is.
var escaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`, "#", `\#`, "!", `\!`, "$", `\$`,
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "@", "@&#8203;", "://", "&#58;//", "www.", "www&#46;",
)

// md escapes text that others wrote.
func md(s string) string { return escaper.Replace(Plain(s)) }

// code shows an identifier as it is; what could end it early is text instead.
func code(s string) string {
	if s = Plain(s); s == "" || strings.ContainsAny(s, "`|") {
		return md(s)
	}
	return "`" + s + "`"
}

var icons = map[Result]string{Running: "⏳", Promoted: "✅", Reverted: "⛔", Inconclusive: "⏸️"}

var outcomeIcons = map[string]string{"Pass": "✅", "Fail": "⛔", "Inconclusive": "⏳", "NotJudgeable": "➖"}

// Markdown is the report for the summary of a job: GitHub's and Azure DevOps' take it.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s: %s\n\n", icons[r.Result], md(r.Rollout), md(r.headline()))
	fmt.Fprintf(&b, "**%s** of %s · started %s · %s\n\n", md(r.versions()), code(r.name()), stamp(r.StartedAt), r.since())
	fmt.Fprintf(&b, "**%s**: %s\n\n", md(r.Decision.Reason), md(r.Decision.Message))
	if m := r.Decision.Metric; m != nil {
		fmt.Fprintf(&b, "%s\n\n", m.sentence())
	}
	r.writeGate(&b)
	r.writeSteps(&b)
	r.writeClients(&b)
	r.writeMetrics(&b)
	r.writeApprovals(&b)
	r.writeEvents(&b)
	r.writeVersions(&b)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (r Report) since() string {
	if r.EndedAt != nil {
		return "took " + lasting(r.Seconds)
	}
	return "running for " + lasting(r.Seconds)
}

// sentence is value, bound, threshold and n of the metric that decides.
func (m Metric) sentence() string {
	value, bound := m.value(), m.between()
	if value == "" {
		return fmt.Sprintf("Metric **%s**: nothing is known yet.", md(m.Name))
	}
	if bound != "" {
		bound = " (bound: " + bound + ")"
	}
	return fmt.Sprintf("Metric **%s**: %s%s, decides at %s, n = %s of stable and %s of the candidate.", md(m.Name), value, bound, amount(m.Threshold, m.Unit), number(m.N.Stable), number(m.N.Candidate))
}

func (r Report) writeGate(b *strings.Builder) {
	if r.Gate != nil {
		fmt.Fprintf(b, "To let it enter step %s on evidence %s:\n\n```sh\n%s\n```\n\nTo refuse it:\n\n```sh\n%s\n```\n\n", code(r.Gate.Step), code(r.Evidence.Digest), Plain(r.Gate.Approve), Plain(r.Gate.Reject))
	}
}

// row writes one row of a table; its cells are escaped already.
func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// head writes a table's head; a name that begins with > is of numbers.
func head(b *strings.Builder, names ...string) {
	marks := make([]string, len(names))
	for i, n := range names {
		marks[i] = "---"
		if plain, ok := strings.CutPrefix(n, ">"); ok {
			names[i], marks[i] = plain, "---:"
		}
	}
	row(b, names...)
	row(b, marks...)
}

func (r Report) writeSteps(b *strings.Builder) {
	if w := r.Weights; w != nil {
		fmt.Fprintf(b, "The candidate's weight is planned as %s, and %s is in force; %s of requests are copied to it.\n\n", rollout.Percent(w.PlannedBP), rollout.Percent(w.InForceBP), rollout.Percent(w.ShadowBP))
	}
	b.WriteString("### Traffic by step\n\n")
	head(b, "Step", ">Planned", ">Seen", ">Stable: requests", ">Errors", ">Candidate: requests", ">Errors", ">Answered by another", ">Shadow pairs", ">Disagreed", "Entered", ">Lasted")
	for _, s := range r.Steps {
		c, entered, lasted := s.Counts, strings.ToLower(s.State), ""
		if s.EnteredAt != nil {
			entered, lasted = stamp(*s.EnteredAt), lasting(s.Seconds)
		}
		row(b, md(s.Name), s.planned(), s.seen(), number(c.StableRequests), errorsOf(c.StableErrors, c.StableRequests),
			number(c.CandidateRequests), errorsOf(c.CandidateErrors, c.CandidateRequests), number(c.FellBack), number(c.Pairs), number(c.Disagreed), entered, lasted)
	}
	b.WriteByte('\n')
}

func (r Report) writeClients(b *strings.Builder) {
	c := r.Clients
	fmt.Fprintf(b, "**What clients saw**: %s requests while it ran, %s failed", number(c.Requests), errorsOf(c.Failed, c.Requests))
	if c.FellBack > 0 {
		fmt.Fprintf(b, "; %s that one version failed were answered by another", number(c.FellBack))
	}
	b.WriteString(".\n\n")
	if a := r.Agreement; a != nil {
		fmt.Fprintf(b, "**Agreement**: %s of %s compared shadow pairs (%s disagreed%s).\n\n", amount(a.Share, "share"), number(a.Compared), number(a.Disagreed), a.says())
	}
	if n := r.Evidence.Dropped; n > 0 {
		fmt.Fprintf(b, "**Not recorded**: %s answers, for want of room.\n\n", number(n))
	}
}

func (r Report) writeMetrics(b *strings.Builder) {
	b.WriteString("### Metrics\n\n")
	if !r.judged() {
		b.WriteString("Nothing was judged.\n\n")
		return
	}
	fmt.Fprintf(b, "Verdict: **%s**, %s.\n\n", md(r.Verdict.Reason), md(r.Verdict.Message))
	head(b, "Metric", "Verdict", ">Value", ">Bound", ">Decides at", ">n stable", ">n candidate", "In words")
	for _, m := range r.Metrics {
		name := md(m.Name)
		if !m.Required {
			name += " (not required)"
		}
		row(b, name, strings.TrimSpace(outcomeIcons[m.Outcome]+" "+md(m.Outcome)), m.value(), m.between(), m.decidesAt(), number(m.N.Stable), number(m.N.Candidate), md(m.Message))
	}
	fmt.Fprintf(b, "\nCombined evidence for a revert: %.3g, reverts at %.3g (natural logarithms). Evidence %s.\n\n", r.Verdict.LogE, r.Verdict.LogERevertAt, code(r.Evidence.Digest))
}

func (m Metric) decidesAt() string {
	if m.Threshold == 0 {
		return ""
	}
	return amount(m.Threshold, m.Unit)
}

func (r Report) writeApprovals(b *strings.Builder) {
	if len(r.Approvals) == 0 {
		return
	}
	b.WriteString("### Approvals\n\n")
	head(b, "Step", "By", "On behalf of", "Evidence", "When")
	for _, a := range r.Approvals {
		row(b, md(a.Step), md(a.By), md(a.OnBehalfOf), code(a.EvidenceDigest), stamp(a.At))
	}
	b.WriteByte('\n')
}

func (r Report) writeEvents(b *strings.Builder) {
	if len(r.Events) == 0 {
		return
	}
	fmt.Fprintf(b, "<details><summary>What happened (%d lines)</summary>\n\n", len(r.Events))
	head(b, "When", "What", "Reason", "In words", "By", "On behalf of", "Evidence")
	for _, e := range r.Events {
		reason := md(e.Reason)
		if e.Accepted != nil && !*e.Accepted {
			reason = "**refused**: " + reason
		}
		row(b, stamp(e.At), md(e.Kind), reason, md(e.Message), md(e.By), md(e.OnBehalfOf), code(e.EvidenceDigest))
	}
	b.WriteString("\n</details>\n\n")
}

func (r Report) writeVersions(b *strings.Builder) {
	b.WriteString("### Versions\n\n")
	head(b, "", "Version", "Revision", "Digest", "Image")
	if r.From != nil {
		r.From.row(b, "before")
	}
	r.To.row(b, "on trial")
}

func (v Version) row(b *strings.Builder, what string) {
	row(b, what, md(v.Version), code(v.Revision), code(v.Digest), code(v.Image))
}
