package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Kind is what decides about TLS with a host.
type Kind uint8

// The kinds, the weakest first.
const (
	Opportunistic Kind = iota // TLS if it is offered, with any certificate; else none
	Encrypt                   // TLS with any certificate, or no mail
	Verify                    // TLS with a certificate of an authority for the host's name
	STS                       // the domain's MTA-STS policy (RFC 8461)
	DANE                      // TLSA records (RFC 7672)
)

// String is the kind's word in logs, traces and tables.
func (k Kind) String() string {
	switch k {
	case Opportunistic:
		return "opportunistic"
	case Encrypt:
		return "encrypt"
	case Verify:
		return "verify"
	case STS:
		return "mta-sts"
	}
	return "dane"
}

// Policy is what applies to one host. It does not change.
type Policy struct {
	Kind   Kind
	Domain message.Domain // the recipients'; "" on a route
	Host   string         // of the MX record, or the route's next hop
	// Testing says that what fails is only to be reported (RFC 8461 §5).
	Testing bool
	// Waived says the same: the message wants no more (RFC 8689 §4.2.2).
	Waived bool
	// TLSA are the records that count. Where TLSA records were found and none
	// can be used, Kind is Encrypt and this is empty (RFC 7672 §2.2).
	TLSA []dns.TLSARecord
	// Text is what a report quotes (RFC 8460 §4.4): the lines of the MTA-STS
	// policy, or the TLSA records.
	Text []string
	// Patterns are those of the MTA-STS policy.
	Patterns []string
	// Trouble is to be reported though mail goes on: what kept a better policy
	// from being found. It may be nil.
	Trouble *Failure

	report PolicyType
	// authentic says that the host's name is vouched for: by DNSSEC, an
	// MTA-STS policy or the operator.
	authentic bool
	mismatch  bool     // the MTA-STS policy does not have the host
	base      string   // TLSA base domain (RFC 7672 §2.2.3)
	names     []string // that a certificate may have, besides
	roots     *x509.CertPool
	clock     sys.Clock
}

// PolicyType is a policy type of RFC 8460 §4.4.
type PolicyType string

// The policy types.
const (
	TypeTLSA PolicyType = "tlsa"
	TypeSTS  PolicyType = "sts"
	TypeNone PolicyType = "no-policy-found"
)

// Type is what the policy is called in reports.
func (p *Policy) Type() PolicyType {
	if p.report == "" {
		return TypeNone
	}
	return p.report
}

// Must reports whether mail may go to the host under TLS only.
func (p *Policy) Must() bool { return p.Kind != Opportunistic && !p.Testing && !p.Waived }

// Describe is the policy's words in traces: "dane", "mta-sts (testing)".
func (p *Policy) Describe() string {
	switch {
	case p.Waived:
		return p.Kind.String() + " (waived)"
	case p.Testing:
		return p.Kind.String() + " (testing)"
	}
	return p.Kind.String()
}

// Waive gives the policy for a message that says TLS-Required: No (RFC 8689
// §4.2.2): what the domain asks for is tried and reported on, and keeps nothing
// back. f, which may be nil, is why the host would not be used.
func (p *Policy) Waive(f *Failure) *Policy {
	w := *p
	w.Waived = w.Must() || f != nil
	if f != nil && w.Trouble == nil {
		w.Trouble = f
	}
	return &w
}

// ServerName is the name that is asked for in the TLS handshake (RFC 7672
// §8.1, RFC 8461 §4.1).
func (p *Policy) ServerName() string {
	if p.base != "" {
		return p.base
	}
	return p.Host
}

// Config makes what a TLS client needs: the handshake fails, with a *Failure
// in its error, if the policy refuses the host's certificate. The caller may
// add to what it gets.
func (p *Policy) Config() *tls.Config {
	c := &tls.Config{
		ServerName: p.ServerName(),
		MinVersion: tls.VersionTLS12,
		Time:       p.now,
		// Check does it: DANE knows other rules than those of the library, and
		// a policy that is tested must not fail.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if f := p.Check(state); f != nil && p.Must() {
				return f
			}
			return nil
		},
	}
	if !p.Must() {
		// Where the choice is clear text, the oldest TLS is better (RFC 7435).
		c.MinVersion = tls.VersionTLS10
	}
	return c
}

// Check holds a connection against the policy; nil is no objection. Under a
// policy that is no Must a failure is to be reported and mail goes on; under
// the others Config's handshake has failed with the same.
func (p *Policy) Check(state tls.ConnectionState) *Failure {
	var kind Result
	var err error
	switch {
	case p.Kind < Verify:
		return nil
	case p.mismatch:
		return p.notListed()
	case p.Kind == DANE:
		kind, err = p.checkDANE(state.PeerCertificates)
	default:
		kind, err = p.checkPKIX(state.PeerCertificates)
	}
	if err == nil {
		return nil
	}
	return &Failure{Policy: p, Type: kind, Err: err}
}

// Failure tells what an error of STARTTLS or its handshake means for the
// policy: its own objection, or that TLS could not be had. It is never nil.
func (p *Policy) Failure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Policy: p, Type: ValidationFailure, Err: err}
}

// NotOffered is the failure of a host that does not offer STARTTLS. Under a
// policy that is not a Must it is to be reported, and mail goes on.
func (p *Policy) NotOffered() *Failure {
	return &Failure{Policy: p, Type: StartTLSNotSupported, Err: errors.New("the host does not offer STARTTLS")}
}

func (p *Policy) notListed() *Failure {
	return &Failure{Policy: p, Type: ValidationFailure,
		Err: fmt.Errorf("%s is none of the hosts of the MTA-STS policy of %s", p.Host, p.Domain)}
}

// RequireTLS gives the policy for a message with REQUIRETLS (RFC 8689 §4.2.1):
// the host's name must be known for certain and its certificate be verified.
// The failure says why the host cannot be used for it.
func (p *Policy) RequireTLS() (*Policy, *Failure) {
	switch {
	case p.Kind == DANE || p.Kind == Verify:
		return p, nil
	case p.mismatch:
		return nil, p.notListed()
	case !p.authentic:
		return nil, &Failure{Policy: p, Type: ValidationFailure,
			Err: fmt.Errorf("the message requires TLS, and neither DNSSEC nor MTA-STS says that %s is a host of %s", p.Host, p.Domain)}
	}
	strict := *p
	strict.Testing, strict.Waived = false, false
	if strict.Kind < Verify {
		strict.Kind = Verify
	}
	return &strict, nil
}

// Session is the outcome of one connection to a host, for reports (RFC 8460
// §4.3).
type Session struct {
	Policy  *Policy
	Failure *Failure // nil: TLS as the policy wants it
	Local   netip.Addr
	Remote  netip.Addr
	Helo    string // what the host called itself in its banner or answer to EHLO
	Report  bool   // it was made to send a report on TLS
}
