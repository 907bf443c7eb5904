package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// AddDomain makes a domain ours. Errors: ErrExists, ErrAddress.
func (s *Store) AddDomain(ctx context.Context, d message.Domain) error {
	if canonical, err := message.ParseDomain(string(d)); err != nil || canonical != d {
		return fmt.Errorf("%w: domain %q", ErrAddress, d)
	}
	return s.change(ctx, func(dir *directory) ([]change, error) {
		if _, ours := dir.domains[d]; ours {
			return nil, fmt.Errorf("domain %s %w", d, ErrExists)
		}
		return []change{{op: opDomain, domain: d, created: seconds(s.o.Clock.Now())}}, nil
	})
}

// RemoveDomain gives a domain up. Errors: ErrNoSuchDomain, and ErrDomainInUse
// as long as any account, alias or alias target has it.
func (s *Store) RemoveDomain(ctx context.Context, d message.Domain) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		if _, ours := dir.domains[d]; !ours {
			return nil, fmt.Errorf("%w: %s", ErrNoSuchDomain, d)
		}
		if dir.inUse(d) {
			return nil, fmt.Errorf("%w: %s still has accounts or aliases, or aliases lead to it", ErrDomainInUse, d)
		}
		return []change{{op: opDomainRemoved, domain: d}}, nil
	})
}

// Domains returns our domains by name.
func (s *Store) Domains(context.Context) ([]Domain, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return nil, errDetached
	}
	out := make([]Domain, 0, len(s.dir.domains))
	for name, created := range s.dir.domains {
		out = append(out, Domain{Name: name, Created: time.Unix(created, 0).UTC()})
	}
	slices.SortFunc(out, func(a, b Domain) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, nil
}
