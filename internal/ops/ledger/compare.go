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

// held gives the recipients that the queue holds, sorted.
func (a *Audit) held() ([]key, error) {
	var all []key
	full := false
	err := a.w.Queue.Each(func(lsn journal.LSN, rcpt int) {
		if full = len(all) == keysMax; !full {
			all = append(all, key{lsn, int32(rcpt)})
		}
	})
	if full {
		err = fmt.Errorf("it holds more than %d recipients", keysMax)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the queue what it holds: %w", err)
	}
	slices.SortFunc(all, key.compare)
	return all, nil
}

func has(all []key, k key) bool {
	_, ok := slices.BinarySearchFunc(all, k, key.compare)
	return ok
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
	now, err := a.held()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, k := range lost {
		if has(now, k) {
			continue
		}
		f, err := a.judge(ctx, k, true)
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}
	for _, k := range stray {
		if !has(now, k) {
			continue
		}
		f, err := a.judge(ctx, k, false)
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}
	return out, nil
}

// differences gives the recipients that are open in the books only, and those
// that are in the queue only.
func (a *Audit) differences(ctx context.Context, r *Result) (lost, stray []key, err error) {
	held, err := a.held()
	if err != nil {
		return nil, nil, err
	}
	seen := make([]uint64, (len(held)+63)/64) // a bit for each of held
	err = a.w.Table.Open(ctx, func(o fate.Open) error {
		r.Open++
		k := key{o.LSN, int32(o.Rcpt)}
		i, ok := slices.BinarySearchFunc(held, k, key.compare)
		switch {
		case ok:
			seen[i/64] |= 1 << (i % 64)
		case len(lost) < suspectsMax:
			lost = append(lost, k)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list what is open: %w", err)
	}
	for i, k := range held {
		if seen[i/64]&(1<<(i%64)) == 0 && len(stray) < suspectsMax {
			stray = append(stray, k)
		}
	}
	return lost, stray, nil
}

// judge looks into the books of a recipient that the queue does not hold
// (lost), or holds although it is not open.
func (a *Audit) judge(ctx context.Context, k key, lost bool) ([]Finding, error) {
	if err := a.pace(ctx); err != nil {
		return nil, err
	}
	m, err := a.w.Table.Load(ctx, k.lsn)
	switch {
	case errors.Is(err, fate.ErrNoSuchMessage) && lost:
		return nil, nil // it has ended, and its books are closed
	case errors.Is(err, fate.ErrNoSuchMessage):
		return []Finding{{Check: CheckBooks, ID: recordName(k.lsn), Text: "the queue holds a recipient of it, the books know no such message", lsn: k.lsn, lacks: 1}}, nil
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
