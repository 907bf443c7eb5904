package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	// A segment is compacted when less than half of it is live; and when it
	// is old and less than four fifths are, since what has lived for 30 days
	// will mostly stay, and is not copied twice.
	liveShareLow  = 0.5
	liveShareOld  = 0.8
	oldSegmentAge = 30 * 24 * time.Hour

	// Every restart begins a segment. When there are this many small ones
	// they are merged: files cost handles and time at the start.
	smallSegments     = 16
	smallSegmentBytes = 16 << 20

	// mergeBytes and mergeSegments bound what is merged in one go: a merge
	// that fails begins again, and needs room for its copies.
	mergeBytes    = 256 << 20
	mergeSegments = 64

	// segmentOverhead is what a segment takes besides records: header and
	// seal. A tiny one is not mostly dead for that.
	segmentOverhead = 8 << 10
)

// Compact expires bodies whose retention has passed, and rewrites the journal
// segments that hold mostly what nobody needs any more. It returns how many
// were rewritten. One that is damaged is left alone and reported. It may run
// beside everything else; it is Run that calls it.
func (s *Store) Compact(ctx context.Context) (int, error) {
	if err := s.sweep(ctx); err != nil {
		return 0, fmt.Errorf("expire bodies: %w", err)
	}
	segs, err := s.candidates(ctx)
	if err != nil {
		return 0, fmt.Errorf("choose segments: %w", err)
	}
	return s.compactAll(ctx, segs)
}

// CompactFully rewrites every segment that is not written to, whatever is live
// in it: for tests, and before a copy of the store is made.
func (s *Store) CompactFully(ctx context.Context) (int, error) {
	if err := s.sweep(ctx); err != nil {
		return 0, fmt.Errorf("expire bodies: %w", err)
	}
	var segs []journal.SegmentInfo
	for _, g := range s.j.Segments() {
		if compactable(g) {
			segs = append(segs, g)
		}
	}
	return s.compactAll(ctx, segs)
}

func compactable(g journal.SegmentInfo) bool {
	return !g.Active && !g.Damaged && (g.Kind == journal.KindLog || g.Kind == journal.KindCompacted)
}

// candidates chooses the segments to rewrite.
func (s *Store) candidates(ctx context.Context) ([]journal.SegmentInfo, error) {
	live, deadLarge, err := s.liveBytes(ctx)
	if err != nil {
		return nil, err
	}
	var chosen, small []journal.SegmentInfo
	now := s.o.Clock.Now()
	for _, g := range s.j.Segments() {
		if !compactable(g) {
			continue
		}
		// What is won counts the large bodies that go with their records.
		total := max(g.Size-segmentOverhead, 0) + deadLarge[g.ID]
		share := 1.0
		if total > 0 {
			share = float64(live[g.ID]) / float64(total)
		}
		old := now.Sub(g.Created) > oldSegmentAge
		switch {
		case share < liveShareLow, old && share < liveShareOld, len(g.Sources) > 0:
			chosen = append(chosen, g)
		case g.Size < smallSegmentBytes:
			small = append(small, g)
		}
	}
	if len(small) >= smallSegments {
		chosen = append(chosen, small...)
	}
	return chosen, nil
}

