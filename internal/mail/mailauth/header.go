package mailauth

// ReceivedSPF returns the header field Received-SPF (RFC 7208 §9.1) with its
// CRLF.
func (s SPF) ReceivedSPF(in SPFInput) string {
	return "Received-SPF: " + string(s.Result) + "\r\n"
}
