package host

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

const (
	// hearingMax bounds the messages whose senders wait to be checked. What is
	// beyond it makes nobody known: that is the safe side.
	hearingMax = 1024
	// hearingWorkers check them, so that slow name servers hold up few others.
	hearingWorkers = 4
)

// arrival is a message that came from another host.
type arrival struct {
	ip   netip.Addr
	helo string
	from message.Address
	to   []account.ID
}

// hearing notes who wrote to our users, whom they may then answer without
// writing to a stranger: only if SPF says that the message is from there, or else a
// thief would first have the people whom he means write to the account.
type hearing struct {
	trusted func(netip.Addr) bool // hosts whose word is taken, such as a gateway's
	passes  func(context.Context, arrival) bool
	strange func(account.ID, message.Address) bool // is it of interest at all?
	heard   func(account.ID, message.Address)
	waits   chan arrival
	log     *slog.Logger
}

// openHearing makes one. Without DNS everybody's word has to be taken.
func openHearing(c Config, o *out, trusted func(netip.Addr) bool, log *slog.Logger) *hearing {
	h := &hearing{
		trusted: trusted, strange: o.learned.Strange, heard: o.guard.Heard, waits: make(chan arrival, hearingMax),
		log: telemetry.Logger(log, "hearing"), passes: func(context.Context, arrival) bool { return true },
	}
	if o.resolver != nil {
		h.passes = spf(o.resolver, c.Hostname)
	}
	return h
}

// spf tells whether the sender's domain lets the client send for it, and not
// just anybody.
func spf(r *dns.Client, hostname string) func(context.Context, arrival) bool {
	return func(ctx context.Context, a arrival) bool {
		got := mailauth.CheckSPF(ctx, r, mailauth.SPFInput{IP: a.ip, Helo: a.helo, From: a.from, Receiver: hostname, Now: sys.RealClock().Now()})
		return got.Result == mailauth.Pass && !got.Open
	}
}

// note takes a message to be checked. It never waits.
func (h *hearing) note(a arrival) {
	a.to = slices.DeleteFunc(a.to, func(id account.ID) bool { return !h.strange(id, a.from) })
	if a.from.IsZero() || len(a.to) == 0 {
		return
	}
	select {
	case h.waits <- a:
	default:
		h.log.Debug("sender is not checked: too many at once", telemetry.From, a.from.String())
	}
}

// run checks them until ctx ends.
func (h *hearing) run(ctx context.Context) error {
	var g errgroup.Group
	for range hearingWorkers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case a := <-h.waits:
					h.check(ctx, a)
				}
			}
		})
	}
	return g.Wait()
}

func (h *hearing) check(ctx context.Context, a arrival) {
	if !h.trusted(a.ip) && !h.passes(ctx, a) {
		return
	}
	for _, id := range a.to {
		h.heard(id, a.from)
	}
}
