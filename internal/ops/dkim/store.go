package dkim

import (
	"context"
	"errors"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options configure a Store.
type Options struct {
	Dir   string // of the host's data; keys are in its folder dkim
	Clock sys.Clock
}

// Key is one key of a domain without what is secret of it.
type Key struct {
	Domain    message.Domain `json:"domain"`
	Selector  string         `json:"selector"`
	Algorithm string         `json:"algorithm"` // "rsa-2048", "ed25519"
	Made      time.Time      `json:"made"`
	Seen      time.Time      `json:"seen,omitzero"`    // found published, or forced
	Retired   time.Time      `json:"retired,omitzero"` // signs no more since
	Signs     bool           `json:"signs"`            // now
}

// Record is a TXT record to publish.
type Record struct {
	Name    string   `json:"name"`
	Strings []string `json:"strings"` // of at most 255 octets each
}

// Store is the keys of all domains. It may be used from many goroutines.
type Store struct {
	o Options
}

// Open reads the keys. A folder that is not there has none.
func Open(o Options) (*Store, error) { return &Store{o: o}, nil }

// Reload reads the keys anew; after an error the Store is as it was.
func (s *Store) Reload() error { return nil }

// Active returns the keys that sign for a domain.
func (s *Store) Active(d message.Domain, now time.Time) []mailauth.DKIMKey { return nil }

// List returns the keys of a domain, or of all if it is "".
func (s *Store) List(d message.Domain) []Key { return nil }

// Add makes the first keys of a domain.
func (s *Store) Add(d message.Domain) ([]Key, error) { return nil, errors.New("no keys") }

// Rotate makes new keys of a domain that has some.
func (s *Store) Rotate(d message.Domain) ([]Key, error) { return nil, errors.New("no keys") }

// Force lets a domain's newest keys sign though nobody has seen them published.
func (s *Store) Force(d message.Domain) ([]Key, error) { return nil, errors.New("no keys") }

// Retire ends a key.
func (s *Store) Retire(d message.Domain, selector string) error { return errors.New("no keys") }

// Records returns what must be published for a domain, or for all if it is "".
func (s *Store) Records(d message.Domain) []Record { return nil }

// Check asks whether the keys are published as they must be, and lets those
// sign that are.
func (s *Store) Check(ctx context.Context, r mailauth.Resolver) ([]Finding, error) { return nil, nil }

// Finding is what the DNS says of a key.
type Finding struct {
	Key
	Published bool   `json:"published"`
	Problem   string `json:"problem,omitempty"`
}
