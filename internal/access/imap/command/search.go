package command

import (
	"fmt"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
)

// Limits of SEARCH.
const (
	SearchDepthMax = 50   // nesting of parentheses, OR and NOT; clients need three
	SearchKeysMax  = 1000 // keys in one command; clients that search by a list of ids send hundreds
)

// SearchReturn are SEARCH's return options (RFC 9051 §6.4.4, RFC 5182).
type SearchReturn uint8

// The return options.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
	ReturnSave
)

func searchReturnWords() []string { return []string{"MIN", "MAX", "ALL", "COUNT", "SAVE"} }

// KeyOp is what a search key tests.
type KeyOp uint8

// The search keys (RFC 9051 §6.4.4; RECENT, NEW, OLD: RFC 3501 §6.4.4;
// MODSEQ: RFC 7162 §3.1.5). KeyAnd, KeyOr and KeyNot combine Keys.
const (
	KeyAnd KeyOp = iota
	KeyOr
	KeyNot
	KeySeq // sequence numbers in Set
	KeyUID // UIDs in Set
	KeyAll
	KeyAnswered
	KeyDeleted
	KeyDraft
	KeyFlagged
	KeySeen
	KeyUnanswered
	KeyUndeleted
	KeyUndraft
	KeyUnflagged
	KeyUnseen
	KeyNew
	KeyOld
	KeyRecent
	KeyKeyword
	KeyUnkeyword
	KeyBcc
	KeyBody
	KeyCc
	KeyFrom
	KeySubject
	KeyText
	KeyTo
	KeyHeader
	KeyBefore
	KeyOn
	KeySince
	KeySentBefore
	KeySentOn
	KeySentSince
	KeyLarger
	KeySmaller
	KeyModSeq
	keyOpsEnd
)

func (op KeyOp) String() string {
	return [...]string{
		"AND", "OR", "NOT", "SEQ", "UID", "ALL", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN",
		"UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "UNSEEN", "NEW", "OLD", "RECENT",
		"KEYWORD", "UNKEYWORD", "BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO", "HEADER",
		"BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE", "LARGER", "SMALLER", "MODSEQ",
	}[op]
}

// Key is one search key; which fields count depends on Op.
type Key struct {
	Op    KeyOp
	Keys  []Key     // of KeyAnd (any number), KeyOr (two), KeyNot (one)
	Field string    // KeyHeader: the field's name; KeyModSeq: the entry's name, if any
	Text  string    // the string looked for; KeyModSeq: priv, shared or all, with an entry's name
	Set   wire.Set  // KeySeq, KeyUID
	Date  wire.Date // of the six keys about dates
	Num   uint64    // KeyLarger, KeySmaller, KeyModSeq
}

// Search is SEARCH or UID SEARCH (RFC 9051 §6.4.4).
type Search struct {
	UID      bool
	Extended bool // RETURN was given, if only as "RETURN ()"
	Return   SearchReturn
	Charset  string // upper case; empty: not given
	Key      Key    // KeyAnd of the program's keys
}

// Name implements Verb.
func (v Search) Name() string { return uidName(v.UID, "SEARCH") }

func parseSearch(s *wire.Scanner, uid bool) Verb {
	v := Search{UID: uid}
	s.SP()
	if s.TryWord("RETURN") {
		v.Extended = true
		s.SP()
		words := searchReturnWords()
		list(s, func() { v.Return |= SearchReturn(option(s, words)) })
		s.SP()
	}
	if s.TryWord("CHARSET") {
		s.SP()
		v.Charset = upper(s.AString())
		s.SP()
	}
	p := searchParser{s: s}
	v.Key = p.program(func() bool { return s.AtEnd() }, 0)
	return v
}

