package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// builtin is a function with the numbers of parameters that the documentation gives.
type builtin struct {
	least, most int // most 0: any number
	of          func(args []any) (any, error)
	lazy        func(args []node, s scope) (any, error)
}

func (b builtin) apply(c call, s scope) (any, error) {
	if len(c.args) < b.least || b.most > 0 && len(c.args) > b.most {
		return nil, fmt.Errorf("%s takes %d to %d parameters, not %d", c.name, b.least, b.most, len(c.args))
	}
	if b.lazy != nil {
		return b.lazy(c.args, s)
	}
	args := make([]any, len(c.args))
	for i, a := range c.args {
		v, err := a.eval(s)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return b.of(args)
}

// until evaluates arguments until one is as wanted: `and` stops at false, `or` at true.
func until(wanted bool) func([]node, scope) (any, error) {
	return func(args []node, s scope) (any, error) {
		for _, a := range args {
			v, err := a.eval(s)
			if err != nil {
				return nil, err
			}
			if truth(v) == wanted {
				return wanted, nil
			}
		}
		return !wanted, nil
	}
}

func ordered(ok func(int) bool) builtin {
	return builtin{2, 2, func(a []any) (any, error) {
		c, err := compare(a[0], a[1])
		return ok(c), err
	}, nil}
}

func texts(least int, f func(a ...string) any) builtin {
	return builtin{least, least, func(a []any) (any, error) {
		t := make([]string, len(a))
		for i := range a {
			t[i] = text(a[i])
		}
		return f(t...), nil
	}, nil}
}

func oneOf(a []any) bool {
	for _, x := range a[1:] {
		if equal(a[0], x) {
			return true
		}
	}
	return false
}

var builtins map[string]builtin

func init() { // not a literal: evaluating names builtins
	up := strings.ToUpper
	builtins = map[string]builtin{
		"and":           {2, 0, nil, until(false)},
		"or":            {2, 0, nil, until(true)},
		"not":           {1, 1, func(a []any) (any, error) { return !truth(a[0]), nil }, nil},
		"xor":           {2, 2, func(a []any) (any, error) { return truth(a[0]) != truth(a[1]), nil }, nil},
		"eq":            {2, 2, func(a []any) (any, error) { return equal(a[0], a[1]), nil }, nil},
		"ne":            {2, 2, func(a []any) (any, error) { return !equal(a[0], a[1]), nil }, nil},
		"in":            {1, 0, func(a []any) (any, error) { return oneOf(a), nil }, nil},
		"notin":         {1, 0, func(a []any) (any, error) { return !oneOf(a), nil }, nil},
		"gt":            ordered(func(c int) bool { return c > 0 }),
		"ge":            ordered(func(c int) bool { return c >= 0 }),
		"lt":            ordered(func(c int) bool { return c < 0 }),
		"le":            ordered(func(c int) bool { return c <= 0 }),
		"contains":      texts(2, func(a ...string) any { return strings.Contains(up(a[0]), up(a[1])) }),
		"startswith":    texts(2, func(a ...string) any { return strings.HasPrefix(up(a[0]), up(a[1])) }),
		"endswith":      texts(2, func(a ...string) any { return strings.HasSuffix(up(a[0]), up(a[1])) }),
		"lower":         texts(1, func(a ...string) any { return strings.ToLower(a[0]) }),
		"upper":         texts(1, func(a ...string) any { return up(a[0]) }),
		"trim":          texts(1, func(a ...string) any { return strings.TrimSpace(a[0]) }),
		"replace":       texts(3, func(a ...string) any { return strings.ReplaceAll(a[0], a[1], a[2]) }),
		"split":         texts(2, split),
		"coalesce":      {2, 0, func(a []any) (any, error) { return coalesce(a), nil }, nil},
		"iif":           {3, 3, func(a []any) (any, error) { return map[bool]any{true: a[1], false: a[2]}[truth(a[0])], nil }, nil},
		"join":          {2, 2, func(a []any) (any, error) { return join(text(a[0]), a[1]), nil }, nil},
		"length":        {1, 1, length, nil},
		"containsvalue": {2, 2, func(a []any) (any, error) { return containsValue(a[0], a[1]), nil }, nil},
		"format":        {1, 0, format, nil},
		"converttojson": {1, 1, toJSON, nil},
	}
}

// split parts a text at each of the characters given; empty parts stay.
func split(a ...string) any {
	out, part := []any{}, ""
	for _, r := range a[0] {
		if strings.ContainsRune(a[1], r) {
			out, part = append(out, part), ""
		} else {
			part += string(r)
		}
	}
	return append(out, part)
}

func coalesce(a []any) any {
	for _, x := range a {
		if x != nil && x != "" {
			return x
		}
	}
	return nil
}

func join(by string, list any) string {
	if f, ok := list.(filtered); ok {
		list = []any(f)
	}
	items, ok := list.([]any)
	if !ok {
		return text(list)
	}
	parts := make([]string, len(items))
	for i, x := range items {
		parts[i] = text(x)
	}
	return strings.Join(parts, by)
}

func length(a []any) (any, error) {
	switch v := a[0].(type) {
	case []any:
		return float64(len(v)), nil
	case string:
		return float64(len(v)), nil
	}
	return nil, fmt.Errorf("length of a %T", a[0])
}

func containsValue(in, wanted any) bool {
	items, ok := in.([]any)
	if m, isMap := in.(*mapping); isMap {
		items, ok = m.values(), true
	}
	for _, x := range items {
		if equal(wanted, x) {
			return ok
		}
	}
	return false
}

// format replaces {0}, {1}, …; braces are escaped by doubling them.
func format(a []any) (any, error) {
	in, out := text(a[0]), strings.Builder{}
	for i := 0; i < len(in); i++ {
		switch c := in[i]; {
		case (c == '{' || c == '}') && i+1 < len(in) && in[i+1] == c:
			out.WriteByte(c)
			i++
		case c == '{':
			end := strings.IndexByte(in[i:], '}')
			n, err := strconv.Atoi(in[i+1 : max(i+end, i+1)])
			if end < 0 || err != nil || n+1 >= len(a) {
				return nil, fmt.Errorf("format %q: a wrong place", in)
			}
			out.WriteString(text(a[n+1]))
			i += end
		case c == '}':
			return nil, errors.New("format: a brace that was not opened")
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

func toJSON(a []any) (any, error) {
	out, err := json.MarshalIndent(plain(a[0]), "", "  ")
	return string(out), err
}
