package mailbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// superseded gathers what the records say that a compaction drops, so that
// State records can say it afterwards: the mailboxes, the UIDs and the
// subscriptions that they are about. What becomes of these is read from the
// index, as of one LSN, at the end. Records about the same UIDs that stay, and
// are older than that LSN, are overruled by it when they are replayed; those
// that are younger follow it.
type superseded struct {
	boxes         map[ID]*touchedBox
	subscriptions map[subscription]struct{}
}

// touchedBox is a mailbox that a dropped record is about.
type touchedBox struct {
	account account.ID // 0 if no dropped record says
	uids    []uidRange // in any order
}

type subscription struct {
	account account.ID
	name    string
}

func newSuperseded() *superseded {
	return &superseded{boxes: make(map[ID]*touchedBox), subscriptions: make(map[subscription]struct{})}
}

// drop decides whether a Batch or State record can be dropped, and if so takes
// note of what it says. Records that this version does not understand are kept.
func (p *superseded) drop(r journal.Record) bool {
	ops, rest, err := decodeOps(r.Envelope)
	if err != nil || rest&restUnknown != 0 {
		return false
	}
	for _, op := range ops {
		p.note(op)
	}
	return true
}

// dropMessage takes note of a Message record. Its mailboxes may owe their
// UIDNEXT and MODSEQ to it alone.
func (p *superseded) dropMessage(r journal.Record) error {
	m, err := decodeMessage(r.Envelope)
	if err != nil {
		return err
	}
	for _, f := range m.filings {
		p.touch(f.mailbox, f.account, nil)
	}
	return nil
}

func (p *superseded) touch(id ID, acct account.ID, uids uidSet) {
	t := p.boxes[id]
	if t == nil {
		t = new(touchedBox)
		p.boxes[id] = t
	}
	if acct != 0 {
		t.account = acct
	}
	t.uids = append(t.uids, uids...)
}

// note takes note of one operation.
func (p *superseded) note(op any) {
	switch o := op.(type) {
	case *createOp:
		p.touch(o.mailbox, o.account, nil)
	case *renameOp:
		p.touch(o.mailbox, 0, nil)
	case *deleteOp:
		p.touch(o.mailbox, 0, nil)
	case *subscribeOp:
		p.subscriptions[subscription{o.account, o.name}] = struct{}{}
	case *flagsOp:
		p.touch(o.mailbox, 0, o.uids)
	case *expungeOp:
		p.touch(o.mailbox, 0, o.uids)
	case *fileOp:
		p.touch(o.mailbox, o.account, uidsOf(o.entries))
	case *mailboxState:
		p.touch(o.mailbox, o.account, nil)
	case *entriesState:
		p.touch(o.mailbox, o.account, uidsOf(o.entries))
		p.touch(o.mailbox, o.account, o.gone)
	case *floorsState: // always written
	default:
		panic(fmt.Sprintf("mailbox: cannot supersede %T", op))
	}
}

func uidsOf(es []Entry) uidSet {
	var s uidSet
	for _, e := range es {
		s = s.add(e.UID)
	}
	return s
}

const (
	// stateBytes is when a State envelope is full and another is begun.
	stateBytes = 256 << 10
	// stateEntries bounds one operation in it, so that stateBytes is not
	// exceeded by much.
	stateEntries = 8_192
)

// stateWriter makes envelopes of State records. Its first error is kept.
type stateWriter struct {
	conn  *sqlite.Conn
	now   int64
	write func([]byte) error
	buf   []byte
	err   error
}

func (w *stateWriter) add(op any) {
	w.buf = appendOp(w.buf, op)
	if len(w.buf) >= stateBytes {
		w.flush()
	}
}

func (w *stateWriter) flush() {
	if len(w.buf) > 0 && w.err == nil {
		w.err = w.write(w.buf)
	}
	w.buf = nil
}