// liveBytes reads per segment the bytes that would have to be kept, and those
// of large bodies that would go.
func (s *Store) liveBytes(ctx context.Context) (live, deadLarge map[journal.SegmentID]int64, err error) {
	live, deadLarge = make(map[journal.SegmentID]int64), make(map[journal.SegmentID]int64)
	err = s.x.View(ctx, func(conn *sqlite.Conn) error {
		for query, into := range map[string]map[journal.SegmentID]int64{
			"SELECT id, live FROM segments": live,
			"SELECT m.segment, sum(m.size) FROM refs AS r JOIN messages AS m ON m.lsn = r.lsn " +
				"WHERE r.expired = 1 AND m.large <> 0 GROUP BY m.segment": deadLarge,
		} {
			if err := eachRow(conn, query, func(st *sqlite.Stmt) {
				into[journal.SegmentID(st.ColumnInt64(0))] = st.ColumnInt64(1)
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return live, deadLarge, err
}

// eachRow calls fn for each row of a query without arguments.
func eachRow(conn *sqlite.Conn, query string, fn func(*sqlite.Stmt)) error {
	st, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	for {
		ok, err := st.Step()
		if err != nil {
			return errors.Join(err, st.Reset())
		}
		if !ok {
			return st.Reset()
		}
		fn(st)
	}
}

// compactAll rewrites segments, a bounded group at a time.
func (s *Store) compactAll(ctx context.Context, segs []journal.SegmentInfo) (int, error) {
	slices.SortFunc(segs, func(a, b journal.SegmentInfo) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	done := 0
	var failed error
	for len(segs) > 0 {
		n, size := 0, int64(0)
		var ids []journal.SegmentID
		for n < len(segs) && n < mergeSegments && (n == 0 || size+segs[n].Size <= mergeBytes) {
			ids, size = append(ids, segs[n].ID), size+segs[n].Size
			n++
		}
		segs = segs[n:]
		ids = slices.DeleteFunc(ids, func(id journal.SegmentID) bool { return !s.hasSegment(id) })
		if len(ids) == 0 {
			continue // gone with an earlier group
		}
		err := s.compactGroup(ctx, ids)
		var damage *journal.DamageError
		if errors.As(err, &damage) && len(ids) > 1 {
			s.o.Log.Error("segment is damaged and stays as it is", telemetry.Segment, damage.Segment.String(), telemetry.Err, err)
			failed = err
			continue
		}
		if err != nil {
			failed = err
			if !errors.As(err, &damage) {
				return done, err
			}
			continue
		}
		done += len(ids)
		s.o.Metrics.compacted.Add(float64(len(ids)))
	}
	return done, failed
}

func (s *Store) hasSegment(id journal.SegmentID) bool {
	return slices.ContainsFunc(s.j.Segments(), func(g journal.SegmentInfo) bool { return g.ID == id })
}

// compaction is one Merge of the journal and what goes with it.
type compaction struct {
	s       *Store
	ctx     context.Context
	ids     []journal.SegmentID
	expired map[journal.LSN]struct{} // messages that may go
	gone    []journal.LSN            // messages that go
	said    *superseded
	others  *others
	live    map[journal.SegmentID]int64 // of the new segments, so far
	stated  bool
}

// compactGroup rewrites some segments: live messages are copied, everything
// else is dropped once State records say what it amounted to.
func (s *Store) compactGroup(ctx context.Context, ids []journal.SegmentID) error {
	s.house.Lock()
	defer s.house.Unlock()
	c := &compaction{s: s, ctx: ctx, said: newSuperseded(), live: make(map[journal.SegmentID]int64),
		expired: make(map[journal.LSN]struct{})}
	err := s.x.Read(ctx, func(conn *sqlite.Conn) (err error) {
		if c.others, err = newOthers(s.o.Others, conn); err != nil {
			return err
		}
		return eachRow(conn, "SELECT lsn FROM refs WHERE expired = 1", func(st *sqlite.Stmt) {
			c.expired[journal.LSN(st.ColumnInt64(0))] = struct{}{}
		})
	})
	if err != nil {
		return err
	}
	c.ids = ids
	if err := s.j.Merge(ctx, ids, c.keep, c.moved); err != nil {
		return err
	}
	return s.forgetSegments(ctx)
}

// keep tells the journal what to copy.
func (c *compaction) keep(r journal.Record) bool {
	switch r.Type {
	case journal.TypeMessage:
		if _, dead := c.expired[r.LSN]; !dead {
			return true
		}
		if !c.others.drop(r) || c.said.dropMessage(r) != nil {
			return true
		}
		c.gone = append(c.gone, r.LSN)
		return false
	case journal.TypeBatch, journal.TypeState:
		return !c.others.drop(r) || !c.said.drop(r)
	}
	return true
}

// moved is called by the journal when the copies are durable and before the
// originals go.
func (c *compaction) moved(ms []journal.Moved) error {
	var states []journal.Record
	if !c.stated {
		var err error
		if states, err = c.state(); err != nil {
			return fmt.Errorf("write state: %w", err)
		}
		c.stated = true
	}
	gone := c.gone
	c.gone = nil
	return c.s.x.Update(c.ctx, true, func(conn *sqlite.Conn) error {
		return c.point(conn, ms, gone, states)
	})
}

// state appends the State records, as of one snapshot that has all that is
// being dropped.
func (c *compaction) state() (recs []journal.Record, err error) {
	err = c.s.x.Read(c.ctx, func(conn *sqlite.Conn) error {
		asOf, err := index.AppliedIn(conn)
		if err != nil {
			return err
		}
		write := func(envelope []byte) error {
			r, err := c.s.x.Accept(c.ctx, &journal.Entry{Type: journal.TypeState, AsOf: asOf, Envelope: envelope})
			if err != nil {
				return err
			}
			recs = append(recs, r)
			c.s.o.Metrics.states.Add(float64(r.Pos.Length))
			return nil
		}
		if err := c.said.states(conn, c.s.o.Clock.Now().Unix(), write); err != nil {
			return err
		}
		return c.others.states(conn, write)
	})
	return recs, err
}

// point moves the index's pointers to the copies, forgets the messages that go,
// and counts what is live where.
func (c *compaction) point(conn *sqlite.Conn, ms []journal.Moved, gone []journal.LSN, states []journal.Record) error {
	st, err := conn.Prepare("UPDATE messages SET segment = ?, offset = ?, length = ? WHERE lsn = ?")
	if err != nil {
		return err
	}
	for _, m := range ms {
		st.BindInt64(1, int64(m.To.Segment))
		st.BindInt64(2, m.To.Offset)
		st.BindInt64(3, m.To.Length)
		st.BindInt64(4, int64(m.LSN))
		if err := step(st); err != nil {
			return fmt.Errorf("move message %s: %w", m.LSN, err)
		}
		c.live[m.To.Segment] += m.To.Length // also if it had to be kept though nobody wants the message
	}
	for _, lsn := range gone {
		for _, q := range []string{"DELETE FROM messages WHERE lsn = ?", "DELETE FROM refs WHERE lsn = ?"} {
			if err := exec(conn, q, int64(lsn)); err != nil {
				return fmt.Errorf("forget message %s: %w", lsn, err)
			}
		}
	}
	for _, id := range c.ids {
		if err := exec(conn, "DELETE FROM segments WHERE id = ?", int64(id)); err != nil {
			return fmt.Errorf("forget segment %s: %w", id, err)
		}
	}
	for seg, n := range c.live {
		if err := exec(conn, "INSERT OR REPLACE INTO segments (id, live) VALUES (?, ?)", int64(seg), n); err != nil {
			return fmt.Errorf("count live bytes of segment %s: %w", seg, err)
		}
	}
	for _, r := range states {
		if err := addLive(conn, r.Pos.Segment, r.Pos.Length); err != nil {
			return err
		}
	}
	return nil
}
