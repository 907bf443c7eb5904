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
// error is ErrNoSuchMessage if there is no such message (any more); one of the
// latest can be opened as long as the journal has it.
func (s *Store) OpenMessage(ctx context.Context, lsn journal.LSN) (*journal.Body, error) {
	if err := s.x.Wait(ctx, min(lsn, s.j.Durable())); err != nil {
		return nil, err
	}
	if p, ok := s.recent.find(lsn); ok {
		body, err := s.j.Body(p)
		if !errors.Is(err, journal.ErrGone) {
			return opened(lsn, body, err)
		}
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
		return opened(lsn, body, err)
	}
}

// opened is what came of opening a message.
func opened(lsn journal.LSN, body *journal.Body, err error) (*journal.Body, error) {
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", lsn, err)
	}
	return body, nil
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
	return s.summaries(ctx, id, uids, func(batch []summary, buf []byte) error {
		for _, m := range batch {
			msg, err := message.DecodeMessage(buf[m.from:m.to])
			if m.from == m.to || err != nil {
				msg = nil
			}
			if err := fn(m.uid, msg); err != nil {
				return err
			}
		}
		return nil
	})
}

// EncodedSummaries is Summaries for callers that need a part of each only: fn
// gets the binary form that message.EnvelopeDecoder and message.DecodeMessage
// read, "" for a message that could not be parsed. It is not checked. fn may
// keep it; it shares memory with its neighbours.
func (s *Store) EncodedSummaries(ctx context.Context, id ID, uids []UID, fn func(UID, string) error) error {
	return s.summaries(ctx, id, uids, func(batch []summary, buf []byte) error {
		text := string(buf)
		for _, m := range batch {
			if err := fn(m.uid, text[m.from:m.to]); err != nil {
				return err
			}
		}
		return nil
	})
}

// summary is where the binary form of a message lies in a batch's buffer.
type summary struct {
	uid      UID
	from, to int
}

// summaries reads the summaries of the messages that exist and lends them to
// fn in batches. No connection to the index is held meanwhile.
func (s *Store) summaries(ctx context.Context, id ID, uids []UID, fn func([]summary, []byte) error) error {
	b, err := s.box(id)
	if err != nil {
		return err
	}
	if err := s.wait(ctx, b); err != nil {
		return err
	}
	n := min(len(uids), summariesBatch)
	batch, buf := make([]summary, 0, n), make([]byte, 0, n*summaryUsual)
	for part := range slices.Chunk(ascending(uids), summariesBatch) {
		err := s.x.View(ctx, func(conn *sqlite.Conn) (err error) {
			batch, buf, err = readSummaries(conn, id, newUIDSet(part), batch[:0], buf[:0])
			return err
		})
		if err != nil {
			return fmt.Errorf("read summaries of mailbox %d: %w", id, err)
		}
		if err := fn(batch, buf); err != nil {
			return err
		}
	}
	return nil
}

// summaryUsual is the room for a summary that a batch begins with: a mail with
// one part takes some 300 bytes. Larger ones make the buffer grow.
const summaryUsual = 320

// readSummaries appends the summaries of the messages that exist to dst, and
// their bytes to buf.
func readSummaries(conn *sqlite.Conn, id ID, uids uidSet, dst []summary, buf []byte) ([]summary, []byte, error) {
	s, err := conn.Prepare("SELECT f.uid, m.summary FROM filings AS f LEFT JOIN messages AS m ON m.lsn = f.message " +
		"WHERE f.mailbox = ? AND f.uid BETWEEN ? AND ? ORDER BY f.uid")
	if err != nil {
		return dst, buf, err
	}
	for _, u := range uids {
		s.BindInt64(1, int64(id))
		s.BindInt64(2, int64(u.lo))
		s.BindInt64(3, int64(u.hi))
		for {
			ok, err := s.Step()
			if err != nil {
				s.Reset()
				return dst, buf, err
			}
			if !ok {
				break
			}
			at, n := len(buf), s.ColumnLen(1)
			buf = slices.Grow(buf, n)[:at+n]
			s.ColumnBytes(1, buf[at:])
			dst = append(dst, summary{UID(s.ColumnInt64(0)), at, at + n})
		}
		if err := s.Reset(); err != nil {
			return dst, buf, err
		}
	}
	return dst, buf, nil
}
