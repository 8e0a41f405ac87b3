package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Plain makes one line of text that others wrote, without what a terminal or the log
// of a pipeline would take for an order: control and direction characters, and
// Azure's ##vso[…] and ##[…], which count anywhere in a line.
func Plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(Defuse(s)), " ")
}

// Defuse takes the orders to Azure's agent out of a text, and leaves its lines.
func Defuse(s string) string {
	for strings.Contains(s, "##") {
		s = strings.ReplaceAll(s, "##", "# #")
	}
	return s
}

// number writes 1234567 as 1,234,567.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// amount writes a metric's value in its unit.
func amount(v float64, unit string) string {
	switch unit {
	case "x":
		return fmt.Sprintf("%.3gx", v)
	case "share":
		return fmt.Sprintf("%.4g %%", 100*v)
	case "relative":
		return fmt.Sprintf("%+.3g %%", 100*v)
	}
	return fmt.Sprintf("%.4g", v)
}

// between writes what a metric's value is known to lie in, empty where nothing is.
func (m Metric) between() string {
	switch {
	case m.Open && m.Lower == 0:
		return "no bound yet"
	case m.Lower == 0 && m.Upper == 0:
		return ""
	case m.Open:
		return "above " + amount(m.Lower, m.Unit)
	}
	return amount(m.Lower, m.Unit) + " to " + amount(m.Upper, m.Unit)
}

// value is empty for a metric about which nothing is known.
func (m Metric) value() string {
	switch {
	case m.N == (Both{}) || m.Outcome == string(judge.NotJudgeable):
		return ""
	case m.Open && m.Value < m.Lower: // stable did not fail once
		return "no ratio"
	}
	return amount(m.Value, m.Unit)
}

// errorsOf writes errors with their share.
func errorsOf(k, n uint64) string {
	if k == 0 || n == 0 {
		return number(k)
	}
	return fmt.Sprintf("%s (%.2g %%)", number(k), 100*float64(k)/float64(n))
}

// lasting rounds as people do.
func lasting(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	switch h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60; {
	case h >= 48:
		return fmt.Sprintf("%d d %d h", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	default:
		return fmt.Sprintf("%d s", s)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// planned is what a step is about.
func (s Step) planned() string {
	if s.ShadowBP > 0 {
		return rollout.Percent(s.ShadowBP) + " copied"
	}
	return rollout.Percent(s.WeightBP)
}

func (s Step) seen() string {
	if s.SeenBP == nil {
		return ""
	}
	return fmt.Sprintf("%.2f%%", float64(*s.SeenBP)/100)
}

func (r Report) name() string {
	if r.Namespace == "" {
		return r.Endpoint
	}
	return r.Namespace + "/" + r.Endpoint
}

func (r Report) versions() string {
	if r.From == nil {
		return "first version " + r.To.Version
	}
	return "version " + r.From.Version + " → " + r.To.Version
}

// headline is the result in a word or two.
func (r Report) headline() string {
	switch {
	case r.Gate != nil:
		return "waits for approval of step " + r.Gate.Step
	case r.Result == Inconclusive:
		return "inconclusive, held"
	case r.Result == Running && r.Paused:
		return "paused"
	case r.Outcome == string(rollout.Reverted) || r.Outcome == "":
		return string(r.Result)
	case r.Result == Promoted:
		return "promoted"
	}
	return "reverted (" + strings.ToLower(spaced(r.Outcome)) + ")"
}

// spaced writes RolledBack as Rolled back.
func spaced(word string) string {
	var b strings.Builder
	for i, c := range word {
		if i > 0 && unicode.IsUpper(c) {
			b.WriteByte(' ')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// gateOf says what to type at a gate.
func gateOf(f Facts) *GateNote {
	if f.Outcome != rollout.Running || f.Decision.Reason != string(rollout.WaitingForApproval) {
		return nil
	}
	for _, s := range f.Steps {
		if s.State == "Waiting" {
			which := fmt.Sprintf("%s--rollout %s", f.flags(), Quoted(f.ID))
			return &GateNote{
				Step:    s.Name,
				Approve: fmt.Sprintf("serin approve %s --step %s --evidence %s", which, Quoted(s.Name), Quoted(f.Digest)),
				Reject:  fmt.Sprintf("serin reject %s", which),
			}
		}
	}
	return nil
}

func (f Facts) flags() string {
	if f.Flags == "" {
		return ""
	}
	return f.Flags + " "
}

// Quoted writes a word so that a shell reads it as one.
func Quoted(word string) string {
	safe := func(r rune) bool {
		return r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_.%/:@=+,-", r))
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(Plain(word), "'", `'\''`) + "'"
}
