package contract

import "strconv"

// isTensors says whether the chosen value is V2's list of tensors rather than
// TF Serving's outputs.
func (e *Extractor) isTensors(k keys, at span, b []byte) bool {
	if at.to == 0 || at != k.outputs {
		return false
	}
	if e.protocol != Auto {
		return e.protocol == OpenInferenceV2
	}
	s := scanner{b: at.of(b)}
	if s.b[0] != '[' || !s.enter() || s.b[s.i] != '{' {
		return false
	}
	for _, name := range [...]string{"data", "datatype", "shape"} {
		if first := s; first.find(name) {
			return true
		}
	}
	return false
}

// output is one tensor of a V2 answer as located.
type output struct {
	data, shape scanner
	binary      bool
}

// tensors takes outputs[].data, row-major; rows are shape[0].
func (a *Answer) tensors(b []byte) {
	r := a.at(b)
	if b[0] != '[' {
		a.end(Invalid, detailNotTensors)
		return
	}
	a.tensor = a.tensor[:0]
	for ok := r.enter(); ok; ok = r.more() {
		in := r.scanner
		r.skip()
		if in.b[in.i] != '{' {
			a.end(Invalid, detailNotTensors)
			return
		}
		o := parts(in)
		if o.binary {
			a.end(Unparsed, detailBinary)
			return
		}
		if o.data.b == nil {
			a.end(Invalid, detailNoData)
			return
		}
		if !a.tensorOf(o) {
			a.end(Invalid, detailShape)
			return
		}
	}
	a.weave()
	a.finish()
	if a.Kind == Unparsed {
		a.end(Unparsed, a.Detail)
	}
}

func parts(s scanner) (o output) {
	d := s
	if d.find("data") && d.b[d.i] != 'n' {
		o.data = d
	}
	d = s
	if d.find("shape") && d.b[d.i] == '[' {
		o.shape = d
	}
	d = s
	o.binary = d.find("parameters") && d.b[d.i] == '{' && d.find("binary_data_size")
	return o
}

// tensorOf takes one tensor; false if its shape does not fit its data.
func (a *Answer) tensorOf(o output) bool {
	r := reader{scanner: o.data, a: a}
	from, labels := len(a.Scores), 0
	if o.shape.b == nil {
		r.rows()
		n := a.Rows
		a.tensor = append(a.tensor, tensor{from: from, rows: n, width: a.perRow(from, n)})
		return true
	}
	rows, size, ok := dims(o.shape)
	if !ok {
		return false
	}
	labels = r.strings()
	r.collect()
	got := len(a.Scores) - from
	if a.Kind != Unparsed && (got+labels != size || got > 0 && labels > 0) {
		return false
	}
	width := 0
	if rows > 0 {
		width = got / rows
	}
	a.tensor = append(a.tensor, tensor{from: from, rows: rows, width: width})
	return true
}

// strings counts the labels of the value at the cursor, without moving.
func (r *reader) strings() (n int) {
	s := r.scanner
	depth := 0
	for {
		switch c := s.b[s.i]; c {
		case '"':
			s.quoted()
			n++
		case 't', 'f':
			s.token()
			n++
		case '[', '{':
			s.i++
			depth++
		case ']', '}':
			s.i++
			depth--
		case ',', ':', ' ', '\t', '\n', '\r':
			s.i++
			continue
		default:
			s.token()
		}
		if depth == 0 {
			return n
		}
	}
}

// dims reads a shape: rows and the product of all dimensions. The empty shape
// is one scalar.
func dims(s scanner) (rows, size int, ok bool) {
	rows, size = 1, 1
	first := true
	for more := s.enter(); more; more = s.more() {
		from := s.i
		s.skip()
		n, err := strconv.Atoi(string(s.b[from:s.i]))
		if err != nil || n < 0 || n > 1<<31 {
			return 0, 0, false
		}
		if first {
			rows, first = n, false
		}
		if size *= n; size > 1<<31 {
			return 0, 0, false
		}
	}
	return rows, size, true
}
