package smtp

import (
	"bytes"
	"errors"
)

// Verb is a command that the machine knows.
type Verb uint8

// The verbs. A verb that is not listed is VerbUnknown and answered 500.
const (
	VerbUnknown Verb = iota
	VerbHelo
	VerbEhlo
	VerbMail
	VerbRcpt
	VerbData
	VerbBdat
	VerbRset
	VerbNoop
	VerbQuit
	VerbVrfy
	VerbHelp
	VerbStartTLS
	VerbAuth
	VerbExpn
	VerbEtrn
	VerbTurn
	VerbSend
	VerbSoml
	VerbSaml
	verbCount
)

// verbName returns the name on the wire.
func verbName(v Verb) string {
	return [verbCount]string{
		"", "HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "HELP", "STARTTLS", "AUTH",
		"EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML",
	}[v]
}

// String returns the verb as it is sent, "" for VerbUnknown.
func (v Verb) String() string {
	if v >= verbCount {
		return ""
	}
	return verbName(v)
}

// Command is one command line, split into its verb and the rest. The slices
// point into the line that it was parsed from.
type Command struct {
	Verb Verb
	Name []byte // the verb as it was sent
	Arg  []byte // what follows, without the white space around it; nil if nothing
}

// ErrCommand is returned by [ParseCommand] for a line that has no verb or
// octets that no command may have.
var ErrCommand = errors.New("malformed command")

// ParseCommand splits a command line, given without its CRLF. Verbs are
// recognised in any case (RFC 5321 §2.4). White space at the end is ignored
// (§4.1.1). It allocates nothing.
func ParseCommand(line []byte) (Command, error) {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return Command{}, ErrCommand
		}
	}
	i := 0
	for i < len(line) && isAlnum(line[i]) {
		i++
	}
	if i == 0 || (i < len(line) && line[i] != ' ' && line[i] != '\t') {
		return Command{}, ErrCommand
	}
	c := Command{Verb: lookupVerb(line[:i]), Name: line[:i]}
	if arg := bytes.Trim(line[i:], " \t"); len(arg) > 0 {
		c.Arg = arg
	}
	return c, nil
}

// AppendTo appends the command line with its CRLF.
func (c Command) AppendTo(dst []byte) []byte {
	dst = append(dst, c.Name...)
	if len(c.Arg) > 0 {
		dst = append(append(dst, ' '), c.Arg...)
	}
	return append(dst, '\r', '\n')
}

// lookupVerb finds a verb by its name in any case.
func lookupVerb(name []byte) Verb {
	if len(name) == 4 {
		switch uint32(name[0]&^0x20)<<24 | uint32(name[1]&^0x20)<<16 | uint32(name[2]&^0x20)<<8 | uint32(name[3]&^0x20) {
		case 'H'<<24 | 'E'<<16 | 'L'<<8 | 'O':
			return VerbHelo
		case 'E'<<24 | 'H'<<16 | 'L'<<8 | 'O':
			return VerbEhlo
		case 'M'<<24 | 'A'<<16 | 'I'<<8 | 'L':
			return VerbMail
		case 'R'<<24 | 'C'<<16 | 'P'<<8 | 'T':
			return VerbRcpt
		case 'D'<<24 | 'A'<<16 | 'T'<<8 | 'A':
			return VerbData
		case 'B'<<24 | 'D'<<16 | 'A'<<8 | 'T':
			return VerbBdat
		case 'R'<<24 | 'S'<<16 | 'E'<<8 | 'T':
			return VerbRset
		case 'N'<<24 | 'O'<<16 | 'O'<<8 | 'P':
			return VerbNoop
		case 'Q'<<24 | 'U'<<16 | 'I'<<8 | 'T':
			return VerbQuit
		}
	}
	for v := VerbVrfy; v < verbCount; v++ {
		if equalFold(name, verbName(v)) {
			return v
		}
	}
	return VerbUnknown
}

// equalFold reports whether b is the upper-case ASCII word in any case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
