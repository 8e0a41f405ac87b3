package azure

import (
	"fmt"
	"strconv"
	"strings"
)

// A value of an expression is nil, bool, float64, string, []any, map[string]any or
// an object. Conversions follow "Type casting" of the documentation; versions are
// not needed here and are strings.

// object is a context that looks its keys up by itself, as `variables` does.
type object interface {
	// lookup returns nil for a key that is not there: a dictionary miss is null.
	lookup(key string) (any, error)
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		return v
	}
	return "" // complex objects become the empty string
}

// number converts; a text that is no number cannot be.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case float64:
		return v, true
	case string:
		t := strings.ReplaceAll(strings.TrimSpace(v), ",", "")
		if t == "" {
			return 0, true
		}
		n, err := strconv.ParseFloat(t, 64)
		return n, err == nil && !strings.ContainsAny(t, "eExXnN")
	}
	return 0, false
}

// equal converts the right value to the type of the left one: eq, ne, in.
func equal(left, right any) bool {
	switch l := left.(type) {
	case nil:
		return right == nil || right == ""
	case bool:
		return l == truth(right)
	case float64:
		r, ok := number(right)
		return ok && l == r
	case string:
		switch right.(type) {
		case nil, bool, float64, string:
			return strings.EqualFold(l, text(right))
		}
	}
	return false
}

// compare orders two values: gt, ge, lt, le. It errs where conversion fails.
func compare(left, right any) (int, error) {
	if l, ok := left.(string); ok {
		return strings.Compare(strings.ToUpper(l), strings.ToUpper(text(right))), nil
	}
	l, _ := number(left)
	r, ok := number(right)
	if !ok {
		return 0, fmt.Errorf("cannot convert %q to a number", text(right))
	}
	switch {
	case l < r:
		return -1, nil
	case l > r:
		return 1, nil
	}
	return 0, nil
}
