package intake

import (
	"context"
	"errors"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// target is one final recipient: an account, or an address at another host.
type target struct {
	account.Recipient
	named   smtp.Recipient // as in RCPT TO, the first one that led here
	rewrite bool           // it is forwarded: its sender is rewritten (SRS)
	shared  bool           // named has led to others, too
}

// postmaster is the local part that everybody has (RFC 5321 §4.5.1).
const postmaster = "postmaster"

// asker is who wants mail to be sent.
type asker uint8

const (
	stranger asker = iota // may write to our users only
	user                  // has logged in
	host                  // is this host itself
)

// askerOf tells who sends a message: to be one of our users takes a login and
// a service for users.
func (i *Intake) askerOf(e *smtp.Envelope) asker {
	if i.o.Submission && e.Account != 0 {
		return user
	}
	return stranger
}

// expand tells where mail to an address goes, or refuses it with a
// *smtp.Reply. Any other error is a fault.
func (i *Intake) expand(ctx context.Context, who asker, to message.Address) ([]target, error) {
	if i.o.SRS != nil && i.o.SRS.Ours(to) {
		return i.reverse(ctx, to)
	}
	behind := i.o.Behind != nil && i.o.Behind(to.Domain)
	var rs []account.Recipient
	var err error
	if !behind {
		rs, err = i.resolve(ctx, to)
	}
	switch {
	case behind, errors.Is(err, account.ErrNoSuchUser) && i.o.Routed != nil && i.o.Routed(to.Domain):
		// An inner server may take these for a route to yet another host, and
		// believes us more than it would a stranger.
		if who == stranger && strings.ContainsAny(to.Local, "%!@") {
			return nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relaying denied: no routes within a local part"}
		}
		return []target{{Recipient: account.Recipient{Address: to}}}, nil
	case errors.Is(err, account.ErrNotLocal) && who != stranger && i.o.Queue != nil:
		return []target{{Recipient: account.Recipient{Address: to}}}, nil
	case err != nil:
		return nil, i.refusal(to, err)
	}
	return resolved(to, rs), nil
}

// resolve finds what is behind an address of ours. This host's own name is no
// mail domain unless somebody says so, but has a postmaster in any case: he is
// asked for without a domain, and reports of ours give that address (RFC 5321
// §4.5.1).
func (i *Intake) resolve(ctx context.Context, to message.Address) ([]account.Recipient, error) {
	rs, err := i.accounts.Resolve(ctx, to)
	if errors.Is(err, account.ErrNotLocal) && strings.EqualFold(to.Local, postmaster) && strings.EqualFold(string(to.Domain), i.o.Hostname) {
		return i.accounts.Resolve(ctx, message.Address{Local: postmaster})
	}
	return rs, err
}

// resolved makes targets of what package account has found behind to.
func resolved(to message.Address, rs []account.Recipient) []target {
	ts := make([]target, len(rs))
	for n, r := range rs {
		if r.Via.Local == "" && !r.Via.IsZero() { // a catch-all
			r.Via = to
		}
		ts[n] = target{Recipient: r, rewrite: r.Remote()}
	}
	return ts
}

// reverse finds whom mail to an address that we made for forwarding is for.
// The address is its own permission, as long as it is not forged or too old.
func (i *Intake) reverse(ctx context.Context, to message.Address) ([]target, error) {
	back, err := i.o.SRS.Reverse(to)
	if err != nil {
		i.o.Log.Debug("rewritten sender is refused", telemetry.Rcpt, to.String(), telemetry.Err, err)
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user here: " + to.String()}
	}
	rs, err := i.resolve(ctx, back)
	if errors.Is(err, account.ErrNotLocal) && back.Domain == to.Domain { // a sender that was too long to be rewritten
		rs, err = i.accounts.Resolve(ctx, message.Address{Local: postmaster})
	}
	if errors.Is(err, account.ErrNotLocal) {
		return []target{{Recipient: account.Recipient{Address: back}, rewrite: true}}, nil
	}
	if err != nil {
		return nil, i.refusal(to, err)
	}
	return resolved(back, rs), nil
}

// reportsOnly refuses what a stranger sends to a sender that we rewrote, unless
// it has the null reverse-path as reports have (RFC 5321 §4.5.5): such an address
// stands in all that we forward, and is no way through us for anything else. At
// RCPT it is good for every sender, since hosts ask there whether it exists.
func (i *Intake) reportsOnly(e *smtp.Envelope) error {
	if i.o.SRS == nil || e.From.IsZero() || i.askerOf(e) != stranger {
		return nil
	}
	for _, r := range e.Recipients {
		if i.o.SRS.Ours(r.To) {
			return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: r.To.String() + " takes reports on delivery only, with the sender <>"}
		}
	}
	return nil
}

