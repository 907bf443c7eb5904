package tlspolicy

import (
	"crypto/x509"
	"errors"
)

// Result is a result type of RFC 8460 §4.3.
type Result string

// The result types.
const (
	StartTLSNotSupported    Result = "starttls-not-supported"
	CertificateHostMismatch Result = "certificate-host-mismatch"
	CertificateExpired      Result = "certificate-expired"
	CertificateNotTrusted   Result = "certificate-not-trusted"
	ValidationFailure       Result = "validation-failure"
	TLSAInvalid             Result = "tlsa-invalid"
	DNSSECInvalid           Result = "dnssec-invalid"
	DANERequired            Result = "dane-required"
	STSPolicyFetchError     Result = "sts-policy-fetch-error"
	STSPolicyInvalid        Result = "sts-policy-invalid"
	STSWebPKIInvalid        Result = "sts-webpki-invalid"
)

// Failure is why a host cannot be used under its policy, or what is to be
// reported of a policy that is only tested.
type Failure struct {
	Policy *Policy // what is known of it; never nil
	Type   Result
	Err    error // the detail; may be nil
}

// Error says it in one sentence.
func (f *Failure) Error() string {
	if f.Err == nil {
		return string(f.Type)
	}
	return string(f.Type) + ": " + f.Err.Error()
}

// Unwrap gives the detail.
func (f *Failure) Unwrap() error { return f.Err }

// classify gives the result type of an error of a certificate.
func classify(err error) Result {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	switch {
	case errors.As(err, &name):
		return CertificateHostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return CertificateExpired
	case errors.As(err, &roots): // our own fault
		return ValidationFailure
	}
	return CertificateNotTrusted
}
