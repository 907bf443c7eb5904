package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// Limits of RFC 7208 §4.6.4: what a stranger's record can make us ask.
const (
	lookupsMax     = 10 // terms that ask the DNS, in all records of a check
	voidLookupsMax = 2  // questions that have no answer
	mxHostsMax     = 10 // hosts of one mx; more are an error
	ptrNamesMax    = 10 // names of an address; more are passed over
)

// traceStepsMax bounds the trace: a record of 8 KB has hundreds of terms, and
// nobody reads that many.
const traceStepsMax = 100

// Networks wider than this let nearly everybody send. The widest that one
// owner ever had are a /8 and, of IPv6, a /19.
const (
	openBits4 = 8
	openBits6 = 16
)

// SPFError is an error with the result that it means: TempError, PermError
// or, for a domain without a record, None.
type SPFError struct {
	Result  SPFResult
	Problem string
}

func (e *SPFError) Error() string { return e.Problem }

func permError(format string, args ...any) error {
	return &SPFError{PermError, fmt.Sprintf(format, args...)}
}

// checker is the state of one check, shared by all its recursions.
type checker struct {
	r       Resolver
	in      SPFInput
	ip      netip.Addr // unmapped
	local   string     // of the sender
	origin  string     // domain of the sender
	lookups int
	voids   int
	names   []string // validated names of ip, see pointers
	named   bool     // names was looked up
	trace   []SPFStep
	depth   int
	step    int // that questions belong to; -1: none
}

// verdict is what check_host gives.
type verdict struct {
	result    SPFResult
	mechanism string
	open      bool
	problem   string
	domain    string    // whose record decided, for macros of exp
	exp       *modifier // of that record
}

func failed(err error) verdict {
	var e *SPFError
	if !errors.As(err, &e) {
		e = &SPFError{TempError, err.Error()}
	}
	return verdict{result: e.Result, problem: e.Problem}
}

// begin starts a step of the trace and returns what ends it.
func (c *checker) begin(domain, term string) (end func(outcome string)) {
	before, at := c.step, len(c.trace)
	if at >= traceStepsMax {
		c.step = -1
		return func(string) { c.step = before }
	}
	c.trace = append(c.trace, SPFStep{Depth: c.depth, Domain: domain, Term: term})
	c.step = at
	return func(outcome string) {
		c.trace[at].Outcome = outcome
		c.step = before
	}
}

// checkHost is check_host of RFC 7208 §4 for a domain whose name can be asked.
func (c *checker) checkHost(ctx context.Context, domain string) verdict {
	rec, err := c.fetch(ctx, domain)
	if err != nil {
		return failed(err)
	}
	for i := range rec.mechanisms {
		m := &rec.mechanisms[i]
		end := c.begin(domain, m.text)
		matched, open, err := c.match(ctx, m, domain)
		if err != nil {
			end(err.Error())
			return failed(err)
		}
		if matched {
			end("match")
			return verdict{result: m.result, mechanism: m.text, open: open, domain: domain, exp: rec.exp}
		}
		end("no match")
	}
	if rec.redirect != nil {
		return c.redirect(ctx, rec.redirect, domain)
	}
	return verdict{result: Neutral, mechanism: "default"} // §4.7
}

// fetch looks a domain's record up (RFC 7208 §4.4, §4.5) and parses it.
func (c *checker) fetch(ctx context.Context, domain string) (record, error) {
	end := c.begin(domain, "")
	rec, err := c.selectRecord(ctx, domain)
	if err != nil {
		end(err.Error())
		return record{}, err
	}
	end("found")
	return rec, nil
}

func (c *checker) selectRecord(ctx context.Context, domain string) (record, error) {
	a, err := c.ask(ctx, dns.Question{Name: domain, Type: dns.TXT})
	if err != nil {
		return record{}, err
	}
	text, found := "", 0
	for _, t := range a.Texts {
		if isRecord(t) {
			text = t
			found++
		}
	}
	switch {
	case found == 0:
		return record{}, &SPFError{None, domain + " has no SPF record"}
	case found > 1:
		return record{}, permError("%s has %d SPF records", domain, found)
	}
	if c.step >= 0 {
		c.trace[c.step].Record = printable(text[:min(len(text), recordOctetsMax)])
	}
	rec, err := parseRecord(text)
	if err != nil {
		return record{}, permError("%s: %v", domain, err)
	}
	return rec, nil
}

// redirect evaluates what a record says to evaluate in its stead (RFC 7208
// §6.1).
func (c *checker) redirect(ctx context.Context, m *modifier, domain string) verdict {
	end := c.begin(domain, m.text)
	v := func() verdict {
		if err := c.count(); err != nil {
			return failed(err)
		}
		target, err := c.name(ctx, m.domain, domain)
		if err != nil {
			return failed(err)
		}
		v := c.inner(ctx, target)
		if v.result == None {
			v.result = PermError
		}
		return v
	}()
	end(string(v.result))
	return v
}

// inner is check_host for an include or redirect.
func (c *checker) inner(ctx context.Context, target string) verdict {
	if !strings.Contains(target, ".") {
		return verdict{result: None, problem: "it leads to what is no domain"}
	}
	c.depth++
	defer func() { c.depth-- }()
	return c.checkHost(ctx, target)
}

