package command

import "github.com/breakwater-mail/breakwater/internal/access/imap/wire"

// StatusItem is one item of STATUS.
type StatusItem uint8

// The items (RFC 9051 §6.3.11; RECENT: RFC 3501; HIGHESTMODSEQ: RFC 7162;
// APPENDLIMIT: RFC 7889).
const (
	StatusMessages StatusItem = iota
	StatusRecent
	StatusUIDNext
	StatusUIDValidity
	StatusUnseen
	StatusDeleted
	StatusSize
	StatusHighestModSeq
	StatusAppendLimit
	statusItemsEnd
)

// String gives the item's name.
func (i StatusItem) String() string {
	return [...]string{
		"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT",
	}[i]
}

// Status is STATUS (RFC 9051 §6.3.11).
type Status struct {
	Mailbox string
	Items   []StatusItem // at least one, each once
}

// Name implements Verb.
func (Status) Name() string { return "STATUS" }

func parseStatus(s *wire.Scanner) Verb {
	var v Status
	s.SP()
	v.Mailbox = s.Mailbox()
	s.SP()
	v.Items = statusItems(s)
	return v
}

func statusItems(s *wire.Scanner) []StatusItem {
	var items []StatusItem
	var seen uint16
	list(s, func() {
		for i := range statusItemsEnd {
			if s.TryWord(i.String()) {
				if seen&(1<<i) == 0 {
					items = append(items, i)
				}
				seen |= 1 << i
				return
			}
		}
		s.Fail("a status item that is known")
	})
	if len(items) == 0 {
		s.Fail("a status item")
	}
	return items
}

func (v Status) appendArgs(dst []byte) []byte {
	dst = wire.AppendAString(append(dst, ' '), v.Mailbox)
	return appendStatusItems(append(dst, ' '), v.Items)
}

func appendStatusItems(dst []byte, items []StatusItem) []byte {
	dst = append(dst, '(')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, item.String()...)
	}
	return append(dst, ')')
}
