package azure

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// template is one file under expansion.
type template struct {
	file  string
	scope scope // parameters, variables, and what `each` binds
}

var expressionIn = regexp.MustCompile(`\$\{\{\s*((?:[^}']|'[^']*'|\}[^}])*?)\s*\}\}`)

// expandFile reads a file, settles its parameters and expands it.
func expandFile(file string, given *mapping, variables map[string]any) (*mapping, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	root, err := tree(&n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	top, ok := root.(*mapping)
	if !ok {
		return nil, fmt.Errorf("%s: a mapping was expected", file)
	}
	values, err := parameters(top.get("parameters"), given)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t := template{file, scope{names: map[string]any{"parameters": strict{values}, "variables": maps.Clone(variables)}}}
	out, err := t.top(top)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}

// top expands a file. A static variable counts in what follows it.
func (t template) top(in *mapping) (*mapping, error) {
	out := newMapping()
	var above chain
	for _, k := range in.keys {
		m, ok := in.items[k].(*mapping)
		if k == "variables" && ok { // one by one
			vars := newMapping()
			out.set(k, vars)
			var c chain
			for _, name := range m.keys {
				if err := t.property(vars, name, m.items[name], &c); err != nil {
					return nil, err
				}
				t.remember(out)
			}
		} else if k != "parameters" {
			if err := t.property(out, k, in.items[k], &above); err != nil {
				return nil, err
			}
			t.remember(out)
		}
	}
	return out, nil
}

// remember makes the static variables of a file known to the expressions that follow.
func (t template) remember(top *mapping) {
	known := t.scope.names["variables"].(map[string]any)
	for _, v := range variablesOf(read(top, "variables")) {
		if !runtime(v.Value) {
			known[v.Name] = v.Value
		}
	}
}

// expand expands a value of any kind.
func (t template) expand(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return t.scalar(v)
	case []any:
		return t.list(v)
	case *mapping:
		out := newMapping()
		return out, t.into(out, v)
	}
	return v, nil
}

// scalar expands a text: one that is a single expression becomes its value, of any
// kind; others are put together.
func (t template) scalar(in string) (any, error) {
	found := expressionIn.FindAllStringSubmatchIndex(in, -1)
	if len(found) == 0 {
		if strings.Contains(in, "${{") {
			return nil, fmt.Errorf("%q: an expression that does not end", in)
		}
		return in, nil
	}
	if m := found[0]; len(found) == 1 && m[0] == 0 && m[1] == len(in) {
		return evaluate(in[m[2]:m[3]], t.scope)
	}
	var b strings.Builder
	at := 0
	for _, m := range found {
		v, err := evaluate(in[m[2]:m[3]], t.scope)
		if err != nil {
			return nil, err
		}
		switch v.(type) {
		case []any, *mapping:
			return nil, fmt.Errorf("%q: an object cannot be part of a text", in)
		}
		b.WriteString(in[at:m[0]] + text(v))
		at = m[1]
	}
	return b.String() + in[at:], nil
}

// directive is a key such as ${{ if … }}.
type directive struct{ kind, rest string }

func asDirective(key string) (directive, bool) {
	m := expressionIn.FindStringSubmatch(key)
	if m == nil || strings.TrimSpace(key) != m[0] {
		return directive{}, false
	}
	kind, rest, _ := strings.Cut(m[1], " ")
	switch kind {
	case "if", "elseif", "else", "each", "insert":
		return directive{kind, strings.TrimSpace(rest)}, true
	}
	return directive{}, false
}

// chain follows if, elseif and else: taken tells that one of them was.
type chain struct{ open, taken bool }

// enter says whether the body of a directive counts, with the scopes in which it does.
func (t template) enter(d directive, c *chain) ([]template, error) {
	switch d.kind {
	case "insert":
		return []template{t}, nil
	case "each":
		return t.each(d.rest)
	case "if":
		*c = chain{open: true}
	case "elseif", "else":
		if !c.open {
			return nil, fmt.Errorf("%s without an if before it", d.kind)
		}
	}
	if c.taken {
		return nil, nil
	}
	hit := true
	if d.kind != "else" {
		v, err := evaluate(d.rest, t.scope)
		if err != nil {
			return nil, err
		}
		hit = truth(v)
	}
	if c.taken = hit; hit {
		return []template{t}, nil
	}
	return nil, nil
}

var eachIn = regexp.MustCompile(`^(\w+)\s+in\s+(.+)$`)

