package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// OpenMessage opens a message's bytes: our prefix and then the message as it
// came, as one sequence. Every byte served has passed its checksum; a
// *journal.DamageError says that one did not. The caller must close it. The
// error is ErrNoSuchMessage if there is no such message (any more).
func (s *Store) OpenMessage(ctx context.Context, lsn journal.LSN) (*journal.Body, error) {
	if err := s.x.Wait(ctx, min(lsn, s.j.Durable())); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		p, err := s.position(ctx, lsn)
		if err != nil {
			return nil, err
		}
		body, err := s.j.Body(p)
		if errors.Is(err, journal.ErrGone) && attempt < 3 {
			continue // a compaction moved it in between
		}
		if err != nil {
			return nil, fmt.Errorf("open message %s: %w", lsn, err)
		}
		return body, nil
	}
}

// position looks up where a message lies.
func (s *Store) position(ctx context.Context, lsn journal.LSN) (p journal.Position, err error) {
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT segment, offset, length FROM messages WHERE lsn = ?")
		if err != nil {
			return err
		}
		defer stmt.Reset()
		stmt.BindInt64(1, int64(lsn))
		ok, err := stmt.Step()
		if err != nil {
			return err
		}
		if !ok {
			return ErrNoSuchMessage
		}
		p = journal.Position{Segment: journal.SegmentID(stmt.ColumnInt64(0)), Offset: stmt.ColumnInt64(1), Length: stmt.ColumnInt64(2)}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("look up message %s: %w", lsn, err)
	}
	return p, nil
}

// Summaries calls fn with the parsed form of messages, in UID order; UIDs that
// do not exist are passed over. fn gets nil for a message that could not be
// parsed, since its body was damaged when the index was rebuilt. fn may take its
// time and may call the store. An error of fn ends the walk and is returned.
func (s *Store) Summaries(ctx context.Context, id ID, uids []UID, fn func(UID, *message.Message) error) error {
	b, err := s.box(id)
	if err != nil {
		return err
	}
	if err := s.wait(ctx, b); err != nil {
		return err
	}
	batch := make([]summary, 0, min(len(uids), summariesBatch))
	for part := range slices.Chunk(ascending(uids), summariesBatch) {
		batch = batch[:0]
		err := s.x.View(ctx, func(conn *sqlite.Conn) (err error) {
			batch, err = readSummaries(conn, id, newUIDSet(part), batch[:0])
			return err
		})
		if err != nil {
			return fmt.Errorf("read summaries of mailbox %d: %w", id, err)
		}
		for _, m := range batch {
			msg, err := message.DecodeMessage(m.bytes)
			if len(m.bytes) == 0 || err != nil {
				msg = nil
			}
			if err := fn(m.uid, msg); err != nil {
				return err
			}
		}
	}
	return nil
}

// summary is what the index has of a parsed message.
type summary struct {
	uid   UID
	bytes []byte
}

// readSummaries appends the summaries of the messages that exist. Their bytes
// share one buffer.
func readSummaries(conn *sqlite.Conn, id ID, uids uidSet, dst []summary) ([]summary, error) {
	s, err := conn.Prepare("SELECT f.uid, m.summary FROM filings AS f LEFT JOIN messages AS m ON m.lsn = f.message " +
		"WHERE f.mailbox = ? AND f.uid BETWEEN ? AND ? ORDER BY f.uid")
	if err != nil {
		return dst, err
	}
	var buf []byte
	for _, u := range uids {
		s.BindInt64(1, int64(id))
		s.BindInt64(2, int64(u.lo))
		s.BindInt64(3, int64(u.hi))
		for {
			ok, err := s.Step()
			if err != nil {
				s.Reset()
				return dst, err
			}
			if !ok {
				break
			}
			n := s.ColumnLen(1)
			if len(buf)+n > cap(buf) {
				buf = make([]byte, 0, max(n, 256<<10))
			}
			at := len(buf)
			buf = buf[:at+n]
			s.ColumnBytes(1, buf[at:])
			dst = append(dst, summary{UID(s.ColumnInt64(0)), buf[at : at+n : at+n]})
		}
		if err := s.Reset(); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
