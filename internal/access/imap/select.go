package imap

import (
	"context"
	"fmt"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// selectBox answers SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3).
func (s *session) selectBox(ctx context.Context, v command.Select) answer {
	if v.QResync != nil && !s.qresync {
		return bad("ENABLE QRESYNC first") // RFC 7162 §3.2.5
	}
	if s.box != nil {
		// RFC 9051 §6.3.2: the old mailbox is left even if the new one cannot
		// be had.
		s.leaveBox()
		if s.qresync || s.rev2 {
			s.line("OK [CLOSED] Previous mailbox is closed")
		}
	}
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	info, err := s.srv.boxes.Lookup(sctx, s.account(), name)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	if v.CondStore || v.QResync != nil {
		s.condStore = true
	}
	st, err := s.open(sctx, info, v.ReadOnly)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	s.writeSelected(st, info)
	if q := v.QResync; q != nil && q.UIDValidity == st.UIDValidity {
		if err := s.resync(sctx, q); err != nil {
			s.leaveBox()
			return s.failed(v.Name(), err)
		}
	}
	s.srv.o.Metrics.selected.Inc()
	if v.ReadOnly {
		return answer{status: statusOK, code: "READ-ONLY", text: "EXAMINE completed", quiet: true}
	}
	return answer{status: statusOK, code: "READ-WRITE", text: "SELECT completed", quiet: true}
}

// selected is what SELECT says of a mailbox, in agreement with the session's
// view of it.
type selected struct {
	mailbox.Status
	unseen int // sequence number of the first message without \Seen; 0: none
}

// open makes a mailbox the session's.
func (s *session) open(ctx context.Context, info mailbox.Info, readOnly bool) (selected, error) {
	mb, err := s.srv.boxes.OpenMailbox(ctx, info.ID)
	if err != nil {
		return selected{}, fmt.Errorf("open mailbox: %w", err)
	}
	st := selected{Status: mb.Status()} // before the entries: UIDNEXT may be too low, never too high
	entries, modseq, err := mb.Entries(ctx)
	if err != nil {
		mb.Close()
		return selected{}, fmt.Errorf("read entries: %w", err)
	}
	if n := len(entries); n > 0 {
		st.UIDNext = max(st.UIDNext, entries[n-1].UID+1)
	}
	st.HighestModSeq = modseq
	for i := range entries {
		if entries[i].Flags&mailbox.FlagSeen == 0 {
			st.unseen = i + 1
			break
		}
	}
	s.box = &box{mb: mb, id: info.ID, readOnly: readOnly, view: newTracker(entries, modseq)}
	return st, nil
}

// writeSelected writes the untagged responses of SELECT.
func (s *session) writeSelected(st selected, info mailbox.Info) {
	s.writeFlags()
	b := s.link.buf()
	number := func(before string, n uint64, after string) {
		b = append(b, before...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, after...)
	}
	number("* ", uint64(s.box.view.told), " EXISTS\r\n")
	if !s.rev2 {
		b = append(b, "* 0 RECENT\r\n"...)
		if st.unseen > 0 {
			number("* OK [UNSEEN ", uint64(st.unseen), "] First unseen\r\n")
		}
	}
	number("* OK [UIDVALIDITY ", uint64(st.UIDValidity), "] UIDs are valid\r\n")
	number("* OK [UIDNEXT ", uint64(st.UIDNext), "] Next UID\r\n")
	number("* OK [HIGHESTMODSEQ ", uint64(max(st.HighestModSeq, 1)), "] Highest\r\n")
	if s.rev2 {
		b = append(b, "* LIST () \"/\" "...)
		b = wire.AppendMailbox(b, info.Name, s.utf8)
		b = append(b, '\r', '\n')
	}
	s.link.put(b)
}

// resync tells a client that knows the mailbox what is different (RFC 7162
// §3.2.5.1). Its message sequence match data is not needed: what has vanished
// since any mod-sequence is known.
func (s *session) resync(ctx context.Context, q *command.QResync) error {
	ch, err := s.box.mb.Changes(ctx, mailbox.ModSeq(q.ModSeq))
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	var known []wire.Range
	if len(q.Known.Ranges) > 0 {
		known = q.Known.Resolve(0)
	}
	s.writeVanished(ch.Vanished, known)
	for i := range ch.Changed {
		e := &ch.Changed[i]
		at, here := s.box.view.position(uint32(e.UID))
		if !here || known != nil && !wire.Contains(known, uint32(e.UID)) {
			continue
		}
		s.link.put(s.appendFlagsRow(s.link.buf(), uint32(at+1), e))
	}
	return nil
}

// writeVanished writes VANISHED (EARLIER) of those UIDs that are within known,
// or of all if that is nil.
func (s *session) writeVanished(uids []mailbox.UID, known []wire.Range) {
	gone := make([]uint32, 0, len(uids))
	for _, uid := range uids {
		_, here := s.box.view.position(uint32(uid))
		if !here && (known == nil || wire.Contains(known, uint32(uid))) {
			gone = append(gone, uint32(uid))
		}
	}
	if len(gone) == 0 {
		return
	}
	b := append(s.link.buf(), "* VANISHED (EARLIER) "...)
	b = wire.AppendNumbers(b, gone)
	s.link.put(append(b, '\r', '\n'))
}