// each returns one scope for each element.
func (t template) each(rest string) ([]template, error) {
	m := eachIn.FindStringSubmatch(rest)
	if m == nil {
		return nil, fmt.Errorf("each %s: NAME in LIST was expected", rest)
	}
	over, err := evaluate(m[2], t.scope)
	if err != nil {
		return nil, err
	}
	items, ok := over.([]any)
	if o, isMap := over.(*mapping); isMap {
		for _, k := range o.keys {
			pair := newMapping()
			pair.set("key", k)
			pair.set("value", o.items[k])
			items = append(items, pair)
		}
		ok = true
	}
	if !ok {
		return nil, fmt.Errorf("each %s: a list or a mapping was expected", rest)
	}
	var out []template
	for _, x := range items {
		inner := template{t.file, scope{map[string]any{}, t.scope.functions}}
		for k, v := range t.scope.names {
			inner.scope.names[k] = v
		}
		inner.scope.names[m[1]] = x
		out = append(out, inner)
	}
	return out, nil
}

// into expands a mapping into another one.
func (t template) into(out, m *mapping) error {
	var c chain
	for _, key := range m.keys {
		if err := t.property(out, key, m.items[key], &c); err != nil {
			return err
		}
	}
	return nil
}

// property expands one property of a mapping; that of a directive gives some, or none.
func (t template) property(out *mapping, key string, value any, c *chain) error {
	d, ok := asDirective(key)
	if !ok {
		k, err := t.scalar(key)
		if err != nil {
			return err
		}
		v, err := t.expand(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		out.set(text(k), v)
		return nil
	}
	scopes, err := t.enter(d, c)
	if err != nil {
		return err
	}
	for _, in := range scopes {
		body, err := in.expand(value)
		if err != nil {
			return err
		}
		inner, ok := body.(*mapping)
		if !ok {
			return fmt.Errorf("%s: a mapping was expected", key)
		}
		for _, k := range inner.keys {
			out.set(k, inner.items[k])
		}
	}
	return nil
}

// list expands a sequence; what directives and templates give is spliced in.
func (t template) list(in []any) (any, error) {
	out := []any{}
	var c chain
	for _, item := range in {
		more, err := t.item(item, &c)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func (t template) item(item any, c *chain) ([]any, error) {
	if s, ok := item.(string); ok {
		v, err := t.scalar(s)
		if list, isList := v.([]any); isList && strings.HasPrefix(s, "${{") {
			return list, err
		}
		return []any{v}, err
	}
	m, ok := item.(*mapping)
	if !ok {
		v, err := t.expand(item)
		return []any{v}, err
	}
	if len(m.keys) == 1 {
		if d, ok := asDirective(m.keys[0]); ok {
			return t.directiveItem(d, m.items[m.keys[0]], c)
		}
	}
	*c = chain{}
	if _, isTemplate := m.items["template"]; isTemplate {
		return t.include(m)
	}
	v, err := t.expand(m)
	return []any{v}, err
}

func (t template) directiveItem(d directive, body any, c *chain) ([]any, error) {
	scopes, err := t.enter(d, c)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, in := range scopes {
		v, err := in.expand(body)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case []any:
			out = append(out, v...)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

// include takes the list of a template file: stages, jobs, steps or variables.
func (t template) include(m *mapping) ([]any, error) {
	for _, k := range m.keys {
		if k != "template" && k != "parameters" {
			return nil, fmt.Errorf("template %v: unexpected property %q", m.items["template"], k)
		}
	}
	path, err := t.scalar(text(m.items["template"]))
	if err != nil {
		return nil, err
	}
	given := newMapping()
	if p, ok := m.items["parameters"]; ok {
		v, err := t.expand(p)
		if err != nil {
			return nil, err
		}
		if given, ok = v.(*mapping); !ok {
			return nil, fmt.Errorf("template %v: parameters: a mapping was expected", path)
		}
	}
	variables, _ := t.scope.names["variables"].(map[string]any)
	top, err := expandFile(filepath.Join(filepath.Dir(t.file), text(path)), given, variables)
	if err != nil {
		return nil, err
	}
	if len(top.keys) != 1 {
		return nil, fmt.Errorf("template %v: one of stages, jobs, steps or variables was expected, it has %v", path, top.keys)
	}
	list, ok := top.items[top.keys[0]].([]any)
	if !ok {
		return nil, fmt.Errorf("template %v: %s: a list was expected", path, top.keys[0])
	}
	return list, nil
}
