package pipelines_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// values are what expressions may name: inputs.step, needs.build.outputs.image.
type values map[string]string

var marked = regexp.MustCompile(`\$\{\{(.*?)\}\}`)

// fill puts the values of expressions into a text.
func (v values) fill(t *testing.T, text string) string {
	t.Helper()
	return marked.ReplaceAllStringFunc(text, func(m string) string {
		return v.eval(t, marked.FindStringSubmatch(m)[1])
	})
}

// eval is the part of GitHub's expressions that the workflows use: names, texts,
// always(), == != && ||. Of || and && it returns an operand, as GitHub does.
func (v values) eval(t *testing.T, text string) string {
	t.Helper()
	p := parser{v: v, rest: tokens.FindAllString(text, -1)}
	got, err := p.or()
	if err == nil && len(p.rest) > 0 {
		err = fmt.Errorf("%q is left", p.rest)
	}
	if err != nil {
		t.Fatalf("expression %q: %v", text, err)
	}
	return got
}

var tokens = regexp.MustCompile(`'[^']*'|\|\||&&|==|!=|always\(\)|[\w.-]+|\S`)

type parser struct {
	v    values
	rest []string
}

func (p *parser) next(token string) bool {
	if len(p.rest) > 0 && p.rest[0] == token {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func truth(s string) bool { return s != "" && s != "false" }

func (p *parser) or() (string, error) {
	left, err := p.and()
	for err == nil && p.next("||") {
		var right string
		if right, err = p.and(); !truth(left) {
			left = right
		}
	}
	return left, err
}

func (p *parser) and() (string, error) {
	left, err := p.compared()
	for err == nil && p.next("&&") {
		var right string
		if right, err = p.compared(); truth(left) {
			left = right
		}
	}
	return left, err
}

func (p *parser) compared() (string, error) {
	left, err := p.one()
	for _, op := range []string{"==", "!="} {
		if err == nil && p.next(op) {
			var right string
			right, err = p.one()
			left = fmt.Sprint(strings.EqualFold(left, right) == (op == "=="))
		}
	}
	return left, err
}

func (p *parser) one() (string, error) {
	if len(p.rest) == 0 {
		return "", fmt.Errorf("ends too early")
	}
	token := p.rest[0]
	p.rest = p.rest[1:]
	switch {
	case token == "always()":
		return "true", nil
	case strings.HasPrefix(token, "'"):
		return strings.Trim(token, "'"), nil
	case !regexp.MustCompile(`^(inputs|vars|needs|steps|github)\.`).MatchString(token):
		return "", fmt.Errorf("%q is not understood", token)
	}
	return p.v[token], nil // what is not there is empty, as on GitHub
}

func TestExpressions(t *testing.T) {
	v := values{"inputs.a": "1", "needs.b.result": "Success"}
	for text, want := range map[string]string{
		"x ${{ inputs.a }} y":                                  "x 1 y",
		"${{ inputs.none }}":                                   "",
		"${{ inputs.none || inputs.a || 'z' }}":                "1",
		"${{ inputs.a == '1' && 'yes' || 'no' }}":              "yes",
		"${{ inputs.a != '1' && 'yes' || 'no' }}":              "no",
		"${{ always() && needs.b.result != 'success' }}":       "false",
		"${{ always() && needs.none.result != 'success' }}":    "true",
		"${{ inputs.none != '' }} ${{ needs.b.result != '' }}": "false true",
	} {
		if got := v.fill(t, text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
