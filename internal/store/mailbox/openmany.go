package mailbox

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// OpenMessages is OpenMessage for many: it looks up where they lie in one go,
// then opens one after the other and gives it, or the error, to fn with its
// index in lsns. fn must close the body. An error of fn ends the walk and is
// returned; any other error of OpenMessages means that nothing was opened.
func (s *Store) OpenMessages(ctx context.Context, lsns []journal.LSN, fn func(i int, b *journal.Body, err error) error) error {
	positions := make([]journal.Position, len(lsns))
	var last journal.LSN
	for _, lsn := range lsns {
		last = max(last, lsn)
	}
	if err := s.x.Wait(ctx, min(last, s.j.Durable())); err != nil {
		return err
	}
	err := s.x.View(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT segment, offset, length FROM messages WHERE lsn = ?")
		if err != nil {
			return err
		}
		defer stmt.Reset()
		for i, lsn := range lsns {
			stmt.BindInt64(1, int64(lsn))
			ok, err := stmt.Step()
			if err != nil {
				return err
			}
			if ok { // else the zero position, which is no message's
				positions[i] = journal.Position{
					Segment: journal.SegmentID(stmt.ColumnInt64(0)), Offset: stmt.ColumnInt64(1), Length: stmt.ColumnInt64(2),
				}
			}
			if err := stmt.Reset(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look up %d messages: %w", len(lsns), err)
	}
	for i, p := range positions {
		if err := fn(s.openAt(ctx, i, lsns[i], p)); err != nil {
			return err
		}
	}
	return nil
}

// openAt opens a message where it lay a moment ago; what a compaction has moved
// since, or is not there, is looked up again.
func (s *Store) openAt(ctx context.Context, i int, lsn journal.LSN, p journal.Position) (int, *journal.Body, error) {
	if p != (journal.Position{}) {
		if body, err := s.j.Body(p); err == nil {
			return i, body, nil
		}
	}
	body, err := s.OpenMessage(ctx, lsn)
	return i, body, err
}
