package azure

import (
	"fmt"
	"strconv"
	"strings"
)

// scope is what an expression may name: contexts and functions, without regard to
// case. What is not in it is refused, as the service does.
type scope struct {
	names     map[string]any
	functions map[string]function
}

// function gets its arguments unevaluated: `and` and `or` stop early.
type function func(args []node, s scope) (any, error)

// node is a parsed expression.
type node interface{ eval(s scope) (any, error) }

type literal struct{ value any }
type name string
type call struct {
	name string
	args []node
}
type index struct{ of, key node }
type every struct{ of node } // of.*

func (l literal) eval(scope) (any, error) { return l.value, nil }

func (n name) eval(s scope) (any, error) {
	for key, v := range s.names {
		if strings.EqualFold(key, string(n)) {
			return v, nil
		}
	}
	return nil, fmt.Errorf("unrecognized value: %q", string(n))
}

func (c call) eval(s scope) (any, error) {
	for key, f := range s.functions {
		if strings.EqualFold(key, c.name) {
			return f(c.args, s)
		}
	}
	if f, ok := builtins[strings.ToLower(c.name)]; ok {
		return f.apply(c, s)
	}
	return nil, fmt.Errorf("unrecognized function: %q", c.name)
}

func (i index) eval(s scope) (any, error) {
	of, err := i.of.eval(s)
	if err != nil {
		return nil, err
	}
	key, err := i.key.eval(s)
	if err != nil {
		return nil, err
	}
	return member(of, key)
}

// filtered is the result of `.*`: the next member is taken of each.
type filtered []any

func (e every) eval(s scope) (any, error) {
	of, err := e.of.eval(s)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case []any:
		return filtered(of), nil
	case *mapping:
		return filtered(of.values()), nil
	}
	return filtered(nil), nil
}

func member(of, key any) (any, error) {
	switch of := of.(type) {
	case object:
		return of.lookup(text(key))
	case map[string]any:
		for k, v := range of {
			if strings.EqualFold(k, text(key)) {
				return v, nil
			}
		}
	case *mapping:
		return of.get(text(key)), nil
	case []any:
		if n, ok := number(key); ok && n >= 0 && int(n) < len(of) {
			return of[int(n)], nil
		}
	case filtered:
		var out []any
		for _, x := range of {
			v, err := member(x, key)
			if err != nil {
				return nil, err
			}
			if v != nil {
				out = append(out, v)
			}
		}
		return out, nil
	}
	return nil, nil
}

// evaluate parses and evaluates one expression.
func evaluate(expression string, s scope) (any, error) {
	p := parser{text: expression}
	n, err := p.parse()
	if err == nil {
		var v any
		if v, err = n.eval(s); err == nil {
			if f, ok := v.(filtered); ok {
				v = []any(f)
			}
			return v, nil
		}
	}
	return nil, fmt.Errorf("expression %q: %w", strings.TrimSpace(expression), err)
}

// parser reads expressions by recursive descent.
type parser struct {
	text string
	at   int
}

func (p *parser) parse() (node, error) {
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, fmt.Errorf("unexpected %q", p.text[p.at:])
	}
	return n, nil
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
}

func (p *parser) peek() byte {
	if p.space(); p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) value() (node, error) {
	n, err := p.primary()
	for err == nil {
		switch p.peek() {
		case '.':
			p.at++
			if p.peek() == '*' {
				p.at++
				n = every{n}
				continue
			}
			key := p.word()
			if key == "" {
				return nil, fmt.Errorf("a name must follow the point at %d", p.at)
			}
			n = index{n, literal{key}}
		case '[':
			p.at++
			var key node
			if key, err = p.value(); err == nil {
				err = p.expect(']')
			}
			n = index{n, key}
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *parser) expect(c byte) error {
	if p.peek() != c {
		return fmt.Errorf("%q expected at %d", c, p.at)
	}
	p.at++
	return nil
}

func (p *parser) primary() (node, error) {
	switch c := p.peek(); {
	case c == '\'':
		return p.quoted()
	case c == '-' || c == '.' || c >= '0' && c <= '9':
		return p.digits()
	}
	word := p.word()
	switch {
	case word == "":
		return nil, fmt.Errorf("a value expected at %d", p.at)
	case p.peek() == '(':
		return p.arguments(word)
	}
	switch strings.ToLower(word) {
	case "true":
		return literal{true}, nil
	case "false":
		return literal{false}, nil
	case "null":
		return literal{nil}, nil
	}
	return name(word), nil
}

func (p *parser) word() string {
	p.space()
	from := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (p.at == from || (c < '0' || c > '9') && c != '-') {
			break
		}
		p.at++
	}
	return p.text[from:p.at]
}

// quoted reads a string; a quote inside is doubled.
func (p *parser) quoted() (node, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		if p.text[p.at] == '\'' {
			if p.at+1 >= len(p.text) || p.text[p.at+1] != '\'' {
				p.at++
				return literal{b.String()}, nil
			}
			p.at++
		}
		b.WriteByte(p.text[p.at])
	}
	return nil, fmt.Errorf("a string does not end")
}

// digits reads a number, or a version, which stays a string.
func (p *parser) digits() (node, error) {
	from := p.at
	for p.at++; p.at < len(p.text) && strings.IndexByte("0123456789.", p.text[p.at]) >= 0; p.at++ {
	}
	t := p.text[from:p.at]
	if strings.Count(t, ".") > 1 {
		return literal{t}, nil
	}
	n, err := strconv.ParseFloat(t, 64)
	return literal{n}, err
}

func (p *parser) arguments(of string) (node, error) {
	c := call{name: of}
	p.at++ // the bracket
	if p.peek() == ')' {
		p.at++
		return c, nil
	}
	for {
		arg, err := p.value()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		switch p.peek() {
		case ',':
			p.at++
		case ')':
			p.at++
			return c, nil
		default:
			return nil, fmt.Errorf("%q: , or ) expected at %d", of, p.at)
		}
	}
}
