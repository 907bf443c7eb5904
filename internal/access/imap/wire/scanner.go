package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is what every error of this package wraps: the bytes are no
// element of the grammar.
var ErrSyntax = errors.New("syntax error")

// Scanner reads the elements of one command in order. Its first error sticks:
// every later method returns a zero value and leaves the position where it was.
type Scanner struct {
	b   []byte
	pos int
	err error
}

// NewScanner returns a Scanner over b, which it never changes.
func NewScanner(b []byte) *Scanner { return &Scanner{b: b} }

// Err returns the first error, or nil.
func (s *Scanner) Err() error { return s.err }

// Pos returns the offset of the next unread byte.
func (s *Scanner) Pos() int { return s.pos }

// Rest returns the unread bytes.
func (s *Scanner) Rest() []byte { return s.b[s.pos:] }

// Fail records an error at the current position, unless there is one already.
func (s *Scanner) Fail(want string) {
	if s.err == nil {
		s.err = fmt.Errorf("%w at byte %d: want %s", ErrSyntax, s.pos, want)
	}
}

// Peek returns the next byte, or 0 at the end or after an error.
func (s *Scanner) Peek() byte {
	if s.err != nil || s.pos >= len(s.b) {
		return 0
	}
	return s.b[s.pos]
}

// Try reads c if it comes next and says whether it did.
func (s *Scanner) Try(c byte) bool {
	if s.err == nil && s.pos < len(s.b) && s.b[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// Byte reads c, which must come next.
func (s *Scanner) Byte(c byte) {
	if !s.Try(c) {
		s.Fail(fmt.Sprintf("%q", c))
	}
}

// SP reads the one space between two elements. More than one is an error, as
// in the grammar: clients that send two also send them inside strings.
func (s *Scanner) SP() {
	if !s.Try(' ') {
		s.Fail("a space")
	}
}

// End reads the CRLF (a lone LF is taken too) that ends the command, and the
// command must end there.
func (s *Scanner) End() {
	s.Try('\r')
	if !s.Try('\n') || s.pos != len(s.b) {
		s.Fail("the end of the command")
	}
}

// AtEnd says whether the command's CRLF comes next.
func (s *Scanner) AtEnd() bool {
	c := s.Peek()
	return c == '\r' || c == '\n'
}

// class of bytes, one bit each.
const (
	classAtom    = 1 << iota // ATOM-CHAR
	classAString             // ASTRING-CHAR: ATOM-CHAR or "]"
	classTag                 // tag: ASTRING-CHAR except "+"
	classList                // list-char: ATOM-CHAR, list-wildcards or "]"
	classUTF8                // bytes above ASCII
	classItem                // letters, digits and ".", of which items are made
)

func classOf(c byte) uint8 {
	switch {
	case c <= ' ' || c == 0x7f:
		return 0
	case c >= 0x80:
		return classUTF8
	}
	switch c {
	case '(', ')', '{', '"', '\\':
		return 0
	case '%', '*':
		return classList
	case ']':
		return classAString | classTag | classList
	case '+':
		return classAtom | classAString | classList
	}
	if c == '.' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
		return classAtom | classAString | classTag | classList | classItem
	}
	return classAtom | classAString | classTag | classList
}

func (s *Scanner) run(class uint8, want string) []byte {
	if s.err != nil {
		return nil
	}
	start := s.pos
	for s.pos < len(s.b) && classOf(s.b[s.pos])&class != 0 {
		s.pos++
	}
	if s.pos == start {
		s.Fail(want)
	}
	return s.b[start:s.pos]
}

// Tag reads a command's tag (RFC 9051 §2.2.1).
func (s *Scanner) Tag() string { return string(s.run(classTag, "tag")) }

// Atom reads an atom.
func (s *Scanner) Atom() string { return string(s.run(classAtom, "atom")) }

// Keyword reads an atom and gives it in upper case: names of commands, search
// keys and items are case-insensitive.
func (s *Scanner) Keyword() string { return strings.ToUpper(s.Atom()) }

// Item reads a run of letters, digits and dots in upper case: the part of a
// fetch item before its bracket ("BODY.PEEK", "HEADER.FIELDS").
func (s *Scanner) Item() string { return strings.ToUpper(string(s.run(classItem, "item"))) }

// TryWord reads word, which must be upper case, if it comes next as a whole
// atom in any case, and says whether it did.
func (s *Scanner) TryWord(word string) bool {
	if s.err != nil || len(s.b)-s.pos < len(word) {
		return false
	}
	for i := range len(word) {
		c := s.b[s.pos+i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	end := s.pos + len(word)
	if end < len(s.b) && classOf(s.b[end])&classAtom != 0 {
		return false
	}
	s.pos = end
	return true
}

// AString reads an atom (with "]" allowed) or a string.
func (s *Scanner) AString() string {
	if c := s.Peek(); c == '"' || c == '{' {
		return s.String()
	}
	return string(s.run(classAString, "astring"))
}

// ListMailbox reads a LIST pattern: a string, or a run of list-chars, in which
// UTF-8 may come without quotes.
func (s *Scanner) ListMailbox() string {
	if c := s.Peek(); c == '"' || c == '{' {
		return s.String()
	}
	return string(s.run(classList|classUTF8, "list-mailbox"))
}

// Mailbox reads a mailbox name: an astring, in which UTF-8 may come without
// quotes (clients with UTF8=ACCEPT do it).
func (s *Scanner) Mailbox() string {
	if c := s.Peek(); c == '"' || c == '{' {
		return s.String()
	}
	return string(s.run(classAString|classUTF8, "mailbox"))
}

// String reads a quoted string or a literal. Both must be free of NUL, a
// quoted one also of CR and LF, and what is not ASCII must be UTF-8.
func (s *Scanner) String() string {
	switch s.Peek() {
	case '"':
		return s.quoted()
	case '{':
		return string(s.literal())
	}
	s.Fail("string")
	return ""
}

// NString reads NIL or a string; ok is false for NIL.
func (s *Scanner) NString() (v string, ok bool) {
	if s.TryWord("NIL") {
		return "", false
	}
	v = s.String()
	return v, s.err == nil
}

func (s *Scanner) quoted() string {
	start := s.pos + 1
	escaped := false
	for i := start; i < len(s.b); i++ {
		switch c := s.b[i]; c {
		case '"':
			raw := s.b[start:i]
			if !utf8.Valid(raw) {
				s.Fail("UTF-8 in a quoted string")
				return ""
			}
			s.pos = i + 1
			if !escaped {
				return string(raw)
			}
			return unescape(raw)
		case '\\':
			i++
			escaped = true
			if i >= len(s.b) || s.b[i] != '"' && s.b[i] != '\\' {
				s.Fail(`\" or \\ in a quoted string`)
				return ""
			}
		case 0, '\r', '\n':
			s.Fail("closing quote")
			return ""
		}
	}
	s.Fail("closing quote")
	return ""
}

func unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' {
			i++
		}
		out = append(out, raw[i])
	}
	return string(out)
}

