package mailbox

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// sequencer gives out UIDs, MODSEQs, mailbox ids, UIDVALIDITYs, names and
// keyword bits. Its state is that after the last record that was stamped, which
// may be ahead of what is durable and of what the index shows. It changes only
// in Stamp and Undo callbacks, which the journal's goroutine calls in LSN
// order; records therefore state facts, and a replay gives the same numbers.
type sequencer struct {
	mu       sync.Mutex
	boxes    map[ID]*seqBox
	accounts map[account.ID]*seqAccount
	floors   floorsState
}

// seqBox is a mailbox as the sequencer sees it.
type seqBox struct {
	id       ID
	account  account.ID
	name     string
	use      string
	validity uint32
	uidNext  UID // 0 when all UIDs are used up
	modSeq   ModSeq
	keywords keywordNames
	last     *atomic.Uint64 // LSN of the last record that touches the mailbox; the box's
}

// seqAccount is an account's names.
type seqAccount struct {
	names         map[string]*seqBox
	subscriptions map[string]bool
}

// touch takes the next MODSEQ of b for the record with the given LSN.
func (b *seqBox) touch(lsn journal.LSN) ModSeq {
	b.modSeq++
	b.last.Store(uint64(lsn))
	return b.modSeq
}

// takeUIDs takes n consecutive UIDs and returns the first.
func (b *seqBox) takeUIDs(n int) (UID, error) {
	if b.uidNext == 0 || uint64(n) > uidMax-uint64(b.uidNext)+1 {
		return 0, fmt.Errorf("UIDs of mailbox %d: %w", b.id, ErrLimit)
	}
	first := b.uidNext
	b.uidNext += UID(n) // 0 after the very last
	return first, nil
}

// takeFlags returns the bits of the flags and defines keywords that the
// mailbox does not have.
func (b *seqBox) takeFlags(system Flags, keywords []string) (Flags, []keyword, error) {
	var defs []keyword
	f := system
	for _, k := range keywords {
		bit := b.keywords.bit(k)
		if bit == 0 {
			n := len(b.keywords)
			if n >= keywordsMax {
				return 0, nil, fmt.Errorf("keywords of mailbox %d: %w", b.id, ErrLimit)
			}
			d := keyword{uint8(firstKeyword + n), k}
			defs = append(defs, d)
			b.keywords = b.keywords.learn([]keyword{d})
			bit = 1 << d.bit
		}
		f |= bit
	}
	return f, defs, nil
}

// snapshot returns what undoes later changes of b's numbers.
func (b *seqBox) snapshot() func() {
	old := *b
	return func() {
		b.uidNext, b.modSeq, b.keywords, b.name = old.uidNext, old.modSeq, old.keywords, old.name
	}
}

// undoing gathers what takes a stamp back.
type undoing struct{ fns []func() }

func (u *undoing) add(fn func()) { u.fns = append(u.fns, fn) }

// run takes everything back, the last first.
func (u *undoing) run() {
	for i := len(u.fns) - 1; i >= 0; i-- {
		u.fns[i]()
	}
	u.fns = nil
}

// entry makes a journal entry whose envelope is given by stamp, under the
// sequencer's lock. Whatever stamp changes it registers with u.
func (q *sequencer) entry(typ journal.Type, stamp func(lsn journal.LSN, u *undoing) ([]byte, error)) *journal.Entry {
	u := new(undoing)
	return &journal.Entry{
		Type: typ,
		Stamp: func(lsn journal.LSN) ([]byte, error) {
			q.mu.Lock()
			defer q.mu.Unlock()
			b, err := stamp(lsn, u)
			if err != nil {
				u.run()
			}
			return b, err
		},
		Undo: func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			u.run()
		},
	}
}

// box returns a mailbox that exists as of the record being stamped.
func (q *sequencer) box(id ID) (*seqBox, error) {
	b := q.boxes[id]
	if b == nil {
		return nil, ErrNoSuchMailbox
	}
	return b, nil
}

// account returns an account's names, making room for them if it is new.
func (q *sequencer) account(id account.ID) *seqAccount {
	a := q.accounts[id]
	if a == nil {
		a = &seqAccount{names: make(map[string]*seqBox), subscriptions: make(map[string]bool)}
		q.accounts[id] = a
	}
	return a
}

// create adds a mailbox and returns the fact. now is Unix seconds.
func (q *sequencer) create(acct account.ID, name, use string, lsn journal.LSN, now int64, u *undoing) (*createOp, error) {
	a := q.account(acct)
	if a.names[name] != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrExists)
	}
	if len(a.names) >= mailboxesMax {
		return nil, fmt.Errorf("mailboxes: %w", ErrLimit)
	}
	old := q.floors
	q.floors.nextID = max(q.floors.nextID, 1) + 1
	q.floors.uidValidity = max(q.floors.uidValidity+1, uint32(max(now, 1)))
	b := &seqBox{
		id: q.floors.nextID - 1, account: acct, name: name, use: use, validity: q.floors.uidValidity,
		uidNext: 1, modSeq: 1, last: new(atomic.Uint64),
	}
	b.last.Store(uint64(lsn))
	q.boxes[b.id], a.names[name] = b, b
	u.add(func() {
		q.floors = old
		delete(q.boxes, b.id)
		delete(a.names, name)
	})
	return &createOp{account: acct, mailbox: b.id, name: name, use: use, uidValidity: b.validity}, nil
}

// remove takes a mailbox away and returns the fact.
func (q *sequencer) remove(b *seqBox, lsn journal.LSN, now int64, u *undoing) *deleteOp {
	a := q.account(b.account)
	delete(q.boxes, b.id)
	delete(a.names, b.name)
	b.last.Store(uint64(lsn))
	u.add(func() { q.boxes[b.id], a.names[b.name] = b, b })
	return &deleteOp{mailbox: b.id, at: now}
}

// rename gives a mailbox a name that is free and returns the fact.
func (q *sequencer) rename(b *seqBox, name string, lsn journal.LSN, u *undoing) *renameOp {
	a, old := q.account(b.account), b.name
	delete(a.names, old)
	a.names[name], b.name = b, name
	b.last.Store(uint64(lsn))
	u.add(func() {
		delete(a.names, name)
		a.names[old], b.name = b, old
	})
	return &renameOp{mailbox: b.id, name: name}
}

// subscribe notes a subscription and returns the fact, or nil if it is no news.
func (q *sequencer) subscribe(acct account.ID, name string, on bool, u *undoing) (*subscribeOp, error) {
	a := q.account(acct)
	if a.subscriptions[name] == on {
		return nil, nil
	}
	if on && len(a.subscriptions) >= subscriptionsMax {
		return nil, fmt.Errorf("subscriptions: %w", ErrLimit)
	}
	set := func(on bool) {
		if on {
			a.subscriptions[name] = true
		} else {
			delete(a.subscriptions, name)
		}
	}
	set(on)
	u.add(func() { set(!on) })
	return &subscribeOp{account: acct, name: name, on: on}, nil
}

// takenUse returns the mailbox of an account that has a special use, or nil.
func (q *sequencer) takenUse(acct account.ID, use string) *seqBox {
	for _, b := range q.account(acct).names {
		if use != "" && strings.EqualFold(b.use, use) {
			return b
		}
	}
	return nil
}
