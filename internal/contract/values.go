package contract

import (
	"bytes"
	"math"
	"slices"
	"strconv"
)

// reader collects the values of sound JSON into an answer.
type reader struct {
	scanner
	a *Answer
}

// tensor is one column of an answer: its part of Scores and its shape.
type tensor struct{ from, rows, width int }

func (a *Answer) at(b []byte) *reader { return &reader{scanner: scanner{b: b}, a: a} }

// collect takes every number, string and boolean of one value.
func (r *reader) collect() {
	switch r.b[r.i] {
	case '[':
		for ok := r.enter(); ok; ok = r.more() {
			r.collect()
		}
	case '{':
		r.record()
	case '"':
		r.a.label(r.a.decoded(r.quoted()))
	case 't', 'f':
		r.a.label(r.token())
	default:
		r.number()
	}
}

// field is a member of an object: its name and where its value starts.
type field struct {
	name []byte
	at   int
}

// maxSorted is the number of members up to which an object is read by name.
const maxSorted = 1 << 12

// record takes the values of an object, by name rather than as they stand: two
// runtimes of one model may write the same record in different orders.
func (r *reader) record() {
	from, base := r.i, len(r.a.fields)
	if end, ok := r.members(); ok {
		for i := base; i < len(r.a.fields); i++ {
			r.i = r.a.fields[i].at
			r.collect()
		}
		r.i, r.a.fields = end, r.a.fields[:base]
		return
	}
	r.i = from
	for ok := r.enter(); ok; ok = r.more() {
		r.key()
		r.collect()
	}
}

// members appends the object's members, sorted by name, to fields and returns
// where the object ends; false (and nothing appended) if there are too many.
func (r *reader) members() (end int, ok bool) {
	base, sorted := len(r.a.fields), true
	for more := r.enter(); more; more = r.more() {
		n := len(r.a.fields)
		if n-base == maxSorted {
			r.a.fields = r.a.fields[:base]
			return 0, false
		}
		name := r.a.decoded(r.key())
		sorted = sorted && (n == base || bytes.Compare(r.a.fields[n-1].name, name) <= 0)
		r.a.fields = append(r.a.fields, field{name, r.i})
		r.skip()
	}
	if !sorted {
		slices.SortStableFunc(r.a.fields[base:], func(x, y field) int { return bytes.Compare(x.name, y.name) })
	}
	return r.i, true
}

// number takes a number token; null is a score that is missing, kept as NaN.
func (r *reader) number() {
	v := math.NaN()
	switch t := r.token(); {
	case t[0] == 'n' || t[0] == 'N':
	case t[0] == 'I':
		v = math.Inf(1)
	case t[0] == '-' && t[1] == 'I':
		v = math.Inf(-1)
	default:
		v, _ = strconv.ParseFloat(string(t), 64) // out of range is ±Inf
	}
	if v-v != 0 {
		r.a.NonFinite++
	}
	if len(r.a.Scores) == MaxScores {
		r.a.Kind, r.a.Detail = Unparsed, detailTooMany
		return
	}
	r.a.Scores = append(r.a.Scores, v)
}

// decoded returns the text of a raw string; it lives until the next Extract.
func (a *Answer) decoded(raw []byte) []byte {
	for _, c := range raw {
		if c == '\\' {
			from := len(a.text)
			a.text = unquote(a.text, raw)
			return a.text[from:]
		}
	}
	return raw
}

// label keeps a text and its part of the hash.
func (a *Answer) label(text []byte) {
	if a.Hash == 0 {
		a.Hash = fnvOffset
	}
	a.Hash = fnv((a.Hash^0xff)*1099511628211, text)
	a.Length += len(text)
	n := len(a.Labels)
	if n == MaxLabels {
		return
	}
	text = text[:min(len(text), MaxText)]
	if n < cap(a.Labels) {
		a.Labels = a.Labels[:n+1]
		if a.Labels[n] != string(text) { // a label seen here before costs no memory
			a.Labels[n] = string(text)
		}
		return
	}
	a.Labels = append(a.Labels, string(text))
}

// rows takes one value as a batch of scored rows: an array has a row per
// element; an object of equally long arrays has a column per key; anything else
// is one row. Two arrays, one of numbers and one of equally many labels, are
// the columns (probabilities, classes) that some scripts return.
func (r *reader) rows() {
	switch r.b[r.i] {
	case '[':
		r.array()
	case '{':
		if n := r.columns(); n > 0 {
			r.table(n)
			return
		}
		r.one()
	default:
		r.one()
	}
}

