package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// smtpPort is where mail exchangers are.
const smtpPort = 25

// MX is what the question for a domain's mail exchangers brought.
type MX struct {
	Domain message.Domain // of the recipients
	// Target is Answer.Target of the question.
	Target string
	// Authentic is Answer.Authentic, whether there were MX records or none
	// (and the domain itself is the host).
	Authentic bool
	Port      uint16 // of the hosts; 25 if 0
}

// Decision is what applies to a domain. It does not change, and holds for one
// attempt.
type Decision struct {
	p       *Policies
	mx      MX
	sts     *STSPolicy // nil: none, or of mode none
	trouble *Failure   // why there may be none
}

// Host finds the policy for one of the domain's mail exchangers. An error is a
// *Failure, or that of ctx: this host must not be used now, another may be; if
// none is left, delivery is to be tried later.
func (d *Decision) Host(ctx context.Context, host string) (*Policy, error) {
	p, err := d.host(ctx, strings.ToLower(strings.TrimSuffix(host, ".")))
	if err != nil {
		var f *Failure
		if !errors.As(err, &f) {
			return nil, err
		}
		d.p.o.Metrics.refused.Inc()
		return nil, f
	}
	d.p.o.Metrics.kinds[p.Kind].Inc()
	return p, nil
}

func (d *Decision) host(ctx context.Context, host string) (*Policy, error) {
	p := &Policy{Domain: d.mx.Domain, Host: host, authentic: d.mx.Authentic, roots: d.p.o.Roots, clock: d.p.o.Clock}
	if !d.p.o.NoDANE && d.mx.Authentic && isName(host) {
		if err := d.dane(ctx, p); err != nil {
			return nil, err
		}
	}
	if p.Kind == DANE {
		return p, nil // which MTA-STS must not override (RFC 8461 §2)
	}
	if err := d.addSTS(p); err != nil {
		return nil, err
	}
	return p, nil
}

// isName tells a name from an address.
func isName(host string) bool {
	if strings.HasPrefix(host, "[") {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

// addSTS makes a policy that of the domain's MTA-STS, if there is one.
func (d *Decision) addSTS(p *Policy) error {
	if p.Trouble == nil {
		p.Trouble = d.trouble
	}
	if d.sts == nil || p.Kind == Encrypt && d.sts.Mode != ModeEnforce {
		return nil
	}
	p.Kind, p.report, p.Testing = STS, TypeSTS, d.sts.Mode == ModeTesting
	p.Text, p.Patterns = d.sts.Lines(), d.sts.MX
	if d.sts.Matches(p.Host) {
		p.authentic = true
		return nil
	}
	p.mismatch = true
	if p.Testing {
		return nil
	}
	return p.notListed()
}

// dane looks for TLSA records and makes a policy that of DANE if there are any.
// A failure says that there may be some (RFC 7672 §2.1.1, §2.1.2): then the
// host must not be used, or who can keep answers from us could take TLS away.
func (d *Decision) dane(ctx context.Context, p *Policy) error {
	bases, err := d.bases(ctx, p)
	if err != nil {
		return err
	}
	port := d.mx.Port
	if port == 0 {
		port = smtpPort
	}
	for _, base := range bases {
		a := d.p.r.Lookup(ctx, dns.Question{Name: "_" + strconv.Itoa(int(port)) + "._tcp." + base, Type: dns.TLSA})
		if errors.Is(a.Err, dns.ErrName) {
			continue // too long for there to be any
		}
		switch a.Status() {
		case dns.NoData, dns.NoName:
			continue
		case dns.Found:
			if !a.Authentic {
				continue
			}
		default:
			return d.unknown(ctx, p, &a)
		}
		d.found(p, base, a.TLSA)
		return nil
	}
	return nil
}

// found makes a policy that of the TLSA records of a base domain.
func (d *Decision) found(p *Policy, base string, records []dns.TLSARecord) {
	p.report, p.Text, p.TLSA = TypeTLSA, tlsaText(records), usable(records)
	if len(p.TLSA) == 0 {
		// RFC 7672 §2.2: TLS is a must, and no certificate can be asked for.
		p.Kind = Encrypt
		p.Trouble = &Failure{Policy: p, Type: TLSAInvalid, Err: fmt.Errorf("none of the %d TLSA records of %s can be used", len(records), base)}
		return
	}
	p.Kind, p.base = DANE, base
	for _, name := range []string{p.Host, string(d.mx.Domain), d.mx.Target} {
		if name != "" && name != base {
			p.names = append(p.names, name) // RFC 7672 §3.2.2
		}
	}
}

// bases gives the TLSA base domains of a host, the first to ask first: where
// its CNAMEs lead, if DNSSEC vouches for all of them, then the host itself
// (RFC 7672 §2.1.3, §2.2.2, §2.2.3). None means that DANE does not apply.
func (d *Decision) bases(ctx context.Context, p *Policy) ([]string, error) {
	target, secure, known := p.Host, true, false
	var failed dns.Answer
	for _, typ := range []dns.Type{dns.A, dns.AAAA} {
		a := d.p.r.Lookup(ctx, dns.Question{Name: p.Host, Type: typ})
		if errors.Is(a.Err, dns.ErrName) {
			return nil, nil
		}
		if a.Failed() {
			failed = a
			continue
		}
		known = true
		secure = secure && a.Authentic
		target = a.Canonical()
	}
	switch {
	case !known:
		return nil, d.unknown(ctx, p, &failed)
	case secure && target != p.Host:
		return []string{target, p.Host}, nil
	case secure:
		return []string{p.Host}, nil
	case target == p.Host:
		return nil, nil
	}
	// The alias itself may be in a signed zone, and what it leads to not.
	a := d.p.r.Lookup(ctx, dns.Question{Name: p.Host, Type: dns.CNAME})
	if a.Failed() {
		return nil, d.unknown(ctx, p, &a)
	}
	if a.Authentic {
		return []string{p.Host}, nil
	}
	return nil, nil
}

// unknown is the failure that follows from an answer that says nothing.
func (d *Decision) unknown(ctx context.Context, p *Policy, a *dns.Answer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	why := fmt.Errorf("%s of %s: %s", a.Type, a.Name, a.RCode)
	if a.Err != nil {
		why = fmt.Errorf("%s of %s: %w", a.Type, a.Name, a.Err)
	}
	p.report = TypeTLSA
	return &Failure{Policy: p, Type: DNSSECInvalid, Err: why}
}
