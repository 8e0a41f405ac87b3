package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// step is one part of a JSON path: a name, an index, or all.
type step struct {
	name  string
	index int
	kind  byte // 'n', 'i', '*'
}

const maxSteps = 32

// parsePath reads `$` followed by .name, ["name"], ['name'], [n], [*] or .*.
func parsePath(p string) ([]step, error) {
	if p == "" {
		return nil, errors.New("it is empty: write one such as $.scores[*].p")
	}
	if p[0] != '$' {
		return nil, errors.New("it must start with $")
	}
	path := []step{}
	for rest := p[1:]; rest != ""; {
		if len(path) == maxSteps {
			return nil, fmt.Errorf("it has more than %d steps", maxSteps)
		}
		var st step
		var err error
		before := len(p) - len(rest)
		switch rest[0] {
		case '.':
			st, rest, err = parseName(rest[1:])
		case '[':
			st, rest, err = parseBracket(rest[1:])
		default:
			err = errors.New(`expected .name, ["name"], [n] or [*]`)
		}
		if err != nil {
			return nil, fmt.Errorf("at position %d: %w", before, err)
		}
		path = append(path, st)
	}
	return path, nil
}

func parseName(s string) (step, string, error) {
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	name := s[:end]
	switch {
	case name == "" && strings.HasPrefix(s, "."):
		return step{}, "", errors.New("recursive descent (..) is not supported")
	case name == "":
		return step{}, "", errors.New("a name is missing after the dot")
	case name == "*":
		return step{kind: '*'}, s[end:], nil
	case strings.ContainsAny(name, "]()?@\"' ,*"):
		return step{}, "", fmt.Errorf(`name %q needs brackets: ["…"]`, name)
	}
	return step{kind: 'n', name: name}, s[end:], nil
}

func parseBracket(s string) (step, string, error) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 || !strings.HasPrefix(s[end+2:], "]") {
			return step{}, "", errors.New("a quoted name must end with its quote and ]")
		}
		return step{kind: 'n', name: s[1 : end+1]}, s[end+3:], nil
	}
	in, rest, ok := strings.Cut(s, "]")
	if !ok {
		return step{}, "", errors.New("] is missing")
	}
	if in == "*" {
		return step{kind: '*'}, rest, nil
	}
	n, err := strconv.ParseUint(in, 10, 31)
	if err != nil {
		return step{}, "", fmt.Errorf("index %q must be a whole number from 0, or *; slices and filters are not supported", in)
	}
	return step{kind: 'i', index: int(n)}, rest, nil
}

// selected takes what the path selects. With a [*] in it, each match of the
// first [*] is a row; without, the one value is read as rows by its own shape.
func (e *Extractor) selected(a *Answer, b []byte) {
	r := a.at(b)
	wild, found := false, true
	for i, st := range e.path {
		if st.kind == '*' {
			wild, found = true, r.fan(e.path[i+1:])
			break
		}
		if found = r.descend(st); !found {
			break
		}
	}
	switch {
	case found && !wild && r.b[r.i] == 'n':
		a.end(Invalid, detailNothing)
	case found && !wild:
		r.rows()
		a.finish()
	case found:
		a.finish()
	case a.Detail == "" && b[0] == '{' && reports(a.locate(b).failure, b, true):
		a.end(Error, detailErrorKey)
		a.Message = bounded(a.message(b))
	case a.Detail == "":
		a.end(Invalid, detailPath)
	default:
		a.end(Invalid, a.Detail)
	}
	if a.Kind == Unparsed {
		a.end(Unparsed, a.Detail)
	}
}

// descend moves to the value that a name or index selects.
func (s *scanner) descend(st step) bool {
	if st.kind == 'n' {
		return s.b[s.i] == '{' && s.find(st.name)
	}
	if s.b[s.i] != '[' {
		return false
	}
	n := 0
	for ok := s.enter(); ok; ok = s.more() {
		if n == st.index {
			return true
		}
		s.skip()
		n++
	}
	return false
}

// fan takes every element at the cursor as a row, by the path that is left.
func (r *reader) fan(path []step) bool {
	object := r.b[r.i] == '{'
	if !object && r.b[r.i] != '[' {
		return false
	}
	width := -1
	for ok := r.enter(); ok; ok = r.more() {
		if object {
			r.key()
		}
		in, from := reader{scanner: r.scanner, a: r.a}, len(r.a.Scores)
		r.skip()
		if !in.take(path) {
			r.a.Detail = detailPathRow
			return false
		}
		if got := len(r.a.Scores) - from; width < 0 {
			width = got
		} else if got != width {
			width = 0
		}
		r.a.Rows++
	}
	r.a.Width = max(width, 0)
	return r.a.Rows > 0
}

// take collects what path selects below the cursor; false if that is nothing.
func (r *reader) take(path []step) bool {
	for i, st := range path {
		if st.kind != '*' {
			if !r.descend(st) {
				return false
			}
			continue
		}
		object := r.b[r.i] == '{'
		if !object && r.b[r.i] != '[' {
			return false
		}
		some := false
		for ok := r.enter(); ok; ok = r.more() {
			if object {
				r.key()
			}
			in := reader{scanner: r.scanner, a: r.a}
			r.skip()
			if !in.take(path[i+1:]) {
				return false
			}
			some = true
		}
		return some
	}
	r.collect()
	return true
}
