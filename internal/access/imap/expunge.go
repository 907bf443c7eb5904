package imap

import (
	"context"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// expunge answers EXPUNGE (RFC 9051 §6.4.3). The EXPUNGE or VANISHED responses
// are the notices before the tagged one.
func (s *session) expunge(ctx context.Context) answer {
	if s.box.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	modseq, _, err := s.expungeDeleted(ctx, []span{{0, s.box.view.told}})
	if err != nil {
		return s.failed("EXPUNGE", err)
	}
	return s.okModSeq(modseq, "EXPUNGE completed")
}

// uidExpunge answers UID EXPUNGE (RFC 9051 §6.4.9).
func (s *session) uidExpunge(ctx context.Context, v command.UIDExpunge) answer {
	if s.box.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	spans, err := s.box.view.spans(v.Set, true, s.box.saved)
	if err != nil {
		return bad(err.Error())
	}
	modseq, _, err := s.expungeDeleted(ctx, spans)
	if err != nil {
		return s.failed(v.Name(), err)
	}
	return s.okModSeq(modseq, "UID EXPUNGE completed")
}

// okModSeq is an OK that names the mod-sequence of what was removed (RFC 7162
// §3.2.9).
func (s *session) okModSeq(modseq mailbox.ModSeq, text string) answer {
	if modseq == 0 || !s.condStore {
		return ok(text)
	}
	return okCode("HIGHESTMODSEQ "+strconv.FormatUint(uint64(modseq), 10), text)
}
