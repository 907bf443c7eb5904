package host

import (
	"context"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// planWaitMax bounds a plan: some dozens of questions to the DNS, one policy.
const planWaitMax = 2 * time.Minute

// Plan is the way that mail for a domain would take from a host.
type Plan struct {
	delivery.Plan
	// Local says that the domain is one of the running host's own: mail stays
	// here, but for what a next hop of its own has the mailboxes. Without one
	// there is nothing else to say.
	Local bool `json:"local"`
	// Held says why the host would keep the mail; "" if it would not.
	Held string `json:"held,omitempty"`
}

// PlanFor finds the way that mail for a domain would take from a host with this
// configuration. It asks the same questions to the DNS as the host would, and
// connects to no mail host. The host need not run; one that does says whether
// the domain is its own.
func PlanFor(ctx context.Context, c Config, domain message.Domain) (Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, planWaitMax)
	defer cancel()
	return c.plan(ctx, domain, slices.Contains(hostedDomains(ctx, c), domain))
}

func (c *Config) plan(ctx context.Context, domain message.Domain, local bool) (Plan, error) {
	o, err := c.deliveryOptions()
	if err != nil {
		return Plan{}, err
	}
	names := delivery.Resolver(noResolver{})
	if c.DNS.Enabled {
		client, err := c.resolver()
		if err != nil {
			return Plan{}, err
		}
		defer client.Close()
		names = client
	}
	policies, err := tlspolicy.New(c.tlsOptions(c.DNS.Enabled), names)
	if err != nil {
		return Plan{}, err
	}
	d := delivery.New(o, names, policies, nil)
	if local && !hasRoute(o.Routes, domain) {
		return Plan{Plan: delivery.Plan{Domain: domain, Hosts: []delivery.PlanHost{}}, Local: true}, nil
	}
	_, routed := d.Hop(domain)
	return Plan{Plan: d.Plan(ctx, domain), Local: local, Held: c.heldFor(routed)}, nil
}

// heldFor says why mail for other hosts is kept; "" if it is not.
func (c *Config) heldFor(routed bool) string {
	switch {
	case routed:
		return ""
	case c.Delivery.Hold:
		return "this host does not send mail to other hosts (delivery.hold); name a next hop with delivery.relay, or demo --relay"
	case !c.DNS.Enabled:
		return "this host asks no DNS (dns.enabled), so it finds no other host"
	}
	return ""
}
