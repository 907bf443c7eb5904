package imap

import (
	"context"

	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// unselect answers UNSELECT (RFC 9051 §6.4.2).
func (s *session) unselect() answer {
	s.leaveBox()
	return ok("UNSELECT completed")
}

// close answers CLOSE (RFC 9051 §6.4.1): what has \Deleted goes, without a
// word, unless the mailbox was opened by EXAMINE.
func (s *session) close(ctx context.Context) answer {
	defer s.leaveBox()
	if s.box.readOnly {
		return ok("CLOSE completed")
	}
	modseq, _, err := s.expungeDeleted(ctx, []span{{0, s.box.view.told}})
	if err != nil {
		return s.failed("CLOSE", err)
	}
	a := s.okModSeq(modseq, "CLOSE completed")
	a.quiet = true
	return a
}

// expungeDeleted removes what has \Deleted among the messages at spans.
func (s *session) expungeDeleted(ctx context.Context, spans []span) (mailbox.ModSeq, []mailbox.UID, error) {
	ectx, cancel := changeCtx(ctx)
	defer cancel()
	entries, err := s.box.entries(ectx, spans)
	if err != nil {
		return 0, nil, err
	}
	var uids []mailbox.UID
	if length(spans) > 0 {
		_, err = s.box.each(spans, entries, func(_ uint32, e *mailbox.Entry) error {
			if e.Flags&mailbox.FlagDeleted != 0 {
				uids = append(uids, e.UID)
			}
			return nil
		})
		if err != nil {
			return 0, nil, err
		}
	}
	var modseq mailbox.ModSeq
	var gone []mailbox.UID
	for len(uids) > 0 {
		n := min(len(uids), batchMax)
		m, removed, err := s.srv.boxes.Expunge(ectx, s.box.id, uids[:n])
		if err != nil {
			return modseq, gone, err
		}
		modseq, gone = m, append(gone, removed...)
		uids = uids[n:]
	}
	return modseq, gone, nil
}
