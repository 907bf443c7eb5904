package delivery

import (
	"context"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// Plan is the way that a domain's mail would take now.
type Plan struct {
	Domain message.Domain `json:"domain"`
	// NextHop is the operator's, as an URL; "" for the domain's own MX hosts.
	NextHop string     `json:"next_hop,omitempty"`
	Hosts   []PlanHost `json:"hosts"`
	// Problem says why mail would not leave: no host is left. Final says that it
	// would go back to its sender at once.
	Problem string `json:"problem,omitempty"`
	Final   bool   `json:"final,omitempty"`
}

// PlanHost is one host of a plan, in the order in which they are tried.
type PlanHost struct {
	Host      string       `json:"host"`
	Addresses []netip.Addr `json:"addresses"`
	// TLS is what applies: "dane", "mta-sts", "mta-sts (testing)", "verify",
	// "encrypt", "opportunistic".
	TLS string `json:"tls,omitempty"`
	// Required says that no mail goes to the host without such TLS.
	Required bool `json:"tls_required"`
	// Evidence is the lines of the MTA-STS policy, or the TLSA records.
	Evidence []string `json:"evidence,omitempty"`
	// Trouble is what may have kept a better policy from being found.
	Trouble string `json:"trouble,omitempty"`
	// Problem says why the host would not be used.
	Problem string `json:"problem,omitempty"`
}

// Plan finds the way of a domain's mail as Carry does, and connects to no mail
// host. It may fetch the domain's MTA-STS policy.
func (d *Delivery) Plan(ctx context.Context, domain message.Domain) Plan {
	p := Plan{Domain: domain, Hosts: []PlanHost{}}
	if h := d.routes.of(domain); h != nil {
		p.NextHop = h.String()
		if h.Socket != "" {
			return p // there is nothing to look up
		}
		p.Hosts = append(p.Hosts, d.planHop(ctx, h))
		return p.judged()
	}
	if addr, ok := domain.Literal(); ok {
		host := PlanHost{Host: string(domain), TLS: tlspolicy.Opportunistic.String()}
		host.take(d, []netip.Addr{addr})
		p.Hosts = append(p.Hosts, host)
		return p.judged()
	}
	x, f := d.exchangers(ctx, domain)
	if f != nil {
		p.Problem, p.Final = f.reason, f.state == fate.Bounced
		return p
	}
	decision, err := d.policies.For(ctx, x.mx)
	if err != nil {
		p.Problem = "It cannot be found out how mail has to be secured: " + err.Error()
		return p
	}
	for _, name := range x.hosts {
		p.Hosts = append(p.Hosts, d.planHost(ctx, decision, name))
	}
	return p.judged()
}

func (d *Delivery) planHop(ctx context.Context, h *Hop) PlanHost {
	host := PlanHost{Host: h.Host}
	host.policy(d.policies.Route(h.Host, h.level()))
	addrs, f := d.addresses(ctx, h.Host)
	if f != nil {
		host.Problem = f.reason
	}
	host.Addresses = append([]netip.Addr{}, addrs...) // the operator's may be anywhere
	return host
}

func (d *Delivery) planHost(ctx context.Context, decision *tlspolicy.Decision, name string) PlanHost {
	host := PlanHost{Host: name, Addresses: []netip.Addr{}}
	policy, err := decision.Host(ctx, name)
	if err != nil {
		host.Problem = "The host must not be used: " + err.Error()
		return host
	}
	host.policy(policy)
	addrs, f := d.addresses(ctx, name)
	if f != nil {
		host.Problem = f.reason
		return host
	}
	host.take(d, addrs)
	return host
}

func (h *PlanHost) policy(p *tlspolicy.Policy) {
	h.TLS, h.Required, h.Evidence = p.Describe(), p.Must(), p.Text
	if p.Trouble != nil {
		h.Trouble = p.Trouble.Error()
	}
}

// take keeps the addresses that mail may go to.
func (h *PlanHost) take(d *Delivery, addrs []netip.Addr) {
	h.Addresses = []netip.Addr{}
	for _, a := range addrs {
		switch {
		case d.self(a):
			h.Problem = "The address " + a.String() + " is one of this host."
		case d.o.forbidden(a):
			h.Problem = "The address " + a.String() + " is private or special, and mail is not sent there."
		default:
			h.Addresses = append(h.Addresses, a)
		}
	}
}

// judged says so if no host is left.
func (p Plan) judged() Plan {
	for _, h := range p.Hosts {
		if len(h.Addresses) > 0 {
			return p
		}
	}
	p.Problem = "None of its hosts can be used."
	return p
}
