package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// AddAlias makes an address stand for others: those in our domains must lead
// somewhere, through other aliases if need be; others are at other hosts.
// Errors: ErrExists, ErrNoSuchDomain (the alias's), ErrNoSuchUser (a target's),
// ErrAliasLoop, ErrTooManyTargets, ErrAddress.
func (s *Store) AddAlias(ctx context.Context, addr message.Address, targets ...message.Address) error {
	if canonical, err := message.ParseAddress(addr.String()); err != nil || canonical != addr {
		return fmt.Errorf("%w: alias %q", ErrAddress, addr)
	}
	return s.putAlias(ctx, Alias{Address: addr, Targets: targets}, false)
}

// SetCatchAll makes all unknown local parts of a domain lead to targets,
// instead of earlier ones. Errors are AddAlias's without ErrExists.
func (s *Store) SetCatchAll(ctx context.Context, d message.Domain, targets ...message.Address) error {
	return s.putAlias(ctx, Alias{Address: message.Address{Domain: d}, Targets: targets}, true)
}

func (s *Store) putAlias(ctx context.Context, a Alias, replace bool) error {
	if len(a.Targets) == 0 {
		return fmt.Errorf("%w: alias without target", ErrAddress)
	}
	if len(a.Targets) > maxTargets {
		return fmt.Errorf("%w: %d, the limit is %d", ErrTooManyTargets, len(a.Targets), maxTargets)
	}
	a.Targets = slices.Clone(a.Targets)
	return s.change(ctx, func(dir *directory) ([]change, error) {
		if err := dir.checkAlias(&a, replace); err != nil {
			return nil, err
		}
		c := change{op: opAlias, targets: a.Targets}
		c.setName(a.Address)
		return []change{c}, nil
	})
}

// checkAlias tells whether a may be put in.
func (d *directory) checkAlias(a *Alias, replace bool) error {
	if _, ours := d.domains[a.Address.Domain]; !ours {
		return fmt.Errorf("%w: %s", ErrNoSuchDomain, a.Address.Domain)
	}
	key := keyOf(a.Address)
	if d.names[key] != nil || d.aliases[key] != nil && !replace {
		return fmt.Errorf("%s %w", aliasName(a.Address), ErrExists)
	}
	for _, t := range a.Targets {
		if err := checkTarget(t); err != nil {
			return err
		}
		// An address at another host is that host's business. A disabled
		// account may be a target: it may be enabled again.
		_, err := d.resolve(t, a)
		if err != nil && err != ErrDisabled && err != ErrNotLocal {
			return fmt.Errorf("target %s of %s: %w", t, aliasName(a.Address), err)
		}
	}
	// The targets together, and loops through a itself.
	if _, err := d.resolveAlias(a); err != nil && err != ErrDisabled {
		return fmt.Errorf("alias %s: %w", aliasName(a.Address), err)
	}
	return nil
}

// checkTarget tells whether t can be a target of an alias or a forward.
func checkTarget(t message.Address) error {
	if !hasForm(t) {
		return fmt.Errorf("%w: target %q", ErrAddress, t)
	}
	return nil
}

// resolveAlias resolves a as if it were in the directory.
func (d *directory) resolveAlias(a *Alias) ([]Recipient, error) {
	r := resolver{d: d, extra: a, extraKey: keyOf(a.Address)}
	if err := r.through(hop{alias: a}, a.Targets, ""); err != nil {
		return nil, err
	}
	if len(r.out) == 0 {
		return nil, ErrDisabled
	}
	return r.out, nil
}

// RemoveAlias removes an alias, or a domain's catch-all (empty local part).
// Aliases that lead to it lose that target. Errors: ErrNoSuchAlias.
func (s *Store) RemoveAlias(ctx context.Context, addr message.Address) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		a := dir.aliases[keyOf(addr)]
		if a == nil {
			return nil, fmt.Errorf("%w: %s", ErrNoSuchAlias, aliasName(addr))
		}
		c := change{op: opAliasRemoved}
		c.setName(a.Address)
		return []change{c}, nil
	})
}

// Aliases returns all aliases and catch-alls by domain and local part.
func (s *Store) Aliases(context.Context) ([]Alias, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return nil, errDetached
	}
	out := make([]Alias, 0, len(s.dir.aliases))
	for _, a := range s.dir.aliases {
		out = append(out, Alias{Address: a.Address, Targets: slices.Clone(a.Targets)})
	}
	slices.SortFunc(out, func(a, b Alias) int { return compareAddresses(a.Address, b.Address) })
	return out, nil
}

func compareAddresses(a, b message.Address) int {
	if c := strings.Compare(string(a.Domain), string(b.Domain)); c != 0 {
		return c
	}
	return strings.Compare(keyOf(a), keyOf(b))
}
