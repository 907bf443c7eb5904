package mailbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// changing calls fn with a mailbox's hot list under its lock, after everything
// that was acknowledged, and keeps other changes of its messages out until done
// is called. What fn finds is therefore still so when the record that it leads
// to is applied, save for messages that come in. So records state facts and no
// conditions, and can be replayed without those before them.
func (s *Store) changing(ctx context.Context, id ID, fn func(*box, *hotlist) error) (done func(), err error) {
	b, err := s.box(id)
	if err != nil {
		return nil, err
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.use(ctx, b); err != nil {
		<-b.turn
		return nil, err
	}
	done = func() {
		s.release(b)
		<-b.turn
	}
	var failed error
	err = s.look(ctx, b, func(h *hotlist) { failed = fn(b, h) })
	if err == nil {
		err = failed
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// settled commits a change that has been looked at. It does not stop for ctx:
// the turn must not be given back while the record may still be on its way.
func (s *Store) settled(ctx context.Context, stamp func(lsn journal.LSN, u *undoing) ([]any, error)) error {
	return s.batch(context.WithoutCancel(ctx), stamp)
}

// checkUIDs refuses more UIDs than one record can name and puts them in order.
func checkUIDs(uids []UID) ([]UID, error) {
	if len(uids) > opMessagesMax {
		return nil, fmt.Errorf("%d messages: %w", len(uids), ErrLimit)
	}
	return ascending(uids), nil
}

// ascending returns uids in order and without doubles; the argument stays as it
// is.
func ascending(uids []UID) []UID {
	for i := 1; i < len(uids); i++ {
		if uids[i] <= uids[i-1] {
			uids = slices.Clone(uids)
			slices.Sort(uids)
			return slices.Compact(uids)
		}
	}
	return uids
}

// SetFlags changes flags, as STORE does (RFC 9051 §6.4.6, RFC 7162 §3.1.3). It
// is durable and applied on return. Messages that do not exist are passed over;
// those that already are as asked keep their MODSEQ, and if all are, nothing is
// written. Errors: ErrNoSuchMailbox, ErrFlag, ErrLimit, or those of the journal.
func (s *Store) SetFlags(ctx context.Context, id ID, c SetFlags) (FlagsResult, error) {
	system, names, err := splitFlags(c.Flags)
	if err != nil {
		return FlagsResult{}, err
	}
	uids, err := checkUIDs(c.UIDs)
	if err != nil {
		return FlagsResult{}, err
	}
	var res FlagsResult
	var p flagsPlan
	done, err := s.changing(ctx, id, func(b *box, h *hotlist) error {
		p = planFlags(c.Mode, system, names, b.keywords)
		res.ModSeq = h.modSeq
		res.Modified = p.look(h, uids, c.UnchangedSince)
		return nil
	})
	if err != nil {
		return FlagsResult{}, err
	}
	defer done()
	if len(p.uids) == 0 {
		return res, nil
	}
	err = s.settled(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		q, err := s.q.box(id)
		if err != nil {
			return nil, err
		}
		u.add(q.snapshot())
		op, err := p.op(q)
		if err != nil {
			return nil, err
		}
		op.modSeq = q.touch(lsn)
		res.ModSeq, res.Written = op.modSeq, true
		return []any{op}, nil
	})
	if err != nil {
		return FlagsResult{}, fmt.Errorf("set flags: %w", err)
	}
	return res, nil
}

// flagsPlan is a change of flags before its keywords have all got their bits.
type flagsPlan struct {
	mode   Mode
	system Flags
	names  []string
	known  Flags // bits of those names that the mailbox has
	fresh  bool  // there are names that it has not
	uids   uidSet
}

func planFlags(mode Mode, system Flags, names []string, have keywordNames) flagsPlan {
	p := flagsPlan{mode: mode, system: system, names: names}
	for _, n := range names {
		bit := have.bit(n)
		p.known |= bit
		p.fresh = p.fresh || bit == 0
	}
	return p
}

// look finds the messages that have to change. It returns those that must not,
// since they were changed after unchangedSince.
func (p *flagsPlan) look(h *hotlist, uids []UID, unchangedSince *ModSeq) (modified []UID) {
	want := p.system | p.known
	for _, u := range uids {
		e, ok := h.get(u)
		if !ok {
			continue
		}
		if unchangedSince != nil && e.ModSeq > *unchangedSince {
			modified = append(modified, u)
			continue
		}
		var same bool
		switch p.mode {
		case Add:
			same = !p.fresh && e.Flags&want == want
		case Remove:
			same = e.Flags&want == 0
		default:
			same = !p.fresh && e.Flags == want
		}
		if !same {
			p.uids = p.uids.add(u)
		}
	}
	return modified
}

// op gives new keywords their bits and makes the operation.
func (p *flagsPlan) op(q *seqBox) (*flagsOp, error) {
	op := &flagsOp{mailbox: q.id, uids: p.uids}
	if p.mode == Remove {
		op.clear = p.system | p.known
		return op, nil
	}
	f, defs, err := q.takeFlags(p.system, p.names)
	if err != nil {
		return nil, err
	}
	op.set, op.keywords = f, defs
	if p.mode == Replace {
		op.clear = ^f
	}
	return op, nil
}

// Expunge removes those of the messages that have \Deleted. It is durable and
// applied on return, with the mailbox's MODSEQ and the UIDs that are gone. The
// bodies stay in the journal for the retention.
func (s *Store) Expunge(ctx context.Context, id ID, uids []UID) (ModSeq, []UID, error) {
	uids, err := checkUIDs(uids)
	if err != nil {
		return 0, nil, err
	}
	var modSeq ModSeq
	var gone []UID
	done, err := s.changing(ctx, id, func(b *box, h *hotlist) error {
		modSeq = h.modSeq
		for _, u := range uids {
			if e, ok := h.get(u); ok && e.Flags&FlagDeleted != 0 {
				gone = append(gone, u)
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	defer done()
	if len(gone) == 0 {
		return modSeq, nil, nil
	}
	err = s.settled(ctx, func(lsn journal.LSN, u *undoing) ([]any, error) {
		op, err := s.stampExpunge(id, newUIDSet(gone), lsn, u)
		if err != nil {
			return nil, err
		}
		modSeq = op.modSeq
		return []any{op}, nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("expunge: %w", err)
	}
	s.o.Metrics.messages.WithLabelValues("expunge").Add(float64(len(gone)))
	return modSeq, gone, nil
}

func (s *Store) stampExpunge(id ID, uids uidSet, lsn journal.LSN, u *undoing) (*expungeOp, error) {
	q, err := s.q.box(id)
	if err != nil {
		return nil, err
	}
	u.add(q.snapshot())
	return &expungeOp{mailbox: id, modSeq: q.touch(lsn), uids: uids, at: s.o.Clock.Now().Unix()}, nil
}
