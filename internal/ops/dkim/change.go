package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// rsaBits is the length of RSA keys: what RFC 8301 §3.2 wants of signers, and
	// the most whose record every server of the DNS can hold.
	rsaBits = 2048
	// rsaBitsMin and rsaBitsMax bound keys that are imported: shorter ones must
	// not be believed (RFC 8301 §3.2), longer ones many verifiers do not take.
	rsaBitsMin = 1024
	rsaBitsMax = 4096
)

// change reads a domain's keys, has them changed, and writes them. The files
// count, not what this Store knows: another process may have changed them.
func (s *Store) change(d message.Domain, fn func(keys domainKeys) (after domainKeys, fresh []string, err error)) error {
	if p, err := message.ParseDomain(string(d)); err != nil || p != d {
		return fmt.Errorf("%q is no domain that can have keys", d)
	}
	return s.locked(func() error {
		keys, err := s.read(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the keys of %s: %w", d, err)
		}
		after, fresh, err := fn(slices.Clone(keys))
		if err != nil {
			return err
		}
		if err := s.write(d, after, fresh...); err != nil {
			return err
		}
		s.set(d, after.sorted())
		return nil
	})
}

// Add makes the first keys of a domain, and returns them. They wait to be
// published.
func (s *Store) Add(d message.Domain) ([]Key, error) {
	return s.generate(d, func(keys domainKeys) error {
		for _, k := range keys {
			if k.Retired.IsZero() {
				return fmt.Errorf("%s has keys already; see `breakwater dkim rotate`", d)
			}
		}
		return nil
	})
}

// Rotate makes new keys of a domain that has some, and returns them. They wait
// to be published; the old ones sign until then.
func (s *Store) Rotate(d message.Domain) ([]Key, error) {
	return s.generate(d, func(keys domainKeys) error {
		live := false
		for _, k := range keys {
			if k.Retired.IsZero() && k.Seen.IsZero() {
				return fmt.Errorf("%s has a new key already, %s, which nobody has seen published yet", d, k.Selector)
			}
			live = live || k.Retired.IsZero()
		}
		if !live {
			return fmt.Errorf("%s has no keys yet; see `breakwater dkim add`", d)
		}
		return nil
	})
}

func (s *Store) generate(d message.Domain, check func(domainKeys) error) ([]Key, error) {
	var made []string
	err := s.change(d, func(keys domainKeys) (domainKeys, []string, error) {
		if err := check(keys); err != nil {
			return nil, nil, err
		}
		now := keys.next(s.o.Clock.Now())
		for _, kind := range []string{kindRSA, kindEd25519} {
			selector, err := keys.newSelector(kind[:1], now)
			if err != nil {
				return nil, nil, err
			}
			signer, err := newKey(kind)
			if err != nil {
				return nil, nil, fmt.Errorf("make a key: %w", err)
			}
			keys = append(keys, entry{Selector: selector, Algorithm: algorithmOf(signer), Made: now, signer: signer})
			made = append(made, selector)
		}
		return keys, made, nil
	})
	if err != nil {
		return nil, err
	}
	return s.named(d, made), nil
}

func newKey(kind string) (crypto.Signer, error) {
	if kind == kindRSA {
		return rsa.GenerateKey(sys.Rand(), rsaBits)
	}
	_, key, err := ed25519.GenerateKey(sys.Rand())
	return key, err
}

// Import takes over a key that another program has signed with: a file as PEM
// has it, PKCS #1 or PKCS #8. It waits until its record is found, which may be
// there already. The file is left as it is.
func (s *Store) Import(d message.Domain, selector, file string) (Key, error) {
	sel, err := message.ParseDomain(selector)
	if err != nil {
		return Key{}, fmt.Errorf("%q is no selector: %w", selector, err)
	}
	selector = string(sel)
	b, err := s.readFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read key: %w", err)
	}
	signer, err := parseKey(b)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", file, err)
	}
	if k, ok := signer.(*rsa.PrivateKey); ok && (k.N.BitLen() < rsaBitsMin || k.N.BitLen() > rsaBitsMax) {
		return Key{}, fmt.Errorf("%s: an RSA key of %d bits is of no use: verifiers take %d to %d", file, k.N.BitLen(), rsaBitsMin, rsaBitsMax)
	}
	err = s.change(d, func(keys domainKeys) (domainKeys, []string, error) {
		if keys.find(selector) >= 0 {
			return nil, nil, fmt.Errorf("%s has had a key %s already; a selector is used once", d, selector)
		}
		return append(keys, entry{Selector: selector, Algorithm: algorithmOf(signer), Made: keys.next(s.o.Clock.Now()), signer: signer}), []string{selector}, nil
	})
	if err != nil {
		return Key{}, err
	}
	return s.named(d, []string{selector})[0], nil
}

