package restraint

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// Options of a Restraint. The zero value of a field is its default.
type Options struct {
	Hour int // recipients an account may send to in an hour; 500
	Day  int // and in a day; 2,000
	// NetworkHour and NetworkDay are what all accounts together may send to from
	// one network; ten times Hour and Day. Exempt are networks that nobody looks
	// at, beside the loopback addresses.
	NetworkHour int
	NetworkDay  int
	Exempt      []netip.Prefix
	LimitsOnly  bool      // never hold an account for its behaviour
	MaxAccounts int       // whose behaviour is remembered; 20,000
	MaxKnown    int       // names that all of them together are known to write to; 2,000,000
	Clock       sys.Clock // nil: the system's
	Rand        io.Reader // nil: the system's; keys the names of a new file
	Log         *slog.Logger
	Metrics     *Metrics
}

func (o *Options) defaults() error {
	for _, d := range []struct {
		n           *int
		preset, max int
	}{
		{&o.Hour, hourDefault, 1 << 30}, {&o.Day, dayDefault, 1 << 30},
		{&o.NetworkHour, 0, 1 << 30}, {&o.NetworkDay, 0, 1 << 30},
		{&o.MaxAccounts, accountsDefault, accountsMost}, {&o.MaxKnown, namesDefault, namesMost},
	} {
		if *d.n == 0 {
			*d.n = d.preset
		}
		if *d.n < 0 || *d.n > d.max {
			return fmt.Errorf("restraint: a bound of %d is out of range", *d.n)
		}
	}
	if o.NetworkHour == 0 {
		o.NetworkHour = siteTimes * o.Hour
	}
	if o.NetworkDay == 0 {
		o.NetworkDay = siteTimes * o.Day
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "restraint")
	return nil
}

// Verdict is what is to be done about a recipient or a message.
type Verdict uint8

// The verdicts.
const (
	Allow Verdict = iota
	Limit         // not now
	Hold          // and nothing more of this account, until somebody has looked
)

// Answer is a verdict with its reason.
type Answer struct {
	Verdict Verdict
	Reason  string    // a sentence with figures, for people; "" for Allow
	Until   time.Time // of Limit: when it ends
}

// Reply returns what the client is told, or nil for Allow.
func (a Answer) Reply() *smtp.Reply {
	switch a.Verdict {
	case Limit:
		return &smtp.Reply{Code: 450, Enhanced: "4.7.1", Text: a.Reason}
	case Hold:
		return HeldReply(a.Reason)
	}
	return nil
}

// HeldReply is what a client whose account is held is told. It is temporary:
// mail programs keep what they could not send.
func HeldReply(reason string) *smtp.Reply {
	return &smtp.Reply{Code: 450, Enhanced: "4.7.1",
		Text: "Sending is held for this account: " + reason + ". Change the password, or ask the postmaster"}
}

// Sender is who asks.
type Sender struct {
	Account account.ID
	IP      netip.Addr // it sends from; invalid: not known
	// Hour and Day are the account's own limits; 0 is the default.
	Hour, Day int64
}

// Restraint judges. Make it with Open.
type Restraint struct {
	o    Options
	file sys.Snapshot

	mu     sync.Mutex
	secret secret                 // set by Open
	books  map[account.ID]*book   // guarded by mu
	recent list                   // guarded by mu
	names  int                    // guarded by mu: in all books
	sites  map[netip.Prefix]*site // guarded by mu
	born   int64                  // when the memory was begun, in seconds; set by Open
	dirty  bool                   // guarded by mu

	writing sync.Mutex // held while the file is written
}

// Open reads what was learned from a file, which need not be there. A file
// that cannot be used is set aside and logged, and is no error; the error is
// about the options.
func Open(fs sys.FS, path string, o Options) (*Restraint, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	r := &Restraint{o: o, file: sys.Snapshot{FS: fs, Path: path, OctetsMax: fileOctetsMax}, books: map[account.ID]*book{}, sites: map[netip.Prefix]*site{}}
	if !r.load() {
		r.born = max(o.Clock.Now().Unix(), 0)
		if _, err := io.ReadFull(o.Rand, r.secret[:]); err != nil {
			return nil, fmt.Errorf("restraint: make a key: %w", err)
		}
	}
	return r, nil
}

// Run saves what was learned every minute, until ctx is done.
func (r *Restraint) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.o.Clock.After(saveEvery):
		}
		if err := r.save(); err != nil {
			r.o.Log.Error("save what accounts usually send", telemetry.Err, err)
		}
	}
}

// Close saves what was learned. Run must have ended.
func (r *Restraint) Close() error { return r.save() }

