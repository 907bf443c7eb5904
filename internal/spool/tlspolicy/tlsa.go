package tlspolicy

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// The fields of TLSA records that mean something to SMTP (RFC 6698 §2.1).
const (
	usageTA        = 2 // a trust anchor
	usageEE        = 3 // the host's own certificate
	selectorCert   = 0 // the whole certificate
	selectorKey    = 1 // its public key
	matchingExact  = 0
	matchingSHA256 = 1
	matchingSHA512 = 2
)

// TLSA records are few; more than these are not looked at.
const (
	tlsaRecordsMax = 64
	// tlsaOctetsMax of a record: certificates have some 2,000, those with keys
	// that outlast quantum computers some 10,000.
	tlsaOctetsMax = 32 << 10
)

// usable gives the records that count. Usages 0 and 1 do not with SMTP, since
// no authorities are agreed upon (RFC 7672 §3.1.3); of digests of the same
// thing, only the strongest does (RFC 7671 §9).
func usable(records []dns.TLSARecord) []dns.TLSARecord {
	records = records[:min(len(records), tlsaRecordsMax)]
	type group struct{ usage, selector uint8 }
	strong := make(map[group]bool)
	var good []dns.TLSARecord
	for _, r := range records {
		if !wellFormed(r) {
			continue
		}
		good = append(good, r)
		if r.Matching == matchingSHA512 {
			strong[group{r.Usage, r.Selector}] = true
		}
	}
	out := good[:0]
	for _, r := range good {
		if r.Matching != matchingSHA256 || !strong[group{r.Usage, r.Selector}] {
			out = append(out, r)
		}
	}
	return out
}

func wellFormed(r dns.TLSARecord) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > selectorKey || len(r.Data) > tlsaOctetsMax {
		return false
	}
	var err error
	switch {
	case r.Matching == matchingSHA256:
		return len(r.Data) == sha256.Size
	case r.Matching == matchingSHA512:
		return len(r.Data) == sha512.Size
	case r.Matching != matchingExact:
		return false
	case r.Selector == selectorCert:
		_, err = x509.ParseCertificate([]byte(r.Data))
	default:
		_, err = x509.ParsePKIXPublicKey([]byte(r.Data))
	}
	return err == nil
}

// tlsaText is the records as a report quotes them (RFC 8460 §4.4).
func tlsaText(records []dns.TLSARecord) []string {
	var out []string
	for _, r := range records[:min(len(records), tlsaRecordsMax)] {
		out = append(out, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data[:min(len(r.Data), tlsaQuotedMax)]))
	}
	return out
}

// tlsaQuotedMax octets of a record are quoted: digests wholly.
const tlsaQuotedMax = 64
