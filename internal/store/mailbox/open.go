package mailbox

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Mailbox is an open mailbox: a handle on the message list that all who have
// it open share. Its methods may be called from any goroutine until Close.
type Mailbox struct {
	s        *Store
	b        *box
	keywords atomic.Int64 // how many the owner has been told of
	closed   atomic.Bool
}

// OpenMailbox opens a mailbox and reads its message list, unless somebody else
// has. The caller must Close it. The error is ErrNoSuchMailbox if it is gone.
func (s *Store) OpenMailbox(ctx context.Context, id ID) (*Mailbox, error) {
	b, err := s.box(id)
	if err != nil {
		return nil, err
	}
	if err := s.use(ctx, b); err != nil {
		return nil, err
	}
	m := &Mailbox{s: s, b: b}
	m.keywords.Store(int64(len(m.Keywords())))
	s.o.Metrics.open.Inc()
	return m, nil
}

// use makes sure that b has its hot list and keeps it until release.
func (s *Store) use(ctx context.Context, b *box) error {
	for {
		b.mu.Lock()
		if b.gone {
			b.mu.Unlock()
			return ErrNoSuchMailbox
		}
		h := b.hot
		load := h == nil
		if load {
			h = newHotlist()
			b.hot = h
		}
		b.users++
		b.mu.Unlock()
		s.hot.remove(b)
		if load {
			s.readInto(ctx, b, h)
		}
		select {
		case <-h.ready:
		case <-ctx.Done():
			s.release(b)
			return ctx.Err()
		}
		if h.err == nil {
			return nil
		}
		s.release(b)
		if load || ctx.Err() != nil {
			return h.err
		} // somebody else's attempt failed, perhaps only since they left
	}
}

// release ends a use. The list stays for the next one while there is room.
func (s *Store) release(b *box) {
	b.mu.Lock()
	b.users--
	cached := b.users == 0 && b.hot != nil && b.hot.loaded
	n := 0
	if cached {
		n = cap(b.hot.entries)
	}
	b.mu.Unlock()
	if cached {
		s.hot.add(b, n)
	}
}

// readInto reads b's list from the index into h.
func (s *Store) readInto(ctx context.Context, b *box, h *hotlist) {
	entries, r, err := s.readList(ctx, b.id)
	s.o.Metrics.loads.Inc()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		h.err = fmt.Errorf("read mailbox %d: %w", b.id, err)
		if b.hot == h {
			b.hot = nil
		}
		close(h.ready)
		return
	}
	h.install(entries, r.modSeq, r.uidNext)
}

// readList reads a mailbox's row and all its entries in one snapshot.
func (s *Store) readList(ctx context.Context, id ID) (entries []Entry, r *row, err error) {
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		if r, err = readRow(conn, id); err != nil {
			return err
		}
		if r == nil {
			return ErrNoSuchMailbox
		}
		entries, err = readEntries(conn, id, uidRange{1, uidMax}, make([]Entry, 0, r.messages+r.messages/8+16))
		return err
	})
	return entries, r, err
}

// readEntries appends the entries of a range of UIDs to dst.
func readEntries(conn *sqlite.Conn, id ID, u uidRange, dst []Entry) ([]Entry, error) {
	query := "SELECT uid, modseq, flags, message, size, date FROM filings WHERE mailbox = ?"
	whole := u == uidRange{1, uidMax}
	if !whole { // a comparison less for each row of a long list
		query += " AND uid BETWEEN ? AND ?"
	}
	s, err := conn.Prepare(query + " ORDER BY uid")
	if err != nil {
		return dst, err
	}
	defer s.Reset()
	s.BindInt64(1, int64(id))
	if !whole {
		s.BindInt64(2, int64(u.lo))
		s.BindInt64(3, int64(u.hi))
	}
	for {
		ok, err := s.Step()
		if err != nil || !ok {
			return dst, err
		}
		dst = append(dst, Entry{
			UID: UID(s.ColumnInt64(0)), ModSeq: ModSeq(s.ColumnInt64(1)), Flags: Flags(s.ColumnInt64(2)),
			Message: journal.LSN(s.ColumnInt64(3)), Size: uint32(s.ColumnInt64(4)), Date: s.ColumnInt64(5),
		})
	}
}

// Close gives the mailbox back. It may be called twice.
func (m *Mailbox) Close() {
	if !m.closed.Swap(true) {
		m.s.o.Metrics.open.Dec()
		m.s.release(m.b)
	}
}

// Info describes the mailbox as the last applied record left it: a rename
// changes it. Subscribed is not set.
func (m *Mailbox) Info() Info {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	return m.b.info
}

// Status is the mailbox's as of the last applied record, without a barrier.
func (m *Mailbox) Status() Status {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	return m.b.status
}

// Deleted reports whether the mailbox is gone.
func (m *Mailbox) Deleted() bool {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	return m.b.gone
}

// Keywords are the mailbox's keywords. There are only ever more of them.
func (m *Mailbox) Keywords() []string {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	return slices.Clone([]string(m.b.keywords))
}

// FlagNames are the names of the flags that are set in f.
func (m *Mailbox) FlagNames(f Flags) []string {
	m.b.mu.Lock()
	ks := m.b.keywords
	m.b.mu.Unlock()
	return ks.names(f)
}

// Flag returns the bit of a flag by its name, 0 if the mailbox does not have
// it.
func (m *Mailbox) Flag(name string) Flags {
	f, ks, err := splitFlags([]string{name})
	if err != nil || len(ks) == 0 {
		return f
	}
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	return m.b.keywords.bit(ks[0])
}

// Entries is a snapshot of the message list by UID, with all that had been
// acknowledged, and its MODSEQ. Nobody may change it.
func (m *Mailbox) Entries(ctx context.Context) ([]Entry, ModSeq, error) {
	var es []Entry
	var modSeq ModSeq
	err := m.s.look(ctx, m.b, func(h *hotlist) {
		h.shared = true
		es, modSeq = h.entries[:len(h.entries):len(h.entries)], h.modSeq
	})
	return es, modSeq, err
}

// Get appends to dst the entries of those UIDs that exist. For a few messages
// it costs less than Entries, after which the next change copies the list.
func (m *Mailbox) Get(ctx context.Context, uids []UID, dst []Entry) ([]Entry, error) {
	err := m.s.look(ctx, m.b, func(h *hotlist) {
		for _, u := range uids {
			if e, ok := h.get(u); ok {
				dst = append(dst, e)
			}
		}
	})
	return dst, err
}

// look waits at the barrier of b, which is in use, and calls fn with its list
// under its lock.
func (s *Store) look(ctx context.Context, b *box, fn func(*hotlist)) error {
	if err := s.wait(ctx, b); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.hot == nil {
		return ErrNoSuchMailbox
	}
	fn(b.hot)
	return nil
}

// OnChange calls fn after each batch of records that touched the mailbox, from
// the index's goroutine: fn must not block and must not call the store. It is
// also called when the mailbox is deleted. cancel ends it.
func (m *Mailbox) OnChange(fn func()) (cancel func()) {
	w := &watcher{fn}
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	if m.b.watchers == nil {
		m.b.watchers = make(map[*watcher]struct{})
	}
	m.b.watchers[w] = struct{}{}
	return func() {
		m.b.mu.Lock()
		defer m.b.mu.Unlock()
		delete(m.b.watchers, w)
	}
}
