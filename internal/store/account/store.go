package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var (
	_ index.View   = (*Store)(nil)
	_ sasl.Backend = (*Store)(nil)
)

// errDetached is a fault of the composition: a question came before Attach.
var errDetached = errors.New("account store has no index yet")

// Store keeps the accounts. Make it with New, give it to index.Open as a
// view, then Attach it. Its methods may be called from any goroutine.
type Store struct {
	o        Options
	x        *index.Index // set by Attach
	hashes   *hasher
	argon    argonParams // of new hashes; tests make them cheap
	cache    *loginCache // set by Attach
	fallback []byte      // set by Attach: the secret until the journal has one

	uses uses

	onHold, onRelease func(Account) // set before use; nil: nobody asked
	telling           sync.Mutex    // held during their calls
	told              map[ID]bool   // guarded by telling: whose hold was told

	// writer holds a token while a change is decided on and committed.
	writer *semaphore.Weighted

	mu       sync.RWMutex
	attached bool       // guarded by mu
	dir      *directory // guarded by mu; changed by Attach and Committed
}

// New makes a Store.
func New(o Options) *Store {
	o.setDefaults()
	return &Store{
		o:      o,
		hashes: newHasher(o.Clock, o.Metrics),
		argon:  newArgonParams(),
		writer: semaphore.NewWeighted(1),
		dir:    newDirectory(),
		told:   map[ID]bool{},
	}
}

// Attach gives the store its index, and fills the directory from it. Before
// that every question is answered with a fault.
func (s *Store) Attach(x *index.Index) error {
	keys, err := s.random(2 * hashBytes)
	if err != nil {
		return err
	}
	dir := newDirectory()
	err = x.Read(context.Background(), func(conn *sqlite.Conn) error {
		return loadDirectory(conn, dir)
	})
	if err != nil {
		return fmt.Errorf("load accounts: %w", err)
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	for _, e := range dir.accounts {
		if e.Hold.On() {
			s.told[e.ID] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x, s.dir, s.attached = x, dir, true
	s.cache, s.fallback = newLoginCache(s.o.Clock, keys[:hashBytes]), keys[hashBytes:]
	return nil
}

// Committed implements index.View: it keeps the directory right.
func (s *Store) Committed(rs []index.Applied) {
	for _, r := range rs {
		changes, ok := r.Result.([]change)
		if !ok {
			continue
		}
		s.mu.Lock()
		if s.attached {
			for _, c := range changes {
				s.dir.apply(c)
			}
		}
		s.mu.Unlock()
	}
}

// random returns n fresh random octets.
func (s *Store) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.o.Rand, b); err != nil {
		return nil, fmt.Errorf("read random octets: %w", err)
	}
	return b, nil
}

// change lets decide make up its mind about one change on the newest
// directory, and commits it: durable and applied on return. decide must not
// block; no changes and no error means that there is nothing to do.
//
// One change at a time, each decided after all earlier ones were applied:
// that is what makes two concurrent additions of one address come out right
// without deciding anything at replay. Changes are rare; a fdatasync each is
// no loss.
func (s *Store) change(ctx context.Context, decide func(*directory) ([]change, error)) error {
	if err := s.writer.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for other changes: %w", err)
	}
	defer s.writer.Release(1)
	changes, err := s.decide(decide)
	if err != nil || len(changes) == 0 {
		return err
	}
	var envelope []byte
	for _, c := range changes {
		envelope = appendChange(envelope, c)
	}
	// Without ctx's end: the next change must see this one applied.
	_, err = s.x.Commit(context.WithoutCancel(ctx), &journal.Entry{Type: journal.TypeBatch, Envelope: envelope})
	if err != nil {
		return fmt.Errorf("commit account change: %w", err)
	}
	return nil
}

func (s *Store) decide(decide func(*directory) ([]change, error)) ([]change, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return nil, errDetached
	}
	changes, err := decide(s.dir)
	if err != nil || len(changes) == 0 || s.dir.secret != nil {
		return changes, err
	}
	secret, err := s.random(hashBytes) // this is the store's first change
	if err != nil {
		return nil, err
	}
	return append([]change{{op: opSecret, secret: secret}}, changes...), nil
}
