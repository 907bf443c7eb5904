package fate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// applier writes records into the tables. The index's writer goroutine owns it.
// What a transaction changes is gathered and written at its end: a recipient
// that changes twice, or a message that loses a hundred, costs one write.
type applier struct {
	rows   map[place]*row
	tally  map[journal.LSN]*Tally   // changes of the messages' counts
	days   days                     // changes of the days' counts
	names  map[journal.LSN][]uint32 // new keys by block
	keys   []uint32                 // scratch of scanAccepted
	sorted []*row                   // scratch of flush
}

// place is a recipient.
type place struct {
	lsn journal.LSN
	n   int
}

// row is a recipient that is open, or was when it was accepted.
type row struct {
	place
	standing
	received int64
	account  account.ID
	domain   message.Domain

	stored State       // 0: in no table; an open or ended state: in that table
	seen   journal.LSN // standing.last as it was read: records up to it come again
	dirty  bool
}

func newApplier() *applier {
	return &applier{
		rows:  make(map[place]*row),
		tally: make(map[journal.LSN]*Tally),
		days:  make(days),
		names: make(map[journal.LSN][]uint32),
	}
}

// result is what a record has done, for Committed: that is told neither of
// what is replayed nor of what was rolled back.
type result struct {
	updates []Update
	dropped int64 // messages that were taken in and whose books are gone
}

// Apply implements index.View. Its result is a result, or nil.
//
// Facts that cannot be read do not stop what the same record says of mailboxes:
// that mail is delivered. They are logged, counted and unaccounted for, and
// compaction keeps the record. A record that is this view's alone is set aside.
func (s *Store) Apply(conn *sqlite.Conn, r journal.Record) (any, error) {
	if r.Type != journal.TypeMessage && r.Type != journal.TypeBatch && r.Type != journal.TypeState {
		return nil, nil
	}
	w := applying{a: s.apply, conn: conn, r: r}
	err := journal.ParseFields(r.Envelope, w.field)
	switch {
	case errors.Is(err, errMalformed) || errors.Is(err, journal.ErrMalformed):
		if w.alone {
			return nil, err
		}
		s.o.Metrics.unreadable.Inc()
		s.o.Log.Error("facts of an accepted message cannot be read", telemetry.LSN, uint64(r.LSN), telemetry.Err, err)
		if err := exec(conn, "INSERT OR IGNORE INTO fate_unread (lsn) VALUES (?)", int64(r.LSN)); err != nil {
			return nil, fmt.Errorf("note that facts cannot be read: %w", err)
		}
	case err != nil:
		return nil, err
	}
	if len(w.updates) == 0 && w.dropped == 0 {
		return nil, nil
	}
	return w.result, nil
}

// applying is the application of one record.
type applying struct {
	a     *applier
	conn  *sqlite.Conn
	r     journal.Record
	alone bool // the record is no Message, and its first field is this view's
	result
}

// field applies one field of the envelope. Unknown ones of this view's range
// are a newer program's.
func (w *applying) field(tag uint64, v []byte) error {
	if tag < tagFirst || tag > tagLast {
		return nil
	}
	w.alone = w.r.Type != journal.TypeMessage
	switch tag {
	case tagAccepted:
		if w.r.Type == journal.TypeMessage {
			return w.accepted(w.r.LSN, v)
		}
	case tagChange:
		c, err := decodeChange(v)
		if err != nil {
			return err
		}
		return w.change(&c)
	case tagPurged, tagStatePurged:
		p, err := decodePurged(v)
		if err != nil {
			return err
		}
		return w.purge(&p)
	case tagOwed, tagStateOwed, tagTold:
		o, err := decodeOwed(v)
		if err != nil {
			return err
		}
		if tag == tagTold {
			return w.told(&o)
		}
		return w.owe(&o)
	case tagStateMessage:
		m, err := decodeMessageState(v)
		if err != nil {
			return err
		}
		return w.state(&m)
	}
	return nil
}

// accepted applies the facts of a message, unless they are there: a replay
// began again a little earlier.
func (w *applying) accepted(lsn journal.LSN, facts []byte) error {
	m, err := scanAccepted(facts, w.a.keys[:0])
	w.a.keys = m.keys[:0]
	if err != nil {
		return err
	}
	fresh, err := insertMessage(w.conn, lsn, &m, facts)
	if err != nil {
		return fmt.Errorf("insert facts of message: %w", err)
	}
	if !fresh {
		return nil
	}
	w.a.days.add(dayOf(m.received, m.account, m.source), &m.tally, 1)
	block := lsn >> blockBits
	w.a.names[block] = append(w.a.names[block], m.keys...)
	for _, o := range m.open {
		r := &row{place: place{lsn, o.place}, received: m.received, account: m.account, domain: o.domain, dirty: true,
			standing: standing{state: o.state, due: o.due, route: o.route}}
		w.a.rows[r.place] = r
		w.tell(r, true)
	}
	return nil
}

