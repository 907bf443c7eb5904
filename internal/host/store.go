package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/fulltext"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// StoreOptions are the doors of a Store; the zero value is the real world.
type StoreOptions struct {
	FS      sys.FS
	Clock   sys.Clock
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// MemoryIndex keeps the index in memory, made anew at each start: for
	// simulations, whose disk SQLite cannot use.
	MemoryIndex bool
}

// groupWait is none in simulated time: who appends may hold a mutex that others
// want, and while somebody waits for a mutex that time stands still. The journal
// has tests of its own for it.
func (o *StoreOptions) groupWait() time.Duration {
	if o.MemoryIndex {
		return 0
	}
	return journal.GroupWaitMax
}

// Store is everything that a host keeps: the journal and its views.
type Store struct {
	Journal   *journal.Journal
	Index     *index.Index
	Accounts  *account.Store
	Mailboxes *mailbox.Store
	Fates     *fate.Store

	text    *fulltext.Index // nil unless this is served from, or if it cannot be opened
	quota   int64
	scratch func() string
}

// OpenStore opens the store of a configured directory: it recovers the
// journal and brings the index up to it, which takes about a second for each
// gigabyte that the index lacks. The error wraps sys.ErrLocked when another
// process has the directory.
func OpenStore(ctx context.Context, c Config, o StoreOptions) (*Store, error) {
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if err := o.FS.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	j, err := journal.Open(journal.Options{
		Dir: c.DirPath("journal"), FS: o.FS, Clock: o.Clock, Rand: sys.Rand(),
		SegmentBytes: int64(c.Journal.SegmentSize),
		GroupWait:    o.groupWait(),
		Log:          o.Log,
		Metrics:      journal.NewMetrics(o.Metrics),
	})
	if errors.Is(err, sys.ErrLocked) {
		return nil, fmt.Errorf("%s is open in another breakwater, or one that is still starting: %w", c.Dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	s := &Store{
		Journal: j,
		quota:   int64(c.Mailbox.Quota),
		scratch: func() string { return scratchFile(o.FS, c) },
		Accounts: account.New(account.Options{
			Clock: o.Clock, Log: o.Log,
		}),
		Fates: fate.New(fate.Options{
			Clock: o.Clock, Log: o.Log, Keep: c.Ledger.Keep.Std(),
			Metrics: fate.NewMetrics(o.Metrics),
		}),
	}
	s.Mailboxes = mailbox.New(mailbox.Options{
		Clock: o.Clock, Log: o.Log,
		Metrics:   mailbox.NewMetrics(o.Metrics),
		Retention: c.Mailbox.Retention.Std(),
		Owner:     s.ownerName,
		Others:    []mailbox.Other{s.Accounts, s.Fates},
	}, j)
	if err := s.openIndex(ctx, c, o); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return s, nil
}

func (s *Store) openIndex(ctx context.Context, c Config, o StoreOptions) (err error) {
	path := c.DirPath(indexName)
	if o.MemoryIndex {
		path = ""
	}
	s.Index, err = index.Open(ctx, index.Options{
		Path: path, Clock: o.Clock,
		Log:     o.Log,
		Metrics: index.NewMetrics(o.Metrics),
	}, s.Journal, s.Accounts, s.Mailboxes, s.Fates)
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	if err := s.Accounts.Attach(s.Index); err != nil {
		return errors.Join(fmt.Errorf("read accounts: %w", err), s.Index.Close())
	}
	if err := s.Mailboxes.Attach(s.Index); err != nil {
		return errors.Join(fmt.Errorf("read mailboxes: %w", err), s.Index.Close())
	}
	if err := s.Fates.Attach(s.Index); err != nil {
		return errors.Join(fmt.Errorf("read fates: %w", err), s.Index.Close())
	}
	return nil
}

// indexName is the index's file in the data directory.
const indexName = "index.db"

// scratchFile is where verify makes a second index: where there is hardly any
// room, in memory.
func scratchFile(fs sys.FS, c Config) string {
	if free, err := fs.Free(c.Dir); err == nil && free < healthFreeMin {
		return ""
	}
	return c.DirPath("verify.db")
}

// ownerName names an account in findings of damage.
func (s *Store) ownerName(id account.ID) string {
	a, err := s.Accounts.ByID(context.Background(), id)
	if err != nil {
		return fmt.Sprintf("account %d", id)
	}
	return a.Address.String()
}

// quotaOf returns an account's quota in bytes, 0 if it has none.
func (s *Store) quotaOf(ctx context.Context, id account.ID) (int64, error) {
	a, err := s.Accounts.ByID(ctx, id)
	return a.QuotaBytes, err
}

// Admin returns what acts on operators' requests.
func (s *Store) Admin() *admin.Executor {
	return &admin.Executor{
		Accounts: s.Accounts, Mailboxes: s.Mailboxes,
		DefaultQuota: s.quota, Scratch: s.scratch, Ledger: s.ledger(nil),
	}
}

// Close closes the text index, which reads messages, then the index, then the
// journal.
func (s *Store) Close() error {
	var err error
	if s.text != nil {
		err = s.text.Close()
	}
	return errors.Join(err, s.Index.Close(), s.Journal.Close())
}

// RebuildIndex throws the index away and makes it anew from the journal. No
// host may be running on the directory.
func RebuildIndex(ctx context.Context, c Config, log *slog.Logger) error {
	lock, err := sys.OSFS().Lock(c.DirPath("journal", "lock"))
	if err != nil {
		return fmt.Errorf("%s: %w; stop the host first", c.Dir, err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(c.DirPath(indexName + suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("remove index: %w", err), lock.Close())
		}
	}
	if err := lock.Close(); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	s, err := OpenStore(ctx, c, StoreOptions{Log: log})
	if err != nil {
		return err
	}
	return s.Close()
}
