package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// table is books in memory, oldest first.
type table struct {
	mu        sync.Mutex
	messages  []*fate.Message
	extra     fate.Sums   // is added to the sums
	wrongDay  time.Time   // of which the running sums are wrong
	recounted []time.Time // days
	err       error
	opened    func() // is called after each walk of Open
}

func (t *table) Sums(_ context.Context, p fate.Period) (fate.Sums, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.extra
	s.Unaccounted = slices.Clone(s.Unaccounted)
	s.Sources = map[fate.Source]fate.Tally{}
	for _, m := range t.messages {
		if m.Received.Before(p.Since) || !p.Until.IsZero() && !m.Received.Before(p.Until) || p.Account != 0 && p.Account != m.Account {
			continue
		}
		one := tally(m)
		s.Add(one, 1)
		of := s.Sources[m.Source]
		of.Add(one, 1)
		s.Sources[m.Source] = of
	}
	return s, t.err
}

// tally counts the recipients of a message.
func tally(m *fate.Message) fate.Tally {
	t := fate.Tally{Messages: 1, Accepted: int64(len(m.Recipients))}
	for _, r := range m.Recipients {
		switch r.State {
		case fate.Queued, fate.Deferred, fate.Held:
			t.Queued++
		case fate.Delivered:
			t.Delivered++
		case fate.Relayed:
			t.Relayed++
		case fate.Bounced:
			t.Bounced++
		case fate.Discarded:
			t.Discarded++
		case fate.SetAside:
			t.SetAside++
		}
	}
	return t
}

func (t *table) Recount(_ context.Context, from time.Time) (fate.Recounted, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var r fate.Recounted
	for _, m := range t.messages {
		d := m.Received.Truncate(24 * time.Hour)
		switch {
		case d.Before(from), !r.Day.IsZero() && d.After(r.Day):
			continue
		case !d.Equal(r.Day):
			r = fate.Recounted{Day: d}
		}
		r.Anew.Add(tally(m), 1)
	}
	if r.Day.IsZero() {
		return r, fate.ErrNoSuchMessage
	}
	t.recounted = append(t.recounted, r.Day)
	r.Running = r.Anew
	if r.Day.Equal(t.wrongDay) {
		r.Running.Messages++
		r.Wrong = 1
	}
	return r, t.err
}

func (t *table) Trace(_ context.Context, f fate.Find, fn func(*fate.Message) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, m := range slices.Backward(t.messages) {
		to := slices.ContainsFunc(m.Recipients, func(r fate.Recipient) bool { return r.Address.String() == f.Address })
		switch {
		case f.ID != "" && f.ID != m.ID, f.MessageID != "" && f.MessageID != m.MessageID,
			f.Address != "" && !to && m.From.String() != f.Address,
			m.Received.Before(f.Since), !f.Until.IsZero() && !m.Received.Before(f.Until):
			continue
		}
		if err := fn(m); err != nil {
			return err
		}
		if n++; n == f.Limit {
			break
		}
	}
	return t.err
}

func (t *table) Open(_ context.Context, fn func(fate.Open) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.opened != nil {
		defer t.opened()
	}
	for _, m := range t.messages {
		for i := range m.Recipients {
			if !m.Recipients[i].State.Ended() {
				if err := fn(fate.Open{LSN: m.LSN, Rcpt: i}); err != nil {
					return err
				}
			}
		}
	}
	return t.err
}

func (t *table) Load(_ context.Context, lsn journal.LSN, _ ...int) (*fate.Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.messages {
		if m.LSN == lsn {
			return m, nil
		}
	}
	return nil, fate.ErrNoSuchMessage
}

// memory is a queue.
type memory struct {
	keys []key
	err  error
}

func (q *memory) Contains(lsn journal.LSN, rcpt int) (bool, error) {
	return slices.Contains(q.keys, key{lsn, int32(rcpt)}), q.err
}

func (q *memory) Each(fn func(journal.LSN, int)) error {
	for _, k := range q.keys {
		fn(k.lsn, int(k.rcpt))
	}
	return q.err
}

// asides are records that were set aside.
type asides []index.SetAside

func (a asides) SetAsides(context.Context) ([]index.SetAside, error) { return a, nil }

// bodies opens an empty body for every message, but for those that are
// missing.
type bodies struct {
	missing map[journal.LSN]error
	opened  []journal.LSN
}

func (b *bodies) OpenMessage(_ context.Context, lsn journal.LSN) (*journal.Body, error) {
	b.opened = append(b.opened, lsn)
	if err := b.missing[lsn]; err != nil {
		return nil, err
	}
	return &journal.Body{}, nil
}

var errMissing = errors.New("no such message")

var day = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

func address(t *testing.T, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// accepted makes a message of the n-th second with recipients in these states.
func accepted(t *testing.T, n int, states ...fate.State) *fate.Message {
	t.Helper()
	m := &fate.Message{
		LSN: journal.LSN(n), ID: "id" + string(rune('a'+n%26)) + time.Duration(n).String(), Source: fate.Submitted, Account: 1,
		Received: day.Add(time.Duration(n) * time.Second), From: address(t, "one@demo.test"),
	}
	for _, s := range states {
		r := fate.Recipient{Address: address(t, "two@example.org"), Standing: fate.Standing{State: s}}
		if s >= fate.Relayed {
			r.Events = []fate.Event{{At: m.Received, State: fate.Deferred}, {At: m.Received, State: s}}
		}
		m.Recipients = append(m.Recipients, r)
	}
	return m
}