// tell notes an update for the queue.
func (w *applying) tell(r *row, fresh bool) {
	w.updates = append(w.updates, Update{Open: r.open(), Fresh: fresh})
}

func (r *row) open() Open {
	return Open{LSN: r.lsn, Rcpt: r.n, State: r.state, Due: timeOf(r.due), Received: timeOf(r.received),
		Attempts: r.attempts, Warned: r.warned, Account: r.account, Domain: r.domain, Route: r.route}
}

// change applies a transition. Recipients that have ended, or are not known,
// are passed over: what has ended never changes again (I3).
func (w *applying) change(c *Change) error {
	for _, n := range c.Rcpt {
		r, err := w.a.open(w.conn, place{c.LSN, n})
		if err != nil {
			return err
		}
		if r == nil || r.state.Ended() || w.r.LSN <= r.seen {
			continue
		}
		e := c.Event
		if e.State == 0 {
			e.State = r.state
		}
		w.a.move(r, e.State)
		r.due = 0
		if !r.state.Ended() {
			r.due = micros(c.Due)
		}
		if c.Attempt {
			r.attempts++
		}
		r.warned = r.warned || c.Warned
		if c.Route != nil {
			r.route = *c.Route
		}
		r.changed, r.last = micros(e.At), w.r.LSN
		r.events = remember(r.events, e)
		if c.Owe != 0 {
			if err := w.owe(&owed{c.LSN, []int{n}, c.Owe}); err != nil {
				return err
			}
		}
		w.tell(r, false)
	}
	return nil
}

// move gives a row another state and counts it there.
func (a *applier) move(r *row, to State) {
	r.dirty = true
	if r.state == to {
		return
	}
	t := a.tally[r.lsn]
	if t == nil {
		t = new(Tally)
		a.tally[r.lsn] = t
	}
	*t.of(r.state)--
	*t.of(to)++
	r.state = to
}

// open returns the row of a recipient that has not ended, or one that this
// transaction has ended; nil if there is none.
func (a *applier) open(conn *sqlite.Conn, p place) (*row, error) {
	if r := a.rows[p]; r != nil {
		return r, nil
	}
	r, err := readOpen(conn, p)
	if err != nil || r == nil {
		return nil, err
	}
	a.rows[p] = r
	return r, nil
}

// state applies what a State record says of a message: it is exactly this,
// whatever older records that are still there have said of it.
func (w *applying) state(m *messageState) error {
	if m.facts != nil {
		if err := w.accepted(m.lsn, m.facts); err != nil {
			return err
		}
		// What is still owed follows.
		if err := exec(w.conn, "DELETE FROM fate_owed WHERE lsn = ?", int64(m.lsn)); err != nil {
			return err
		}
	}
	for i := range m.standings {
		p := &m.standings[i]
		r, err := w.a.open(w.conn, place{m.lsn, p.place})
		if err == nil && r == nil {
			r, err = readEnded(w.conn, place{m.lsn, p.place})
		}
		if err != nil {
			return err
		}
		if r == nil {
			continue // of a message that is not known
		}
		w.a.rows[r.place] = r
		w.a.move(r, p.state)
		r.standing = p.standing
		r.events = slices.Clone(p.events)
	}
	return nil
}

// Flush implements index.Batcher: it writes what was gathered.
func (s *Store) Flush(conn *sqlite.Conn) error { return s.apply.flush(conn) }

// Rollback implements index.Batcher.
func (s *Store) Rollback() { s.apply.forget() }

func (a *applier) forget() {
	clear(a.rows)
	clear(a.tally)
	clear(a.days)
	clear(a.names)
}

func (a *applier) flush(conn *sqlite.Conn) error {
	if len(a.rows) == 0 && len(a.names) == 0 && len(a.days) == 0 {
		return nil
	}
	a.sorted = a.sorted[:0]
	for _, r := range a.rows {
		if r.dirty {
			a.sorted = append(a.sorted, r)
		}
	}
	slices.SortFunc(a.sorted, func(x, y *row) int {
		return cmp.Or(cmp.Compare(x.lsn, y.lsn), cmp.Compare(x.n, y.n))
	})
	for _, r := range a.sorted {
		if err := r.write(conn); err != nil {
			return fmt.Errorf("write recipient %d of message %s: %w", r.n, r.lsn, err)
		}
	}
	clear(a.sorted)
	for lsn, t := range a.tally {
		if err := a.days.change(conn, lsn, t); err != nil {
			return fmt.Errorf("count recipients of message %s: %w", lsn, err)
		}
	}
	if err := a.days.write(conn); err != nil {
		return fmt.Errorf("count recipients of a day: %w", err)
	}
	for block, keys := range a.names {
		if err := addNames(conn, block, keys); err != nil {
			return fmt.Errorf("write names: %w", err)
		}
	}
	a.forget()
	return nil
}
