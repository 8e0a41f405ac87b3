package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var literal = regexp.MustCompile(`-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`)

// literals are the numbers that stand in b as text, also inside of strings that
// hold JSON once or twice encoded.
func literals(b []byte) map[float64]bool {
	seen := map[float64]bool{}
	for range maxNesting + 1 {
		for _, m := range literal.FindAll(b, -1) {
			v, _ := strconv.ParseFloat(string(m), 64)
			seen[v] = true
			for len(m) > 1 && (m[0] == '0' || m[0] == '-') { // `-` or zeros before may belong to no number
				m = m[1:]
				v, _ := strconv.ParseFloat(string(m), 64)
				seen[v] = true
			}
		}
		b = unquote(nil, append(bytes.Clone(b), "\\\\000000000000"...))
	}
	return seen
}

func FuzzExtract(f *testing.F) {
	for _, s := range []string{
		`{"result":[0.1,NaN,null]}`, `[[0.1],["a"]]`, `"{\"result\":[1e3]}"`, `{"error":{"message":"x"}}`,
		`{"outputs":[{"shape":[2],"data":[1,2]},{"shape":[2],"data":[[3],[4]]}]}`, `{"outputs":{"a":[[1],[2]],"b":[3,4]}}`,
		`{"data":[{"embedding":[1,2]}]}`, `{"predictions":[{"p":-Infinity}]}`, `[{"error":"x"}]`, `"\ud83d\ude00"`, `[1,[2,{"a":[3]}]]`,
	} {
		f.Add([]byte(s), byte(0), 200)
	}
	type named struct {
		p    Protocol
		path string
	}
	all := []named{{Auto, ""}, {AzureML, ""}, {MLflow, ""}, {KServeV1, ""}, {OpenInferenceV2, ""}, {JSONPath, "$[*][*].p"}, {JSONPath, "$.result[0]"}}
	var a Answer
	f.Fuzz(func(t *testing.T, body []byte, which byte, status int) {
		if len(body) > 1<<16 {
			return
		}
		n := all[int(which)%len(all)]
		e := extractor(t, n.p, n.path)
		m := Meta{Status: status, ContentType: jsonCT, ContentEncoding: []string{"", "gzip", "deflate"}[int(which>>4)%3]}
		e.Extract(&a, m, body)
		consistent(t, &a)
		if m.ContentEncoding != "" || len(a.Scores) == 0 {
			return
		}
		seen := literals(body)
		for _, v := range a.Scores {
			if v-v == 0 && !seen[v] {
				t.Fatalf("score %v stands nowhere in %q", v, body)
			}
		}
	})
}

func consistent(t *testing.T, a *Answer) {
	t.Helper()
	bad := 0
	for _, v := range a.Scores {
		if v-v != 0 {
			bad++
		}
	}
	switch {
	case a.Kind < Scores || a.Kind > Invalid:
		t.Fatalf("kind %v", a.Kind)
	case bad != a.NonFinite:
		t.Fatalf("%d non-finite scores, counted %d", bad, a.NonFinite)
	case (a.Kind == Scores) != (len(a.Scores) > 0):
		t.Fatalf("%v with %d scores", a.Kind, len(a.Scores))
	case a.Kind != Scores && a.Kind != Labels && (len(a.Labels) > 0 || a.Rows != 0):
		t.Fatalf("%v with labels or rows", a.Kind)
	case a.Width > 0 && a.Rows*a.Width != len(a.Scores):
		t.Fatalf("%d rows × %d ≠ %d scores", a.Rows, a.Width, len(a.Scores))
	case len(a.Message) > MaxText:
		t.Fatalf("message of %d bytes", len(a.Message))
	case (a.Detail == "") != (a.Kind == Scores || a.Kind == Labels):
		t.Fatalf("%v with detail %q", a.Kind, a.Detail)
	}
}