// queueable refuses targets elsewhere while they cannot be queued.
func (i *Intake) queueable(to message.Address, ts []target) error {
	for _, t := range ts {
		if !t.Remote() {
			continue
		}
		if i.o.Queue == nil {
			return i.refusal(to, account.ErrNotLocal)
		}
		if err := i.o.Queue.Room(); err != nil {
			i.o.Log.Debug("queue takes no more", telemetry.Err, err)
			return &smtp.Reply{Code: 452, Enhanced: "4.3.1", Text: "No more mail can be queued for other hosts now, try again later"}
		}
		return nil
	}
	return nil
}

// seen are the final recipients that a message has already.
type seen struct {
	accounts map[account.ID]bool
	remotes  map[message.Address]bool
}

func newSeen(n int) seen {
	return seen{make(map[account.ID]bool, n), map[message.Address]bool{}}
}

// add reports whether t is new.
func (s seen) add(t account.Recipient) bool {
	if t.Remote() {
		if s.remotes[t.Address] {
			return false
		}
		s.remotes[t.Address] = true
		return true
	}
	if s.accounts[t.Account] {
		return false
	}
	s.accounts[t.Account] = true
	return true
}

// targets expands the recipients of an envelope, each final one once (I2).
func (i *Intake) targets(ctx context.Context, e *smtp.Envelope) ([]target, error) {
	all := make([]target, 0, len(e.Recipients))
	have := newSeen(len(e.Recipients))
	for _, r := range e.Recipients {
		ts, err := i.expand(ctx, i.askerOf(e), r.To)
		if err == nil {
			err = i.queueable(r.To, ts)
		}
		if err != nil {
			return nil, inCompany(e, r.To, err)
		}
		for _, t := range ts {
			if !have.add(t.Recipient) {
				continue
			}
			if len(all) == accountsMax {
				return nil, &smtp.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many recipients behind these aliases"}
			}
			t.named, t.shared = r, len(ts) > 1
			all = append(all, t)
		}
	}
	return all, nil
}

// inCompany answers for a recipient that was accepted and is refused now: when
// others were accepted beside it, they shall not be refused for good with it.
func inCompany(e *smtp.Envelope, to message.Address, err error) error {
	var r *smtp.Reply
	if len(e.Recipients) == 1 || !errors.As(err, &r) || r.Temporary() {
		return err
	}
	return &smtp.Reply{Code: 451, Enhanced: "4.2.0", Text: "A recipient has changed just now, try again: " + to.String()}
}

// forwardedAs is the address under which a message is forwarded: the one that the
// sender has named. Where he has named several none is told, since the recipients
// of one would learn of the others; what comes back to one of them will then
// have its name. What is behind the named one is told to nobody.
func forwardedAs(ts []target) message.Address {
	for _, t := range ts {
		if t.named.To != ts[0].named.To {
			return message.Address{}
		}
	}
	if !hasForwards(ts) {
		return message.Address{}
	}
	return ts[0].named.To
}

// rewritten is the sender for a target, where it is another than the
// message's. What our users and the host itself send is from here: SPF passes
// with it. A stranger who says that he is of a domain of ours is rewritten like
// any other, or the next host would take our word for him.
func (i *Intake) rewritten(ctx context.Context, who asker, from message.Address, t target) (message.Address, error) {
	if !t.rewrite || i.o.SRS == nil || from.IsZero() {
		return message.Address{}, nil
	}
	if who != stranger {
		_, err := i.accounts.Resolve(ctx, from)
		if err != nil && !isVerdict(err) {
			return message.Address{}, err
		}
		if !errors.Is(err, account.ErrNotLocal) {
			return message.Address{}, nil
		}
	}
	if sender := i.o.SRS.Forward(from); sender != from {
		return sender, nil
	}
	return message.Address{}, nil
}
