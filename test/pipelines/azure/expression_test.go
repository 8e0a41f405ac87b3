package azure

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExpressionsOfTheDocumentation are the examples that the page "Expressions" gives, and its rules of conversion.
func TestExpressionsOfTheDocumentation(t *testing.T) {
	list := []any{}
	for _, id := range []string{"1", "2", "3"} {
		m := newMapping()
		m.set("id", id)
		m.set("a", "avalue"+id)
		list = append(list, m)
	}
	s := scope{names: map[string]any{"variables": values{"letters": "abc", "numbers": "123", "My.Dotted": "d"}, "foo": list}}
	for expression, want := range map[string]any{
		// literals
		"True": true, "FALSE": false, "null": nil, "-1.2": -1.2, ".5": .5, "1.2.3": "1.2.3", "'It''s OK if they''re using contractions.'": "It's OK if they're using contractions.",
		// variables: index and property, without regard to case, null where there is none
		"variables['letters']": "abc", "variables.LETTERS": "abc", "variables['My.Dotted']": "d", "variables.My.Dotted": nil, "variables['noSuch']": nil,
		// functions, by their example
		"and(eq(variables.letters, 'ABC'), eq(variables.numbers, 123))":            true,
		"coalesce(variables.couldBeNull, variables.couldAlsoBeNull, 'literal so')": "literal so",
		"contains('ABCDE', 'BCD')":                                   true,
		"containsValue(foo.*.id, '2')":                               true,
		"endsWith('ABCDE', 'DE')":                                    true,
		"eq(variables.letters, 'ABC')":                               true,
		"format('Hello {0} {1}', 'John', 'Doe')":                     "Hello John Doe",
		"format('literal left brace {{ and literal right brace }}')": "literal left brace { and literal right brace }",
		"ge(5, 5)":                  true,
		"gt(5, 2)":                  true,
		"in('B', 'A', 'B', 'C')":    true,
		"join(',', foo.*.id)":       "1,2,3",
		"join(',', 'one')":          "one",
		"le(2, 2)":                  true,
		"length('fabrikam')":        8.0,
		"lower('FOO')":              "foo",
		"lt(2, 5)":                  true,
		"ne(1, 2)":                  true,
		"not(eq(1, 2))":             true,
		"notIn('D', 'A', 'B', 'C')": true,
		"or(eq(1, 1), eq(2, 3))":    true,
		"replace('https://a/saml/consume','https://a','http://server')": "http://server/saml/consume",
		"startsWith('ABCDE', 'AB')":                                     true,
		"upper('bah')":                                                  "BAH",
		"xor(True, False)":                                              true,
		"lt(False, True)":                                               true,
		"lt(True, False)":                                               false,
		"coalesce(variables.emptyString, '', 'literal value')":          "literal value",
		"split('prod1,prod2', ',')[1]":                                  "prod2",
		"length(split('a,,b,', ','))":                                   4.0,
		"and\n(\n  in('Succeeded', 'Succeeded', 'Skipped'),\n  ne(1, 2)\n)": true,
		"iif(eq(1, 1), 'yes', 'no')":                                        "yes",
		"trim(' a ')":                                                       "a",
		// the right parameter is converted to the type of the left one
		"eq(1, '1')": true, "eq('1', 1)": true, "eq(1, 'x')": false, "ne(1, 'x')": true, "eq(true, 'false')": true, "eq('true', true)": true, "eq(null, '')": true,
		"eq(null, 'x')": false, "in(null, 'Succeeded')": false, "eq('', null)": true, "eq(1000, '1,000')": true, "and('', true)": false, "and('false', 1)": true, "not(0)": true,
	} {
		got, err := evaluate(expression, s)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expression, diff)
		}
	}
}

func TestShortCircuit(t *testing.T) {
	for expression, want := range map[string]bool{"and(false, gt(1, 'x'))": false, "or(true, gt(1, 'x'))": true} {
		if got, err := evaluate(expression, scope{}); err != nil || got != want {
			t.Errorf("%s: %v, %v", expression, got, err)
		}
	}
}

// TestExpressionsThatAreRefused: errors as the service gives them, not values.
func TestExpressionsThatAreRefused(t *testing.T) {
	s := scope{names: map[string]any{"variables": values{}, "parameters": strict{newMapping()}}}
	for expression, says := range map[string]string{
		"nosuchcontext.probe": "unrecognized value", "nosuch()": "unrecognized function", "gt(1, 'x')": "cannot convert", "eq(1)": "parameters", "not(1, 2)": "parameters",
		"parameters.undeclared": "key not found", "'open": "does not end", "eq(1, 2": "expected", "eq(1, 2) x": "unexpected", "": "expected", "variables.": "point", "variables['a'": "expected",
		"format('{1}', 'a')": "wrong place", "format('}')": "brace", "length(1)": "length", "always()": "unrecognized function",
	} {
		if v, err := evaluate(expression, s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v; want an error with %q", expression, v, err, says)
		}
	}
}
