package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// box is the selected mailbox of a session.
type box struct {
	mb       *mailbox.Mailbox
	id       mailbox.ID
	readOnly bool
	view     tracker
	saved    []uint32 // UIDs of the last SEARCH with SAVE, ascending (RFC 5182)

	keywords int // how many the client was told of
	flags    flagPrinter
}

// getMost is the number of messages up to which their entries are asked for
// one by one.
const getMost = 64

// entries gives the entries of the messages at spans, and perhaps more, in
// UID order.
func (b *box) entries(ctx context.Context, spans []span) ([]mailbox.Entry, error) {
	n := length(spans)
	if n == 0 {
		return nil, nil
	}
	if n <= getMost {
		entries, err := b.mb.Get(ctx, b.uids(spans), make([]mailbox.Entry, 0, n))
		if err != nil {
			return nil, fmt.Errorf("read entries: %w", err)
		}
		return entries, nil
	}
	entries, _, err := b.mb.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	return entries, nil
}

// uids gives the UIDs of the messages at spans.
func (b *box) uids(spans []span) []mailbox.UID {
	out := make([]mailbox.UID, 0, length(spans))
	for _, s := range spans {
		for _, uid := range b.view.uids[s.lo:s.hi] {
			out = append(out, mailbox.UID(uid))
		}
	}
	return out
}

// each calls fn for each message at spans that is still there, in order, with
// its sequence number. missing is how many are not. entries are sorted by UID
// and may hold others.
func (b *box) each(spans []span, entries []mailbox.Entry, fn func(seq uint32, e *mailbox.Entry) error) (missing int, err error) {
	for _, s := range spans {
		i, _ := slices.BinarySearchFunc(entries, b.view.uids[s.lo], func(e mailbox.Entry, uid uint32) int {
			return int(int64(e.UID) - int64(uid))
		})
		for at := s.lo; at < s.hi; at++ {
			uid := mailbox.UID(b.view.uids[at])
			for i < len(entries) && entries[i].UID < uid {
				i++
			}
			if i == len(entries) || entries[i].UID != uid {
				missing++
				continue
			}
			if err := fn(uint32(at+1), &entries[i]); err != nil {
				return missing, err
			}
		}
	}
	return missing, nil
}

// leaveBox closes the selected mailbox, if there is one.
func (s *session) leaveBox() {
	if s.box == nil {
		return
	}
	s.box.mb.Close()
	s.box = nil
	s.srv.o.Metrics.selected.Dec()
}

// take notes what has happened in the selected mailbox, to be told later.
func (s *session) take(ctx context.Context) error {
	tctx, cancel := changeCtx(ctx)
	defer cancel()
	ch, err := s.box.mb.Changes(tctx, s.box.view.modseq)
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	s.box.view.take(ch)
	return nil
}

// notify tells the client what has changed in the selected mailbox.
func (s *session) notify(ctx context.Context, expunges bool) error {
	err := s.take(ctx)
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		return nil // deleted: the session is about to be told so and to end
	}
	if err != nil {
		return err
	}
	s.tellKeywords()
	if s.box.view.pending(expunges) {
		s.report(s.box.view.report(expunges))
	}
	return nil
}

// report writes notices.
func (s *session) report(n notices) {
	b := s.link.buf()
	if len(n.vanished) > 0 && s.qresync {
		b = append(b, "* VANISHED "...)
		b = wire.AppendNumbers(b, n.vanished)
		b = append(b, '\r', '\n')
	} else {
		for _, seq := range n.expunged {
			b = append(b, "* "...)
			b = strconv.AppendUint(b, uint64(seq), 10)
			b = append(b, " EXPUNGE\r\n"...)
		}
	}
	if n.exists >= 0 {
		b = append(b, "* "...)
		b = strconv.AppendInt(b, int64(n.exists), 10)
		b = append(b, " EXISTS\r\n"...)
	}
	for i := range n.changed {
		b = s.appendFlagsRow(b, n.changed[i].seq, &n.changed[i].entry)
		if len(b) >= flushAt {
			s.link.put(b)
			b = s.link.buf()
		}
	}
	s.link.put(b)
}

// appendFlagsRow appends an untagged FETCH with a message's UID and flags, and
// its mod-sequence where the client wants those (RFC 7162 §3.2).
func (s *session) appendFlagsRow(b []byte, seq uint32, e *mailbox.Entry) []byte {
	b = append(b, "* "...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, " FETCH (UID "...)
	b = strconv.AppendUint(b, uint64(e.UID), 10)
	b = append(b, " FLAGS "...)
	b = s.box.appendFlags(b, e.Flags)
	if s.condStore {
		b = append(b, " MODSEQ ("...)
		b = strconv.AppendUint(b, uint64(e.ModSeq), 10)
		b = append(b, ')')
	}
	return append(b, ")\r\n"...)
}

// tellKeywords tells of keywords that the mailbox has got. It comes before any
// flags, so that a client never meets one that it was not told of.
func (s *session) tellKeywords() {
	if len(s.box.mb.Keywords()) != s.box.keywords {
		s.writeFlags()
	}
}

// writeFlags writes the FLAGS response and PERMANENTFLAGS (RFC 9051 §7.3.5,
// §7.1).
func (s *session) writeFlags() {
	keywords := s.box.mb.Keywords()
	s.box.keywords = len(keywords)
	names := append([]string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}, keywords...)
	b := append(s.link.buf(), "* FLAGS "...)
	b = wire.AppendFlags(b, names)
	b = append(b, "\r\n* OK [PERMANENTFLAGS "...)
	if s.box.readOnly {
		names = nil
	} else {
		names = append(names, `\*`)
	}
	b = wire.AppendFlags(b, names)
	s.link.put(append(b, "] Flags that are kept\r\n"...))
}

// flagPrinter remembers how the last flags were printed: most messages of a
// mailbox have the same few.
type flagPrinter struct {
	known [8]printedFlags
	n     int // how many of known are set
	next  int // which is replaced next
}

type printedFlags struct {
	flags mailbox.Flags
	text  []byte
}

// appendFlags appends a parenthesised list of a message's flags.
func (b *box) appendFlags(dst []byte, f mailbox.Flags) []byte {
	p := &b.flags
	for i := range p.known[:p.n] {
		if p.known[i].flags == f {
			return append(dst, p.known[i].text...)
		}
	}
	text := wire.AppendFlags(nil, b.mb.FlagNames(f))
	if p.n < len(p.known) {
		p.n++
	}
	p.known[p.next] = printedFlags{f, text}
	p.next = (p.next + 1) % len(p.known)
	return append(dst, text...)
}
