package sasl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Limits of what a client may send.
const (
	// MaxLine is the longest base64 response, in octets without CRLF
	// (RFC 4954 §4: at least 12288 must be taken).
	MaxLine = 12288
	// MaxResponse is the longest response, in octets, after base64.
	MaxResponse = MaxLine / 4 * 3
	// MaxName bounds user names, in octets: the longest address of RFC 5321
	// §4.5.3.1 has 64+1+255.
	MaxName = 512
	// MaxPassword bounds passwords, in octets: enough for any passphrase,
	// too little to make hashing it costly.
	MaxPassword = 1024
	// MaxNonce bounds a SCRAM client's nonce, in octets; clients send 16 to 48.
	MaxNonce = 256
)

// What a client can do wrong. Every other error of an Exchange is a fault
// behind it and says nothing about the credentials.
var (
	// ErrCredentials: no such user, or not this password.
	ErrCredentials = errors.New("authentication credentials are invalid")
	// ErrMalformed: the response breaks the mechanism's or base64's grammar,
	// its limits or its channel binding rules.
	ErrMalformed = errors.New("malformed authentication response")
	// ErrCancelled: the client sent "*".
	ErrCancelled = errors.New("authentication cancelled by the client")
	// ErrMechanism: New does not know or offer the mechanism.
	ErrMechanism = errors.New("authentication mechanism is not offered")
	// ErrNoTLS: no mechanism is offered without TLS.
	ErrNoTLS = errors.New("authentication needs TLS")
)

// Identity is who has logged in. The zero value is nobody.
type Identity struct {
	Account uint64
	Address message.Address
	// Epoch is the Backend's name for the state of the passwords at the login;
	// it means nothing here.
	Epoch uint64
}

// Backend knows the accounts. Its methods are called by the goroutines of
// many exchanges at once and take names and passwords as the client sent them
// (valid UTF-8, within MaxName and MaxPassword): normalising them is its part.
type Backend interface {
	// Password returns whose password it is: ErrCredentials (or an error
	// that wraps it) if it is not user's, any other error if that cannot be
	// told now.
	Password(ctx context.Context, user, password string) (Identity, error)
	// Scram returns user's verifier. For a user who has none it returns an
	// invented one that is the same each time and has no Identity; its
	// errors are faults.
	Scram(ctx context.Context, user string) (Verifier, error)
}

// Exchange is one run of a mechanism.
type Exchange interface {
	// Next takes the client's response and returns the next challenge, or
	// done. A nil response at the start means that there was no initial
	// response; an empty one that is not nil is an empty initial response.
	// After done or an error the exchange is over. ctx bounds the Backend.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is who logged in: the zero Identity until Next said done.
	Identity() Identity
}

// The mechanisms' names.
const (
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
	ScramSHA256     = "SCRAM-SHA-256"
	Plain           = "PLAIN"
	Login           = "LOGIN"
)

// Mechanisms returns the names to offer, best first: none without TLS.
func Mechanisms(tls bool) []string {
	if !tls {
		return nil
	}
	return []string{ScramSHA256Plus, ScramSHA256, Plain, Login}
}

// New starts an exchange on a connection whose TLS state is cs; nil means
// that it has no TLS, and is refused with ErrNoTLS. The name of the mechanism
// is taken in any case of letters; an unknown one is ErrMechanism. Channel
// binding is tls-exporter; NewWithCertificate adds tls-server-end-point.
func New(mech string, b Backend, cs *tls.ConnectionState) (Exchange, error) {
	return NewWithCertificate(mech, b, cs, nil)
}

// NewWithCertificate is New for a caller who knows which certificate the
// server presented on this connection, which a tls.ConnectionState does not
// tell on the server's side. A nil leaf leaves tls-exporter only.
func NewWithCertificate(mech string, b Backend, cs *tls.ConnectionState, leaf *x509.Certificate) (Exchange, error) {
	if cs == nil {
		return nil, ErrNoTLS
	}
	switch strings.ToUpper(mech) {
	case ScramSHA256Plus:
		return newScram(b, bindings(cs, leaf), true), nil
	case ScramSHA256:
		return newScram(b, bindings(cs, leaf), false), nil
	case Plain:
		return &plain{backend: b}, nil
	case Login:
		return &login{backend: b}, nil
	}
	return nil, ErrMechanism
}

// malformed says what is wrong with a response without quoting it.
func malformed(what string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, what)
}

// checkText tells whether s may be a name or a password: RFC 4616 §2 allows
// any UTF-8 but NUL, and neither may be empty.
func checkText(s []byte, max int) error {
	switch {
	case len(s) == 0:
		return malformed("empty name or password")
	case len(s) > max:
		return malformed("name or password too long")
	case !utf8.Valid(s):
		return malformed("not UTF-8")
	}
	for _, c := range s {
		if c == 0 {
			return malformed("NUL")
		}
	}
	return nil
}

// checkAuthzid tells whether an authorization identity (RFC 4422 §3.4.1) is
// that of the one who authenticates: empty, the name as given, or the
// account's address.
func checkAuthzid(authzid, authcid string, id Identity) error {
	if authzid == "" || authzid == authcid || strings.EqualFold(authzid, id.Address.String()) {
		return nil
	}
	return fmt.Errorf("%w: authorization identity is not the authentication identity", ErrCredentials)
}
