package azure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// strict refuses keys that are not there: an undeclared parameter is an error.
type strict struct{ *mapping }

func (s strict) lookup(key string) (any, error) {
	for _, k := range s.keys {
		if strings.EqualFold(k, key) {
			return s.items[k], nil
		}
	}
	return nil, fmt.Errorf("key not found %q", key)
}

// parameters gives each declared parameter its value, and refuses others.
func parameters(declared any, given *mapping) (*mapping, error) {
	values := newMapping()
	list, _ := declared.([]any)
	for _, d := range list {
		d, ok := d.(*mapping)
		if !ok {
			return nil, fmt.Errorf("parameters: a list of {name, type, default} was expected")
		}
		name, kind := text(d.get("name")), text(d.get("type"))
		v, has := given.items[name]
		if !has {
			if v, has = d.items["default"]; !has {
				return nil, fmt.Errorf("a value for the parameter %q must be given", name)
			}
		}
		v, err := typedAs(kind, v)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", name, err)
		}
		if allowed, ok := d.get("values").([]any); ok && !slices.Contains(allowed, v) {
			return nil, fmt.Errorf("parameter %q: %v is not one of %v", name, v, allowed)
		}
		values.set(name, v)
	}
	for _, k := range given.keys {
		if _, known := values.items[k]; !known {
			return nil, fmt.Errorf("unexpected parameter %q", k)
		}
	}
	return values, nil
}

func typedAs(kind string, v any) (any, error) {
	isList, isMap := false, false
	switch v.(type) {
	case []any:
		isList = true
	case *mapping:
		isMap = true
	}
	switch kind {
	case "", "string":
		if isList || isMap {
			return nil, fmt.Errorf("a string was expected")
		}
		return text(v), nil
	case "number":
		n, ok := number(v)
		if !ok || text(v) == "" {
			return nil, fmt.Errorf("%q is no number", text(v))
		}
		return n, nil
	case "boolean":
		b, err := strconv.ParseBool(strings.ToLower(text(v)))
		return b, err
	case "object":
		return v, nil
	case "stepList", "jobList", "stageList":
		if !isList {
			return nil, fmt.Errorf("a list was expected")
		}
		return v, nil
	}
	return nil, fmt.Errorf("type %q is not known here", kind)
}
