package imap

import (
	"context"
	"fmt"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Narrower knows of some messages which strings they cannot hold
// (store/fulltext). Its methods may be called from any goroutine.
type Narrower interface {
	// Candidates gives those of lsns, which ascend, that may hold needle, which
	// is folded: what it leaves out does not.
	Candidates(ctx context.Context, lsns []journal.LSN, needle string) ([]journal.LSN, error)
	// Want hands over messages that had to be scanned. It does not block.
	Want(lsns []journal.LSN)
}

const (
	// narrowBatch is how many open messages are narrowed at a time: a lookup
	// costs a millisecond however few it is for; a row has some 100 octets.
	narrowBatch = 4096
	// leavesMax bounds the strings of one search that are looked up: each
	// costs a lookup and up to 8 octets for each row. More are scanned for.
	leavesMax = 16
)

// textLeaf is a TEXT or BODY key of a query.
type textLeaf struct {
	needle   string
	maybe    []journal.LSN // ascending: of the rows at hand, those that may hold it
	narrowed bool          // maybe is true of the rows at hand
}

// excludes says whether the message is known not to hold the needle.
func (l *textLeaf) excludes(e *mailbox.Entry) bool {
	if !l.narrowed {
		return false
	}
	_, found := slices.BinarySearch(l.maybe, e.Message)
	return !found
}

// withLeaf makes the test of a TEXT or BODY key begin with what the text index
// knows. That is exact: the index leaves out only what does not hold the
// string, so that the key may stand under NOT and OR.
func (q *query) withLeaf(needle string, test func(*candidate) truth) func(*candidate) truth {
	if len(q.leaves) == leavesMax {
		return test
	}
	leaf := &textLeaf{needle: needle}
	q.leaves = append(q.leaves, leaf)
	return func(c *candidate) truth {
		if leaf.excludes(c.entry) {
			return nope
		}
		return test(c)
	}
}

// widen forgets what narrow has found: other rows come.
func (q *query) widen() {
	for _, leaf := range q.leaves {
		leaf.maybe, leaf.narrowed = nil, false
	}
}

// narrow asks the text index about rows that the hot list left open. It gives
// the rows that are still open, in the memory of rows, and the hits.
func (s *session) narrow(ctx context.Context, q *query, rows []fetchRow) ([]hit, []fetchRow, error) {
	if s.srv.o.Text == nil || len(q.leaves) == 0 || len(rows) == 0 {
		return nil, rows, nil
	}
	lsns := messagesOf(rows)
	slices.Sort(lsns)
	for _, leaf := range q.leaves {
		var err error
		if leaf.maybe, err = s.srv.o.Text.Candidates(ctx, lsns, leaf.needle); err != nil {
			return nil, nil, fmt.Errorf("narrow search: %w", err)
		}
		leaf.narrowed = len(leaf.maybe) < len(lsns)
	}
	var hits []hit
	open := rows[:0]
	for _, row := range rows {
		switch q.eval(&candidate{seq: row.seq, entry: &row.entry}) {
		case yes:
			hits = append(hits, hit{row.seq, uint32(row.entry.UID), row.entry.ModSeq})
		case unknown:
			open = append(open, row)
		}
	}
	return hits, open, nil
}

func messagesOf(rows []fetchRow) []journal.LSN {
	lsns := make([]journal.LSN, len(rows))
	for i := range rows {
		lsns[i] = rows[i].entry.Message
	}
	return lsns
}

// want hands the messages that were scanned to the text index.
func (s *session) want(q *query, rows []fetchRow) {
	if s.srv.o.Text != nil && len(q.leaves) > 0 && len(rows) > 0 {
		s.srv.o.Text.Want(messagesOf(rows))
	}
}
