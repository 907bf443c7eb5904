package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Store holds the certificate in use. Its methods may be called
// concurrently.
type Store struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// Open loads a certificate chain and its key.
func Open(certFile, keyFile string) (*Store, error) {
	s := &Store{certFile: certFile, keyFile: keyFile}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the files again. When they cannot be used the certificate
// that was loaded before stays in use and the error says why.
func (s *Store) Reload() error {
	c, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	s.current.Store(&c)
	return nil
}

// Get returns the certificate for a handshake: the GetCertificate of
// tls.Config.
func (s *Store) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// TLS returns the configuration for listeners: TLS 1.2 at least (RFC 8996,
// RFC 8997).
func (s *Store) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Get}
}

// Leaf returns the server certificate in use.
func (s *Store) Leaf() *x509.Certificate { return s.current.Load().Leaf }

// expirySoon is when a certificate's end becomes worth a word: most public
// ones are renewed 30 days before.
const expirySoon = 21 * 24 * time.Hour

// Problems says what is wrong with a certificate file pair for a host name.
func Problems(certFile, keyFile, hostname string, now time.Time) []error {
	s, err := Open(certFile, keyFile)
	if err != nil {
		return []error{fmt.Errorf("%w; name readable PEM files in tls.certificate and tls.key", err)}
	}
	var problems []error
	leaf := s.Leaf()
	if err := leaf.VerifyHostname(hostname); err != nil {
		problems = append(problems, fmt.Errorf("certificate: %w; get one for the host's own name", err))
	}
	switch {
	case now.After(leaf.NotAfter):
		problems = append(problems, fmt.Errorf("certificate: expired on %s; renew it, then send SIGHUP", leaf.NotAfter.UTC().Format(time.DateOnly)))
	case now.Add(expirySoon).After(leaf.NotAfter):
		problems = append(problems, fmt.Errorf("certificate: expires on %s; renew it, then send SIGHUP", leaf.NotAfter.UTC().Format(time.DateOnly)))
	case now.Before(leaf.NotBefore):
		problems = append(problems, errors.New("certificate: not valid yet; is this machine's clock right?"))
	}
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		problems = append(problems, fmt.Errorf("private key %s: others can read it; chmod 600", keyFile))
	}
	return problems
}

// SelfIssued reports whether the certificate's chain ends in an authority
// that no client knows, as SelfMade's does.
func (s *Store) SelfIssued() bool {
	chain := s.current.Load().Certificate
	last, err := x509.ParseCertificate(chain[len(chain)-1])
	return err == nil && last.Subject.CommonName == "Breakwater self-made authority"
}
