package fate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// A report of success is owed from the record on that says of the success, until
// the record of the report says that it was made: neither a full disk nor a
// crash between the two loses it, and it is not made twice.

// Success is what a sender is to be told of a recipient that has got his
// message (RFC 3461 §5.2). The numbers are frozen: they are in the journal.
type Success uint8

// The successes.
const (
	ToldDelivered Success = 1
	ToldRelayed   Success = 2 // to a host that does not report successes
	ToldExpanded  Success = 3 // to several others
)

// Owed are reports of success that the sender of a message is still to get.
type Owed struct {
	LSN       journal.LSN     // of the message; 0 in the record of the message itself
	Successes map[int]Success // by places in Message.Recipients
}

// AppendOwed appends that reports are owed, for mailbox.Delivery.Also of the
// message itself.
func AppendOwed(dst []byte, o Owed) []byte { return o.append(dst, tagOwed) }

// AppendTold appends that reports are owed no more, for Delivery.Also of the
// report.
func AppendTold(dst []byte, o Owed) []byte { return o.append(dst, tagTold) }

// append appends the places by success, so that most have one part.
func (o *Owed) append(dst []byte, tag uint64) []byte {
	for success := ToldDelivered; success <= ToldExpanded; success++ {
		var places []int
		for _, n := range slices.Sorted(maps.Keys(o.Successes)) {
			if o.Successes[n] == success {
				places = append(places, n)
			}
		}
		if len(places) == 0 {
			continue
		}
		b := appendUint(nil, fieldLSN, o.LSN)
		b = journal.AppendField(b, fieldPlaces, packPlaces(nil, places))
		b = appendUint(b, fieldSuccess, success)
		dst = journal.AppendField(dst, tag, b)
	}
	return dst
}

// owed is one part of an Owed, as records have it.
type owed struct {
	lsn     journal.LSN
	places  []int
	success Success
}

func decodeOwed(b []byte) (o owed, err error) {
	err = journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldLSN:
			o.lsn, err = number[journal.LSN](v)
		case fieldPlaces:
			o.places, err = unpackPlaces(v)
		case fieldSuccess:
			o.success, err = number[Success](v)
		}
		return err
	})
	if err == nil && (len(o.places) == 0 || o.success < ToldDelivered || o.success > ToldExpanded) {
		err = errMalformed
	}
	if err != nil {
		return o, fmt.Errorf("decode reports that are owed: %w", err)
	}
	return o, nil
}

// owe applies that reports are owed; of messages that are not known none are.
func (w *applying) owe(o *owed) error {
	if o.lsn == 0 {
		o.lsn = w.r.LSN
	}
	for _, n := range o.places {
		err := exec(w.conn, "INSERT OR IGNORE INTO fate_owed (lsn, place, success) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM fate_messages WHERE lsn = ?1)",
			int64(o.lsn), int64(n), int64(o.success))
		if err != nil {
			return fmt.Errorf("note a report that is owed: %w", err)
		}
	}
	return nil
}

// told applies that reports were made.
func (w *applying) told(o *owed) error {
	for _, n := range o.places {
		if err := exec(w.conn, "DELETE FROM fate_owed WHERE lsn = ? AND place = ?", int64(o.lsn), int64(n)); err != nil {
			return fmt.Errorf("note a report that was made: %w", err)
		}
	}
	return nil
}

// readOwed reads what is owed of a message.
func readOwed(conn *sqlite.Conn, lsn journal.LSN) (Owed, error) {
	o := Owed{LSN: lsn, Successes: map[int]Success{}}
	err := each(conn, "SELECT place, success FROM fate_owed WHERE lsn = ?", func(st *sqlite.Stmt) error {
		o.Successes[st.ColumnInt(0)] = Success(st.ColumnInt64(1))
		return nil
	}, int64(lsn))
	return o, err
}

// Owed calls fn with the messages of which reports of success are owed, oldest
// first, once all that is durable is known. fn must not ask the store.
func (s *Store) Owed(ctx context.Context, fn func(Owed)) error {
	if s.x == nil {
		return errDetached
	}
	err := s.x.Read(ctx, func(conn *sqlite.Conn) error {
		var o Owed
		err := each(conn, "SELECT lsn, place, success FROM fate_owed ORDER BY lsn LIMIT ?", func(st *sqlite.Stmt) error {
			if lsn := journal.LSN(st.ColumnInt64(0)); lsn != o.LSN {
				if o.LSN != 0 {
					fn(o)
				}
				o = Owed{LSN: lsn, Successes: map[int]Success{}}
			}
			o.Successes[st.ColumnInt(1)] = Success(st.ColumnInt64(2))
			return nil
		}, int64(owedMax))
		if err == nil && o.LSN != 0 {
			fn(o)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list reports that are owed: %w", err)
	}
	return nil
}
