package mailbox

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Gone gives those of lsns, in their order, that are no messages any more: what
// is filed nowhere stays one until it is compacted away.
func (s *Store) Gone(ctx context.Context, lsns []journal.LSN) ([]journal.LSN, error) {
	if err := s.x.Wait(ctx, s.j.Durable()); err != nil {
		return nil, err
	}
	var gone []journal.LSN
	err := s.x.View(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT 1 FROM messages WHERE lsn = ?")
		if err != nil {
			return err
		}
		defer stmt.Reset()
		for _, lsn := range lsns {
			stmt.BindInt64(1, int64(lsn))
			there, err := stmt.Step()
			if err != nil {
				return err
			}
			if !there {
				gone = append(gone, lsn)
			}
			if err := stmt.Reset(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d messages: %w", len(lsns), err)
	}
	return gone, nil
}
