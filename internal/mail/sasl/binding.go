package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// The channel binding types that are served. tls-unique is not: it is
// undefined for TLS 1.3 and broken before (RFC 9266 §1).
const (
	bindExporter = "tls-exporter"
	bindEndPoint = "tls-server-end-point"
)

// bindings returns the channel binding data that this connection has.
func bindings(cs *tls.ConnectionState, leaf *x509.Certificate) map[string][]byte {
	out := make(map[string][]byte, 2)
	if !cs.HandshakeComplete {
		return out
	}
	// RFC 9266 §2: this label, no context, 32 octets. TLS 1.2 without the
	// extended master secret has no such value.
	if data, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		out[bindExporter] = data
	}
	if leaf != nil {
		if h := endPointHash(leaf.SignatureAlgorithm); h != 0 {
			d := h.New()
			d.Write(leaf.Raw)
			out[bindEndPoint] = d.Sum(nil)
		}
	}
	return out
}

// endPointHash is the hash of RFC 5929 §4.1: that of the certificate's
// signature, SHA-256 in place of MD5 and SHA-1, undefined (0) for signatures
// that name no hash.
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}
