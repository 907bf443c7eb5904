package tlspolicy

import (
	"crypto/tls"
	"net/netip"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
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
	// TLSA are the usable records of DANE; where there is none, all were
	// unusable and Kind is Encrypt (RFC 7672 §2.2).
	TLSA []dns.TLSARecord
	// Text are the lines that a report quotes (RFC 8460 §4.4): of the MTA-STS
	// policy, or TLSA records.
	Text []string
	// Patterns are the MX patterns of the MTA-STS policy.
	Patterns []string

	check check
}

// check is what a certificate is held against.
type check struct{}

// Must reports whether mail may go to the host under TLS only.
func (p *Policy) Must() bool { return p.Kind != Opportunistic && !p.Testing }

// ServerName is the name that is asked for in the TLS handshake.
func (p *Policy) ServerName() string { return p.Host }

// Config makes what a TLS client needs: the handshake fails, with a *Failure
// somewhere in its error, if the policy refuses the host's certificate. The
// caller may change what it gets.
func (p *Policy) Config() *tls.Config { return &tls.Config{ServerName: p.Host} }

// Check holds a connection against the policy; nil is no objection. Under a
// policy that is Testing a failure is to be reported and mail goes on; under
// the others Config's handshake has failed with the same.
func (p *Policy) Check(state tls.ConnectionState) *Failure { return nil }

// Failure tells what an error of a handshake means for the policy: its own
// objection, or that TLS could not be had. It is never nil.
func (p *Policy) Failure(err error) *Failure {
	return &Failure{Policy: p, Type: ValidationFailure, Err: err}
}

// NotOffered is the failure of a host that does not offer STARTTLS.
func (p *Policy) NotOffered() *Failure {
	return &Failure{Policy: p, Type: StartTLSNotSupported}
}

// RequireTLS gives the policy for a message with REQUIRETLS (RFC 8689 §4.2.1):
// the host's name must be known for certain and its certificate be verified.
// The failure says why the host cannot be used for it.
func (p *Policy) RequireTLS() (*Policy, *Failure) { return p, nil }

// Session is one connection's outcome, for reports (RFC 8460 §4).
type Session struct {
	Policy  *Policy
	Failure *Failure // nil: TLS as the policy wants it
	Local   netip.Addr
	Remote  netip.Addr
	Helo    string // what the host called itself in its banner or answer to EHLO
}