// Recipient judges one recipient that the sender names, before it is told yes,
// and counts it if it is allowed. local says that the address is one of ours:
// it counts for the limits, but is nobody's stranger.
func (r *Restraint) Recipient(s Sender, to message.Address, local bool) Answer {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.book(s.Account, now)
	a := r.recipient(b, s, to, local, now)
	return r.judged(a)
}

// Message judges a message whose body has ended, before it is told yes. to
// are its recipients that are not ours.
func (r *Restraint) Message(s Sender, to []message.Address) Answer {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.book(s.Account, now)
	a := r.message(b, s, to, now)
	return r.judged(a)
}

// Withdrawn says that n recipients that were allowed just now got nothing: the
// transaction was given up, or its message refused. They count for no limit.
func (r *Restraint) Withdrawn(s Sender, n int) {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty = true
	if b := r.books[s.Account]; b != nil {
		b.hours.take(now, n)
		b.days.take(now, n)
	}
	network, _ := networkOf(s.IP)
	if at := r.sites[network]; at != nil && r.bulk(s) == 0 {
		at.hours.take(now, n)
		at.days.take(now, n)
	}
}

// Strange tells whether somebody would be a stranger to an account that sends:
// if not, it need not be found out who it was that wrote to the account.
func (r *Restraint) Strange(id account.ID, who message.Address) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.books[id]
	if b == nil {
		return false
	}
	n := r.secret.name(who)
	return b.known.find(n) < 0 && b.heard.find(n) < 0
}

// Heard says that somebody wrote to the account: whoever is answered is no
// stranger. It is remembered of accounts that send. Whoever calls it must know
// that it was them: a sender is easily forged.
func (r *Restraint) Heard(id account.ID, from message.Address) {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.books[id]
	if b == nil || from.IsZero() {
		return
	}
	r.dirty = true
	if b.heard.meet(r.secret.name(from), now.Unix()/daySeconds, heardMax) {
		r.names++
		r.shrink()
	}
}

// Relayed says that a recipient of the account's mail was reached.
func (r *Restraint) Relayed(id account.ID) {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.books[id]; b != nil {
		r.dirty = true
		b.results.add(now, false)
	}
}

// Bounced says that a recipient of the account's mail was refused for good,
// and judges the account by it: Allow or Hold.
func (r *Restraint) Bounced(id account.ID) Answer {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.books[id]
	if b == nil {
		return Answer{} // forgotten: it has sent nothing for long
	}
	r.dirty = true
	b.results.add(now, true)
	n, bounced := b.results.count(now)
	if r.o.LimitsOnly || bounced < bounceHold || bounced*bounceShare < n {
		return Answer{}
	}
	return r.judged(Answer{Verdict: Hold, Reason: fmt.Sprintf("%d of the last %d recipients were refused for good", bounced, n)})
}

// Released says that a hold has ended: what led to it was looked at, and
// counts no more.
func (r *Restraint) Released(id account.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.books[id]; b != nil {
		r.dirty = true
		b.forgive()
	}
	for _, at := range r.sites {
		at.newcomers = slices.DeleteFunc(at.newcomers, func(c newcomer) bool { return c.id == id })
	}
}

func (r *Restraint) judged(a Answer) Answer {
	r.o.Metrics.verdicts[a.Verdict].Inc()
	return a
}

// Standing is how an account stands, for its operator.
type Standing struct {
	Hour      int // recipients in the last hour
	Day       int
	HourLimit int
	DayLimit  int
	UsualHour int // recipients in an hour in which it sends
	UsualDay  int
	Strangers int // whom it wrote to for the first time in the last week
	Room      int // how many more before it is held
	Known     int // people it is known to write to
	Networks  int // in the last hour
	Results   int // the last ones
	Bounced   int // of those
}

// Standing tells how an account stands.
func (r *Restraint) Standing(s Sender) Standing {
	now := r.o.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Standing{}
	st.HourLimit, st.DayLimit = r.limits(s)
	b := r.books[s.Account]
	if b == nil {
		b = newBook(s.Account) // not kept: a question is no sending
	}
	b.advance(now)
	st.Hour, st.Day = b.hours.sum(now), b.days.sum(now)
	st.UsualHour, st.UsualDay = int(b.usualHour.round()), int(b.usualDay.round())
	st.Strangers = b.strangers.sum(now)
	st.Room = max(int(r.capacity(b, s, now))-st.Strangers, 0)
	st.Known, st.Networks = len(b.known), b.networksNow(now)
	st.Results, st.Bounced = b.results.count(now)
	return st
}