// next is when a key that is made now was made: after all others, whatever the
// clock says, since the newest is the one that signs.
func (keys domainKeys) next(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	if n := len(keys); n > 0 && !keys[n-1].Made.Before(now) {
		return keys[n-1].Made.Add(time.Second)
	}
	return now
}

// Short tells whether a key is of a length that is believed, but not advised.
func (k *Key) Short() bool {
	bits, err := strconv.Atoi(strings.TrimPrefix(k.Algorithm, kindRSA+"-"))
	return err == nil && bits < rsaBits
}

// newSelector is a selector that the domain never had.
func (keys domainKeys) newSelector(letter string, now time.Time) (string, error) {
	day := letter + now.Format("20060102")
	for _, suffix := range append([]string{""}, "b", "c", "d", "e", "f", "g", "h") {
		if keys.find(day+suffix) < 0 {
			return day + suffix, nil
		}
	}
	return "", errors.New("there were too many keys today; rotate again tomorrow")
}

// named are the keys with these selectors.
func (s *Store) named(d message.Domain, selectors []string) []Key {
	all := s.List(d)
	return slices.DeleteFunc(all, func(k Key) bool { return !slices.Contains(selectors, k.Selector) })
}

// Force lets those of a domain's keys that wait sign though nobody has seen them
// published, and returns them: all, or those with these selectors.
func (s *Store) Force(d message.Domain, selectors ...string) ([]Key, error) {
	var waiting []string
	for _, k := range s.List(d) {
		if k.State == Waiting && (len(selectors) == 0 || slices.Contains(selectors, k.Selector)) {
			waiting = append(waiting, k.Selector)
		}
	}
	if len(waiting) == 0 {
		return nil, fmt.Errorf("%s has no key that waits", d)
	}
	if err := s.see(d, waiting); err != nil {
		return nil, err
	}
	return s.named(d, waiting), nil
}

// see notes that keys were found published.
func (s *Store) see(d message.Domain, selectors []string) error {
	now := s.o.Clock.Now().UTC().Truncate(time.Second)
	return s.change(d, func(keys domainKeys) (domainKeys, []string, error) {
		for i := range keys {
			if keys[i].Seen.IsZero() && slices.Contains(selectors, keys[i].Selector) {
				keys[i].Seen = now
			}
		}
		return keys, nil, nil
	})
}

// Retire ends a key: its file is removed, and its record can be. A key that
// signs, or whose mail may still be under way, is kept unless forced.
func (s *Store) Retire(d message.Domain, selector string, force bool) error {
	err := s.change(d, func(keys domainKeys) (domainKeys, []string, error) {
		i := keys.find(selector)
		if i < 0 || !keys[i].Retired.IsZero() {
			return nil, nil, fmt.Errorf("%s has no key %q", d, selector)
		}
		now := s.o.Clock.Now().UTC().Truncate(time.Second)
		k := keys.describe(d, i, now)
		switch {
		case force:
		case k.State == Signing:
			return nil, nil, fmt.Errorf("%s signs; rotate first", selector)
		case k.State == Replaced && now.Before(k.KeepUntil):
			return nil, nil, fmt.Errorf("mail that %s has signed may be under way until %s", selector, k.KeepUntil.Format(time.RFC3339))
		}
		keys[i].Retired, keys[i].signer = now, nil
		return keys, nil, nil
	})
	if err != nil {
		return err
	}
	if err := s.fs.Remove(s.path(d, selector+pemSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the key: %w", err)
	}
	return nil
}
