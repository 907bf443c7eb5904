package mailbox

import (
	"context"
	_ "embed" // schema.sql
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

//go:embed schema.sql
var schema string

// Options of a Store; the zero value is usable.
type Options struct {
	Log     *slog.Logger   // nil: discard
	Clock   sys.Clock      // nil: the real clock
	Metrics *Metrics       // nil: not exported
	Limits  message.Limits // of the parser; zero: its defaults
	// Retention is how long the body of an expunged message stays in the
	// journal at least; 0 means 14 days, less than 0 not at all.
	Retention time.Duration
	// Owner names an account in findings; nil: by its number.
	Owner func(account.ID) string
	// Others are the views whose facts share the journal: when a compaction
	// drops a record that has some, they say afterwards what it amounted to.
	// Records with facts that nobody answers for are kept.
	Others []Other
}

// Store keeps the mailboxes of all accounts. Its methods may be called from any
// goroutine, those of index.View excepted.
type Store struct {
	o      Options
	j      *journal.Journal
	x      *index.Index // set by Attach
	q      sequencer
	apply  *applier // the index writer's
	hot    cache
	recent recent
	chunks pool
	house  sync.Mutex // compaction and comparison of the index take turns

	mu       sync.RWMutex // guards what follows; before box.mu
	boxes    map[ID]*box
	accounts map[account.ID]*tree

	unfiled unfiled
}

// unfiled are messages of an Append that are durable and not filed yet. Its
// lock is taken last: the sequencer's callbacks use it.
type unfiled struct {
	mu   sync.Mutex
	lsns map[journal.LSN]struct{}
}

func (u *unfiled) add(lsn journal.LSN) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lsns == nil {
		u.lsns = make(map[journal.LSN]struct{})
	}
	u.lsns[lsn] = struct{}{}
}

func (u *unfiled) remove(lsn journal.LSN) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.lsns, lsn)
}

func (u *unfiled) has(lsn journal.LSN) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.lsns[lsn]
	return ok
}

// box is a mailbox as the index shows it.
type box struct {
	id      ID
	account account.ID
	last    *atomic.Uint64 // LSN of the last record that touches it; the sequencer's
	turn    chan struct{}  // capacity 1: held by a change that looks before it appends

	mu       sync.Mutex // guards what follows
	info     Info
	status   Status
	keywords keywordNames
	floor    ModSeq // expunges up to here are not known one by one
	gone     bool
	hot      *hotlist // nil unless open or cached
	users    int
	watchers map[*watcher]struct{}
}

// watcher is one OnChange callback.
type watcher struct{ fn func() }

// tree is an account's mailboxes as the index shows them.
type tree struct {
	names         map[string]*box
	subscriptions map[string]struct{}
	bytes         int64
	messages      int64
}

// New makes a Store over a journal. It is of use once it has been given to
// index.Open as a view, and then Attach has been called.
func New(o Options, j *journal.Journal) *Store {
	o.Log = telemetry.Logger(o.Log, "mailbox")
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Limits == (message.Limits{}) {
		o.Limits = message.DefaultLimits()
	}
	switch {
	case o.Retention == 0:
		o.Retention = retentionDefault
	case o.Retention < 0:
		o.Retention = 0
	}
	if o.Owner == nil {
		o.Owner = func(id account.ID) string { return fmt.Sprintf("account %d", id) }
	}
	return &Store{
		o: o, j: j, apply: newApplier(),
		q:        sequencer{boxes: make(map[ID]*seqBox), accounts: make(map[account.ID]*seqAccount)},
		boxes:    make(map[ID]*box),
		accounts: make(map[account.ID]*tree),
	}
}

// Schema implements index.View.
func (s *Store) Schema() string { return schema }

// Attach reads what the index has replayed and makes the store ready. It must
// be called once, right after index.Open.
func (s *Store) Attach(x *index.Index) error {
	s.x = x
	if err := s.repoint(context.Background()); err != nil {
		return err
	}
	var orphans []*row
	err := x.Read(context.Background(), func(conn *sqlite.Conn) (err error) {
		orphans, err = s.load(conn)
		return err
	})
	if err != nil {
		return fmt.Errorf("load mailboxes: %w", err)
	}
	return s.adopt(orphans)
}

