package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// fileOctetsMax bounds a file: an RSA key is 2 KB, keysMax entries 40 KB.
	fileOctetsMax = 256 << 10
	// keysMax is how many keys of a domain are remembered, retired ones
	// among them, the oldest of which are forgotten first.
	keysMax = 200
)

// stateName is the file with what is known of a domain's keys; pemSuffix ends
// the names of keys.
const (
	stateName = "keys.json"
	pemSuffix = ".pem"
)

// state is the form of stateName.
type state struct {
	Keys domainKeys `json:"keys"`
}

// read reads the keys of a domain.
func (s *Store) read(d message.Domain) (domainKeys, error) {
	b, err := s.readFile(s.path(d, stateName))
	if err != nil {
		return nil, err
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", stateName, err)
	}
	if len(st.Keys) > keysMax {
		return nil, fmt.Errorf("%s: more than %d keys", stateName, keysMax)
	}
	for i := range st.Keys {
		k := &st.Keys[i]
		if sel, err := message.ParseDomain(k.Selector); err != nil || string(sel) != k.Selector {
			return nil, fmt.Errorf("%s: %q is no selector", stateName, k.Selector)
		}
		if !k.Retired.IsZero() {
			continue
		}
		if k.signer, err = s.readKey(d, k.Selector); err != nil {
			return nil, fmt.Errorf("%s%s: %w", k.Selector, pemSuffix, err)
		}
	}
	return st.Keys.sorted(), nil
}

func (s *Store) readFile(name string) ([]byte, error) {
	f, err := s.fs.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, fileOctetsMax+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > fileOctetsMax {
		return nil, fmt.Errorf("it has more than %d octets", fileOctetsMax)
	}
	return b, nil
}

func (s *Store) readKey(d message.Domain, selector string) (crypto.Signer, error) {
	b, err := s.readFile(s.path(d, selector+pemSuffix))
	if err != nil {
		return nil, err
	}
	return parseKey(b)
}

// parseKey reads a private key from a file as PEM has it: PKCS #8, as this
// package writes it, or PKCS #1, as older programs do.
func parseKey(b []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errors.New("its key is encrypted: write it without a pass phrase first, such as by `openssl pkey`")
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default: // a public key beside it
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("its key cannot be read: %w", err)
		}
		switch k := key.(type) {
		case *rsa.PrivateKey:
			return k, nil
		case ed25519.PrivateKey:
			return k, nil
		}
		return nil, errors.New("its key is neither RSA nor Ed25519")
	}
	return nil, errors.New("there is no private key in it, as PEM has it (PKCS #1 or PKCS #8)")
}

// write writes a domain's keys: first those of which fresh says that they are
// new, then what names them.
func (s *Store) write(d message.Domain, keys domainKeys, fresh ...string) error {
	folder := filepath.Join(s.o.Dir, string(d))
	if err := s.makeFolder(folder); err != nil {
		return err
	}
	for _, selector := range fresh {
		der, err := x509.MarshalPKCS8PrivateKey(keys[keys.find(selector)].signer)
		if err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := s.writeFile(s.path(d, selector+pemSuffix), b); err != nil {
			return err
		}
	}
	for i := 0; len(keys) > keysMax && i < len(keys); {
		if keys[i].Retired.IsZero() {
			i++
			continue
		}
		keys = append(keys[:i:i], keys[i+1:]...)
	}
	b, err := json.MarshalIndent(state{keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", stateName, err)
	}
	return s.writeFile(s.path(d, stateName), append(b, '\n'))
}

func (s *Store) writeFile(name string, b []byte) error {
	if err := sys.WriteFile(name, b, 0o600); err != nil {
		return err
	}
	return s.own(name)
}

func (s *Store) makeFolder(name string) error {
	if err := s.fs.MkdirAll(name, 0o700); err != nil {
		return fmt.Errorf("make the folder of keys: %w", err)
	}
	return s.own(name)
}

func (s *Store) own(name string) error {
	if s.o.Own == nil {
		return nil
	}
	if err := s.o.Own(name); err != nil {
		return fmt.Errorf("give %s to the host: %w", filepath.Base(name), err)
	}
	return nil
}

// locked runs a change while no other process changes keys.
func (s *Store) locked(change func() error) error {
	if err := s.makeFolder(s.o.Dir); err != nil {
		return err
	}
	name := filepath.Join(s.o.Dir, ".lock")
	lock, err := s.fs.Lock(name)
	if errors.Is(err, sys.ErrLocked) {
		return errors.New("somebody else is changing the keys; try again in a moment")
	}
	if err != nil {
		return fmt.Errorf("lock the keys: %w", err)
	}
	return errors.Join(s.own(name), change(), lock.Close())
}
