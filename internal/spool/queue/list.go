package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// List gives up to limit of the selected recipients, oldest first.
func (q *Queue) List(ctx context.Context, s Selection, limit int) ([]Row, error) {
	refs, err := q.selected(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	var rows []Row
	for _, rs := range byMessage(refs[:min(max(limit, 0), len(refs))]) {
		m, err := q.fates.Load(ctx, rs[0].lsn)
		if errors.Is(err, fate.ErrNoSuchMessage) {
			m, err = &fate.Message{LSN: rs[0].lsn}, nil // it is here all the same
		}
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		rows = append(rows, q.rows(m, rs)...)
	}
	return rows, nil
}

// rows describes the entries of one message.
func (q *Queue) rows(m *fate.Message, refs []ref) []Row {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []Row
	for _, r := range refs {
		s := q.m.t.find(uint64(r.lsn), uint32(r.rcpt))
		if s == 0 {
			continue // ended meanwhile
		}
		e := q.m.t.at(s)
		row := Row{
			ID: m.ID, LSN: r.lsn, Rcpt: r.rcpt, From: m.From, Account: q.m.owners[e.account],
			Size: m.Size, Received: timeOf(nanos(e.received)), Destination: q.m.dests[e.dest].name,
			State: e.shown(), Active: e.place == busy,
		}
		if r.rcpt < len(m.Recipients) {
			of := m.Recipients[r.rcpt]
			row.To, row.Last, row.Attempts = of.Address, of.Last, of.Attempts
		}
		if row.State == fate.Held {
			if row.Hold = q.heldWhy(e, m); row.Hold == "" {
				row.Hold = row.Last.Reason
			}
		} else {
			row.Due = timeOf(max(nanos(e.due), q.m.dests[e.dest].until))
		}
		out = append(out, row)
	}
	return out
}

// HeldWhy says why a recipient is held of which the books do not say so: its
// account is held, or there is no way for it. It is "" if it is not, or not
// known here.
func (q *Queue) HeldWhy(m *fate.Message, rcpt int) string {
	q.takeIn()
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.m.t.find(uint64(m.LSN), uint32(rcpt))
	if s == 0 {
		return ""
	}
	return q.heldWhy(q.m.t.at(s), m)
}

// heldWhy is HeldWhy with q.mu held.
func (q *Queue) heldWhy(e *entry, m *fate.Message) string {
	switch {
	case e.state == fate.Held:
		return "" // whoever held it said why: it is its last event
	case e.flags&flagAccount != 0:
		return q.m.accounts[q.m.owners[e.account]]
	case e.flags&flagRoute == 0:
		return ""
	}
	o := fate.Open{LSN: m.LSN, Rcpt: int(e.rcpt), State: e.state, Received: m.Received, Account: m.Account}
	if o.Rcpt < len(m.Recipients) {
		o.Domain, o.Route = m.Recipients[o.Rcpt].Address.Domain, m.Recipients[o.Rcpt].Route
	}
	_, hold := q.o.Router(o)
	return hold
}
