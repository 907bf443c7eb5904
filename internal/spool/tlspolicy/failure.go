package tlspolicy

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
	Policy *Policy // nil if none could be found
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
