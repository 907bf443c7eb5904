package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Delimiter sets the detail of a sub-address off (RFC 5233 §1).
const Delimiter = "+"

const postmaster = "postmaster"

// Resolve tells what a recipient address leads to: accounts, and addresses at
// other hosts that aliases and forwards name, each once, in the order of the
// targets. For an address of ours it tries in this order: account or alias;
// account or alias before the first "+"; an administrator for postmaster (also
// without a domain); the domain's catch-all. Targets that are disabled or gone
// are left out as long as there are others. An account that keeps no copy of
// what it forwards keeps one all the same when nothing else takes the mail.
//
// Errors: ErrNotLocal (for rcpt itself), ErrNoSuchUser, ErrDisabled,
// ErrAliasLoop and ErrTooManyTargets. It reads memory only and does not use ctx.
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
	return r.resolve(rcpt)
}

// resolver is one resolution under way.
type resolver struct {
	d         *directory
	extra     *Alias
	extraKey  string
	noForward bool // accounts keep what they get
	out       []Recipient
	path      []hop // what led here
	reached   int   // how often anything took the mail, again or not
	steps     int
	disabled  bool // something was left out since it is disabled
	back      []ID // accounts whose forwards led back to them
}

// hop is an alias or a forwarding account on the way.
type hop struct {
	alias *Alias
	entry *entry
}

func (h hop) address() message.Address {
	if h.alias != nil {
		return h.alias.Address
	}
	return h.entry.Address
}

func (r *resolver) resolve(rcpt message.Address) ([]Recipient, error) {
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

// expand adds what rcpt leads to. Below an alias or a forward, what leads
// nowhere is not an error.
func (r *resolver) expand(rcpt message.Address, detail string) error {
	if r.steps++; r.steps > maxExpansion {
		return ErrTooManyTargets
	}
	e, alias, own, err := r.find(rcpt)
	if own != "" {
		detail = own
	}
	switch {
	case err != nil && len(r.path) == 0:
		return err
	case err == ErrNotLocal:
		r.add(Recipient{Address: rcpt})
		return nil
	case err != nil:
		return nil
	case e != nil:
		return r.account(e, detail)
	}
	for i, h := range r.path {
		if h.alias == alias {
			if slices.ContainsFunc(r.path[i:], func(h hop) bool { return h.entry != nil }) {
				return nil // back through a forward: who forwards has had it
			}
			return fmt.Errorf("%w at %s", ErrAliasLoop, aliasName(alias.Address))
		}
	}
	return r.through(hop{alias: alias}, alias.Targets, detail)
}

// account adds an account, or what it forwards to, or both.
func (r *resolver) account(e *entry, detail string) error {
	if e.Disabled {
		r.disabled = true
		return nil
	}
	for _, h := range r.path {
		if h.entry != nil && h.entry.ID == e.ID {
			r.back = append(r.back, e.ID)
			return nil // who forwards has had it, or gets it if nobody else does
		}
	}
	own := Recipient{Account: e.ID, Address: e.Address, Detail: detail}
	if r.noForward || len(e.forward.Targets) == 0 {
		r.add(own)
		return nil
	}
	if !e.forward.NoCopy {
		r.add(own)
	}
	before := r.reached
	if err := r.through(hop{entry: e}, e.forward.Targets, detail); err != nil {
		return err
	}
	if r.reached == before && e.forward.NoCopy {
		r.add(own)
	}
	return nil
}

// through expands the targets of a hop.
func (r *resolver) through(h hop, targets []message.Address, detail string) error {
	if len(r.path) == maxDepth {
		return ErrTooManyTargets
	}
	r.path = append(r.path, h)
	for _, t := range targets {
		if err := r.expand(t, detail); err != nil {
			return err
		}
	}
	r.path = r.path[:len(r.path)-1]
	return nil
}

// add notes a recipient that the path leads to, unless it is known.
func (r *resolver) add(n Recipient) {
	r.reached++
	for _, have := range r.out {
		if have.Account == n.Account && (!n.Remote() || have.Address == n.Address) {
			return
		}
	}
	if len(r.path) > 0 {
		last := r.path[len(r.path)-1]
		n.Via = last.address()
		if last.entry != nil {
			n.Forwarder = last.entry.ID
		}
	}
	r.out = append(r.out, n)
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
