package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func files(t *testing.T) Files {
	dir := t.TempDir()
	return Files{
		CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "tls", "ca-key.pem"),
		Cert: filepath.Join(dir, "tls", "cert.pem"), Key: filepath.Join(dir, "tls", "key.pem"),
	}
}

func TestSelfMade_clientTrustsIt(t *testing.T) {
	f := files(t)
	made, err := SelfMade(f, []string{"mail.example.org", "127.0.0.1"}, now)
	if err != nil || !made {
		t.Fatalf("SelfMade = %v, %v", made, err)
	}
	s, err := Open(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	for _, name := range []string{"mail.example.org", "127.0.0.1"} {
		if _, err := s.Leaf().Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	if !s.SelfIssued() {
		t.Error("SelfIssued = false")
	}
	if s.TLS().MinVersion != tls.VersionTLS12 {
		t.Error("TLS before 1.2 is offered")
	}
	for _, key := range []string{f.Key, f.CAKey} {
		info, err := os.Stat(key)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", filepath.Base(key), info.Mode(), err)
		}
	}
}

func TestSelfMade_keepsWhatIsThere(t *testing.T) {
	f := files(t)
	if _, err := SelfMade(f, []string{"a.example"}, now); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(f.Cert)
	made, err := SelfMade(f, []string{"b.example"}, now)
	after, _ := os.ReadFile(f.Cert)
	if err != nil || made || string(before) != string(after) {
		t.Fatalf("SelfMade over existing files = %v, %v; file changed: %v", made, err, string(before) != string(after))
	}
}

func TestStore_reloadKeepsGoodCertificate(t *testing.T) {
	f := files(t)
	if _, err := SelfMade(f, []string{"a.example"}, now); err != nil {
		t.Fatal(err)
	}
	s, err := Open(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	serial := s.Leaf().SerialNumber
	if err := os.WriteFile(f.Cert, []byte("not PEM"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Error("Reload of a broken file: no error")
	}
	if c, _ := s.Get(nil); c == nil || c.Leaf.SerialNumber.Cmp(serial) != 0 {
		t.Error("the certificate in use is gone")
	}
}

func TestProblems(t *testing.T) {
	f := files(t)
	if _, err := SelfMade(f, []string{"mail.example.org"}, now); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, host string
		at         time.Time
		want       string // "" is none
	}{
		{"good", "mail.example.org", now, ""},
		{"other name", "other.example.org", now, "other.example.org"},
		{"expired", "mail.example.org", now.Add(serverLife + time.Hour), "expired on"},
		{"expires soon", "mail.example.org", now.Add(serverLife - 24*time.Hour), "expires on"},
		{"clock behind", "mail.example.org", now.Add(-2 * time.Hour), "clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Problems(f.Cert, f.Key, tt.host, tt.at)
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("Problems = %v, want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), tt.want)):
				t.Errorf("Problems = %v, want one with %q", got, tt.want)
			}
		})
	}
	if err := os.Chmod(f.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Problems(f.Cert, f.Key, "mail.example.org", now); len(got) != 1 || !strings.Contains(got[0].Error(), "chmod 600") {
		t.Errorf("readable key: Problems = %v", got)
	}
	if got := Problems("nowhere.pem", f.Key, "mail.example.org", now); len(got) != 1 {
		t.Errorf("no file: Problems = %v", got)
	}
}
