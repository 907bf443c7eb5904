package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// AddAccount makes an account and returns it. Errors: ErrExists,
// ErrNoSuchDomain, ErrAddress (among others for a "+" in the local part,
// which sets details off), ErrPassword.
func (s *Store) AddAccount(ctx context.Context, addr message.Address, password string, o Settings) (Account, error) {
	if canonical, err := message.ParseAddress(addr.String()); err != nil || canonical != addr || strings.Contains(addr.Local, Delimiter) {
		return Account{}, fmt.Errorf("%w: %q", ErrAddress, addr)
	}
	if err := checkSettings(o); err != nil {
		return Account{}, err
	}
	if err := s.view(func(dir *directory) error { return dir.checkFree(addr) }); err != nil {
		return Account{}, err // before the costly part; asked again below
	}
	creds, err := s.newCredentials(ctx, password)
	if err != nil {
		return Account{}, err
	}
	c := change{op: opAccount, address: addr, created: seconds(s.o.Clock.Now()), settings: o, creds: creds}
	err = s.change(ctx, func(dir *directory) ([]change, error) {
		c.id = dir.next
		return []change{c}, dir.checkFree(addr)
	})
	if err != nil {
		return Account{}, err
	}
	return c.account(), nil
}

// checkFree tells whether addr can become an account.
func (d *directory) checkFree(addr message.Address) error {
	if _, ours := d.domains[addr.Domain]; !ours {
		return fmt.Errorf("%w: %s", ErrNoSuchDomain, addr.Domain)
	}
	key := keyOf(addr)
	if d.names[key] != nil || d.aliases[key] != nil {
		return fmt.Errorf("%s %w", addr, ErrExists)
	}
	return nil
}

// RemoveAccount removes an account and its credentials; its mail is
// store/mailbox's. Aliases that lead to it lose that target. Errors:
// ErrNoSuchUser.
func (s *Store) RemoveAccount(ctx context.Context, addr message.Address) error {
	return s.changeAccount(ctx, addr, func(e *entry) change {
		return change{op: opAccountRemoved, id: e.ID}
	})
}

// SetPassword replaces the password and all that was derived from the old
// one. It ends a hold; nobody knows which password brought that about, so that
// app passwords go too then. Errors: ErrNoSuchUser, ErrPassword, and
// ErrSamePassword if the account is held.
func (s *Store) SetPassword(ctx context.Context, addr message.Address, password string) error {
	a, err := s.Get(ctx, addr) // before the costly part
	if err != nil {
		return err
	}
	if a.Hold.On() && checkPassword(password) == nil {
		_, same, err := s.verify(ctx, a.ID, password)
		if err != nil {
			return err
		}
		if same {
			return ErrSamePassword
		}
	}
	creds, err := s.newCredentials(ctx, password)
	if err != nil {
		return err
	}
	err = s.changeByID(ctx, a.ID, func(e *entry) []change {
		cs := []change{{op: opCredentials, id: e.ID, creds: creds}}
		if e.Hold.On() {
			cs = append(cs, change{op: opHoldEnded, id: e.ID}, change{op: opAppRemoved, id: e.ID})
		}
		return cs
	})
	if err == nil {
		s.tell(a.ID)
	}
	return err
}

// SetQuota limits what the account may keep, in bytes; 0 lifts the limit.
// Errors: ErrNoSuchUser.
func (s *Store) SetQuota(ctx context.Context, addr message.Address, bytes int64) error {
	if err := checkQuota(bytes); err != nil {
		return err
	}
	return s.changeSettings(ctx, addr, func(o *Settings) { o.QuotaBytes = bytes })
}

// SetDisabled switches an account off, for logins and mail, or on again.
// Errors: ErrNoSuchUser.
func (s *Store) SetDisabled(ctx context.Context, addr message.Address, on bool) error {
	return s.changeSettings(ctx, addr, func(o *Settings) { o.Disabled = on })
}

// SetAdmin makes an account an administrator's, or not. Errors: ErrNoSuchUser.
func (s *Store) SetAdmin(ctx context.Context, addr message.Address, on bool) error {
	return s.changeSettings(ctx, addr, func(o *Settings) { o.Admin = on })
}

func (s *Store) changeSettings(ctx context.Context, addr message.Address, set func(*Settings)) error {
	return s.changeAccount(ctx, addr, func(e *entry) change {
		o := e.settings()
		set(&o)
		return change{op: opSettings, id: e.ID, settings: o}
	})
}

func (s *Store) changeAccount(ctx context.Context, addr message.Address, make func(*entry) change) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e := dir.names[keyOf(addr)]
		if e == nil {
			return nil, fmt.Errorf("%w: %s", ErrNoSuchUser, addr)
		}
		return []change{make(e)}, nil
	})
}

func checkSettings(o Settings) error {
	if o.SendHour < 0 || o.SendDay < 0 || o.SendHour > maxSend || o.SendDay > maxSend {
		return errors.New("a limit of recipients is out of range")
	}
	if !o.Contact.IsZero() && !hasForm(o.Contact) {
		return fmt.Errorf("%w: contact %q", ErrAddress, o.Contact)
	}
	return checkQuota(o.QuotaBytes)
}

func checkQuota(bytes int64) error {
	if bytes < 0 || bytes > maxQuota {
		return fmt.Errorf("quota of %d bytes is out of range", bytes)
	}
	return nil
}

// view calls fn with the directory, which it must not keep.
func (s *Store) view(fn func(*directory) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.attached {
		return errDetached
	}
	return fn(s.dir)
}

// Accounts returns all accounts by domain and local part.
func (s *Store) Accounts(context.Context) ([]Account, error) {
	var out []Account
	err := s.view(func(dir *directory) error {
		for _, e := range dir.accounts {
			out = append(out, e.Account)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Account) int { return compareAddresses(a.Address, b.Address) })
	return out, err
}

// Get returns the account with exactly this address: no alias, no detail.
// Errors: ErrNoSuchUser.
func (s *Store) Get(_ context.Context, addr message.Address) (a Account, err error) {
	err = s.view(func(dir *directory) error {
		e := dir.names[keyOf(addr)]
		if e == nil {
			return fmt.Errorf("%w: %s", ErrNoSuchUser, addr)
		}
		a = e.Account
		return nil
	})
	return a, err
}

// ByID returns an account. Errors: ErrNoSuchUser.
func (s *Store) ByID(_ context.Context, id ID) (a Account, err error) {
	err = s.view(func(dir *directory) error {
		e := dir.accounts[id]
		if e == nil {
			return fmt.Errorf("%w: account %d", ErrNoSuchUser, id)
		}
		a = e.Account
		return nil
	})
	return a, err
}
