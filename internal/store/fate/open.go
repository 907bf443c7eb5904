package fate

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// OnUpdate sets what is told of new open recipients and of changes, in the
// order of the journal. It is called by the index's writer after the tables
// show them: it must not block and must not ask the store. Set it once, before
// the index is served from.
func (s *Store) OnUpdate(fn func([]Update)) { s.update = fn }

// Committed implements index.View.
func (s *Store) Committed(rs []index.Applied) {
	var all []Update
	for _, r := range rs {
		if did, ok := r.Result.(result); ok {
			s.dropped.Add(did.dropped)
			all = append(all, did.updates...)
			s.recent.note(r.Record, did.updates)
		}
	}
	if len(all) == 0 {
		return
	}
	for i := range all {
		s.o.Metrics.updates.WithLabelValues(all[i].State.String()).Inc()
	}
	s.overtake(all)
	if s.update != nil {
		s.update(all)
	}
}

// scan is one call of Open, with what has been told since it began: that is
// newer than the snapshot that it reads, of what it has not come to yet.
type scan struct {
	at   place // the last one that was read
	told map[place]Update
}

// passed tells whether the scan has read a recipient, or where it would be.
func (sc *scan) passed(p place) bool {
	return p.lsn < sc.at.lsn || p.lsn == sc.at.lsn && p.n <= sc.at.n
}

// overtake makes calls of Open that are under way tell what is being told.
func (s *Store) overtake(us []Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sc := range s.scans {
		for _, u := range us {
			p := place{u.LSN, u.Rcpt}
			if sc.passed(p) {
				continue
			}
			u.Fresh = u.Fresh || sc.told[p].Fresh
			sc.told[p] = u
		}
	}
}

// begin makes a scan of which every transaction from now on will know.
func (s *Store) begin() (sc *scan, end func()) {
	sc = &scan{told: make(map[place]Update)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scans[sc] = struct{}{}
	return sc, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.scans, sc)
	}
}

// Open calls fn with every recipient that has not ended, oldest message first,
// as it is at that moment: fn and OnUpdate's function together never tell what
// was, after what is. Recipients that were accepted after Open had begun are
// left to OnUpdate. fn must not ask the store; transitions wait for it. Open
// returns fn's first error.
func (s *Store) Open(ctx context.Context, fn func(Open) error) error {
	if s.x == nil {
		return errDetached
	}
	// What is known now is to come from the snapshot.
	if err := s.x.Read(ctx, func(*sqlite.Conn) error { return nil }); err != nil {
		return fmt.Errorf("wait for the index: %w", err)
	}
	sc, end := s.begin()
	defer end()
	names := interner{seen: make(map[string]string)}
	err := s.x.View(ctx, func(conn *sqlite.Conn) error {
		return each(conn, "SELECT "+openColumns+" FROM fate_open ORDER BY lsn, place", func(st *sqlite.Stmt) error {
			o := names.open(st)
			s.mu.Lock()
			defer s.mu.Unlock()
			sc.at = place{o.LSN, o.Rcpt}
			if u, told := sc.told[sc.at]; told {
				delete(sc.told, sc.at)
				if o = u.Open; u.Fresh || o.State.Ended() {
					return nil
				}
			}
			return fn(o)
		})
	})
	if err != nil {
		return fmt.Errorf("read open recipients: %w", err)
	}
	return nil
}

// open reads openColumns.
func (p *interner) open(st *sqlite.Stmt) Open {
	return Open{
		LSN: journal.LSN(st.ColumnInt64(0)), Rcpt: st.ColumnInt(1), State: State(st.ColumnInt64(2)), Due: timeOf(st.ColumnInt64(3)),
		Received: timeOf(st.ColumnInt64(4)), Attempts: st.ColumnInt(5), Warned: st.ColumnInt64(6) != 0,
		Account: account.ID(st.ColumnInt64(7)), Domain: message.Domain(p.text(st, 8)), Route: p.text(st, 9),
	}
}

// interner keeps texts that repeat once.
type interner struct {
	seen map[string]string
	buf  []byte
}

// text returns a column's text.
func (p *interner) text(st *sqlite.Stmt, i int) string {
	n := st.ColumnLen(i)
	if n == 0 {
		return ""
	}
	if cap(p.buf) < n {
		p.buf = make([]byte, n, 2*n)
	}
	b := p.buf[:n]
	st.ColumnBytes(i, b)
	if s, ok := p.seen[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.seen) < domainsMax {
		p.seen[s] = s
	}
	return s
}
