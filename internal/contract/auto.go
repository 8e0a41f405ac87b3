package contract

// span is a part of a body; to is 0 if there is none.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// keys are the values of the top-level names that answers use. Of a name that
// stands twice the last one counts, as in every common JSON reader.
type keys struct {
	result, predictions, outputs, data, failure, message, detail span
}

// locate finds the known names of the object that starts at b[0].
func (a *Answer) locate(b []byte) (k keys) {
	s := scanner{b: b}
	for ok := s.enter(); ok; ok = s.more() {
		name := a.decoded(s.key())
		from := s.i
		s.skip()
		at := span{from, s.i}
		switch string(name) {
		case "result":
			k.result = at
		case "predictions":
			k.predictions = at
		case "outputs":
			k.outputs = at
		case "data":
			k.data = at
		case "error":
			k.failure = at
		case "message":
			k.message = at
		case "detail":
			k.detail = at
		}
	}
	return k
}

// maxNesting bounds how often a string is opened to find JSON in it. Azure ML
// encodes a returned str once more, and scripts put json.dumps into `result`.
const maxNesting = 2

// document takes the values out of sound JSON.
func (e *Extractor) document(a *Answer, b []byte, nesting int) {
	b = trim(b)
	if b[0] == '"' && e.nested(a, b, nesting) {
		return
	}
	if e.protocol == JSONPath {
		e.selected(a, b)
		return
	}
	if b[0] != '{' {
		e.bare(a, b)
		return
	}
	k := a.locate(b)
	switch at := e.choose(k); {
	case reports(k.failure, b, at.to == 0):
		a.end(Error, detailErrorKey)
		a.Message = bounded(a.message(b))
	case e.isTensors(k, at, b):
		a.tensors(k.outputs.of(b))
	case at.to > 0:
		e.value(a, at.of(b), nesting)
	case e.protocol == Auto && embeds(b, k.data):
		a.embeddings(k.data.of(b))
	case e.protocol == KServeV1 || e.protocol == OpenInferenceV2:
		a.end(Invalid, detailMissing)
	default:
		a.opaque(b, detailUnknown)
	}
}

// choose returns the value that holds the scores by the protocol's order of keys.
func (e *Extractor) choose(k keys) span {
	var order [3]span
	switch e.protocol {
	case AzureML:
		order = [3]span{k.result}
	case MLflow:
		order = [3]span{k.predictions}
	case KServeV1:
		order = [3]span{k.predictions, k.outputs}
	case OpenInferenceV2:
		order = [3]span{k.outputs}
	default:
		order = [3]span{k.result, k.predictions, k.outputs}
	}
	for _, at := range order {
		if at.to > 0 {
			return at
		}
	}
	return span{}
}

// bare takes a body that is no object: the whole value.
func (e *Extractor) bare(a *Answer, b []byte) {
	if e.protocol == KServeV1 || e.protocol == OpenInferenceV2 {
		a.end(Invalid, detailMissing)
		return
	}
	e.rows(a, b)
}

// value takes the value of a known key.
func (e *Extractor) value(a *Answer, b []byte, nesting int) {
	if b[0] == '"' && e.nested(a, b, nesting) {
		return
	}
	e.rows(a, b)
}

func (e *Extractor) rows(a *Answer, b []byte) {
	if b[0] == 'n' { // null is no value at all
		a.end(Invalid, detailNothing)
		return
	}
	a.at(b).rows()
	a.finish()
	if a.Kind == Unparsed {
		a.end(Unparsed, a.Detail)
	}
}

// nested reads a string that itself is JSON: a number, an array or an object.
func (e *Extractor) nested(a *Answer, b []byte, nesting int) bool {
	if nesting == maxNesting {
		return false
	}
	s := scanner{b: b}
	inner := trim(a.decoded(s.quoted()))
	if len(inner) == 0 || validate(inner) != sound {
		return false
	}
	switch inner[0] {
	case '"', 't', 'f', 'n':
		return false
	}
	e.document(a, inner, nesting+1)
	return true
}

// reports says whether the value of `error` tells of a failure. Beside scores a
// number may be a standard error; null, false and empty values say that all is well.
func reports(at span, b []byte, alone bool) bool {
	if at.to == 0 {
		return false
	}
	switch v := at.of(b); v[0] {
	case 'n', 'f':
		return false
	case '"':
		return len(v) > 2
	case '[', '{':
		s := scanner{b: v}
		return s.enter()
	case 't':
		return true
	default:
		return alone && string(v) != "0"
	}
}

// embeds says whether `data` is a list of objects with an `embedding` in the first.
func embeds(b []byte, at span) bool {
	if at.to == 0 {
		return false
	}
	s := scanner{b: at.of(b)}
	return s.b[0] == '[' && s.enter() && s.b[s.i] == '{' && s.find("embedding")
}

// find moves to the value of name (the last one) in the object at the cursor.
func (s *scanner) find(name string) bool {
	at := -1
	for ok := s.enter(); ok; ok = s.more() {
		raw := s.key()
		if string(raw) == name || escaped(raw) && string(unquote(nil, raw)) == name {
			at = s.i
		}
		s.skip()
	}
	if at >= 0 {
		s.i = at
	}
	return at >= 0
}

func escaped(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' {
			return true
		}
	}
	return false
}

// embeddings takes data[].embedding, a row each.
func (a *Answer) embeddings(b []byte) {
	r := a.at(b)
	width := -1
	for ok := r.enter(); ok; ok = r.more() {
		in, from := r.scanner, len(a.Scores)
		r.skip()
		if in.b[in.i] != '{' || !in.find("embedding") {
			a.end(Invalid, detailNothing)
			return
		}
		if in.b[in.i] == '"' {
			a.end(Unparsed, detailBase64)
			return
		}
		(&reader{scanner: in, a: a}).collect()
		if got := len(a.Scores) - from; a.Rows == 0 {
			width = got
		} else if got != width {
			width = 0
		}
		a.Rows++
	}
	a.Width = max(width, 0)
	a.finish()
	if a.Kind == Unparsed {
		a.end(Unparsed, a.Detail)
	}
}
