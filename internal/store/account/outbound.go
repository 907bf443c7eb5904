package account

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// SetSendLimits limits the recipients that the account may send to in an hour
// and in a day; 0 is the host's default, nil leaves a limit as it is. Errors:
// ErrNoSuchUser.
func (s *Store) SetSendLimits(ctx context.Context, addr message.Address, hour, day *int64) error {
	for _, n := range []*int64{hour, day} {
		if n != nil && (*n < 0 || *n > maxSend) {
			return fmt.Errorf("limit of %d recipients is out of range: 0 to %d", *n, maxSend)
		}
	}
	return s.changeSettings(ctx, addr, func(o *Settings) {
		if hour != nil {
			o.SendHour = *hour
		}
		if day != nil {
			o.SendDay = *day
		}
	})
}

// SetContact notes an address of the owner's elsewhere; the zero address is
// none. Errors: ErrNoSuchUser, ErrAddress (the account's own is no help when
// it is in the wrong hands).
func (s *Store) SetContact(ctx context.Context, addr, contact message.Address) error {
	if !contact.IsZero() && !hasForm(contact) {
		return fmt.Errorf("%w: contact %q", ErrAddress, contact)
	}
	if !contact.IsZero() && baseKey(contact) == baseKey(addr) {
		return fmt.Errorf("%w: the contact must be another address than %s", ErrAddress, addr)
	}
	return s.changeSettings(ctx, addr, func(o *Settings) { o.Contact = contact })
}

// Hold stops what the account sends: reason says why in a sentence. Who is
// held already stays so for the first reason. Errors: ErrNoSuchUser.
func (s *Store) Hold(ctx context.Context, id ID, reason string) error {
	reason = sentence(reason)
	err := s.changeByID(ctx, id, func(e *entry) []change {
		if e.Hold.On() {
			return nil
		}
		return []change{{op: opHold, id: id, created: max(seconds(s.o.Clock.Now()), 1), reason: reason}}
	})
	if err == nil {
		s.tell(id)
	}
	return err
}

// Release ends a hold, if there is one. SetPassword does so too. Errors:
// ErrNoSuchUser.
func (s *Store) Release(ctx context.Context, id ID) error {
	err := s.changeByID(ctx, id, func(e *entry) []change {
		if !e.Hold.On() {
			return nil
		}
		return []change{{op: opHoldEnded, id: id}}
	})
	if err == nil {
		s.tell(id)
	}
	return err
}

func (s *Store) changeByID(ctx context.Context, id ID, make func(*entry) []change) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e := dir.accounts[id]
		if e == nil {
			return nil, fmt.Errorf("%w: account %d", ErrNoSuchUser, id)
		}
		return make(e), nil
	})
}

// sentence makes a reason fit to be kept and shown on one line.
func sentence(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = s[:maxReason]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	if s == "" {
		return "no reason was given"
	}
	return s
}

// OnHold has fn called when an account's outbound mail was held, and OnRelease
// when it was released: after the fact is durable, one call at a time, in the
// goroutine of whoever caused it. The holds of earlier runs are not told:
// Accounts has them. Both must be set before the store is used.
func (s *Store) OnHold(fn func(Account)) { s.onHold = fn }

// OnRelease is OnHold's opposite.
func (s *Store) OnRelease(fn func(Account)) { s.onRelease = fn }

// tell calls OnHold or OnRelease if what was last told of the account is no
// longer so.
func (s *Store) tell(id ID) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.RLock()
	var a Account
	if e := s.dir.accounts[id]; e != nil {
		a = e.Account
	}
	s.mu.RUnlock()
	told := s.told[id]
	if a.ID == 0 || a.Hold.On() == told {
		return
	}
	fn := s.onHold
	if told {
		delete(s.told, id)
		fn = s.onRelease
	} else {
		s.told[id] = true
	}
	if fn != nil {
		fn(a)
	}
}
