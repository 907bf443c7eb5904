package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// MaySend tells whether an account may send with this reverse-path: its own
// address with or without a detail, an alias that leads to it, also through
// others, what it was granted, or the null one. What another account forwards
// does not make that account's address its own.
func (s *Store) MaySend(id ID, from message.Address) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return false
	}
	e := s.dir.accounts[id]
	return e != nil && (from.IsZero() || s.dir.owns(e, from) || granted(e.grants, from))
}

// owns tells whether mail for an address comes to an account without anybody's
// forward.
func (d *directory) owns(e *entry, from message.Address) bool {
	r := resolver{d: d, noForward: true}
	rs, err := r.resolve(from)
	return err == nil && slices.ContainsFunc(rs, func(r Recipient) bool { return r.Account == e.ID })
}

func granted(grants []message.Address, from message.Address) bool {
	if len(grants) == 0 {
		return false
	}
	domain := keyOf(message.Address{Domain: from.Domain})
	exact, base := keyOf(from), baseKey(from)
	return slices.ContainsFunc(grants, func(g message.Address) bool {
		key := keyOf(g)
		return key == domain || key == exact || key == base
	})
}

// baseKey is the key of an address without its detail.
func baseKey(a message.Address) string {
	if local, _, sub := strings.Cut(a.Local, Delimiter); sub && local != "" {
		a.Local = local
	}
	return keyOf(a)
}

// AddGrant lets an account send as another address and its details, or, if as
// has no local part, as any address of a domain. The address need not be one
// of ours. Errors: ErrNoSuchUser, ErrExists, ErrAddress, ErrTooMany.
func (s *Store) AddGrant(ctx context.Context, addr, as message.Address) error {
	if !isGrant(as) {
		return fmt.Errorf("%w: %q", ErrAddress, as)
	}
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e, err := dir.account(addr)
		switch {
		case err != nil:
			return nil, err
		case hasGrant(e, as):
			return nil, fmt.Errorf("grant of %s %w", aliasName(as), ErrExists)
		case len(e.grants) >= maxGrants:
			return nil, fmt.Errorf("%w grants: the limit is %d", ErrTooMany, maxGrants)
		}
		c := change{op: opGrant, id: e.ID}
		c.setName(as)
		return []change{c}, nil
	})
}

func isGrant(as message.Address) bool {
	if as.Local != "" {
		return hasForm(as)
	}
	d, err := message.ParseDomain(string(as.Domain))
	return err == nil && d == as.Domain
}

func hasGrant(e *entry, as message.Address) bool {
	return slices.ContainsFunc(e.grants, func(g message.Address) bool { return keyOf(g) == keyOf(as) })
}

// RemoveGrant takes a grant back. Errors: ErrNoSuchUser, ErrNoSuchGrant.
func (s *Store) RemoveGrant(ctx context.Context, addr, as message.Address) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e, err := dir.account(addr)
		if err != nil {
			return nil, err
		}
		if !hasGrant(e, as) {
			return nil, fmt.Errorf("%w: %s for %s", ErrNoSuchGrant, aliasName(as), addr)
		}
		c := change{op: opGrantRevoked, id: e.ID}
		c.setName(as)
		return []change{c}, nil
	})
}

// Grants returns what an account may send as besides its own addresses; one
// without local part is a whole domain. Errors: ErrNoSuchUser.
func (s *Store) Grants(_ context.Context, addr message.Address) (out []message.Address, err error) {
	err = s.viewAccount(addr, func(e *entry) { out = slices.Clone(e.grants) })
	return out, err
}

// SetForward has mail for the account go to others too, or to others only; no
// targets end that. Errors: ErrNoSuchUser (the account, or a target of ours
// that leads nowhere), ErrAliasLoop, ErrTooManyTargets, ErrAddress.
func (s *Store) SetForward(ctx context.Context, addr message.Address, f Forward) error {
	if len(f.Targets) > maxForwards {
		return fmt.Errorf("%w: %d, the limit is %d", ErrTooManyTargets, len(f.Targets), maxForwards)
	}
	if len(f.Targets) == 0 {
		f = Forward{}
	}
	f.Targets = slices.Clone(f.Targets)
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e, err := dir.account(addr)
		if err != nil {
			return nil, err
		}
		if err := dir.checkForward(e, f); err != nil {
			return nil, err
		}
		return []change{{op: opForward, id: e.ID, targets: f.Targets, noCopy: f.NoCopy}}, nil
	})
}

// checkForward tells whether an account may forward so.
func (d *directory) checkForward(e *entry, f Forward) error {
	for _, t := range f.Targets {
		if err := checkTarget(t); err != nil {
			return err
		}
		if baseKey(t) == e.key {
			return fmt.Errorf("%w at %s", ErrAliasLoop, t)
		}
		_, err := d.resolve(t, nil)
		if err != nil && err != ErrDisabled && err != ErrNotLocal {
			return fmt.Errorf("target %s of %s: %w", t, e.Address, err)
		}
	}
	r := resolver{d: d, path: []hop{{entry: &entry{Account: e.Account, forward: f}}}}
	for _, t := range f.Targets {
		if err := r.expand(t, ""); err != nil {
			return fmt.Errorf("target %s of %s: %w", t, e.Address, err)
		}
	}
	if f.NoCopy && slices.Contains(r.back, e.ID) {
		return fmt.Errorf("%w at %s", ErrAliasLoop, e.Address)
	}
	return nil
}

// Forward returns where an account's mail goes besides. Errors: ErrNoSuchUser.
func (s *Store) Forward(_ context.Context, addr message.Address) (f Forward, err error) {
	err = s.viewAccount(addr, func(e *entry) {
		f = Forward{Targets: slices.Clone(e.forward.Targets), NoCopy: e.forward.NoCopy}
	})
	return f, err
}

// account returns the account with exactly this address.
func (d *directory) account(addr message.Address) (*entry, error) {
	e := d.names[keyOf(addr)]
	if e == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoSuchUser, addr)
	}
	return e, nil
}

func (s *Store) viewAccount(addr message.Address, fn func(*entry)) error {
	return s.view(func(dir *directory) error {
		e, err := dir.account(addr)
		if err == nil {
			fn(e)
		}
		return err
	})
}
