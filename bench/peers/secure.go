package peers

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
)

// Certify makes a certificate (ca.pem, key.pem) in dir for a server that is
// started there afterwards, and gives the client's configuration that trusts it.
func Certify(dir string) (*tls.Config, error) {
	s := &Server{CA: filepath.Join(dir, "ca.pem"), serverName: "localhost"}
	if err := errors.Join(os.MkdirAll(dir, 0o755), writeCertificate(s.CA, filepath.Join(dir, "key.pem"))); err != nil {
		return nil, err
	}
	return s.TLS()
}
