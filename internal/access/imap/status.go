package imap

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/breakwater-mail/breakwater/internal/access/imap/command"
	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// status answers STATUS (RFC 9051 §6.3.11).
func (s *session) status(ctx context.Context, v command.Status) answer {
	name, a, valid := s.mailboxName(v.Mailbox)
	if !valid {
		return a
	}
	sctx, cancel := changeCtx(ctx)
	defer cancel()
	info, err := s.srv.boxes.Lookup(sctx, s.account(), name)
	if err != nil {
		return s.failed("STATUS", err)
	}
	if err := s.writeStatus(sctx, info, v.Items); err != nil {
		return s.failed("STATUS", err)
	}
	return ok("STATUS completed")
}

// writeStatus writes an untagged STATUS.
func (s *session) writeStatus(ctx context.Context, info mailbox.Info, items []command.StatusItem) error {
	st, err := s.srv.boxes.GetStatus(ctx, info.ID)
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	if slices.Contains(items, command.StatusHighestModSeq) {
		s.enableCondStore() // RFC 7162 §3.1
	}
	b := append(s.link.buf(), "* STATUS "...)
	b = wire.AppendMailbox(b, info.Name, s.utf8)
	b = append(b, " ("...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, item.String()...)
		b = append(b, ' ')
		b = strconv.AppendUint(b, s.statusValue(st, item), 10)
	}
	s.link.put(append(b, ")\r\n"...))
	return nil
}

func (s *session) statusValue(st mailbox.Status, item command.StatusItem) uint64 {
	switch item {
	case command.StatusMessages:
		return uint64(st.Messages)
	case command.StatusUIDNext:
		return uint64(st.UIDNext)
	case command.StatusUIDValidity:
		return uint64(st.UIDValidity)
	case command.StatusUnseen:
		return uint64(st.Unseen)
	case command.StatusDeleted:
		return uint64(st.Deleted)
	case command.StatusSize:
		return uint64(st.Size)
	case command.StatusHighestModSeq:
		return uint64(max(st.HighestModSeq, 1))
	case command.StatusAppendLimit:
		return uint64(s.srv.o.AppendLimit)
	}
	return 0 // RECENT: see the package documentation
}
