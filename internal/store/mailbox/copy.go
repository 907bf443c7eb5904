package mailbox

import (
	"context"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Copy files messages in another mailbox too, with their flags, keywords and
// INTERNALDATE (RFC 9051 §6.4.7): all of those that exist, or none. No body is
// copied. It is durable and applied on return. Errors: ErrNoSuchMailbox,
// ErrNoSuchMessage if none of the messages exists, ErrLimit.
func (s *Store) Copy(ctx context.Context, src ID, uids []UID, dst ID) (CopyResult, error) {
	return s.copyTo(ctx, src, uids, dst, false)
}

// Move is Copy and removal from src in one step (RFC 9051 §6.4.8): no reader
// and no crash sees a message in both mailboxes or in neither.
func (s *Store) Move(ctx context.Context, src ID, uids []UID, dst ID) (CopyResult, error) {
	return s.copyTo(ctx, src, uids, dst, true)
}

func (s *Store) copyTo(ctx context.Context, src ID, uids []UID, dst ID, move bool) (CopyResult, error) {
	uids, err := checkUIDs(uids)
	if err != nil {
		return CopyResult{}, err
	}
	var entries []Entry
	var names keywordNames
	done, err := s.changing(ctx, src, func(b *box, h *hotlist) error {
		names = b.keywords
		for _, u := range uids {
			if e, ok := h.get(u); ok {
				entries = append(entries, e)
			}
		}
		if len(entries) == 0 {
			return ErrNoSuchMessage
		}
		return nil
	})
	if err != nil {
		return CopyResult{}, err
	}
	defer done()
	var res CopyResult
	err = s.settled(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		file, err := s.stampCopy(entries, names, dst, lsn, u, &res)
		if err != nil {
			return nil, err
		}
		ops := []any{file}
		if move {
			gone, err := s.stampExpunge(src, newUIDSet(res.Src), lsn, u)
			if err != nil {
				return nil, err
			}
			ops = append(ops, gone)
		}
		return ops, nil
	})
	op := "copy"
	if move {
		op = "move"
	}
	if err != nil {
		return CopyResult{}, fmt.Errorf("%s: %w", op, err)
	}
	s.o.Metrics.messages.WithLabelValues(op).Add(float64(len(entries)))
	return res, nil
}

// stampCopy gives the copies their UIDs, and their keywords the bits of the
// destination.
func (s *Store) stampCopy(from []Entry, names keywordNames, dst ID, lsn journal.LSN, u *undoing, res *CopyResult) (*fileOp, error) {
	q, err := s.q.box(dst)
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	u.add(q.snapshot())
	op := &fileOp{account: q.account, mailbox: dst, entries: make([]Entry, len(from))}
	*res = CopyResult{UIDValidity: q.validity, Src: make([]UID, len(from)), Dst: make([]UID, len(from))}
	first, err := q.takeUIDs(len(from))
	if err != nil {
		return nil, err
	}
	var last, bits Flags // most messages of a copy have the same flags
	for i, e := range from {
		if i == 0 || e.Flags != last {
			var defs []keyword
			if bits, defs, err = q.takeFlags(e.Flags&systemMask, keywordsOf(names, e.Flags)); err != nil {
				return nil, err
			}
			op.keywords = append(op.keywords, defs...)
			last = e.Flags
		}
		res.Src[i], res.Dst[i] = e.UID, first+UID(i)
		e.UID, e.Flags = res.Dst[i], bits
		op.entries[i] = e
	}
	op.modSeq = q.touch(lsn)
	return op, nil
}

// systemMask is the bits of the system flags.
const systemMask = 1<<firstKeyword - 1

// keywordsOf are the names of the keywords that are set in f.
func keywordsOf(ks keywordNames, f Flags) []string {
	var names []string
	for i, k := range ks {
		if f&(1<<(firstKeyword+i)) != 0 {
			names = append(names, k)
		}
	}
	return names
}
