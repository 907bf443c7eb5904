package mailauth

import (
	"context"
	"net/netip"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// networksMax bounds what SPFNetworks gathers. The largest senders have some
// hundred networks; answers to a and mx can name thousands.
const networksMax = 1000

// SPFNetworks returns the networks that a domain's record lets send: those of
// ip4, ip6, a, mx, include and redirect that a client can Pass by, in order,
// none inside another. What depends on the client (ptr, exists, macros) is
// passed over, and so is what lets nearly everybody send. Exceptions that the
// record makes before are not taken out.
//
// Its error is an *SPFError, or that of the context.
func SPFNetworks(ctx context.Context, r Resolver, domain message.Domain) ([]netip.Prefix, error) {
	ctx, cancel := context.WithTimeout(ctx, spfTimeout)
	defer cancel()
	c, name := newChecker(r, SPFInput{From: message.Address{Domain: domain}})
	if name == "" {
		return nil, &SPFError{None, "it is no name of the DNS with a dot in it"}
	}
	w := walker{checker: c, found: map[netip.Prefix]struct{}{}}
	if err := w.walk(ctx, name); err != nil {
		return nil, err
	}
	all := make([]netip.Prefix, 0, len(w.found))
	for p := range w.found {
		all = append(all, p)
	}
	slices.SortFunc(all, netip.Prefix.Compare) // a network stands before those in it
	out := all[:0]
	for _, p := range all {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// walker gathers the networks of a record and of those it leads to.
type walker struct {
	*checker
	found map[netip.Prefix]struct{}
}

func (w *walker) walk(ctx context.Context, domain string) error {
	rec, err := w.fetch(ctx, domain)
	if err != nil {
		return err
	}
	for i := range rec.mechanisms {
		m := &rec.mechanisms[i]
		if m.kind == kindAll {
			return nil // nothing behind it is evaluated, not even redirect
		}
		if m.result != Pass || m.domain.uses("sliphv") {
			continue
		}
		if err := w.mechanism(ctx, m, domain); err != nil {
			return err
		}
	}
	if rec.redirect == nil || rec.redirect.domain.uses("sliphv") {
		return nil
	}
	return w.follow(ctx, rec.redirect.domain, domain)
}

func (w *walker) mechanism(ctx context.Context, m *mechanism, domain string) error {
	switch m.kind {
	case kindIP:
		return w.add(m.prefix)
	case kindInclude:
		return w.follow(ctx, m.domain, domain)
	case kindA, kindMX:
	default:
		return nil
	}
	if err := w.count(); err != nil {
		return err
	}
	target := domain
	if m.domain != nil {
		var err error
		if target, err = w.name(ctx, m.domain, domain); err != nil || target == "" {
			return err
		}
	}
	if m.kind == kindA {
		return w.host(ctx, m, target)
	}
	hosts, err := w.mxHosts(ctx, target)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := w.host(ctx, m, host); err != nil {
			return err
		}
	}
	return nil
}

// follow walks the record that an include or redirect leads to. None means
// there what it means in a check: an error of the domain's.
func (w *walker) follow(ctx context.Context, to macroString, domain string) error {
	if err := w.count(); err != nil {
		return err
	}
	target, err := w.name(ctx, to, domain)
	if err != nil {
		return err
	}
	if target == "" {
		return permError("%s leads to what is no domain", domain)
	}
	err = w.walk(ctx, target)
	if e, ok := err.(*SPFError); ok && e.Result == None {
		return permError("%s", e.Problem)
	}
	return err
}

func (w *walker) host(ctx context.Context, m *mechanism, host string) error {
	for _, t := range []dns.Type{dns.A, dns.AAAA} {
		a, err := w.ask(ctx, dns.Question{Name: host, Type: t})
		if err != nil {
			return err
		}
		if a.RCode == dns.NXDomain {
			return w.void(a)
		}
		for _, addr := range a.Addrs {
			addr = addr.Unmap()
			bits := m.bits4
			if addr.Is6() {
				bits = m.bits6
			}
			if p, err := addr.Prefix(bits); err == nil {
				if err := w.add(p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *walker) add(p netip.Prefix) error {
	if wide(p) {
		return nil
	}
	if w.found[p] = struct{}{}; len(w.found) > networksMax {
		return permError("the record names more than %d networks", networksMax)
	}
	return nil
}
