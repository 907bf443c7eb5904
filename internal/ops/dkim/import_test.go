package dkim

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pkcs8 is a key as OpenSSL's genpkey writes it.
func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// pkcs1 is a key as opendkim-genkey wrote it for long.
func pkcs1(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	if bits < 1024 {
		t.Setenv("GODEBUG", "rsa1024min=0")
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyFile(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mail.private")
	if err := os.WriteFile(name, b, 0o640); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestImport(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k1024, k2048 := rsaKey(t, 1024), rsaKey(t, 2048)
	public, err := x509.MarshalPKIXPublicKey(k2048.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file      []byte
		algorithm string
		short     bool
	}{
		"PKCS #1":            {pkcs1(k2048), "rsa-2048", false},
		"PKCS #8":            {pkcs8(t, k2048), "rsa-2048", false},
		"short":              {pkcs1(k1024), "rsa-1024", true},
		"Ed25519":            {pkcs8(t, ed), "ed25519", false},
		"behind its public":  {append(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), pkcs1(k2048)...), "rsa-2048", false},
		"with words before":  {append([]byte("the key of example.org\n\n"), pkcs8(t, k2048)...), "rsa-2048", false},
		"with DOS line ends": {[]byte(strings.ReplaceAll(string(pkcs1(k2048)), "\n", "\r\n")), "rsa-2048", false},
	} {
		dir, clock := t.TempDir(), newClock()
		s := open(t, dir, clock)
		k, err := s.Import("example.org", "Mail", keyFile(t, c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if k.Algorithm != c.algorithm || k.State != Waiting || k.Name() != "mail._domainkey.example.org" || k.Short() != c.short {
			t.Errorf("%s: %+v", name, k)
		}
		if info, err := os.Stat(filepath.Join(dir, "example.org", "mail.pem")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		// It is published already: it signs once that is seen, also for a host
		// that has read the file anew.
		z := &zone{}
		z.publish(records(t, s, "example.org"))
		s = open(t, dir, clock)
		if _, err := s.Check(t.Context(), z, ""); err != nil {
			t.Fatal(err)
		}
		if keys := s.Active("example.org", clock.Now()); len(keys) != 1 || keys[0].Selector != "mail" {
			t.Errorf("%s: active: %+v", name, keys)
		}
	}
}

// An imported key takes the place of one of its kind, of whatever length, and
// gives its own to the next, be that made in the same second.
func TestImport_thenRotate(t *testing.T) {
	clock := newClock()
	s := open(t, t.TempDir(), clock)
	if _, err := s.Import("example.org", "zzz", keyFile(t, pkcs1(rsaKey(t, 1024)))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import("example.org", "other", keyFile(t, pkcs1(rsaKey(t, 1024)))); err != nil {
		t.Fatal(err)
	}
	if ks, err := s.Force("example.org", "zzz"); err != nil || len(ks) != 1 || s.List("example.org")[1].State != Waiting {
		t.Fatalf("forced %+v, %v; keys are %+v", ks, err, s.List("example.org"))
	}
	if err := s.Retire("example.org", "other", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate("example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Force("example.org"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range s.List("example.org") {
		got = append(got, k.Selector+" "+string(k.State))
	}
	if want := "zzz replaced, other retired, e20261122 signing, r20261122 signing"; strings.Join(got, ", ") != want {
		t.Errorf("keys are %q, want %q", got, want)
	}
}

func TestImport_refuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := rsaKey(t, 1024)
	good := pkcs1(k)
	s := open(t, t.TempDir(), newClock())
	if _, err := s.Import("example.org", "used", keyFile(t, good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		selector string
		file     []byte
		says     string
	}{
		"too short":      {"mail", pkcs1(rsaKey(t, 768)), "768 bits"},
		"elliptic":       {"mail", pkcs8(t, ec), "neither RSA nor Ed25519"},
		"encrypted":      {"mail", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")}), "encrypted"},
		"encrypted too":  {"mail", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "encrypted"},
		"damaged":        {"mail", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "cannot be read"},
		"no PEM":         {"mail", []byte("MIICXQIBAAKBgQ=="), "no private key"},
		"empty":          {"mail", nil, "no private key"},
		"much too large": {"mail", make([]byte, fileOctetsMax+1), "octets"},
		"a used one":     {"used", good, "used once"},
		"no selector":    {"a/../b", good, "no selector"},
	} {
		if _, err := s.Import("example.org", c.selector, keyFile(t, c.file)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := s.Import("example.org", "mail", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, err := s.Import("", "mail", keyFile(t, good)); err == nil {
		t.Error("imported for no domain")
	}
	if got := s.List(""); len(got) != 1 {
		t.Errorf("keys are %+v", got)
	}
}
