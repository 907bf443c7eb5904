package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
)

// For returns the logins of one service: the account's password, or by PLAIN
// and LOGIN an app password of that scope. SCRAM knows the account's password
// only: RFC 5802 §5.1 gives a name one salt before it is known which of its
// passwords the client has.
func (s *Store) For(service Scope) sasl.Backend { return backend{s, service} }

type backend struct {
	s       *Store
	service Scope
}

// Password implements sasl.Backend.
func (b backend) Password(ctx context.Context, user, password string) (sasl.Identity, error) {
	return b.s.identify(ctx, user, password, b.service)
}

// Scram implements sasl.Backend.
func (b backend) Scram(ctx context.Context, user string) (sasl.Verifier, error) {
	return b.s.Scram(ctx, user)
}

// Current is Store.Current.
func (b backend) Current(id sasl.Identity) bool { return b.s.Current(id) }

// Current tells whether who has logged in once could still do so: the account
// is there and enabled, and no password of it was changed or removed since. A
// session that goes on sending has to ask, or a thief who is connected when
// the password is changed stays in.
func (s *Store) Current(id sasl.Identity) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.dir.accounts[ID(id.Account)]
	return e != nil && !e.Disabled && e.epoch == id.Epoch
}

// AddAppPassword makes up a password with which programs log in to some
// services, and returns it. It is kept nowhere. Errors: ErrNoSuchUser,
// ErrExists, ErrTooMany.
func (s *Store) AddAppPassword(ctx context.Context, addr message.Address, name string, scope Scope) (string, error) {
	if err := checkAppName(name); err != nil {
		return "", err
	}
	if scope == 0 || scope&^AllScopes != 0 {
		return "", errors.New("an app password needs a service")
	}
	raw, err := s.random(saltBytes + appBytes)
	if err != nil {
		return "", err
	}
	salt, text := raw[:saltBytes], appEncoding().EncodeToString(raw[saltBytes:])[:appLetters]
	c := change{op: opAppPassword, created: seconds(s.o.Clock.Now()), label: name,
		app: appKey{scope: scope, salt: salt, hash: appHash(salt, text)}}
	err = s.change(ctx, func(dir *directory) ([]change, error) {
		e, err := dir.account(addr)
		switch {
		case err != nil:
			return nil, err
		case e.app(name) != nil:
			return nil, fmt.Errorf("app password %q %w", name, ErrExists)
		case len(e.apps) >= maxAppPasswords:
			return nil, fmt.Errorf("%w app passwords: the limit is %d", ErrTooMany, maxAppPasswords)
		}
		c.id = e.ID
		return []change{c}, nil
	})
	if err != nil {
		return "", err
	}
	var groups []string
	for at := 0; at < len(text); at += appGroup {
		groups = append(groups, text[at:at+appGroup])
	}
	return strings.Join(groups, "-"), nil
}

// checkAppName tells whether an app password can be called so.
func checkAppName(name string) error {
	if name == "" || len(name) > maxAppName || name != sentence(name) || strings.TrimSpace(name) != name {
		return fmt.Errorf("an app password needs a name of 1 to %d octets on one line", maxAppName)
	}
	return nil
}

// app returns what is known of one app password, or nil.
func (e *entry) app(name string) *AppPassword {
	for i := range e.apps {
		if e.apps[i].Name == name {
			return &e.apps[i]
		}
	}
	return nil
}

// RemoveAppPassword removes an app password: it logs nobody in any more when
// this returns. Errors: ErrNoSuchUser, ErrNoSuchAppPassword.
func (s *Store) RemoveAppPassword(ctx context.Context, addr message.Address, name string) error {
	return s.change(ctx, func(dir *directory) ([]change, error) {
		e, err := dir.account(addr)
		if err != nil {
			return nil, err
		}
		if e.app(name) == nil {
			return nil, fmt.Errorf("%w: %q of %s", ErrNoSuchAppPassword, name, addr)
		}
		return []change{{op: opAppRemoved, id: e.ID, label: name}}, nil
	})
}

// AppPasswords returns an account's app passwords by name. Errors:
// ErrNoSuchUser.
func (s *Store) AppPasswords(_ context.Context, addr message.Address) (out []AppPassword, err error) {
	err = s.viewAccount(addr, func(e *entry) {
		for _, a := range e.apps {
			if t := s.uses.last(useOf(e.ID, a)); t.After(a.Used) {
				a.Used = t
			}
			out = append(out, a)
		}
	})
	return out, err
}

// appEncoding has letters and digits that are not taken for each other.
func appEncoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// appHash is what is kept of an app password. With 100 bits that were made up
// here there is nothing to guess, so that one HMAC is as good as a costly
// hash, which is for passwords that people think of. The salt keeps equal ones
// apart.
func appHash(salt []byte, text string) []byte {
	h := hmac.New(sha256.New, salt)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// appText returns the letters of an app password as a person may have typed
// them, or "" if a password is none.
func appText(password string) string {
	if len(password) > 2*appLetters {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(password))
	if len(text) != appLetters || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return ""
	}
	return text
}

// findApp returns the app password of an account that password is, if it is
// for the service, or nil.
func (s *Store) findApp(ctx context.Context, e entry, password string, service Scope) (*AppPassword, error) {
	text := appText(password)
	if text == "" || len(e.apps) == 0 {
		return nil, nil
	}
	var found *AppPassword
	err := s.x.Read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT operation FROM account_extra WHERE id = ? AND key >= 'app:' AND key < 'app;'",
			&sqlitex.ExecOptions{Args: []any{int64(e.ID)}, ResultFunc: func(st *sqlite.Stmt) error {
				changes, err := decodeChanges(columnBytes(st, 0))
				for _, c := range changes {
					if hmac.Equal(appHash(c.app.salt, text), c.app.hash) && c.app.scope&service != 0 {
						a := c.appPassword()
						found = &a
					}
				}
				return err
			}})
	})
	if err != nil {
		return nil, fmt.Errorf("read app passwords of account %d: %w", e.ID, err)
	}
	return found, nil
}

// Run writes down when app passwords were last used, until ctx is done: each
// at most once in usedEvery, and what is left at the end. Without it that is
// known until the process ends, and nothing else is lost.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWriteWait)
			defer cancel()
			s.writeUses(last, 0)
			return nil
		case <-s.o.Clock.After(usedLook):
			s.writeUses(ctx, usedEvery)
		}
	}
}

// writeUses writes the uses that are newer by at least `after` than what is
// written. They are no reason for an alarm: what goes wrong is logged.
func (s *Store) writeUses(ctx context.Context, after time.Duration) {
	var done map[use]time.Time
	err := s.change(ctx, func(dir *directory) (cs []change, err error) {
		done = map[use]time.Time{}
		for u, t := range s.uses.all() {
			var a *AppPassword
			if e := dir.accounts[u.id]; e != nil {
				a = e.app(u.name)
			}
			if a == nil || useOf(u.id, *a) != u || !t.After(a.Used) {
				done[u] = t // it was removed, or is written
				continue
			}
			if t.Sub(a.Used) >= after && len(cs) < usesAtOnce {
				cs = append(cs, change{op: opAppUsed, id: u.id, label: u.name, created: max(seconds(t), 1)})
				done[u] = t
			}
		}
		return cs, nil
	})
	if err != nil {
		s.o.Log.Warn("the last use of app passwords was not written", telemetry.Err, err)
		return
	}
	s.uses.forget(done)
}
