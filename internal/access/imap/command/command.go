package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// ErrUnknown is the error of a command whose name is not known.
var ErrUnknown = errors.New("unknown command")

// Command is one command: a tag and what to do.
type Command struct {
	Tag  string
	Verb Verb
}

// Verb is what a command does: one of the structs of this package.
type Verb interface {
	// Name is the command's name in upper case, "FETCH" or "UID FETCH".
	Name() string
	appendArgs(dst []byte) []byte
}

// Parse reads one whole command that ends in CRLF, its literals in place. The
// tag is set even with an error, if it could be read.
func Parse(b []byte) (Command, error) {
	s := wire.NewScanner(b)
	c := Command{Tag: s.Tag()}
	s.SP()
	name := s.Keyword()
	if err := s.Err(); err != nil {
		return c, err
	}
	v, err := parseVerb(name, s)
	if err != nil {
		return c, err
	}
	s.End()
	if err := s.Err(); err != nil {
		return c, err
	}
	c.Verb = v
	return c, nil
}

// Append prints the command with its CRLF; literals are non-synchronising.
func (c Command) Append(dst []byte) []byte {
	dst = append(dst, c.Tag...)
	dst = append(dst, ' ')
	dst = append(dst, c.Verb.Name()...)
	dst = c.Verb.appendArgs(dst)
	return append(dst, '\r', '\n')
}

func parseVerb(name string, s *wire.Scanner) (Verb, error) {
	if _, ok := simpleNames(name); ok {
		return Simple(name), nil
	}
	var parse func(*wire.Scanner) Verb
	switch name {
	case "AUTHENTICATE":
		parse = parseAuthenticate
	case "LOGIN":
		parse = parseLogin
	case "ENABLE":
		parse = parseEnable
	case "ID":
		parse = parseID
	case "COMPRESS":
		parse = parseCompress
	case "SELECT", "EXAMINE":
		return parseSelect(s, name == "EXAMINE"), nil
	case "CREATE":
		parse = parseCreate
	case "DELETE":
		parse = parseDelete
	case "RENAME":
		parse = parseRename
	case "SUBSCRIBE", "UNSUBSCRIBE":
		return parseSubscribe(s, name == "SUBSCRIBE"), nil
	case "LIST":
		parse = parseList
	case "LSUB":
		parse = parseLsub
	case "STATUS":
		parse = parseStatus
	case "UID":
		return parseUID(s)
	default:
		return parseMessageVerb(name, false, s)
	}
	return parse(s), nil
}

func parseUID(s *wire.Scanner) (Verb, error) {
	s.SP()
	name := s.Keyword()
	if err := s.Err(); err != nil {
		return nil, err
	}
	if name == "EXPUNGE" {
		s.SP()
		return UIDExpunge{Set: s.Set()}, nil
	}
	return parseMessageVerb(name, true, s)
}

// parseMessageVerb parses the commands that come with and without UID.
func parseMessageVerb(name string, uid bool, s *wire.Scanner) (Verb, error) {
	switch name {
	case "SEARCH":
		return parseSearch(s, uid), nil
	case "FETCH":
		return parseFetch(s, uid), nil
	case "STORE":
		return parseStore(s, uid), nil
	case "COPY", "MOVE":
		return parseCopy(s, uid, name == "MOVE"), nil
	}
	return nil, fmt.Errorf("%w %.20q", ErrUnknown, name)
}

// Simple is a command without arguments, by its name.
type Simple string

// The commands without arguments.
const (
	Capability Simple = "CAPABILITY"
	Noop       Simple = "NOOP"
	Logout     Simple = "LOGOUT"
	StartTLS   Simple = "STARTTLS"
	Check      Simple = "CHECK"
	Close      Simple = "CLOSE"
	Unselect   Simple = "UNSELECT"
	Expunge    Simple = "EXPUNGE"
	Namespace  Simple = "NAMESPACE"
	Idle       Simple = "IDLE"
)

func simpleNames(name string) (Simple, bool) {
	switch v := Simple(name); v {
	case Capability, Noop, Logout, StartTLS, Check, Close, Unselect, Expunge, Namespace, Idle:
		return v, true
	}
	return "", false
}

// Name implements Verb.
func (v Simple) Name() string                 { return string(v) }
func (v Simple) appendArgs(dst []byte) []byte { return dst }

// uidName puts "UID " before a name where uid is set.
func uidName(uid bool, name string) string {
	if uid {
		return "UID " + name
	}
	return name
}

// list reads "(" item *(SP item) ")", where the list may be empty.
func list(s *wire.Scanner, item func()) {
	s.Byte('(')
	for first := true; s.Err() == nil && !s.Try(')'); first = false {
		if !first {
			s.SP()
		}
		item()
	}
}

func appendWords(dst []byte, words []string) []byte {
	return append(append(append(dst, '('), strings.Join(words, " ")...), ')')
}
