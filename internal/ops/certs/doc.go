// Package certs makes and loads the certificates that the host shows.
//
// A new host has no certificate yet, and a demo on loopback can never get a
// public one, so both begin with a certificate authority of their own: a key
// that signs one server certificate and is kept beside it, readable by the
// owner only. An operator who has a certificate from elsewhere names its
// files in the configuration instead.
//
// It stands apart because two very different callers need it: host, which
// shows the certificate on every listener, and the command line, which makes
// and inspects the files while no host runs. It comes before edge/listen in
// the flow and knows nothing of it: listen is given a GetCertificate
// function.
//
// Invariants: a private key is written with mode 0600, never logged, and
// never leaves this package but inside a tls.Certificate. A file that cannot
// be read or does not match leaves the certificate that is in use in place.
//
// Concurrency: a Store may be used by any number of handshakes while Reload
// runs.
//
// Standards: RFC 5280 (certificates), RFC 9525 (service names), RFC 7817
// (names of mail services).
package certs
