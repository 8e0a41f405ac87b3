package scorer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// inputError is a client's mistake: the text that the 400 carries.
type inputError struct{ message string }

func (e *inputError) Error() string { return e.message }

func badInput(format string, args ...any) error {
	return &inputError{message: fmt.Sprintf(format, args...)}
}

// rowParser reads {"data": [[…], …]} one row at a time, so that a request needs the memory of one row whatever its
// size. It accepts exactly that document: "data" is the only key, every row has as many numbers as there are names.
type rowParser struct {
	b     []byte
	i     int
	names []string // column names; their number is the width
	row   int      // rows read so far
}

// open reads up to the first row.
func (p *rowParser) open() error {
	p.space()
	switch {
	case p.i == len(p.b):
		return badInput("POST body is empty. Expecting a JSON dictionary.")
	case bytes.HasPrefix(p.b, []byte{0x1f, 0x8b}):
		return badInput("POST body could not be decoded as JSON: it is gzip: send it uncompressed")
	case p.b[p.i] != '{':
		if kind := p.kind(); kind != "" {
			return badInput(`POST body should be a JSON dictionary. Got %s, allowed is {"data": [[…], …]}`, kind)
		}
		return p.syntax(`want {"data": [[…], …]}`)
	}
	p.i++
	p.space()
	if p.peek() == '}' {
		return badInput("A value is not provided for the 'data' parameter.")
	}
	if err := p.key(); err != nil {
		return err
	}
	return p.openList()
}

func (p *rowParser) openList() error {
	p.space()
	if p.peek() != '[' {
		return p.wrongType("data", "a list of rows")
	}
	p.i++
	p.space()
	if p.peek() == ']' {
		return badInput("data: got no rows, at least one row of %d numbers is needed", len(p.names))
	}
	return nil
}

// next reads one row into row, which has the model's width. more is false behind the last row.
func (p *rowParser) next(row []float64) (more bool, err error) {
	p.space()
	if p.row > 0 {
		switch p.peek() {
		case ']':
			p.i++
			return false, nil
		case ',':
			p.i++
			p.space()
		default:
			return false, p.syntax(fmt.Sprintf("want , or ] behind data[%d]", p.row-1))
		}
	}
	if p.peek() != '[' {
		return false, p.wrongType(fmt.Sprintf("data[%d] (row %d)", p.row, p.row+1), fmt.Sprintf("a list of %d numbers", len(p.names)))
	}
	p.i++
	n, err := p.numbers(row)
	if err != nil {
		return false, err
	}
	if n != len(row) {
		return false, badInput("data[%d] (row %d): got %d numbers, the model needs exactly %d", p.row, p.row+1, n, len(row))
	}
	p.row++
	return true, nil
}

// numbers reads up to and with the row's closing bracket and counts, also beyond the width.
func (p *rowParser) numbers(row []float64) (n int, err error) {
	p.space()
	if p.peek() == ']' {
		p.i++
		return 0, nil
	}
	for {
		v, end, err := parseNumber(p.b, p.i)
		if err != nil {
			return 0, p.wrongNumber(n, err)
		}
		if n < len(row) {
			row[n] = v
		}
		n++
		p.i = end
		p.space()
		switch p.peek() {
		case ',':
			p.i++
			p.space()
		case ']':
			p.i++
			return n, nil
		default:
			return 0, p.syntax("want , or ] behind " + p.cell(n-1))
		}
	}
}

// close reads what stands behind the list of rows: nothing but the closing brace.
func (p *rowParser) close() error {
	p.space()
	switch p.peek() {
	case ',':
		p.i++
		p.space()
		if err := p.key(); err != nil {
			return err
		}
		return badInput(`the key "data" is given twice`)
	case '}':
		p.i++
		return p.end()
	}
	return p.syntax("want } behind the rows")
}

func (p *rowParser) end() error {
	p.space()
	if p.i != len(p.b) {
		return p.syntax("want nothing behind the document")
	}
	return nil
}

// key reads a key and its colon and refuses every key but "data".
func (p *rowParser) key() error {
	if p.peek() != '"' {
		return p.syntax("want a key in double quotes")
	}
	start := p.i
	for p.i++; p.i < len(p.b) && p.b[p.i] != '"'; p.i++ {
		if p.b[p.i] == '\\' {
			p.i++
		}
	}
	if p.i >= len(p.b) {
		p.i = len(p.b)
		return p.syntax("want the end of a key")
	}
	p.i++
	if token := p.b[start:p.i]; string(token) != `"data"` {
		var name string
		if err := json.Unmarshal(token, &name); err != nil {
			p.i = start
			return p.syntax("want a key in double quotes")
		}
		if name != "data" {
			return badInput(`unknown key %s, allowed is "data"`, quoteShort(name))
		}
	}
	p.space()
	if p.peek() != ':' {
		return p.syntax(`want : behind the key "data"`)
	}
	p.i++
	return nil
}

func (p *rowParser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek is the byte at hand, 0 at the end (a NUL in the text is no JSON either).
func (p *rowParser) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *rowParser) cell(col int) string {
	if col < len(p.names) {
		return fmt.Sprintf("data[%d][%d] (row %d, column %d, %s)", p.row, col, p.row+1, col+1, quoteShort(p.names[col]))
	}
	return fmt.Sprintf("data[%d][%d] (row %d, column %d of a model with %d)", p.row, col, p.row+1, col+1, len(p.names))
}

func (p *rowParser) wrongNumber(col int, err error) error {
	switch {
	case errors.Is(err, errRange):
		return badInput("%s: the number is out of range, allowed is what a float64 holds", p.cell(col))
	case p.kind() == "":
		return p.syntax("want a number at " + p.cell(col))
	}
	return badInput("%s: got %s, only a JSON number is allowed%s", p.cell(col), p.kind(), p.missingHint())
}

func (p *rowParser) wrongType(what, want string) error {
	kind := p.kind()
	if kind == "" {
		return p.syntax(fmt.Sprintf("want %s as %s", want, what))
	}
	return badInput("%s: got %s, want %s", what, kind, want)
}

func (p *rowParser) missingHint() string {
	switch p.peek() {
	case 'n', 'N':
		return "; write a missing value as the number that the model was trained with, such as -1"
	}
	return ""
}

// kind names the JSON value at hand for a person; empty when it is none.
func (p *rowParser) kind() string {
	rest := p.b[min(p.i, len(p.b)):]
	for _, w := range []struct{ prefix, kind string }{
		{`"`, "a string"}, {"[", "a list"}, {"{", "an object"}, {"true", "true"}, {"false", "false"}, {"null", "null"},
		{"NaN", "NaN"}, {"nan", "nan"}, {"Infinity", "Infinity"}, {"-Infinity", "-Infinity"}, {"inf", "inf"}, {"-inf", "-inf"},
	} {
		if bytes.HasPrefix(rest, []byte(w.prefix)) {
			return w.kind
		}
	}
	if _, _, err := parseNumber(p.b, p.i); !errors.Is(err, errNotNumber) {
		return "a number"
	}
	return ""
}

func (p *rowParser) syntax(want string) error {
	if p.i >= len(p.b) {
		return badInput("POST body could not be decoded as JSON: it ends at byte %d, %s", len(p.b), want)
	}
	r, _ := utf8.DecodeRune(p.b[p.i:])
	return badInput("POST body could not be decoded as JSON: got %q at byte %d, %s", r, p.i, want)
}

func quoteShort(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.QuoteToGraphic(s)
}