// states writes the envelopes of the State records that replace what p has
// noted, as of the snapshot that conn shows. now is Unix seconds.
func (p *superseded) states(conn *sqlite.Conn, now int64, write func([]byte) error) error {
	w := &stateWriter{conn: conn, now: now, write: write}
	floors, err := readFloors(conn)
	if err != nil {
		return err
	}
	w.add(&floors)
	for _, id := range slices.Sorted(maps.Keys(p.boxes)) {
		if err := w.mailbox(id, p.boxes[id]); err != nil {
			return fmt.Errorf("state of mailbox %d: %w", id, err)
		}
		if w.err != nil {
			return w.err
		}
	}
	subs := slices.SortedFunc(maps.Keys(p.subscriptions), func(a, b subscription) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.name, b.name))
	})
	for _, s := range subs {
		on, err := isSubscribed(conn, s)
		if err != nil {
			return err
		}
		w.add(&subscribeState{subscribeOp{account: s.account, name: s.name, on: on}})
	}
	w.flush()
	return w.err
}

func isSubscribed(conn *sqlite.Conn, sub subscription) (bool, error) {
	s, err := conn.Prepare("SELECT 1 FROM subscriptions WHERE account = ? AND name = ?")
	if err != nil {
		return false, err
	}
	s.BindInt64(1, int64(sub.account))
	s.BindText(2, sub.name)
	ok, err := s.Step()
	return ok, errors.Join(err, s.Reset())
}

// mailbox writes what has become of one mailbox and of the UIDs in question.
func (w *stateWriter) mailbox(id ID, t *touchedBox) error {
	r, err := readRow(w.conn, id)
	if err != nil {
		return err
	}
	if r == nil {
		w.add(&mailboxState{account: t.account, mailbox: id, gone: true, at: w.now})
		return nil
	}
	if r.present {
		w.add(&mailboxState{account: r.account, mailbox: id, name: r.name, use: r.use, uidValidity: r.uidValidity,
			uidNext: r.uidNext, modSeq: r.modSeq, keywords: r.keywords.definitions()})
	}
	there, gone, err := w.look(r, normalize(t.uids, r.uidNext))
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		w.add(&entriesState{account: r.account, mailbox: id, gone: gone, at: w.now})
	}
	for part := range slices.Chunk(there, stateEntries) {
		w.add(&entriesState{account: r.account, mailbox: id, at: w.now, entries: part})
	}
	return nil
}

// normalize sorts and joins ranges and leaves out UIDs from next on, which no
// message can have had.
func normalize(rs []uidRange, next UID) uidSet {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b uidRange) int { return cmp.Compare(a.lo, b.lo) })
	var s uidSet
	for _, r := range rs {
		r.hi = min(r.hi, next-1) // all of them after the last UID, when next is 0
		switch n := len(s); {
		case r.lo > r.hi:
		case n > 0 && r.lo <= s[n-1].hi || n > 0 && r.lo == s[n-1].hi+1:
			s[n-1].hi = max(s[n-1].hi, r.hi)
		default:
			s = append(s, r)
		}
	}
	return s
}

// goneMany is when it pays to look for longer ranges of UIDs that are gone.
const goneMany = 64

// look reads which of some UIDs are there, and which are not.
func (w *stateWriter) look(r *row, uids uidSet) (there []Entry, gone uidSet, err error) {
	for _, u := range uids {
		from := len(there)
		if there, err = readEntries(w.conn, r.id, u, there); err != nil {
			return nil, nil, err
		}
		gone = append(gone, gaps(there[from:], u)...)
	}
	if len(gone) <= goneMany {
		return there, gone, nil
	}
	span := uidRange{gone[0].lo, gone[len(gone)-1].hi}
	all, err := readEntries(w.conn, r.id, span, nil)
	if err != nil {
		return nil, nil, err
	}
	if g := gaps(all, span); len(g) < len(gone) {
		gone = g
	}
	return there, gone, nil
}

// gaps are the UIDs of a range that are not among the entries, which are.
func gaps(es []Entry, u uidRange) uidSet {
	var s uidSet
	at := u.lo
	for _, e := range es {
		if e.UID > at {
			s = append(s, uidRange{at, e.UID - 1})
		}
		if e.UID == u.hi {
			return s
		}
		at = e.UID + 1
	}
	return append(s, uidRange{at, u.hi})
}
