package dkim

import (
	"cmp"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options configure a Store. Dir must be set.
type Options struct {
	Dir   string    // folder of the keys; it need not be there
	Clock sys.Clock // default: the system's
	Log   *slog.Logger
	// Own is called with each file and folder that is made, so that the host
	// can read them if another user makes them. nil: nothing is done.
	Own func(name string) error
}

// keepPublished is how long a key's record stays needed after it has signed
// for the last time: mail waits five days in our queue and as long in another,
// and is looked at once more when it is read.
const keepPublished = 14 * 24 * time.Hour

// Kinds of keys. An algorithm is a kind, and the length of an RSA key behind it:
// "rsa-2048", "ed25519".
const (
	kindRSA     = "rsa"
	kindEd25519 = "ed25519"
)

// kind is that of the key's algorithm.
func (e *entry) kind() string {
	kind, _, _ := strings.Cut(e.Algorithm, "-")
	return kind
}

// algorithmOf names the algorithm of a key.
func algorithmOf(key crypto.Signer) string {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return kindRSA + "-" + strconv.Itoa(k.N.BitLen())
	}
	return kindEd25519
}

// State is where a key stands in its life.
type State string

// The states.
const (
	Waiting  State = "waiting"  // not seen in the DNS yet
	Signing  State = "signing"  // the newest of its kind that was seen
	Replaced State = "replaced" // signs no more; must stay published until KeepUntil
	Retired  State = "retired"  // its file is gone
)

// Key is one key of a domain without what is secret of it.
type Key struct {
	Domain    message.Domain `json:"domain"`
	Selector  string         `json:"selector"`
	Algorithm string         `json:"algorithm"`
	State     State          `json:"state"`
	Made      time.Time      `json:"made"`
	Seen      time.Time      `json:"seen,omitzero"`       // found published, or forced
	Replaced  time.Time      `json:"replaced,omitzero"`   // by another that was seen then
	KeepUntil time.Time      `json:"keep_until,omitzero"` // published, if it was replaced
	Retired   time.Time      `json:"retired,omitzero"`
}

// Name is where the key's record is.
func (k *Key) Name() string { return k.Selector + "._domainkey." + string(k.Domain) }

// domainKeys are the keys of a domain, oldest first.
type domainKeys []entry

// entry is a key with its secret, which a retired one has no more.
type entry struct {
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"`
	Made      time.Time `json:"made"`
	Seen      time.Time `json:"seen,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`

	signer crypto.Signer
}

// Store is the keys of all domains. It may be used from many goroutines.
type Store struct {
	o    Options
	fs   sys.FS
	mu   sync.RWMutex
	keys map[message.Domain]domainKeys // under mu; what is in it does not change
}

// Open reads the keys. A folder that is not there has none.
func Open(o Options) (*Store, error) {
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	o.Log = telemetry.Logger(o.Log, "dkim")
	s := &Store{o: o, fs: sys.OSFS(), keys: map[message.Domain]domainKeys{}}
	return s, s.Reload()
}

// Reload reads the keys anew: the command line may have changed them. What
// cannot be read stays as it was, and is the error.
func (s *Store) Reload() error {
	names, err := s.fs.ReadDir(s.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read keys: %w", err)
	}
	fresh := map[message.Domain]domainKeys{}
	var errs []error
	for _, name := range names {
		d, err := message.ParseDomain(name)
		if err != nil || string(d) != name {
			continue // the lock, or something that is not ours
		}
		keys, err := s.read(d)
		switch {
		case errors.Is(err, fs.ErrNotExist): // no keys.json: no domain of ours, or its first keys are being made
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("read the keys of %s: %w", d, err))
			keys = s.of(d)
		}
		if len(keys) > 0 {
			fresh[d] = keys
		}
	}
	s.mu.Lock()
	s.keys = fresh
	s.mu.Unlock()
	return errors.Join(errs...)
}

func (s *Store) of(d message.Domain) domainKeys {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[d]
}

func (s *Store) set(d message.Domain, keys domainKeys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make(map[message.Domain]domainKeys, len(s.keys)+1)
	for other, k := range s.keys {
		fresh[other] = k
	}
	fresh[d] = keys
	s.keys = fresh
}

// Active returns the keys that sign for a domain: one of each kind at most.
// RSA stands first: old programs look at the first signature only.
func (s *Store) Active(d message.Domain, now time.Time) []mailauth.DKIMKey {
	keys := s.of(d)
	var out []mailauth.DKIMKey
	for _, kind := range []string{kindRSA, kindEd25519} {
		if i := keys.signing(kind, now); i >= 0 {
			out = append(out, mailauth.DKIMKey{Domain: d, Selector: keys[i].Selector, Key: keys[i].signer})
		}
	}
	return out
}

// signing is which key of a kind signs, or -1.
func (keys domainKeys) signing(kind string, now time.Time) int {
	for i, k := range slices.Backward(keys) {
		if k.kind() == kind && k.Retired.IsZero() && !k.Seen.IsZero() && !k.Seen.After(now) && k.signer != nil {
			return i
		}
	}
	return -1
}

// List returns the keys of a domain, or of all if it is "", oldest first.
func (s *Store) List(d message.Domain) []Key {
	var out []Key
	now := s.o.Clock.Now()
	for _, domain := range s.domains(d) {
		keys := s.of(domain)
		for i := range keys {
			out = append(out, keys.describe(domain, i, now))
		}
	}
	return out
}

// domains are those with keys, sorted: all, or one.
func (s *Store) domains(d message.Domain) []message.Domain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []message.Domain
	for domain := range s.keys {
		if d == "" || d == domain {
			out = append(out, domain)
		}
	}
	slices.Sort(out)
	return out
}

func (keys domainKeys) describe(d message.Domain, i int, now time.Time) Key {
	e := keys[i]
	k := Key{Domain: d, Selector: e.Selector, Algorithm: e.Algorithm, Made: e.Made, Seen: e.Seen, Retired: e.Retired}
	for _, later := range keys[i+1:] {
		if later.kind() == e.kind() && !later.Seen.IsZero() && k.Replaced.IsZero() {
			k.Replaced = later.Seen
			k.KeepUntil = later.Seen.Add(keepPublished)
		}
	}
	switch {
	case !e.Retired.IsZero():
		k.State, k.KeepUntil = Retired, time.Time{}
	case e.Seen.IsZero():
		k.State, k.Replaced, k.KeepUntil = Waiting, time.Time{}, time.Time{}
	case keys.signing(e.kind(), now) == i:
		k.State = Signing
	default:
		k.State = Replaced
	}
	return k
}

func (keys domainKeys) find(selector string) int {
	return slices.IndexFunc(keys, func(e entry) bool { return e.Selector == selector })
}

// sorted puts keys in order of their age.
func (keys domainKeys) sorted() domainKeys {
	slices.SortStableFunc(keys, func(a, b entry) int {
		return cmp.Or(a.Made.Compare(b.Made), cmp.Compare(a.Selector, b.Selector))
	})
	return keys
}

func (s *Store) path(d message.Domain, name string) string {
	return filepath.Join(s.o.Dir, string(d), name)
}
