package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Lifetimes of what we sign ourselves. Clients refuse server certificates
// that live longer than 825 days.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 800 * 24 * time.Hour
	backdate      = time.Hour // for clients whose clock is behind
)

// Files names the files of a self-made authority and the certificate that it
// signed.
type Files struct {
	CA, CAKey string // the authority: certificate, private key
	Cert, Key string // the server: chain, private key
}

// SelfMade makes an authority and a server certificate for the names (host
// names or IP addresses) unless the files are there already; it returns
// whether it made anything. Existing files are never overwritten.
func SelfMade(f Files, names []string, now time.Time) (bool, error) {
	if _, err := os.Stat(f.Cert); err == nil {
		return false, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for certificate: %w", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, fmt.Errorf("make authority key: %w", err)
	}
	ca, err := template("Breakwater self-made authority", now, authorityLife)
	if err != nil {
		return false, err
	}
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return false, fmt.Errorf("sign authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, fmt.Errorf("make server key: %w", err)
	}
	server, err := template(names[0], now, serverLife)
	if err != nil {
		return false, err
	}
	server.KeyUsage = x509.KeyUsageDigitalSignature
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		return false, fmt.Errorf("sign server certificate: %w", err)
	}
	return true, write(f, caDER, caKey, der, key)
}

// template returns what both certificates have in common.
func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
	}, nil
}

// write writes the keys first: a certificate without its key would be taken
// for complete by the next start.
func write(f Files, ca []byte, caKey *ecdsa.PrivateKey, cert []byte, key *ecdsa.PrivateKey) error {
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for _, k := range []struct {
		name string
		key  *ecdsa.PrivateKey
	}{{f.CAKey, caKey}, {f.Key, key}} {
		der, err := x509.MarshalPKCS8PrivateKey(k.key)
		if err != nil {
			return fmt.Errorf("encode key: %w", err)
		}
		if err := sys.WriteFile(k.name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return err
		}
	}
	if err := sys.WriteFile(f.CA, caPEM, 0o644); err != nil {
		return err
	}
	return sys.WriteFile(f.Cert, append(certPEM, caPEM...), 0o644)
}
