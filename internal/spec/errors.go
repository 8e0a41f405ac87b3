// Package spec turns a document into a plan and a policy: parse, defaults,
// validation, for both modes. It is the only place that knows what a user may write.
package spec

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with a document.
type Problem struct {
	Path    string // spec.rollout.steps[2].weight
	Line    int    // 0 when not known
	Column  int
	Problem string
	Remedy  string
}

// String says place, problem and remedy in one line.
func (p Problem) String() string {
	where := ""
	if p.Line > 0 {
		where = fmt.Sprintf("line %d: ", p.Line)
	}
	s := where + p.Path + ": " + p.Problem
	if p.Remedy != "" {
		s += "; " + p.Remedy
	}
	return s
}

// Errors are all problems of a document.
type Errors struct{ Problems []Problem }

func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Report lists what a document says that has no effect here: nothing is ignored
// in silence.
type Report struct{ Notes []string }

// Lines returns the notes.
func (r Report) Lines() []string { return r.Notes }

// Mode is where a document is used.
type Mode string

// The modes.
const (
	Local   Mode = "Local"
	Cluster Mode = "Cluster"
)
