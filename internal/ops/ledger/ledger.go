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
)

// idsMax bounds the ids in Books: more than anybody looks into one by one.
const idsMax = 1000

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
	Sources  []Line `json:"sources"` // the same by where mail came from
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
	b.Line = line("", s.Tally)
	b.Unaccounted = append(b.Unaccounted, s.Unaccounted...)
	if l.o.Asides != nil {
		aside, err := l.o.Asides.SetAsides(ctx)
		if err != nil {
			return b, fmt.Errorf("list records that were set aside: %w", err)
		}
		for _, r := range aside {
			b.Unaccounted = append(b.Unaccounted, fate.RecordName(r.LSN))
		}
	}
	b.Balanced = s.Missing() == 0 && len(b.Unaccounted) == 0
	if len(b.Unaccounted) > idsMax {
		b.Unaccounted, b.More = b.Unaccounted[:idsMax], true
	}
	b.Sources = []Line{}
	for _, source := range slices.Sorted(maps.Keys(s.Sources)) {
		b.Sources = append(b.Sources, line(source.String(), s.Sources[source]))
	}
	return b, nil
}

func line(source string, t fate.Tally) Line {
	return Line{
		Source: source, Messages: t.Messages, Accepted: t.Accepted, Delivered: t.Delivered, Relayed: t.Relayed, Bounced: t.Bounced,
		Discarded: t.Discarded, SetAside: t.SetAside, Queued: t.Queued,
	}
}

// utc is a time as answers have it; the zero time stays so.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