// count counts a term that asks the DNS.
func (c *checker) count() error {
	if c.lookups++; c.lookups > lookupsMax {
		return permError("more than %d terms ask the DNS", lookupsMax)
	}
	return nil
}

// match evaluates a mechanism (RFC 7208 §5). open says that it would match
// nearly any client.
func (c *checker) match(ctx context.Context, m *mechanism, domain string) (matched, open bool, err error) {
	switch m.kind {
	case kindAll:
		return true, true, nil
	case kindIP:
		return m.prefix.Contains(c.ip), wide(m.prefix), nil
	}
	if err := c.count(); err != nil {
		return false, false, err
	}
	target := domain
	if m.domain != nil {
		if target, err = c.name(ctx, m.domain, domain); err != nil {
			return false, false, err
		}
	}
	if m.kind == kindInclude {
		return c.include(ctx, target)
	}
	if target == "" {
		return false, false, nil // §4.8: it cannot exist
	}
	switch m.kind {
	case kindA:
		matched, err = c.matchHost(ctx, m, target)
		return matched, c.wideHost(m), err
	case kindMX:
		matched, err = c.matchMX(ctx, m, target)
		return matched, c.wideHost(m), err
	case kindPTR:
		matched, err = c.matchPTR(ctx, target)
		return matched, false, err
	default: // kindExists
		a, err := c.askCounted(ctx, dns.Question{Name: target, Type: dns.A}) // §5.7: A even for IPv6
		return len(a.Addrs) > 0, !m.domain.uses("ip"), err
	}
}

// wide tells whether nearly everybody is in a network.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < openBits4
	}
	return p.Bits() < openBits6
}

// wideHost is wide for what a and mx make of addresses.
func (c *checker) wideHost(m *mechanism) bool {
	if c.ip.Is4() {
		return m.bits4 < openBits4
	}
	return m.bits6 < openBits6
}

// include matches if the other domain lets the client send (RFC 7208 §5.2).
func (c *checker) include(ctx context.Context, target string) (matched, open bool, err error) {
	switch v := c.inner(ctx, target); v.result {
	case Pass:
		return true, v.open, nil
	case TempError:
		return false, false, &SPFError{TempError, v.problem}
	case PermError, None:
		return false, false, &SPFError{PermError, v.problem}
	}
	return false, false, nil
}

// addressType is the type that holds addresses of the client's family.
func (c *checker) addressType() dns.Type {
	if c.ip.Is4() {
		return dns.A
	}
	return dns.AAAA
}

func (c *checker) matchHost(ctx context.Context, m *mechanism, host string) (bool, error) {
	a, err := c.askCounted(ctx, dns.Question{Name: host, Type: c.addressType()})
	if err != nil {
		return false, err
	}
	bits := m.bits4
	if c.ip.Is6() {
		bits = m.bits6
	}
	for _, addr := range a.Addrs {
		if p, err := addr.Unmap().Prefix(bits); err == nil && p.Contains(c.ip) {
			return true, nil
		}
	}
	return false, nil
}

func (c *checker) matchMX(ctx context.Context, m *mechanism, target string) (bool, error) {
	hosts, err := c.mxHosts(ctx, target)
	if err != nil {
		return false, err
	}
	for _, host := range hosts {
		if matched, err := c.matchHost(ctx, m, host); matched || err != nil {
			return matched, err
		}
	}
	return false, nil
}

// mxHosts returns a domain's mail exchangers that can be asked for; there is
// no implicit one (RFC 7208 §5.4).
func (c *checker) mxHosts(ctx context.Context, domain string) ([]string, error) {
	a, err := c.askCounted(ctx, dns.Question{Name: domain, Type: dns.MX})
	if err != nil {
		return nil, err
	}
	if len(a.MX) > mxHostsMax {
		return nil, permError("%s has %d MX records, more than %d", domain, len(a.MX), mxHostsMax)
	}
	var hosts []string
	for _, mx := range a.MX {
		if host := fitName(mx.Host); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

func (c *checker) matchPTR(ctx context.Context, target string) (bool, error) {
	names, err := c.pointers(ctx)
	for _, name := range names {
		if within(name, target) {
			return true, nil
		}
	}
	return false, err
}

// pointers returns the client's validated names: those which its PTR records
// give and which have its address (RFC 7208 §5.5). Errors of the DNS make
// names missing; it is looked up once a check.
func (c *checker) pointers(ctx context.Context) ([]string, error) {
	if c.named {
		return c.names, nil
	}
	c.named = true
	zone := ".in-addr.arpa"
	if c.ip.Is6() {
		zone = ".ip6.arpa"
	}
	a, err := c.ask(ctx, dns.Question{Name: dns.ReverseName(c.ip) + zone, Type: dns.PTR})
	if err != nil {
		return nil, nil
	}
	if err := c.void(a); err != nil {
		return nil, err
	}
	for _, name := range a.Names[:min(len(a.Names), ptrNamesMax)] {
		if name = fitName(name); name == "" {
			continue
		}
		a, err := c.ask(ctx, dns.Question{Name: name, Type: c.addressType()})
		if err != nil {
			continue
		}
		for _, addr := range a.Addrs {
			if addr.Unmap() == c.ip {
				c.names = append(c.names, name)
				break
			}
		}
	}
	return c.names, nil
}
