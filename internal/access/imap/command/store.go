package command

import (
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// StoreOp says what STORE does with its flags.
type StoreOp uint8

// FLAGS, +FLAGS and -FLAGS.
const (
	StoreReplace StoreOp = iota
	StoreAdd
	StoreRemove
)

// Store is STORE or UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
type Store struct {
	UID    bool
	Set    wire.Set
	Op     StoreOp
	Silent bool
	Flags  []string
	// UnchangedSince counts only if Conditional: 0 is a condition too.
	Conditional    bool
	UnchangedSince uint64
}

// Name implements Verb.
func (v Store) Name() string { return uidName(v.UID, "STORE") }

func parseStore(s *wire.Scanner, uid bool) Verb {
	v := Store{UID: uid}
	s.SP()
	v.Set = s.Set()
	s.SP()
	if s.Peek() == '(' {
		list(s, func() {
			if v.Conditional || !s.TryWord("UNCHANGEDSINCE") {
				s.Fail("UNCHANGEDSINCE")
				return
			}
			s.SP()
			v.Conditional, v.UnchangedSince = true, s.Number64()
		})
		s.SP()
	}
	switch {
	case s.Try('+'):
		v.Op = StoreAdd
	case s.Try('-'):
		v.Op = StoreRemove
	}
	switch s.Item() {
	case "FLAGS":
	case "FLAGS.SILENT":
		v.Silent = true
	default:
		s.Fail("FLAGS")
	}
	s.SP()
	if s.Peek() == '(' {
		v.Flags = s.FlagList()
		return v
	}
	for s.Err() == nil {
		v.Flags = append(v.Flags, s.Flag())
		if s.AtEnd() {
			break
		}
		s.SP()
	}
	return v
}

func (v Store) appendArgs(dst []byte) []byte {
	dst = wire.AppendSet(append(dst, ' '), v.Set)
	if v.Conditional {
		dst = strconv.AppendUint(append(dst, " (UNCHANGEDSINCE "...), v.UnchangedSince, 10)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	switch v.Op {
	case StoreAdd:
		dst = append(dst, '+')
	case StoreRemove:
		dst = append(dst, '-')
	}
	dst = append(dst, "FLAGS"...)
	if v.Silent {
		dst = append(dst, ".SILENT"...)
	}
	return appendWords(append(dst, ' '), v.Flags)
}
