package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxDocument = 1 << 20
	maxNodes    = 20_000
	maxDepth    = 40
)

// parser walks YAML nodes beside the types that they must fill.
type parser struct {
	problems []Problem
	lines    map[string][2]int // path → line, column
	nodes    int
}

func (p *parser) bad(n *yaml.Node, path, problem, remedy string) {
	q := Problem{Path: path, Problem: problem, Remedy: remedy}
	if n != nil {
		q.Line, q.Column = n.Line, n.Column
	}
	p.problems = append(p.problems, q)
}

// parse reads one YAML document into a generic tree that was checked against t.
func (p *parser) parse(text []byte, t reflect.Type) any {
	if len(text) > maxDocument {
		p.bad(nil, "document", fmt.Sprintf("is %d bytes long", len(text)), fmt.Sprintf("at most %d are read", maxDocument))
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var root, second yaml.Node
	if err := dec.Decode(&root); err != nil {
		p.bad(nil, "document", whatIsWrong(err), "it must be one YAML document; serin init writes one to begin with")
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) && !empty(second) {
		p.bad(&second, "document", "there is more than one YAML document", "write each endpoint in a file of its own")
		return nil
	}
	return p.value(root.Content[0], t, "", 0)
}

func whatIsWrong(err error) string {
	if errors.Is(err, io.EOF) {
		return "is empty"
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}

// empty reports whether nothing stands in a document: a trailing --- makes one.
func empty(n yaml.Node) bool {
	return len(n.Content) == 1 && n.Content[0].Kind == yaml.ScalarNode && n.Content[0].Value == ""
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// tooMuch bounds what a document can make the parser do, and refuses aliases, with
// which a short text can say a lot. It counts n.
func (p *parser) tooMuch(n *yaml.Node, path string, depth int) bool {
	p.nodes++
	switch {
	case p.nodes > maxNodes || depth > maxDepth:
		if p.nodes <= maxNodes+1 {
			p.bad(n, path, "the document is too large or nests too deep", fmt.Sprintf("at most %d values, %d deep", maxNodes, maxDepth))
		}
	case n.Kind == yaml.AliasNode:
		p.bad(n, path, "YAML aliases are not read", "write the value out")
	default:
		return false
	}
	return true
}

// value checks node n against type t and returns it as plain Go values.
func (p *parser) value(n *yaml.Node, t reflect.Type, path string, depth int) any {
	if p.tooMuch(n, path, depth) {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if p.lines == nil {
		p.lines = map[string][2]int{}
	}
	p.lines[path] = [2]int{n.Line, n.Column}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case opaque(t):
		return p.foreign(n, t, path, depth)
	case t.Kind() == reflect.Struct:
		return p.object(n, t, path, depth)
	case t.Kind() == reflect.Slice:
		return p.list(n, t, path, depth)
	case t.Kind() == reflect.Map:
		return p.texts(n, t, path, depth)
	}
	return p.scalar(n, t, path)
}

// foreign takes a value of a type that has its own JSON form, and says where it
// stands when that refuses it.
func (p *parser) foreign(n *yaml.Node, t reflect.Type, path string, depth int) any {
	before := len(p.problems)
	v := p.anything(n, path, depth)
	if len(p.problems) > before {
		return nil
	}
	raw, err := json.Marshal(v)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		err = dec.Decode(reflect.New(t).Interface())
	}
	if err != nil {
		p.bad(n, path, strings.TrimPrefix(err.Error(), "json: "), fmt.Sprintf("write it as Kubernetes' %s", t.Name()))
	}
	return v
}

// texts reads an object of texts under free names.
func (p *parser) texts(n *yaml.Node, t reflect.Type, path string, depth int) any {
	if n.Kind != yaml.MappingNode {
		p.bad(n, path, fmt.Sprintf("is %s", kindOf(n)), "must be an object: {name: value}")
		return nil
	}
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if _, twice := out[key]; twice {
			p.bad(n.Content[i], join(path, key), "is written twice", "keep one of them")
		}
		out[key] = p.value(n.Content[i+1], t.Elem(), join(path, key), depth+1)
	}
	return out
}

// opaque types have their own JSON form and are checked by it.
func opaque(t reflect.Type) bool {
	return strings.HasPrefix(t.PkgPath(), "k8s.io/") && t.Name() != "ObjectMeta" && t.Name() != "TypeMeta"
}

func (p *parser) object(n *yaml.Node, t reflect.Type, path string, depth int) any {
	if n.Kind != yaml.MappingNode {
		p.bad(n, path, fmt.Sprintf("is %s", kindOf(n)), "must be an object with fields: "+strings.Join(fieldNames(t), ", "))
		return nil
	}
	fields, out := fieldsOf(t), map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		ft, known := fields[key.Value]
		at := join(path, key.Value)
		if !known {
			p.bad(key, at, "unknown field", remedyFor(key.Value, fieldNames(t)))
			continue
		}
		if _, twice := out[key.Value]; twice {
			p.bad(key, at, "is written twice", "keep one of them")
			continue
		}
		out[key.Value] = p.value(v, ft, at, depth+1)
	}
	return out
}

