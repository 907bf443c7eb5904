package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// key is one recipient of one message.
type key struct {
	lsn  journal.LSN
	rcpt int32
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.lsn, o.lsn), cmp.Compare(k.rcpt, o.rcpt))
}

// compare holds the open recipients of the books against those of the queue.
// The two are read one after the other and mail moves meanwhile, so that each
// difference is looked at again after a pause.
func (a *Audit) compare(ctx context.Context, r *Result) ([]Finding, error) {
	if a.w.Queue == nil {
		return nil, nil
	}
	lost, stray, err := a.differences(ctx, r)
	if err != nil || len(lost)+len(stray) == 0 {
		return nil, err
	}
	if err := a.wait(ctx, a.o.Pause); err != nil {
		return nil, err
	}
	var out []Finding
	for i, k := range append(lost, stray...) {
		isLost := i < len(lost)
		known, err := a.contains(k)
		if err != nil {
			return out, err
		}
		if known == isLost {
			continue // it was in flight
		}
		f, err := a.judge(ctx, k, isLost)
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}
	return out, nil
}

func (a *Audit) contains(k key) (bool, error) {
	known, err := a.w.Queue.Contains(k.lsn, int(k.rcpt))
	if err != nil {
		return false, fmt.Errorf("ask the queue what it holds: %w", err)
	}
	return known, nil
}

// differences gives the recipients that are open in the books only, and those
// that are in the queue only.
func (a *Audit) differences(ctx context.Context, r *Result) (lost, stray []key, err error) {
	var open []key
	err = a.w.Table.Open(ctx, func(o fate.Open) error {
		if len(open) == keysMax {
			return fmt.Errorf("more than %d recipients are open", keysMax)
		}
		open = append(open, key{o.LSN, int32(o.Rcpt)})
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list what is open: %w", err)
	}
	r.Open = int64(len(open))
	for _, k := range open {
		known, err := a.contains(k)
		if err != nil {
			return nil, nil, err
		}
		if !known && len(lost) < suspectsMax {
			lost = append(lost, k)
		}
	}
	walker, ok := a.w.Queue.(Walker)
	if !ok {
		return lost, nil, nil
	}
	slices.SortFunc(open, key.compare)
	err = walker.Each(func(lsn journal.LSN, rcpt int) {
		k := key{lsn, int32(rcpt)}
		if _, ok := slices.BinarySearchFunc(open, k, key.compare); !ok && len(stray) < suspectsMax {
			stray = append(stray, k)
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("ask the queue what it holds: %w", err)
	}
	return lost, stray, nil
}

// judge looks into the books of a recipient that the queue does not hold
// (lost), or holds although it is not open.
func (a *Audit) judge(ctx context.Context, k key, lost bool) ([]Finding, error) {
	if err := a.pace(ctx); err != nil {
		return nil, err
	}
	m, err := a.w.Table.Load(ctx, k.lsn, int(k.rcpt))
	switch {
	case errors.Is(err, fate.ErrNoSuchMessage) && lost:
		return nil, nil // it has ended, and its books are closed
	case errors.Is(err, fate.ErrNoSuchMessage):
		return []Finding{{Check: CheckBooks, ID: fate.RecordName(k.lsn), Text: "the queue holds a recipient of it, the books know no such message", lsn: k.lsn, lacks: 1}}, nil
	case err != nil:
		return nil, fmt.Errorf("look up message %s: %w", k.lsn, err)
	}
	to, ended := "", true
	if int(k.rcpt) < len(m.Recipients) {
		to, ended = m.Recipients[k.rcpt].Address.String(), m.Recipients[k.rcpt].State.Ended()
	}
	switch {
	case lost && !ended:
		return []Finding{{Check: CheckQueue, ID: m.ID, Text: to + " is open in the books, and the queue does not know of it", lsn: k.lsn, lacks: 1}}, nil
	case !lost && ended:
		// It has a fate: what is wrong is that it may get it twice.
		return []Finding{{Check: CheckBooks, ID: m.ID, Text: to + " has ended in the books, and the queue still holds it", lsn: k.lsn}}, nil
	}
	return nil, nil
}
