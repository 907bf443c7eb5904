package account

import (
	"context"
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Delimiter sets the detail of a sub-address off (RFC 5233 §1).
const Delimiter = "+"

const postmaster = "postmaster"

// Resolve tells which accounts a recipient address leads to, each once, in
// the order of the aliases' targets. In this order it tries: account or
// alias; account or alias before the first "+"; an administrator for
// postmaster (also without a domain); the domain's catch-all. Targets of
// aliases that are disabled or gone are left out as long as there are others.
//
// Errors: ErrNotLocal, ErrNoSuchUser, ErrDisabled, ErrAliasLoop and
// ErrTooManyTargets. It reads memory only and does not use ctx.
func (s *Store) Resolve(_ context.Context, rcpt message.Address) ([]Recipient, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return nil, errDetached
	}
	return s.dir.resolve(rcpt, nil)
}

// resolve is Resolve on a directory. extra, if given, is an alias that is
// taken for there.
func (d *directory) resolve(rcpt message.Address, extra *Alias) ([]Recipient, error) {
	r := resolver{d: d, extra: extra}
	if extra != nil {
		r.extraKey = keyOf(extra.Address)
	}
	if err := r.expand(rcpt, ""); err != nil {
		return nil, err
	}
	switch {
	case len(r.out) > 0:
		return r.out, nil
	case r.disabled:
		return nil, ErrDisabled
	}
	return nil, ErrNoSuchUser
}

// resolver is one resolution under way.
type resolver struct {
	d        *directory
	extra    *Alias
	extraKey string
	out      []Recipient
	path     []*Alias // the aliases that led here
	steps    int
	disabled bool // something was left out since it is disabled
}

// expand adds what rcpt leads to. Below an alias, what leads nowhere is not
// an error.
func (r *resolver) expand(rcpt message.Address, detail string) error {
	if r.steps++; r.steps > maxExpansion {
		return ErrTooManyTargets
	}
	e, alias, own, err := r.find(rcpt)
	if own != "" {
		detail = own
	}
	switch {
	case err != nil:
		if len(r.path) > 0 {
			return nil
		}
		return err
	case e != nil:
		r.add(e, detail)
		return nil
	}
	for _, a := range r.path {
		if a == alias {
			return fmt.Errorf("%w at %s", ErrAliasLoop, aliasName(alias.Address))
		}
	}
	if len(r.path) == maxDepth {
		return ErrTooManyTargets
	}
	r.path = append(r.path, alias)
	for _, t := range alias.Targets {
		if err := r.expand(t, detail); err != nil {
			return err
		}
	}
	r.path = r.path[:len(r.path)-1]
	return nil
}

func (r *resolver) add(e *entry, detail string) {
	if e.Disabled {
		r.disabled = true
		return
	}
	for _, have := range r.out {
		if have.Account == e.ID {
			return
		}
	}
	r.out = append(r.out, Recipient{Account: e.ID, Address: e.Address, Detail: detail})
}

// find returns the account or the alias that takes rcpt, and its detail.
func (r *resolver) find(rcpt message.Address) (e *entry, a *Alias, detail string, err error) {
	d := r.d
	if rcpt.Domain == "" && strings.EqualFold(rcpt.Local, postmaster) {
		if e := d.postmaster(""); e != nil {
			return e, nil, "", nil
		}
		return nil, nil, "", ErrNoSuchUser
	}
	if _, ours := d.domains[rcpt.Domain]; !ours {
		return nil, nil, "", ErrNotLocal
	}
	var buf [320]byte
	if e, a = r.lookup(appendKey(buf[:0], rcpt.Local, rcpt.Domain)); e != nil || a != nil {
		if e == nil || !e.Disabled || !strings.EqualFold(rcpt.Local, postmaster) {
			return e, a, "", nil
		}
	}
	local, detail, sub := strings.Cut(rcpt.Local, Delimiter)
	if sub && local != "" {
		if e, a := r.lookup(appendKey(buf[:0], local, rcpt.Domain)); e != nil || a != nil {
			return e, a, detail, nil
		}
	}
	if strings.EqualFold(local, postmaster) {
		if e := d.postmaster(rcpt.Domain); e != nil {
			return e, nil, detail, nil
		}
	}
	if _, a := r.lookup(appendKey(buf[:0], "", rcpt.Domain)); a != nil {
		return nil, a, "", nil
	}
	return nil, nil, "", ErrNoSuchUser
}

func (r *resolver) lookup(key []byte) (*entry, *Alias) {
	if r.extra != nil && string(key) == r.extraKey {
		return nil, r.extra
	}
	if e := r.d.names[string(key)]; e != nil {
		return e, nil
	}
	return nil, r.d.aliases[string(key)]
}

// postmaster returns the enabled administrator who reads what nobody else
// does: one of the domain's own if there is one, the oldest first.
func (d *directory) postmaster(domain message.Domain) *entry {
	var best *entry
	for _, e := range d.admins {
		if e.Disabled {
			continue
		}
		own, bestOwn := e.Address.Domain == domain, best != nil && best.Address.Domain == domain
		if best == nil || own && !bestOwn || own == bestOwn && e.ID < best.ID {
			best = e
		}
	}
	return best
}

// aliasName is how an alias is called in messages: "@domain" for a catch-all.
func aliasName(a message.Address) string {
	if a.Local == "" {
		return "@" + string(a.Domain)
	}
	return a.String()
}