func (p *parser) list(n *yaml.Node, t reflect.Type, path string, depth int) any {
	if n.Kind != yaml.SequenceNode {
		p.bad(n, path, fmt.Sprintf("is %s", kindOf(n)), "must be a list: [a, b] or lines that begin with -")
		return nil
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		out = append(out, p.value(item, t.Elem(), path+"["+strconv.Itoa(i)+"]", depth+1))
	}
	return out
}

func (p *parser) scalar(n *yaml.Node, t reflect.Type, path string) any {
	if n.Kind != yaml.ScalarNode {
		p.bad(n, path, fmt.Sprintf("is %s", kindOf(n)), "must be a single value")
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return n.Value // 5%, 0.05 and 2 are all written without quotes
	case reflect.Bool:
		if n.Tag == "!!bool" {
			return n.Value == "true"
		}
		p.bad(n, path, fmt.Sprintf("%q is no boolean", n.Value), "write true or false")
	default:
		v, err := strconv.ParseInt(n.Value, 10, t.Bits())
		if err == nil {
			return v
		}
		problem := fmt.Sprintf("%q is no whole number", n.Value)
		if errors.Is(err, strconv.ErrRange) {
			problem = n.Value + " is too large"
		}
		p.bad(n, path, problem, "write for example 100")
	}
	return nil
}

// anything takes a value as it is.
func (p *parser) anything(n *yaml.Node, path string, depth int) any {
	if p.tooMuch(n, path, depth) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return p.anyObject(n, path, depth)
	case yaml.SequenceNode:
		out := []any{}
		for i, item := range n.Content {
			out = append(out, p.anything(item, path+"["+strconv.Itoa(i)+"]", depth+1))
		}
		return out
	}
	var v any
	if err := n.Decode(&v); err != nil {
		p.bad(n, path, strings.TrimPrefix(err.Error(), "yaml: "), "write a plain value")
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		p.bad(n, path, fmt.Sprintf("%s is no number that can be kept", n.Value), "write a finite number")
	}
	return v
}

func (p *parser) anyObject(n *yaml.Node, path string, depth int) any {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if _, twice := out[key]; twice {
			p.bad(n.Content[i], join(path, key), "is written twice", "keep one of them")
		}
		out[key] = p.anything(n.Content[i+1], join(path, key), depth+1)
	}
	return out
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("the value %q", n.Value)
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for k, v := range fieldsOf(f.Type) {
				out[k] = v
			}
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

func fieldNames(t reflect.Type) []string {
	var out []string
	for name := range fieldsOf(t) {
		out = append(out, name)
	}
	sortStrings(out)
	return out
}

// remedyFor suggests the nearest known name.
func remedyFor(name string, known []string) string {
	best, least := "", 4
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean `%s`?", best)
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}
