package imap

import (
	"context"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// copy answers COPY, MOVE and their UID forms (RFC 9051 §6.4.7, §6.4.8). All
// messages are in the destination, durably, before the OK, or none is.
func (s *session) copy(ctx context.Context, v command.Copy) answer {
	if v.Move && s.box.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	spans, err := s.box.view.spans(v.Set, v.UID, s.box.saved)
	if err != nil {
		return bad(err.Error())
	}
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	cctx, cancel := changeCtx(ctx)
	defer cancel()
	dst, err := s.srv.boxes.Lookup(cctx, s.account(), name)
	if err != nil {
		return s.failedInto(v.Name(), err)
	}
	if length(spans) == 0 {
		return ok(v.Name() + " completed")
	}
	if a, may := s.mayCopy(cctx, v, spans); !may {
		return a
	}
	return s.transfer(cctx, v, spans, dst.ID)
}

// mayCopy looks for what stands against a copy.
func (s *session) mayCopy(ctx context.Context, v command.Copy, spans []span) (answer, bool) {
	entries, err := s.box.entries(ctx, spans)
	if err != nil {
		return s.failed(v.Name(), err), false
	}
	var octets int64
	missing, err := s.box.each(spans, entries, func(_ uint32, e *mailbox.Entry) error {
		octets += int64(e.Size)
		return nil
	})
	switch {
	case err != nil || missing > 0 && !v.UID:
		// RFC 9051 §6.4.7: all or nothing, of the messages that the client sees.
		return no("EXPUNGEISSUED", "Some messages are gone"), false
	case !v.Move && s.overQuota(ctx, octets):
		return noRoom(), false
	}
	return answer{}, true
}

// transfer copies or moves.
func (s *session) transfer(ctx context.Context, v command.Copy, spans []span, dst mailbox.ID) answer {
	act := s.srv.boxes.Copy
	if v.Move {
		act = s.srv.boxes.Move
	}
	res, err := act(ctx, s.box.id, s.box.uids(spans), dst)
	if err != nil {
		return s.failedInto(v.Name(), err)
	}
	if len(res.Src) == 0 {
		return ok(v.Name() + " completed")
	}
	code := append([]byte("COPYUID "), strconv.FormatUint(uint64(res.UIDValidity), 10)...)
	code = appendUIDs(append(code, ' '), res.Src)
	code = appendUIDs(append(code, ' '), res.Dst)
	if !v.Move {
		return okCode(string(code), v.Name()+" completed")
	}
	// RFC 9051 §6.4.8: COPYUID comes before the EXPUNGEs, which are the
	// notices before the tagged response.
	s.line("OK [%s] Moved", code)
	return ok(v.Name() + " completed")
}
