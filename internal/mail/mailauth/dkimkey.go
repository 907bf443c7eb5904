package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyRecord is a key record, taken apart (RFC 6376 §3.6.1).
type keyRecord struct {
	kind    string // k=: "rsa", "ed25519"
	key     crypto.PublicKey
	bits    int
	revoked bool
	testing bool // t=y
	strict  bool // t=s: the domain of i= is d=, and not one below it
}

// parseKeyRecord reads a key record.
func parseKeyRecord(text string) (keyRecord, error) {
	r := keyRecord{kind: "rsa"}
	if len(text) > dkimRecordOctetsMax {
		return r, fmt.Errorf("it has more than %d octets", dkimRecordOctetsMax)
	}
	t, first, err := parseTags(text)
	if err != nil {
		return r, err
	}
	if v, ok := t["v"]; ok && (v != "DKIM1" || first != "v") {
		return r, errors.New("its v= is not DKIM1, or not the first tag")
	}
	if k, ok := t["k"]; ok {
		r.kind = strings.ToLower(k)
	}
	if h, ok := t["h"]; ok && !listed(h, "sha256") {
		return r, errors.New("its h= does not allow SHA-256")
	}
	if s, ok := t["s"]; ok && !listed(s, "*") && !listed(s, "email") {
		return r, errors.New("its s= does not allow mail")
	}
	if flags, ok := t["t"]; ok {
		r.testing, r.strict = listed(flags, "y"), listed(flags, "s")
	}
	p, ok := t["p"]
	if !ok {
		return r, errors.New("its p= is missing")
	}
	if p = withoutFWS(p); p == "" {
		r.revoked = true
		return r, nil
	}
	der, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return r, errors.New("its p= is not in base64")
	}
	return r, r.parseKey(der)
}

func listed(list, word string) bool {
	for _, w := range colonList(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

func (r *keyRecord) parseKey(b []byte) error {
	switch r.kind {
	case "ed25519": // RFC 8463 §4: the 32 octets as they are
		if len(b) != ed25519.PublicKeySize {
			return fmt.Errorf("its key has %d octets, and Ed25519's have %d", len(b), ed25519.PublicKeySize)
		}
		r.key, r.bits = ed25519.PublicKey(b), 8*ed25519.PublicKeySize
		return nil
	case "rsa":
		pub, err := parseRSA(b)
		if err != nil {
			return err
		}
		r.key, r.bits = pub, pub.N.BitLen()
		return nil
	}
	return fmt.Errorf("its k=%s is unknown", snip(r.kind))
}

// parseRSA reads an RSA key. RFC 6376 §3.6.1 says RSAPublicKey and all its
// examples and nearly all domains have SubjectPublicKeyInfo (erratum 3017).
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		if pub, ok := key.(*rsa.PublicKey); ok {
			return pub, nil
		}
		return nil, errors.New("its key is not RSA")
	}
	pub, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, errors.New("its key cannot be read")
	}
	return pub, nil
}

// errWeak says that a key is not worth believing.
var errWeak = errors.New("too short")

// verify checks a signature of a hash.
func (r *keyRecord) verify(digest, sig []byte) error {
	switch key := r.key.(type) {
	case *rsa.PublicKey:
		if r.bits < dkimRSABitsMin || r.bits > dkimRSABitsMax {
			return fmt.Errorf("%w or too long: the RSA key has %d bits; %d to %d are good", errWeak, r.bits, dkimRSABitsMin, dkimRSABitsMax)
		}
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, sig) == nil {
			return nil
		}
	case ed25519.PublicKey:
		if ed25519.Verify(key, digest, sig) {
			return nil
		}
	}
	return errors.New("the signature is not by this key, or signed fields were changed")
}

// DKIMRecord returns the text of the key record to publish for a public key:
// RSA or Ed25519.
func DKIMRecord(key crypto.PublicKey) (string, error) {
	switch pub := key.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return "", fmt.Errorf("write public key: %w", err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub), nil
	}
	return "", errors.New("a key that is neither RSA nor Ed25519")
}

// CheckDKIMRecord says what is wrong with a key record that is to be the one
// of a public key; nil if verifiers can take signatures by that key.
func CheckDKIMRecord(text string, key crypto.PublicKey) error {
	r, err := parseKeyRecord(text)
	switch {
	case err != nil:
		return fmt.Errorf("the record cannot be used: %w", err)
	case r.revoked:
		return errors.New("the record says that the key was revoked")
	}
	if k, ok := r.key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(key) {
		return errors.New("the record has another key")
	}
	return nil
}
