package fulltext

import (
	"fmt"
	"maps"
	"slices"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// batch is one transaction of the worker, and the blocks that it changes,
// which become known when it has been committed.
type batch struct {
	x      *Index
	blocks known
	added  int // blocks that are not in x.known
}

func (x *Index) begin() (*batch, error) {
	if err := sqlitex.Execute(x.conn, "BEGIN IMMEDIATE", nil); err != nil {
		return nil, fmt.Errorf("begin batch: %w", err)
	}
	return &batch{x: x, blocks: known{}}, nil
}

// block gives a copy of a message's block, to be changed.
func (b *batch) block(lsn journal.LSN) *block {
	id := lsn / blockLSNs
	if c := b.blocks[id]; c != nil {
		return c
	}
	c := &block{}
	b.x.mu.Lock()
	if have := b.x.known[id]; have != nil {
		*c = *have
	} else {
		b.added++
	}
	b.x.mu.Unlock()
	b.blocks[id] = c
	return c
}

// room says whether there may be one more block for a message.
func (b *batch) room(lsn journal.LSN) bool {
	id := lsn / blockLSNs
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	return b.blocks[id] != nil || b.x.known[id] != nil || len(b.x.known)+b.added < blocksMax
}

func (b *batch) insert(lsn journal.LSN, terms []byte) error {
	s, err := b.x.conn.Prepare("INSERT INTO grams (rowid, terms) VALUES (?, ?)")
	if err != nil {
		return fmt.Errorf("index message %s: %w", lsn, err)
	}
	s.BindInt64(1, int64(lsn))
	s.BindText(2, string(terms))
	_, err = s.Step()
	if rerr := s.Reset(); err == nil {
		err = rerr
	}
	if err != nil {
		return fmt.Errorf("index message %s: %w", lsn, err)
	}
	b.block(lsn).indexed.add(lsn)
	return nil
}

func (b *batch) remove(lsn journal.LSN) error {
	c := b.block(lsn)
	if c.indexed.has(lsn) {
		err := sqlitex.Execute(b.x.conn, "DELETE FROM grams WHERE rowid = ?", &sqlitex.ExecOptions{Args: []any{int64(lsn)}})
		if err != nil {
			return fmt.Errorf("remove message %s: %w", lsn, err)
		}
	}
	c.indexed.remove(lsn)
	c.passed.remove(lsn)
	return nil
}

// commit writes the blocks and makes them known.
func (b *batch) commit() error {
	for id, c := range b.blocks {
		query, args := "INSERT OR REPLACE INTO blocks (block, indexed, passed) VALUES (?, ?, ?)",
			[]any{int64(id), c.indexed.octets(), c.passed.octets()}
		if *c == (block{}) {
			query, args = "DELETE FROM blocks WHERE block = ?", args[:1]
		}
		if err := sqlitex.Execute(b.x.conn, query, &sqlitex.ExecOptions{Args: args}); err != nil {
			b.rollback()
			return fmt.Errorf("write block: %w", err)
		}
	}
	if err := sqlitex.Execute(b.x.conn, "COMMIT", nil); err != nil {
		b.rollback()
		return fmt.Errorf("commit batch: %w", err)
	}
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	for id, c := range b.blocks {
		if *c == (block{}) {
			delete(b.x.known, id)
			continue
		}
		b.x.known[id] = c
	}
	return nil
}

func (b *batch) rollback() {
	// It may have been rolled back already, by the error that led here.
	if !b.x.conn.AutocommitEnabled() {
		_ = sqlitex.Execute(b.x.conn, "ROLLBACK", nil)
	}
}

// blockIDs gives the blocks of which something is known, ascending.
func (x *Index) blockIDs() []journal.LSN {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.known))
}
