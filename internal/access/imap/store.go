package imap

import (
	"context"
	"slices"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// store answers STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3). The
// new flags are durable before the OK.
func (s *session) store(ctx context.Context, v command.Store) answer {
	if s.box.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	spans, err := s.box.view.spans(v.Set, v.UID, s.box.saved)
	if err != nil {
		return bad(err.Error())
	}
	if v.Conditional {
		s.enableCondStore()
	}
	if length(spans) == 0 {
		return ok(v.Name() + " completed")
	}
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	change := mailbox.SetFlags{UIDs: s.box.uids(spans), Flags: v.Flags}
	switch v.Op {
	case command.StoreReplace:
		change.Mode = mailbox.Replace
	case command.StoreAdd:
		change.Mode = mailbox.Add
	case command.StoreRemove:
		change.Mode = mailbox.Remove
	}
	if v.Conditional {
		since := mailbox.ModSeq(v.UnchangedSince)
		change.UnchangedSince = &since
	}
	if err := s.take(ctx); err != nil { // so that others' changes are told from ours
		return s.failed(v.Name(), err)
	}
	res, err := s.srv.boxes.SetFlags(sctx, s.box.id, change)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	s.tellKeywords()
	missing, err := s.writeStored(sctx, v, spans, res)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	return s.stored(v, res, missing)
}

// writeStored tells the new flags, unless the client does not want them, and
// counts the messages that are gone.
func (s *session) writeStored(ctx context.Context, v command.Store, spans []span, res mailbox.FlagsResult) (missing int, err error) {
	entries, err := s.box.entries(ctx, spans)
	if err != nil {
		return 0, err
	}
	if res.Written {
		s.box.view.disown(res.ModSeq)
	}
	return s.box.each(spans, entries, func(seq uint32, e *mailbox.Entry) error {
		if _, failed := slices.BinarySearch(res.Modified, e.UID); failed {
			return nil
		}
		switch {
		case !v.Silent:
			return s.link.put(s.appendFlagsRow(s.link.buf(), seq, e))
		case s.condStore && res.Written && e.ModSeq == res.ModSeq:
			// RFC 7162 §3.1.3: .SILENT keeps back the flags, not the MODSEQ.
			b := append(s.link.buf(), "* "...)
			b = strconv.AppendUint(b, uint64(seq), 10)
			b = append(b, " FETCH (UID "...)
			b = strconv.AppendUint(b, uint64(e.UID), 10)
			b = append(b, " MODSEQ ("...)
			b = strconv.AppendUint(b, uint64(e.ModSeq), 10)
			return s.link.put(append(b, "))\r\n"...))
		}
		return nil
	})
}

// stored is the tagged response of a STORE.
func (s *session) stored(v command.Store, res mailbox.FlagsResult, missing int) answer {
	if len(res.Modified) > 0 {
		var ns []uint32
		for _, uid := range res.Modified {
			at, known := s.box.view.position(uint32(uid))
			switch {
			case v.UID:
				ns = append(ns, uint32(uid))
			case known:
				ns = append(ns, uint32(at+1))
			}
		}
		return okCode(string(wire.AppendNumbers([]byte("MODIFIED "), ns)), "Conditional STORE failed")
	}
	if missing > 0 && !v.UID {
		return no("EXPUNGEISSUED", "Some messages are gone")
	}
	return ok(v.Name() + " completed")
}
