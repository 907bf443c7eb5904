package fate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Load returns a message with what became of its recipients, as the tables
// show it now: without waiting for what was committed a moment ago. The error
// is ErrNoSuchMessage if its books are not kept.
//
// If places of recipients are named, only those are read: the others are zero,
// and those behind the last of them are left out. A message to a thousand is
// sent on in many attempts, and each would read them all.
func (s *Store) Load(ctx context.Context, lsn journal.LSN, rcpts ...int) (m *Message, err error) {
	if s.x == nil {
		return nil, errDetached
	}
	if facts := s.recent.get(lsn); facts != nil {
		if m, err = decodeAccepted(facts, rcpts...); err == nil {
			m.LSN = lsn
			return m, nil
		}
	}
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		m, err = load(conn, lsn, rcpts...)
		return err
	})
	return m, err
}

// ByID is Load by the id of the envelope. It waits for what is durable.
func (s *Store) ByID(ctx context.Context, id string) (*Message, error) {
	var found *Message
	err := s.Trace(ctx, Find{ID: id, Limit: 1}, func(m *Message) error {
		found = m
		return nil
	})
	if err == nil && found == nil {
		err = ErrNoSuchMessage
	}
	return found, err
}

// load reads a message with its recipients, or those that are asked for.
func load(conn *sqlite.Conn, lsn journal.LSN, rcpts ...int) (*Message, error) {
	var m *Message
	var booked Tally
	err := each(conn, "SELECT facts, 1, "+tallyColumns+" FROM fate_messages WHERE lsn = ?", func(st *sqlite.Stmt) (err error) {
		booked.read(st, 1)
		m, err = decodeAccepted(columnBytes(st, 0), rcpts...)
		return err
	}, int64(lsn))
	if err == nil && m == nil {
		err = ErrNoSuchMessage
	}
	if err == nil {
		m.LSN = lsn
		err = eachRowOf(conn, lsn, rcpts, func(r *row) {
			if r.n < len(m.Recipients) {
				m.Recipients[r.n].now(&r.standing)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load message %s: %w", lsn, err)
	}
	m.Miscounted = len(rcpts) == 0 && m.tally() != booked
	return m, nil
}

// eachRowOf is eachRow of the recipients that are asked for.
func eachRowOf(conn *sqlite.Conn, lsn journal.LSN, rcpts []int, fn func(*row)) error {
	if len(rcpts) == 0 {
		return eachRow(conn, lsn, fn)
	}
	for _, n := range rcpts {
		r, err := readOpen(conn, place{lsn, n})
		if err == nil && r == nil {
			r, err = readEnded(conn, place{lsn, n})
		}
		if err != nil {
			return err
		}
		if r != nil {
			fn(r)
		}
	}
	return nil
}

// tally counts the recipients of a message, as they are now.
func (m *Message) tally() Tally {
	t := Tally{Messages: 1, Accepted: int64(len(m.Recipients))}
	for i := range m.Recipients {
		*t.of(m.Recipients[i].State)++
	}
	return t
}

// now sets what became of a recipient since it was accepted.
func (r *Recipient) now(s *standing) {
	r.State, r.Due, r.Attempts, r.Changed = s.state, timeOf(s.due), s.attempts, timeOf(s.changed)
	r.Warned, r.Route = s.warned, s.route
	r.Events, _ = unpackEvents(s.events, r.Events) // as many as can be read
	if n := len(r.Events); n > 0 {
		r.Last = r.Events[n-1]
	}
}

// Find says which messages Trace looks for: those that match all that is set.
type Find struct {
	MessageID    string // with or without its angle brackets
	ID           string // of the envelope
	Address      string // of the sender, or of a recipient, as named or as resolved
	Since, Until time.Time
	Account      account.ID // that submitted it, or is a local recipient
	Limit        int        // 0: 100
}

// Trace calls fn with the messages that match, newest first, with all their
// events. It waits for what is durable. fn must not ask the store. It returns
// fn's first error.
func (s *Store) Trace(ctx context.Context, f Find, fn func(*Message) error) error {
	if s.x == nil {
		return errDetached
	}
	if f.Limit <= 0 {
		f.Limit = findDefault
	}
	f.Limit = min(f.Limit, findMax)
	err := s.x.Read(ctx, func(conn *sqlite.Conn) error {
		left := f.Limit
		look := func(lsn journal.LSN) (more bool, err error) {
			m, err := load(conn, lsn)
			if err != nil || !f.matches(m) {
				return true, err
			}
			left--
			return left > 0, fn(m)
		}
		if key, ok := f.key(); ok {
			return eachNamed(conn, key, look)
		}
		return f.eachReceived(conn, look)
	})
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// key is that of the name that narrows the search most.
func (f *Find) key() (uint32, bool) {
	switch {
	case f.ID != "":
		return keyOf(keyID, []byte(f.ID)), true
	case f.MessageID != "":
		return keyOf(keyMessageID, []byte(bracketed(f.MessageID))), true
	case f.Address != "":
		return addressKey(f.Address), true
	}
	return 0, false
}

// eachReceived calls fn with the messages of the period, newest first.
func (f *Find) eachReceived(conn *sqlite.Conn, fn func(journal.LSN) (bool, error)) error {
	since, until := Period{Since: f.Since, Until: f.Until}.bounds()
	// A page at a time: fn makes queries of its own.
	type at struct{ received, lsn int64 }
	for before := (at{until, math.MinInt64}); ; {
		var page []at
		err := each(conn, "SELECT received, lsn FROM fate_messages INDEXED BY fate_sums WHERE received >= ? AND (received, lsn) < (?, ?) "+
			"ORDER BY received DESC, lsn DESC LIMIT 1000", func(st *sqlite.Stmt) error {
			page = append(page, at{st.ColumnInt64(0), st.ColumnInt64(1)})
			return nil
		}, since, before.received, before.lsn)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, p := range page {
			if more, err := fn(journal.LSN(p.lsn)); err != nil || !more {
				return err
			}
		}
		before = page[len(page)-1]
	}
}

var errStop = errors.New("enough")