func upper(v string) string {
	b := []byte(v)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

type searchParser struct {
	s    *wire.Scanner
	keys int
}

// program reads keys up to where end says, which it does not read.
func (p *searchParser) program(end func() bool, depth int) Key {
	var key Key
	for first := true; p.s.Err() == nil; first = false {
		if !first {
			if end() {
				break
			}
			p.s.SP()
		}
		key.Keys = append(key.Keys, p.key(depth+1))
	}
	return key
}

func (p *searchParser) key(depth int) Key {
	s := p.s
	if p.keys++; p.keys > SearchKeysMax {
		s.Fail(fmt.Sprintf("at most %d search keys", SearchKeysMax))
	}
	if depth > SearchDepthMax {
		s.Fail(fmt.Sprintf("keys nested at most %d deep", SearchDepthMax))
	}
	if s.Err() != nil {
		return Key{}
	}
	switch c := s.Peek(); {
	case c == '(':
		s.Byte('(')
		key := p.program(func() bool { return s.Peek() == ')' }, depth)
		s.Byte(')')
		return key
	case c == '*' || c == '$' || '0' <= c && c <= '9':
		return Key{Op: KeySeq, Set: s.Set()}
	}
	word := s.Keyword()
	for op := KeyOr; op < keyOpsEnd; op++ {
		if op.String() == word && op != KeySeq {
			return p.arguments(Key{Op: op}, depth)
		}
	}
	s.Fail("a search key that is known")
	return Key{}
}

// arguments reads what follows the name of a key.
func (p *searchParser) arguments(k Key, depth int) Key {
	s := p.s
	switch k.Op {
	case KeyOr:
		s.SP()
		a := p.key(depth + 1)
		s.SP()
		k.Keys = []Key{a, p.key(depth + 1)}
	case KeyNot:
		s.SP()
		k.Keys = []Key{p.key(depth + 1)}
	case KeyUID:
		s.SP()
		k.Set = s.Set()
	case KeyKeyword, KeyUnkeyword:
		s.SP()
		k.Text = s.Flag()
	case KeyHeader:
		s.SP()
		k.Field = s.AString()
		s.SP()
		k.Text = s.AString()
	case KeyBcc, KeyBody, KeyCc, KeyFrom, KeySubject, KeyText, KeyTo:
		s.SP()
		k.Text = s.AString()
	case KeyBefore, KeyOn, KeySince, KeySentBefore, KeySentOn, KeySentSince:
		s.SP()
		k.Date = s.Date()
	case KeyLarger, KeySmaller:
		s.SP()
		k.Num = s.Number64()
	case KeyModSeq:
		s.SP()
		if s.Peek() == '"' {
			k.Field = s.String()
			s.SP()
			k.Text = s.Keyword()
			s.SP()
		}
		k.Num = s.Number64()
	}
	return k
}

func (v Search) appendArgs(dst []byte) []byte {
	if v.Extended {
		dst = append(dst, " RETURN "...)
		dst = appendOptions(dst, uint8(v.Return), searchReturnWords(), nil)
	}
	if v.Charset != "" {
		dst = wire.AppendAString(append(dst, " CHARSET "...), v.Charset)
	}
	return appendKeys(append(dst, ' '), v.Key.Keys)
}

func appendKeys(dst []byte, keys []Key) []byte {
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = appendKey(dst, k)
	}
	return dst
}

func appendKey(dst []byte, k Key) []byte {
	switch k.Op {
	case KeyAnd:
		return append(appendKeys(append(dst, '('), k.Keys), ')')
	case KeySeq:
		return wire.AppendSet(dst, k.Set)
	}
	dst = append(dst, k.Op.String()...)
	switch k.Op {
	case KeyOr, KeyNot:
		return appendKeys(append(dst, ' '), k.Keys)
	case KeyUID:
		return wire.AppendSet(append(dst, ' '), k.Set)
	case KeyKeyword, KeyUnkeyword:
		return append(append(dst, ' '), k.Text...)
	case KeyHeader:
		dst = wire.AppendAString(append(dst, ' '), k.Field)
		return wire.AppendAString(append(dst, ' '), k.Text)
	case KeyBcc, KeyBody, KeyCc, KeyFrom, KeySubject, KeyText, KeyTo:
		return wire.AppendAString(append(dst, ' '), k.Text)
	case KeyBefore, KeyOn, KeySince, KeySentBefore, KeySentOn, KeySentSince:
		return wire.AppendDate(append(dst, ' '), k.Date)
	case KeyModSeq:
		if k.Field != "" {
			dst = appendText(append(dst, ' '), k.Field)
			dst = append(append(dst, ' '), k.Text...)
		}
		return strconv.AppendUint(append(dst, ' '), k.Num, 10)
	case KeyLarger, KeySmaller:
		return strconv.AppendUint(append(dst, ' '), k.Num, 10)
	}
	return dst
}