// load fills the sequencer and the published state from the tables. It returns
// the mailboxes that only stand in for lost ones.
func (s *Store) load(conn *sqlite.Conn) (orphans []*row, err error) {
	stmt, err := conn.Prepare("SELECT " + rowColumns + " FROM mailboxes")
	if err != nil {
		return nil, err
	}
	defer stmt.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	for {
		ok, err := stmt.Step()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		r := scanRow(stmt)
		if !r.present {
			orphans = append(orphans, r)
			continue
		}
		b := &seqBox{id: r.id, account: r.account, name: r.name, use: r.use, validity: r.uidValidity,
			uidNext: r.uidNext, modSeq: r.modSeq, keywords: r.keywords, last: new(atomic.Uint64)}
		s.q.boxes[r.id] = b
		s.q.account(r.account).names[r.name] = b
		s.show(*r, b.last)
	}
	if s.q.floors, err = readFloors(conn); err != nil {
		return nil, err
	}
	return orphans, s.loadSubscriptions(conn)
}

func (s *Store) loadSubscriptions(conn *sqlite.Conn) error {
	stmt, err := conn.Prepare("SELECT account, name FROM subscriptions")
	if err != nil {
		return err
	}
	defer stmt.Reset()
	for {
		ok, err := stmt.Step()
		if err != nil || !ok {
			return err
		}
		id, name := account.ID(stmt.ColumnInt64(0)), stmt.ColumnText(1)
		s.q.account(id).subscriptions[name] = true
		s.tree(id).subscriptions[name] = struct{}{}
	}
}

// adopt gives mailboxes whose own record was lost to damage a name and a new
// UIDVALIDITY, so that the messages in them can be read.
func (s *Store) adopt(orphans []*row) error {
	for _, r := range orphans {
		if r.messages == 0 || r.account == 0 {
			continue
		}
		s.o.Log.Error("mailbox was lost to damage, its messages were not",
			telemetry.Mailbox, r.name, telemetry.Account, uint64(r.account), telemetry.Count, r.messages)
		e := s.q.entry(journal.TypeBatch, func(lsn journal.LSN, u *undoing) ([]byte, error) {
			op, err := s.q.create(r.account, r.name, "", lsn, s.o.Clock.Now().Unix(), u)
			if err != nil {
				return nil, err
			}
			b := s.q.boxes[op.mailbox] // under its old id: the filings name it
			delete(s.q.boxes, op.mailbox)
			b.id, b.uidNext, b.modSeq, b.keywords = r.id, r.uidNext, r.modSeq, r.keywords
			s.q.boxes[r.id], op.mailbox = b, r.id
			return appendOp(nil, op), nil
		})
		_, err := s.x.Commit(context.Background(), e)
		switch {
		case errors.Is(err, ErrExists), errors.Is(err, ErrLimit): // the others are not to suffer
			s.o.Log.Error("lost mailbox has no name", telemetry.Mailbox, r.name, telemetry.Err, err)
		case err != nil:
			return fmt.Errorf("adopt mailbox %d: %w", r.id, err)
		}
	}
	return nil
}

// tree returns an account's tree, making room for it if it is new. s.mu is held
// for writing.
func (s *Store) tree(id account.ID) *tree {
	t := s.accounts[id]
	if t == nil {
		t = &tree{names: make(map[string]*box), subscriptions: make(map[string]struct{})}
		s.accounts[id] = t
	}
	return t
}

// box returns a mailbox that the index shows.
func (s *Store) box(id ID) (*box, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.boxes[id]
	if b == nil {
		return nil, ErrNoSuchMailbox
	}
	return b, nil
}

// wait is the barrier of one mailbox: it returns when the index shows all that
// was acknowledged about it. Mailboxes that nothing happens in never wait.
func (s *Store) wait(ctx context.Context, b *box) error {
	return s.x.Wait(ctx, min(journal.LSN(b.last.Load()), s.j.Durable()))
}
