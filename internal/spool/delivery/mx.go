package delivery

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// exchangers are the hosts that take a domain's mail, in the order in which
// they are to be tried (RFC 5321 §5.1).
type exchangers struct {
	hosts []string
	mx    tlspolicy.MX
}

// exchangers asks for a domain's MX records.
func (d *Delivery) exchangers(ctx context.Context, domain message.Domain) (exchangers, *failure) {
	a := d.resolver.Lookup(ctx, dns.Question{Name: string(domain), Type: dns.MX})
	x := exchangers{mx: tlspolicy.MX{Domain: domain, Target: a.Target, Authentic: a.Authentic, Port: d.o.Port}}
	switch a.Status() {
	case dns.NoName:
		return x, never("5.1.2", queue.Up, "The domain %s does not exist.", domain)
	case dns.Failing, dns.Unanswered:
		if errors.Is(a.Err, dns.ErrName) {
			return x, never("5.1.2", queue.Unknown, "The domain %s is not one that the DNS can be asked for.", domain)
		}
		if ctx.Err() != nil {
			return x, interrupted()
		}
		return x, later("4.4.3", queue.Down, "The DNS did not say where the mail of %s goes (%s).", domain, trouble(&a))
	}
	if len(a.MX) == 0 && a.Unfit { // RFC 5321 §5.1: then the domain itself is not the host
		return x, never("5.4.4", queue.Up, "No MX host of %s has a name that the DNS can be asked for.", domain)
	}
	if len(a.MX) == 0 { // the domain itself is the host
		if d.ours(string(domain)) || d.ours(a.Target) {
			return x, comesBack(domain)
		}
		x.hosts = []string{string(domain)}
		return x, nil
	}
	records := slices.DeleteFunc(slices.Clone(a.MX), func(r dns.MXRecord) bool { return r.Host == "" })
	if len(records) == 0 { // RFC 7505 §4.1
		return x, never("5.1.10", queue.Up, "The domain %s takes no mail (null MX).", domain)
	}
	records = d.beforeUs(records)
	if len(records) == 0 {
		return x, comesBack(domain)
	}
	d.order(records)
	for _, r := range records[:min(len(records), hostsMax)] {
		x.hosts = append(x.hosts, r.Host)
	}
	return x, nil
}

func comesBack(domain message.Domain) *failure {
	return never("5.4.6", queue.Up, "Mail for %s would come back to this host: it is the domain's best MX host, but the domain is not one of ours.", domain)
}

func trouble(a *dns.Answer) string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return a.RCode.String()
}

// ours reports whether a name is one of this host.
func (d *Delivery) ours(host string) bool {
	return strings.EqualFold(host, d.o.Hostname) || slices.ContainsFunc(d.o.Self, func(s string) bool { return strings.EqualFold(s, host) })
}

// self reports whether an address is one of this host.
func (d *Delivery) self(addr netip.Addr) bool {
	return slices.ContainsFunc(d.o.SelfAddrs, func(own netip.Addr) bool { return dns.Inner(own) == dns.Inner(addr) })
}

// beforeUs leaves those hosts that are preferred to this one, where this is
// one of them: from the others mail could come back (RFC 5321 §5.1).
func (d *Delivery) beforeUs(records []dns.MXRecord) []dns.MXRecord {
	best, among := uint16(0), false
	for _, r := range records {
		if d.ours(r.Host) && (!among || r.Preference < best) {
			best, among = r.Preference, true
		}
	}
	if !among {
		return records
	}
	return slices.DeleteFunc(records, func(r dns.MXRecord) bool { return r.Preference >= best })
}

// order sorts by preference, and shuffles those of the same.
func (d *Delivery) order(records []dns.MXRecord) {
	shuffle(d.o.Rand, records)
	slices.SortStableFunc(records, func(a, b dns.MXRecord) int { return cmp.Compare(a.Preference, b.Preference) })
}

// shuffle is as random as load between hosts needs it. Where randomness cannot
// be had the order stays.
func shuffle[T any](r io.Reader, list []T) {
	var buf [2]byte
	for i := len(list) - 1; i > 0; i-- {
		if _, err := io.ReadFull(r, buf[:]); err != nil {
			return
		}
		j := (int(buf[0])<<8 | int(buf[1])) % (i + 1)
		list[i], list[j] = list[j], list[i]
	}
}

// heard gives the places of hosts in the order in which they are tried: those
// that did not answer a moment ago come last.
func (d *Delivery) heard(hosts []string) []int {
	now := d.o.Clock.Now()
	var order, deaf []int
	for i, h := range hosts {
		if d.deaf.is(h, now) {
			deaf = append(deaf, i)
		} else {
			order = append(order, i)
		}
	}
	return append(order, deaf...)
}

// likely puts the addresses first to which there is a connection, and those
// last that did not answer a moment ago.
func (d *Delivery) likely(p *peer, addrs []netip.Addr, port uint16) []netip.Addr {
	now := d.o.Clock.Now()
	rank := func(a netip.Addr) int {
		at := *p
		at.addr = netip.AddrPortFrom(a.Unmap(), port)
		switch {
		case d.pool.has(at.key()):
			return 0
		case d.deaf.is(at.addr.String(), now):
			return 2
		}
		return 1
	}
	if len(addrs) > 1 {
		addrs = slices.Clone(addrs)
		ranks := make(map[netip.Addr]int, len(addrs))
		for _, a := range addrs {
			ranks[a] = rank(a)
		}
		slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return cmp.Compare(ranks[a], ranks[b]) })
	}
	return addrs
}

// addresses finds the addresses of a host: IPv6 first, then the families in
// turn, so that a family that does not work here costs one try each time.
func (d *Delivery) addresses(ctx context.Context, host string) ([]netip.Addr, *failure) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	four := make(chan dns.Answer, 1)
	go func() { four <- d.resolver.Lookup(ctx, dns.Question{Name: host, Type: dns.A}) }()
	six := dns.Answer{}
	if !d.o.NoIPv6 {
		six = d.resolver.Lookup(ctx, dns.Question{Name: host, Type: dns.AAAA})
	}
	a := <-four
	v6, v4 := slices.Clone(six.Addrs), slices.Clone(a.Addrs)
	shuffle(d.o.Rand, v6)
	shuffle(d.o.Rand, v4)
	var all []netip.Addr
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			all = append(all, v6[i])
		}
		if i < len(v4) {
			all = append(all, v4[i])
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case ctx.Err() != nil:
		return nil, interrupted()
	case errors.Is(a.Err, dns.ErrName):
		return nil, never("5.4.4", queue.Up, "The mail host %s has no name that the DNS can be asked for.", host)
	case a.Failed():
		return nil, later("4.4.3", queue.Down, "The DNS did not say where the mail host %s is (%s).", host, trouble(&a))
	case six.Failed():
		return nil, later("4.4.3", queue.Down, "The DNS did not say where the mail host %s is (%s).", host, trouble(&six))
	}
	return nil, never("5.4.4", queue.Up, "The mail host %s has no address.", host)
}
