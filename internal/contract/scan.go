package contract

import (
	"unicode/utf16"
	"unicode/utf8"
)

// fault says why a body is not JSON that we read.
type fault uint8

const (
	sound fault = iota
	malformed
	tooDeep
)

// scanner walks over JSON. Only check and what it calls may meet bytes that are
// not JSON; everything else works on text that check has found sound.
type scanner struct {
	b []byte
	i int
}

// validate says whether b is one JSON value, with the tokens NaN, Infinity and
// -Infinity allowed as numbers, as Python and TF Serving write them.
func validate(b []byte) fault {
	s := scanner{b: b}
	s.space()
	if f := s.check(0); f != sound {
		return f
	}
	s.space()
	if s.i != len(b) {
		return malformed
	}
	return sound
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) check(depth int) fault {
	if s.i >= len(s.b) {
		return malformed
	}
	switch c := s.b[s.i]; c {
	case '[', '{':
		if depth == MaxDepth {
			return tooDeep
		}
		return s.checkContainer(c == '{', c+2, depth+1) // ']' and '}' follow two after their openers
	case '"':
		return s.checkString()
	case 't':
		return s.checkWord("true")
	case 'f':
		return s.checkWord("false")
	case 'n':
		return s.checkWord("null")
	default:
		return s.checkNumber()
	}
}

func (s *scanner) checkContainer(object bool, closer byte, depth int) fault {
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == closer {
		s.i++
		return sound
	}
	for {
		if object {
			if f := s.checkKey(); f != sound {
				return f
			}
		}
		if f := s.check(depth); f != sound {
			return f
		}
		s.space()
		if s.i >= len(s.b) {
			return malformed
		}
		c := s.b[s.i]
		s.i++
		if c == closer {
			return sound
		}
		if c != ',' {
			return malformed
		}
		s.space()
	}
}

func (s *scanner) checkKey() fault {
	if s.i >= len(s.b) || s.b[s.i] != '"' || s.checkString() != sound {
		return malformed
	}
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != ':' {
		return malformed
	}
	s.i++
	s.space()
	return sound
}

func (s *scanner) checkString() fault {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return sound
		case c < 0x20:
			return malformed
		case c == '\\':
			s.i++
			if s.i >= len(s.b) {
				return malformed
			}
			switch s.b[s.i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(s.b[s.i+1:]); !ok {
					return malformed
				}
				s.i += 4
			default:
				return malformed
			}
		}
	}
	return malformed
}

func (s *scanner) checkWord(w string) fault {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return malformed
	}
	s.i += len(w)
	return sound
}

func (s *scanner) checkNumber() fault {
	if s.b[s.i] == '-' {
		s.i++
	} else if s.b[s.i] == 'N' {
		return s.checkWord("NaN")
	}
	if s.i < len(s.b) && s.b[s.i] == 'I' {
		return s.checkWord("Infinity")
	}
	first := s.i
	n := s.digits()
	if n == 0 || n > 1 && s.b[first] == '0' {
		return malformed
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return malformed
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return malformed
		}
	}
	return sound
}

func (s *scanner) digits() int {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' < 10 {
		s.i++
	}
	return s.i - from
}

// enter steps into an array or object; false if it is empty (and then it is passed).
// Use: for ok := s.enter(); ok; ok = s.more() { … pass one element … }.
func (s *scanner) enter() bool {
	s.i++
	s.space()
	if c := s.b[s.i]; c == ']' || c == '}' {
		s.i++
		return false
	}
	return true
}

// more steps over the comma; false after the last element.
func (s *scanner) more() bool {
	s.space()
	c := s.b[s.i]
	s.i++
	if c != ',' {
		return false
	}
	s.space()
	return true
}

// key passes `"name":` and returns what stands between the quotes.
func (s *scanner) key() (raw []byte) {
	raw = s.quoted()
	s.space()
	s.i++
	s.space()
	return raw
}

func (s *scanner) quoted() []byte {
	s.i++
	from := s.i
	for s.b[s.i] != '"' {
		if s.b[s.i] == '\\' {
			s.i++
		}
		s.i++
	}
	s.i++
	return s.b[from : s.i-1]
}

// skip passes one value.
func (s *scanner) skip() {
	switch s.b[s.i] {
	case '"':
		s.quoted()
		return
	case '[', '{':
	default:
		s.token()
		return
	}
	for depth := 0; ; {
		for class[s.b[s.i]]&bracket == 0 {
			s.i++
		}
		switch s.b[s.i] {
		case '"':
			s.quoted()
			continue
		case '[', '{':
			depth++
		default:
			depth--
		}
		s.i++
		if depth == 0 {
			return
		}
	}
}

// token passes a number or a word and returns it.
func (s *scanner) token() []byte {
	from := s.i
	for s.i < len(s.b) && class[s.b[s.i]]&delimiter == 0 {
		s.i++
	}
	return s.b[from:s.i]
}

// What a byte is to skip and to token.
const (
	bracket   = 1 << iota // opens or closes a container or a string
	delimiter             // ends a number or a word
)

var class = [256]uint8{
	'"': bracket, '[': bracket, '{': bracket, ']': bracket | delimiter, '}': bracket | delimiter,
	',': delimiter, ' ': delimiter, '\t': delimiter, '\n': delimiter, '\r': delimiter,
}

// unquote appends the text of a raw JSON string to dst.
func unquote(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := surrogate(raw[i+1:])
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, raw[i])
		}
	}
	return dst
}

func surrogate(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	return hex4(b[2:])
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
