package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// may tries a login at a service.
func may(h *host, service Scope, password string) error {
	_, err := h.For(service).Password(ctx, "one@demo.test", password)
	return err
}

func TestAppPasswords(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	one := addr("one@demo.test")
	app, err := h.AddAppPassword(ctx, one, "telephone", IMAP|SMTP)
	must(t, err)
	if len(app) != 24 || len(strings.Split(app, "-")) != 5 || appText(app) == "" {
		t.Errorf("password %q", app)
	}
	typed := strings.ToUpper(strings.ReplaceAll(app, "-", " "))
	check := func(when string) {
		t.Helper()
		for range 2 { // the second one from the cache
			for service, want := range map[Scope]error{SMTP: nil, IMAP: nil, POP3: ErrCredentials, 0: ErrCredentials} {
				for _, p := range []string{app, typed} {
					if err := may(h, service, p); !errors.Is(err, want) {
						t.Errorf("%s: service %d with the app password: %v", when, service, err)
					}
				}
				if err := may(h, service, "secret"); err != nil {
					t.Errorf("%s: service %d with the account's: %v", when, service, err)
				}
			}
		}
		if _, err := h.For(IMAP).Password(ctx, "two@demo.test", app); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: somebody else: %v", when, err)
		}
	}
	check("new")
	h.restart()
	check("after a restart")
	if _, err := h.AddAppPassword(ctx, one, "telephone", IMAP); !errors.Is(err, ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	must(t, h.SetDisabled(ctx, one, true))
	if err := may(h, IMAP, app); !errors.Is(err, ErrDisabled) || !errors.Is(err, ErrCredentials) {
		t.Errorf("disabled: %v", err)
	}
	must(t, h.SetDisabled(ctx, one, false))
	must(t, may(h, IMAP, app))
	must(t, h.RemoveAppPassword(ctx, one, "telephone"))
	if err := may(h, IMAP, app); !errors.Is(err, ErrCredentials) {
		t.Errorf("removed: %v", err)
	}
	if err := h.RemoveAppPassword(ctx, one, "telephone"); !errors.Is(err, ErrNoSuchAppPassword) {
		t.Errorf("remove again: %v", err)
	}
	again, err := h.AddAppPassword(ctx, one, "telephone", AllScopes)
	must(t, err)
	if may(h, IMAP, app) == nil || may(h, POP3, again) != nil {
		t.Error("another one of the same name is the old one")
	}
}

func TestAppPasswords_refused(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	for _, name := range []string{"", "a\nb", " a", strings.Repeat("x", maxAppName+1), "\xff"} {
		if _, err := h.AddAppPassword(ctx, addr("one@demo.test"), name, IMAP); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
	for _, scope := range []Scope{0, 8, 9} {
		if _, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", scope); err == nil {
			t.Errorf("scope %d was taken", scope)
		}
	}
	if _, err := h.AddAppPassword(ctx, addr("x@demo.test"), "x", IMAP); !errors.Is(err, ErrNoSuchUser) {
		t.Error(err)
	}
	for i := range maxAppPasswords {
		_, err := h.AddAppPassword(ctx, addr("one@demo.test"), fmt.Sprint(i), IMAP)
		must(t, err)
	}
	if _, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", IMAP); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
}

// TestAppPassword_fault: that the table cannot be read is no wrong password.
func TestAppPassword_fault(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	app, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", IMAP)
	must(t, err)
	if _, err := New(Options{}).For(IMAP).Password(ctx, "one@demo.test", app); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("without an index: %v", err)
	}
	bad := appendChange(nil, change{op: opAppPassword, id: 1, label: "y", created: 1, app: appKey{scope: IMAP, salt: []byte{1}, hash: []byte{1}}})
	_, err = h.x.Commit(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: bad})
	must(t, err)
	if err := may(h, IMAP, app); err != nil {
		t.Errorf("beside a hash of one octet: %v", err)
	}
	must(t, h.x.Close())
	for _, p := range []string{app, "secret", "wrong", "aaaa-aaaa-aaaa-aaaa-aaaa"} {
		h.clock.Advance(2 * cacheTTL)
		if _, err := h.For(IMAP).Password(ctx, "one@demo.test", p); err == nil || errors.Is(err, ErrCredentials) {
			t.Errorf("%q when nothing can be read: %v", p, err)
		}
	}
	must(t, h.j.Close())
	h.x, h.j = nil, nil
}

