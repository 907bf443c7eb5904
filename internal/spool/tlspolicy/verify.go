package tlspolicy

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// certificatesMax of a chain are looked at: real ones have up to five.
const certificatesMax = 16

var errNoCertificate = errors.New("the host has shown no certificate")

func (p *Policy) now() time.Time { return p.clock.Now() }

// checkPKIX wants a certificate of an authority for the host's name (RFC 8461
// §4.2, RFC 5280, RFC 6125: no common names).
func (p *Policy) checkPKIX(chain []*x509.Certificate) (Result, error) {
	if len(chain) == 0 {
		return CertificateNotTrusted, errNoCertificate
	}
	o := x509.VerifyOptions{Roots: p.roots, Intermediates: x509.NewCertPool(), CurrentTime: p.now(), DNSName: p.Host}
	for _, c := range chain[1:min(len(chain), certificatesMax)] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return classify(err), err
	}
	return "", nil
}

// checkDANE wants a certificate that a TLSA record names.
func (p *Policy) checkDANE(chain []*x509.Certificate) (Result, error) {
	if len(chain) == 0 {
		return CertificateNotTrusted, errNoCertificate
	}
	chain = chain[:min(len(chain), certificatesMax)]
	anchors := x509.NewCertPool()
	anchored := false
	for _, r := range p.TLSA {
		if r.Usage == usageEE {
			// RFC 7672 §3.1.1: neither names nor dates of the certificate count.
			if matches(r, chain[0]) {
				return "", nil
			}
			continue
		}
		for _, c := range chain[1:] {
			if matches(r, c) {
				anchors.AddCert(c)
				anchored = true
			}
		}
		// A whole certificate need not be shown (RFC 7671 §5.2.2 wants it all
		// the same).
		if r.Selector == selectorCert && r.Matching == matchingExact {
			if c, err := x509.ParseCertificate([]byte(r.Data)); err == nil {
				anchors.AddCert(c)
				anchored = true
			}
		}
	}
	if !anchored {
		return CertificateNotTrusted, fmt.Errorf("no certificate of the host is one that the %d TLSA records of %s name", len(p.TLSA), p.base)
	}
	return p.checkAnchored(chain, anchors)
}

// checkAnchored wants a chain that ends at a trust anchor, and a name (RFC 7672
// §3.1.2, §3.2.2).
func (p *Policy) checkAnchored(chain []*x509.Certificate, anchors *x509.CertPool) (Result, error) {
	o := x509.VerifyOptions{Roots: anchors, Intermediates: x509.NewCertPool(), CurrentTime: p.now()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return classify(err), err
	}
	var err error
	for _, name := range append([]string{p.base}, p.names...) {
		if err = chain[0].VerifyHostname(name); err == nil {
			return "", nil
		}
	}
	return CertificateHostMismatch, err
}

// matches tells whether a record names a certificate (RFC 6698 §2.1).
func matches(r dns.TLSARecord, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchingSHA256:
		sum := sha256.Sum256(data)
		return r.Data == string(sum[:])
	case matchingSHA512:
		sum := sha512.Sum512(data)
		return r.Data == string(sum[:])
	}
	return r.Data == string(data)
}