func (r *reader) one() {
	r.collect()
	r.a.Rows, r.a.Width = 1, len(r.a.Scores)
}

// array takes the elements of an array as rows.
func (r *reader) array() {
	from, width := len(r.a.Scores), -1
	var parts [2]part
	rows := 0
	for ok := r.enter(); ok; ok = r.more() {
		p := part{length: -1, scores: len(r.a.Scores), text: r.a.Length + len(r.a.Labels)}
		if rows < 2 && r.b[r.i] == '[' {
			p.length = r.count()
		}
		r.collect()
		p.scores, p.text = len(r.a.Scores)-p.scores, r.a.Length+len(r.a.Labels)-p.text
		if rows < 2 {
			parts[rows] = p
		}
		if rows++; rows == 1 {
			width = p.scores
		} else if p.scores != width {
			width = 0
		}
	}
	if n := parts[0].length; rows == 2 && n > 0 && n == parts[1].length {
		for i, p := range parts {
			if q := parts[1-i]; p.scores > 0 && p.text == 0 && q.scores == 0 && q.text > 0 && p.scores%n == 0 {
				rows, width = n, p.scores/n
			}
		}
	}
	r.a.Rows, r.a.Width = rows, max(width, 0)
	if r.a.Width*rows != len(r.a.Scores)-from {
		r.a.Width = 0
	}
}

// part is what one element of an array held.
type part struct{ length, scores, text int }

// count returns how many elements the array at the cursor has, without moving.
func (r *reader) count() int {
	s, n := r.scanner, 0
	for ok := s.enter(); ok; ok = s.more() {
		s.skip()
		n++
	}
	return n
}

// columns returns the common length of the arrays of the object at the cursor,
// or 0 if it is no object of equally long, non-empty arrays.
func (r *reader) columns() int {
	s, n := r.scanner, 0
	for ok := s.enter(); ok; ok = s.more() {
		s.key()
		if s.b[s.i] != '[' {
			return 0
		}
		c := (&reader{scanner: s}).count()
		if c == 0 || n > 0 && c != n {
			return 0
		}
		n = c
		s.skip()
	}
	return n
}

// table takes an object of arrays, each n long; columns stand by name.
func (r *reader) table(n int) {
	r.a.tensor = r.a.tensor[:0]
	base := len(r.a.fields)
	end, ok := r.members()
	if !ok {
		r.a.Kind, r.a.Detail = Unparsed, detailTooMany
		return
	}
	for i := base; i < len(r.a.fields); i++ {
		r.i = r.a.fields[i].at
		from := len(r.a.Scores)
		r.array()
		r.a.tensor = append(r.a.tensor, tensor{from: from, rows: n, width: r.a.perRow(from, n)})
	}
	r.i, r.a.fields = end, r.a.fields[:base]
	r.a.weave()
}

// perRow returns how many of the scores since from fall on each of the n rows
// that array has just read, or -1 if rows differ.
func (a *Answer) perRow(from, n int) int {
	got := len(a.Scores) - from
	if a.Rows == n && a.Width*n == got {
		return a.Width
	}
	return -1
}

// weave turns tensors, one behind the other in Scores, into rows that hold a
// part of each. Tensors of labels only have width 0 and are passed over.
func (a *Answer) weave() {
	rows, width, numeric := 0, 0, 0
	for _, t := range a.tensor {
		if t.width == 0 {
			rows = max(rows, t.rows)
			continue
		}
		if numeric > 0 && t.rows != a.Rows || t.width < 0 {
			a.Rows, a.Width = max(rows, t.rows), 0
			return
		}
		a.Rows = t.rows
		width += t.width
		numeric++
	}
	if a.Width = width; numeric == 0 {
		a.Rows = rows
		return
	}
	if numeric == 1 {
		return
	}
	a.column = append(a.column[:0], a.Scores...)
	a.Scores = a.Scores[:0]
	for row := range a.Rows {
		for _, t := range a.tensor {
			at := t.from + row*t.width
			a.Scores = append(a.Scores, a.column[at:at+t.width]...)
		}
	}
}
