package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	idsMax     = 1000  // ids in Books: more than anybody looks into one by one
	sourcesMax = 20000 // messages that are counted one by one, which takes a second or so
)

// Books are the sums of a period, per recipient.
type Books struct {
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Account string    `json:"account,omitempty"`

	Line
	Unaccounted []string `json:"unaccounted"` // ids of messages, or "record LSN"
	// More says that there are more of them than idsMax.
	More     bool   `json:"more,omitempty"`
	Balanced bool   `json:"balanced"`
	Sources  []Line `json:"sources,omitempty"` // the same by where mail came from
}

// Line is the sums of one source.
type Line struct {
	Source    string `json:"source,omitempty"` // inbound, submitted, system; "" is all
	Messages  int64  `json:"messages"`
	Accepted  int64  `json:"accepted"`
	Delivered int64  `json:"delivered"`
	Relayed   int64  `json:"relayed"`
	Bounced   int64  `json:"bounced"`
	Discarded int64  `json:"discarded"`
	SetAside  int64  `json:"set_aside"`
	Queued    int64  `json:"queued"`
}

// Period says which messages the books are of: those accepted from Since on
// and before Until. The zero value is all.
type Period struct {
	Since, Until time.Time
	Account      account.ID // who submitted them; 0 is everybody
}

// Fates is the part of store/fate that the ledger reads; *fate.Store is one.
type Fates interface {
	Sums(ctx context.Context, p fate.Period) (fate.Sums, error)
	Trace(ctx context.Context, f fate.Find, fn func(*fate.Message) error) error
}

// Asides lists the records that the index could not apply; *index.Index is
// one.
type Asides interface {
	SetAsides(ctx context.Context) ([]index.SetAside, error)
}

// Options of a Ledger. The zero value works.
type Options struct {
	Owner  func(account.ID) string // an account's address; nil: its number
	Asides Asides                  // nil: there are none
	Audit  *Audit                  // whose result Audited tells; nil: there is none
}

// Ledger closes the books and tells lives.
type Ledger struct {
	o     Options
	fates Fates
	held  func(m *fate.Message, rcpt int) string // nil: nobody knows
}

// New makes a Ledger over the tables of fates.
func New(o Options, f Fates) *Ledger {
	if o.Owner == nil {
		o.Owner = func(id account.ID) string { return fmt.Sprintf("account %d", id) }
	}
	return &Ledger{o: o, fates: f}
}

// Asking gives a Ledger that asks why an open recipient is held where only the
// queue knows: its account is held, or there is no way for it. held answers ""
// if it is not.
func (l *Ledger) Asking(held func(m *fate.Message, rcpt int) string) *Ledger {
	asking := *l
	asking.held = held
	return &asking
}

// Audited is what the last audit found; nil: there was none.
func (l *Ledger) Audited() *Result {
	if l.o.Audit == nil {
		return nil
	}
	return l.o.Audit.Last()
}

// Close sums up a period.
func (l *Ledger) Close(ctx context.Context, p Period) (Books, error) {
	b := Books{Since: utc(p.Since), Until: utc(p.Until), Unaccounted: []string{}}
	if p.Account != 0 {
		b.Account = l.o.Owner(p.Account)
	}
	s, err := l.fates.Sums(ctx, fate.Period(p))
	if err != nil {
		return b, fmt.Errorf("add up the books: %w", err)
	}
	b.Line = line(s)
	b.Unaccounted = append(b.Unaccounted, s.Unaccounted...)
	if l.o.Asides != nil {
		aside, err := l.o.Asides.SetAsides(ctx)
		if err != nil {
			return b, fmt.Errorf("list records that were set aside: %w", err)
		}
		for _, r := range aside {
			b.Unaccounted = append(b.Unaccounted, recordName(r.LSN))
		}
	}
	b.Balanced = b.difference() == 0 && len(b.Unaccounted) == 0
	if len(b.Unaccounted) > idsMax {
		b.Unaccounted, b.More = b.Unaccounted[:idsMax], true
	}
	if s.Messages <= sourcesMax {
		b.Sources, err = l.sources(ctx, p)
	}
	return b, err
}

// recordName stands for the id of a message that nobody can read.
func recordName(lsn journal.LSN) string { return "record " + lsn.String() }

func line(s fate.Sums) Line {
	return Line{
		Messages: s.Messages, Accepted: s.Accepted, Delivered: s.Delivered, Relayed: s.Relayed, Bounced: s.Bounced,
		Discarded: s.Discarded, SetAside: s.SetAside, Queued: s.Queued,
	}
}

// difference is how many recipients were accepted and have no fate: 0 if the
// sum holds.
func (l Line) difference() int64 {
	return l.Accepted - l.Delivered - l.Relayed - l.Bounced - l.Discarded - l.SetAside - l.Queued
}

// sources draws the sums of a period anew, from the messages one by one, by
// where they came from. Mail moves meanwhile, so that they may differ from the
// sums of a moment before.
func (l *Ledger) sources(ctx context.Context, p Period) ([]Line, error) {
	all := map[fate.Source]*Line{}
	f := fate.Find{Since: p.Since, Until: p.Until, Account: p.Account, Limit: sourcesMax}
	err := l.fates.Trace(ctx, f, func(m *fate.Message) error {
		if p.Account != 0 && m.Account != p.Account {
			return nil // it was to the account, not from it
		}
		s := all[m.Source]
		if s == nil {
			s = &Line{Source: m.Source.String()}
			all[m.Source] = s
		}
		s.add(m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("add up by source: %w", err)
	}
	out := []Line{}
	for _, source := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[source])
	}
	return out, nil
}

// add counts a message.
func (l *Line) add(m *fate.Message) {
	l.Messages++
	l.Accepted += int64(len(m.Recipients))
	for i := range m.Recipients {
		switch m.Recipients[i].State {
		case fate.Queued, fate.Deferred, fate.Held:
			l.Queued++
		case fate.Delivered:
			l.Delivered++
		case fate.Relayed:
			l.Relayed++
		case fate.Bounced:
			l.Bounced++
		case fate.Discarded:
			l.Discarded++
		case fate.SetAside:
			l.SetAside++
		}
	}
}

// utc is a time as answers have it; the zero time stays so.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