// TestPropertyLiteralsSeesInvention shows that the fuzzed property can fail.
func TestPropertyLiteralsSeesInvention(t *testing.T) {
	seen := literals([]byte(`"{\"a\": 0.5, \"b\": \"\\u0037\"}"`))
	if !seen[.5] || !seen[7] || seen[.25] {
		t.Errorf("literals: %v", seen)
	}
}

func FuzzTwin(f *testing.F) {
	for _, s := range []string{`{"result":[0.1,1e308,"x",true,null,{"a":[1,2]}]}`, `[1,-0.0,2E+5]`, `{"result":[1],"result":{"a":2}}`, `{"a":"é\ud800"}`, `[01]`, `"a`} {
		f.Add([]byte(s))
	}
	var a Answer
	f.Fuzz(func(t *testing.T, body []byte) {
		sane := validate(body)
		if sane == tooDeep || len(body) > 1<<14 {
			return
		}
		if valid := json.Valid(body); valid != (sane == sound) && (valid || !bytes.ContainsAny(body, "NI")) {
			t.Fatalf("validate(%q) = %v, encoding/json says valid = %v", body, sane, valid)
		} else if !valid {
			return
		}
		doc := append(append([]byte(`{"result":`), body...), '}')
		extractor(t, AzureML, "").Extract(&a, Meta{ContentType: jsonCT}, doc)
		consistent(t, &a)
		if body := bytes.TrimSpace(body); body[0] == '"' || body[0] == 'n' {
			return // JSON within a string and null have rules of their own
		}
		scores, labels := twin(t, body)
		if len(scores)+len(labels) == 0 {
			if a.Kind != Invalid {
				t.Fatalf("%q: %v, want Invalid", body, a.Kind)
			}
			return
		}
		// table sorts columns into rows, so only the set is the same there
		if !sameNumbers(scores, a.Scores) || len(labels) != len(a.Labels) {
			t.Fatalf("%q: scores %v, labels %q; encoding/json: %v, %q", body, a.Scores, a.Labels, scores, labels)
		}
		got := slices.Clone(a.Labels)
		slices.Sort(got) // records are read by name
		slices.Sort(labels)
		for i, l := range labels {
			if !plainText(labels) {
				break
			}
			if strings.ToValidUTF8(got[i], "�") != l {
				t.Fatalf("%q: label %q, want %q", body, got[i], l)
			}
		}
	})
}

// plainText says whether all labels are short and free of text that is no UTF-8,
// which encoding/json replaces and Extract keeps.
func plainText(labels []string) bool {
	return !slices.ContainsFunc(labels, func(l string) bool { return len(l) >= MaxText || strings.Contains(l, "�") })
}

// twin reads the values of valid JSON by encoding/json's tokens.
func twin(t *testing.T, b []byte) (scores []float64, labels []string) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		object bool
		key    bool
	}
	var stack []level
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return scores, labels
		}
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if n := len(stack); n > 0 && stack[n-1].object && tok != json.Delim('}') {
			stack[n-1].key = !stack[n-1].key
			if stack[n-1].key {
				continue
			}
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				stack = append(stack, level{object: v == '{'})
			} else {
				stack = stack[:len(stack)-1]
			}
		case json.Number:
			x, _ := strconv.ParseFloat(string(v), 64)
			scores = append(scores, x)
		case nil:
			scores = append(scores, math.NaN())
		case string:
			labels = append(labels, v)
		case bool:
			labels = append(labels, strconv.FormatBool(v))
		}
	}
}

func sameNumbers(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	count := map[uint64]int{}
	for i := range a {
		count[math.Float64bits(a[i])]++
		count[math.Float64bits(b[i])]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"$.scores[*].p", `$["a"]['b'][3].*`, "$"} {
		f.Add(s, []byte(`{"scores":[{"p":1}],"a":{"b":[0,0,0,{"x":1}]}}`))
	}
	var a Answer
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		e, err := New(JSONPath, path)
		if err != nil {
			return
		}
		e.Extract(&a, Meta{Status: 200, ContentType: jsonCT}, body)
		consistent(t, &a)
	})
}