// SCRAM knows the account's own password only.
func TestAppPassword_scram(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	app, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", AllScopes)
	must(t, err)
	v, err := h.For(IMAP).Scram(ctx, "one@demo.test")
	must(t, err)
	w, err := sasl.NewVerifier(app, v.Salt, v.Iterations)
	must(t, err)
	if bytes.Equal(v.StoredKey[:], w.StoredKey[:]) {
		t.Error("the verifier is the app password's")
	}
}

// TestCurrent: who logged in before a password was changed or removed is asked
// to do so again; nothing else disturbs a session.
func TestCurrent(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	one := addr("one@demo.test")
	app, err := h.AddAppPassword(ctx, one, "x", SMTP)
	must(t, err)
	login := func(p string) sasl.Identity {
		t.Helper()
		id, err := h.For(SMTP).Password(ctx, "one@demo.test", p)
		must(t, err)
		if !h.Current(id) {
			t.Errorf("%q is out of date at once", p)
		}
		return id
	}
	id := login("secret")
	_, err = h.AddAppPassword(ctx, one, "y", SMTP)
	must(t, err)
	must(t, h.SetQuota(ctx, one, 5))
	must(t, h.Hold(ctx, 1, "x"))
	h.argon.time++ // other parameters: the next login renews the hash
	h.clock.Advance(2 * cacheTTL)
	again := login("secret")
	if !h.Current(id) || id != again {
		t.Error("a session ends though no password was changed")
	}
	id = login(app)
	must(t, h.RemoveAppPassword(ctx, one, "x"))
	if h.Current(id) {
		t.Error("a session goes on though its password was removed")
	}
	id = login("secret")
	must(t, h.SetPassword(ctx, one, "newer"))
	if h.Current(id) || h.Current(sasl.Identity{}) {
		t.Error("a session goes on though the password was changed")
	}
	id = login("newer")
	must(t, h.SetDisabled(ctx, one, true))
	if h.Current(id) {
		t.Error("a session goes on though the account is disabled")
	}
}

// used is when the app password "x" was last used.
func used(t *testing.T, h *host) time.Time {
	t.Helper()
	all, err := h.AppPasswords(ctx, addr("one@demo.test"))
	must(t, err)
	for _, a := range all {
		if a.Name == "x" {
			return a.Used
		}
	}
	t.Fatal("no app password x")
	return time.Time{}
}

// TestLastUse: it is known at once, to the minute, written at most once an
// hour, and at the end.
func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.stop()
		settle(h, "one")
		app, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", SMTP)
		must(t, err)
		run, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- h.Run(run) }()
		synctest.Wait()
		if !used(t, h).IsZero() {
			t.Error("used before it was")
		}
		before := h.j.Durable()
		writes := 0
		for range 150 { // a login a minute
			must(t, may(h, SMTP, app))
			if want := h.clock.Now().UTC().Truncate(time.Minute); !used(t, h).Equal(want) {
				t.Fatalf("used %s, want %s", used(t, h), want)
			}
			h.clock.Advance(time.Minute)
			synctest.Wait()
			if now := h.j.Durable(); now != before {
				before = now
				writes++
			}
		}
		if writes != 3 {
			t.Errorf("%d records in 150 minutes", writes)
		}
		last := used(t, h)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.restart()
		if got := used(t, h); !got.Equal(last) {
			t.Errorf("after a restart used %s, want %s", got, last)
		}
		if n := len(h.uses.all()); n != 0 {
			t.Errorf("%d uses are still to be written", n)
		}
	})
}
