package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// ListSelect are LIST's selection options (RFC 9051 §6.3.9.1, RFC 6154 §2).
type ListSelect uint8

// The selection options.
const (
	SelectSubscribed ListSelect = 1 << iota
	SelectRemote
	SelectRecursiveMatch
	SelectSpecialUse
)

// ListReturn are LIST's return options (RFC 9051 §6.3.9.2, RFC 6154 §2, RFC
// 5819).
type ListReturn uint8

// The return options.
const (
	ReturnSubscribed ListReturn = 1 << iota
	ReturnChildren
	ReturnSpecialUse
	ReturnStatus
)

// listWords pairs the options' names, in the order of their bits.
func listWords() (sel, ret []string) {
	return []string{"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"},
		[]string{"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS"}
}

// List is LIST (RFC 9051 §6.3.9, RFC 5258).
type List struct {
	// Extended says that the command used the extended form: selection or
	// return options, or a list of patterns.
	Extended  bool
	Select    ListSelect
	Reference string
	Patterns  []string
	Return    ListReturn
	Status    []StatusItem // with ReturnStatus
}

// Name implements Verb.
func (List) Name() string { return "LIST" }

func parseList(s *wire.Scanner) Verb {
	var v List
	sel, _ := listWords()
	s.SP()
	if s.Peek() == '(' {
		v.Extended = true
		list(s, func() { v.Select |= ListSelect(option(s, sel)) })
		s.SP()
	}
	if v.Select&SelectRecursiveMatch != 0 && v.Select&(SelectSubscribed|SelectSpecialUse) == 0 {
		// RFC 9051 §6.3.9.1: it modifies another option.
		s.Fail("an option that RECURSIVEMATCH modifies")
	}
	v.Reference = s.Mailbox()
	s.SP()
	if s.Peek() == '(' {
		v.Extended = true
		list(s, func() { v.Patterns = append(v.Patterns, s.ListMailbox()) })
		if len(v.Patterns) == 0 {
			s.Fail("a pattern")
		}
	} else {
		v.Patterns = []string{s.ListMailbox()}
	}
	if s.AtEnd() {
		return v
	}
	s.SP()
	v.Extended = true
	v.parseReturn(s)
	return v
}

func (v *List) parseReturn(s *wire.Scanner) {
	_, ret := listWords()
	if !s.TryWord("RETURN") {
		s.Fail("RETURN")
	}
	s.SP()
	list(s, func() {
		bit := ListReturn(option(s, ret))
		if bit == ReturnStatus && v.Return&bit == 0 {
			s.SP()
			v.Status = statusItems(s)
		}
		v.Return |= bit
	})
}

// option reads one of words and gives its bit.
func option(s *wire.Scanner, words []string) uint8 {
	for i, w := range words {
		if s.TryWord(w) {
			return 1 << i
		}
	}
	s.Fail("an option that is known")
	return 0
}

func (v List) appendArgs(dst []byte) []byte {
	sel, ret := listWords()
	dst = append(dst, ' ')
	if v.Extended {
		dst = append(appendOptions(dst, uint8(v.Select), sel, nil), ' ')
	}
	dst = append(wire.AppendAString(dst, v.Reference), ' ')
	if v.Extended {
		dst = append(dst, '(')
	}
	for i, p := range v.Patterns {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = wire.AppendAString(dst, p)
	}
	if !v.Extended {
		return dst
	}
	dst = append(dst, ") RETURN "...)
	return appendOptions(dst, uint8(v.Return), ret, v.Status)
}

func appendOptions(dst []byte, bits uint8, words []string, status []StatusItem) []byte {
	dst = append(dst, '(')
	n := len(dst)
	for i, w := range words {
		if bits&(1<<i) == 0 {
			continue
		}
		if len(dst) > n {
			dst = append(dst, ' ')
		}
		dst = append(dst, w...)
		if w == "STATUS" {
			dst = appendStatusItems(append(dst, ' '), status)
		}
	}
	return append(dst, ')')
}

// Lsub is LSUB (RFC 3501 §6.3.9).
type Lsub struct{ Reference, Pattern string }

// Name implements Verb.
func (Lsub) Name() string { return "LSUB" }

func parseLsub(s *wire.Scanner) Verb {
	var v Lsub
	s.SP()
	v.Reference = s.Mailbox()
	s.SP()
	v.Pattern = s.ListMailbox()
	return v
}

func (v Lsub) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.Reference)
	return wire.AppendAString(append(dst, ' '), v.Pattern)
}
