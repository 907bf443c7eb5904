package delivery

import (
	"context"
	"crypto/tls"

	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// Delivery carries messages to other hosts. It is a queue.Carrier.
type Delivery struct {
	o        Options
	resolver Resolver
	policies *tlspolicy.Policies
	bodies   Bodies
	routes   routes
	pool     *pool
	plain    recent // hosts whose TLS failed, where it is not needed
	deaf     recent // hosts and addresses that did not answer
	dotted   recent // addresses that offer CHUNKING and do not know BDAT
	sessions tls.ClientSessionCache
}

// New makes a Delivery.
func New(o Options, r Resolver, p *tlspolicy.Policies, b Bodies) *Delivery {
	d := &Delivery{o: o.withDefaults(), resolver: r, policies: p, bodies: b, sessions: tls.NewLRUClientSessionCache(sessionsMax)}
	d.plain.keep, d.deaf.keep, d.dotted.keep = plainFor, deafFor, dottedFor
	d.routes, d.pool = newRoutes(&d.o), newPool(&d.o)
	return d
}

// Run closes connections that nobody uses until ctx ends, and then all that
// are idle.
func (d *Delivery) Run(ctx context.Context) error {
	defer d.pool.closeIdle()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.o.Clock.After(d.o.IdleFor):
			d.pool.sweep()
		}
	}
}

// Carry implements queue.Carrier.
func (d *Delivery) Carry(ctx context.Context, j queue.Job) queue.Result {
	a := &attempt{ctx: ctx, d: d, m: j.Message, rcpt: j.Rcpt, outcomes: make([]queue.Outcome, len(j.Rcpt)), began: d.o.Clock.Now()}
	defer a.close()
	for _, g := range a.groups() {
		a.carry(g)
	}
	d.o.Metrics.attempt.Observe(a.took().Seconds())
	r := a.result()
	r.Done = a.giveBack
	return r
}