func (s *Scanner) literal() []byte {
	rest := s.b[s.pos:]
	nl := indexLF(rest)
	if nl < 0 {
		s.Fail("literal")
		return nil
	}
	lit, ok := ParseLiteral(rest[:nl+1])
	if !ok || lit.Start != 0 || lit.Binary {
		s.Fail("literal")
		return nil
	}
	if lit.Size > int64(len(rest)-nl-1) {
		s.Fail("all bytes of the literal")
		return nil
	}
	v := rest[nl+1 : nl+1+int(lit.Size)]
	for _, c := range v {
		if c == 0 {
			s.Fail("a literal without NUL")
			return nil
		}
	}
	s.pos += nl + 1 + len(v)
	return v
}

func indexLF(b []byte) int {
	// A literal's announcement is short; the search is bounded so that a long
	// line of "{" stays linear.
	for i := 0; i < len(b) && i < literalLen; i++ {
		if b[i] == '\n' {
			return i
		}
	}
	return -1
}

// Number reads a number of at most 32 bits.
func (s *Scanner) Number() uint32 {
	n := s.number(1<<32 - 1)
	return uint32(n)
}

// NonZero reads a number from 1 to 2^32-1.
func (s *Scanner) NonZero() uint32 {
	if s.Peek() == '0' {
		s.Fail("a number above 0")
		return 0
	}
	return s.Number()
}

// Number64 reads a number of at most 63 bits (RFC 9051 number64, RFC 7162
// mod-sequence-value).
func (s *Scanner) Number64() uint64 { return s.number(1<<63 - 1) }

func (s *Scanner) number(limit uint64) uint64 {
	if s.err != nil {
		return 0
	}
	n, i := uint64(0), s.pos
	for ; i < len(s.b) && '0' <= s.b[i] && s.b[i] <= '9'; i++ {
		d := uint64(s.b[i] - '0')
		if n > (limit-d)/10 {
			s.Fail("a number within range")
			return 0
		}
		n = n*10 + d
	}
	if i == s.pos {
		s.Fail("number")
		return 0
	}
	s.pos = i
	return n
}

// Flag reads a system flag (with its backslash) or a keyword. "\*" is no flag
// that a client may set.
func (s *Scanner) Flag() string {
	if s.Try('\\') {
		return `\` + s.Atom()
	}
	return s.Atom()
}

// FlagList reads a parenthesised, possibly empty list of flags.
func (s *Scanner) FlagList() []string {
	var flags []string
	s.Byte('(')
	for s.err == nil && !s.Try(')') {
		if len(flags) > 0 {
			s.SP()
		}
		flags = append(flags, s.Flag())
	}
	if s.err != nil {
		return nil
	}
	return flags
}
