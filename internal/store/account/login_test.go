package account

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

func TestLogin(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "gone")
	must(t, h.SetDisabled(ctx, addr("gone@demo.test"), true))
	must(t, h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test")))
	_, err := h.AddAccount(ctx, addr("jürgen@demo.test"), "pa\u0308ss", Settings{})
	must(t, err)
	for _, c := range []struct {
		user, password, outcome string
		err                     error
	}{
		{"one@demo.test", "secret", loginVerified, nil},
		{"One@DEMO.test", "secret", loginCached, nil},
		{"ju\u0308rgen@demo.test", "p\u00e4ss", loginVerified, nil},
		{"one@demo.test", "secre", loginRefused, ErrCredentials},
		{"one@demo.test", "", loginRefused, ErrCredentials},
		{"one@demo.test", strings.Repeat("x", sasl.MaxPassword+1), loginRefused, ErrCredentials},
		{"one@demo.test", "se\x00cret", loginRefused, ErrCredentials},
		{"none@demo.test", "secret", loginRefused, ErrCredentials},
		{"none@elsewhere.test", "secret", loginRefused, ErrCredentials},
		{"one", "secret", loginRefused, ErrCredentials},
		{"", "secret", loginRefused, ErrCredentials},
		{strings.Repeat("x", sasl.MaxName+1), "secret", loginRefused, ErrCredentials},
		{"sales@demo.test", "secret", loginRefused, ErrCredentials},
		{"one+tag@demo.test", "secret", loginRefused, ErrCredentials},
		{"gone@demo.test", "secret", loginDisabled, ErrDisabled},
		{"gone@demo.test", "secret", loginDisabled, ErrCredentials},
		{"gone@demo.test", "secre", loginRefused, ErrCredentials},
	} {
		a, outcome, err := h.login(ctx, c.user, c.password, 0)
		if outcome != c.outcome || !errors.Is(err, c.err) || (err == nil) != (a.ID != 0) {
			t.Errorf("%.30q with %.30q: %v, %s, %v; want %s, %v", c.user, c.password, a, outcome, err, c.outcome, c.err)
		}
	}
	if _, _, err := h.login(ctx, "gone@demo.test", "wrong", 0); errors.Is(err, ErrDisabled) {
		t.Error("who does not know the password learns that the account is disabled")
	}
}

func TestLogin_faultsAreNotCredentials(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	h.hashes.waiting.Store(maxHashWaiting)
	if _, err := h.Login(ctx, "one@demo.test", "secret"); !errors.Is(err, ErrBusy) || errors.Is(err, ErrCredentials) {
		t.Errorf("too many logins: %v", err)
	}
	h.hashes.waiting.Store(0)
	late, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.Login(late, "one@demo.test", "secret"); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("out of time: %v", err)
	}
	must(t, h.x.Close())
	if _, err := h.Login(ctx, "one@demo.test", "secret"); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("index closed: %v", err)
	}
	if _, err := h.Scram(ctx, "one@demo.test"); err == nil {
		t.Error("index closed: a verifier")
	}
}

// TestLogin_cacheEnds: a cached login ends with its time, with the password,
// with the account.
func TestLogin_cacheEnds(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	login := func(password, outcome string, want error) {
		t.Helper()
		if _, got, err := h.login(ctx, "one@demo.test", password, 0); got != outcome || !errors.Is(err, want) {
			t.Errorf("%s: %s, %v; want %s, %v", password, got, err, outcome, want)
		}
	}
	login("secret", loginVerified, nil)
	h.clock.Advance(cacheTTL - time.Second)
	login("secret", loginCached, nil)
	h.clock.Advance(time.Second)
	login("secret", loginVerified, nil)

	must(t, h.SetPassword(ctx, addr("one@demo.test"), "other"))
	login("secret", loginRefused, ErrCredentials)
	login("other", loginVerified, nil)
	login("other", loginCached, nil)

	must(t, h.SetPassword(ctx, addr("one@demo.test"), "secret"))
	login("other", loginRefused, ErrCredentials)
	login("secret", loginVerified, nil)

	must(t, h.SetDisabled(ctx, addr("one@demo.test"), true))
	login("secret", loginDisabled, ErrDisabled)
	must(t, h.SetDisabled(ctx, addr("one@demo.test"), false))
	login("secret", loginCached, nil)

	must(t, h.RemoveAccount(ctx, addr("one@demo.test")))
	login("secret", loginRefused, ErrCredentials)
	_, err := h.AddAccount(ctx, addr("one@demo.test"), "third", Settings{})
	must(t, err)
	login("secret", loginRefused, ErrCredentials)
	login("third", loginVerified, nil)
}

// TestLogin_passwordChangedMeanwhile: a login that read the old hash before
// SetPassword returned does not get in after it.
func TestLogin_passwordChangedMeanwhile(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	newer, err := h.newCredentials(ctx, "newer")
	must(t, err)
	must(t, h.hashes.memory.Acquire(ctx, hashMemoryKiB))
	result := make(chan error, 1)
	go func() {
		_, err := h.Login(ctx, "one@demo.test", "secret")
		result <- err
	}()
	for h.hashes.waiting.Load() == 0 { // it has the old hash when it waits for memory
		runtime.Gosched()
	}
	must(t, h.change(ctx, func(*directory) ([]change, error) {
		return []change{{op: opCredentials, id: 1, creds: newer}}, nil
	}))
	h.hashes.memory.Release(hashMemoryKiB)
	if err := <-result; !errors.Is(err, ErrCredentials) {
		t.Errorf("err %v", err)
	}
}

// TestLogin_renews: credentials made with other parameters are made anew by
// the next login, once.
func TestLogin_renews(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	stored := func() credentials {
		c, err := h.credentials(ctx, 1)
		must(t, err)
		return c
	}
	login := func() {
		t.Helper()
		_, err := h.Login(ctx, "one@demo.test", "secret")
		must(t, err)
	}
	before := stored()
	login()
	if stored().hash != before.hash {
		t.Error("renewed without a reason")
	}
	h.argon.memoryKiB = 16
	h.clock.Advance(cacheTTL)
	login()
	after := stored()
	if !strings.Contains(after.hash, "$m=16,t=1,p=1$") || bytes.Equal(after.scram.salt, before.scram.salt) {
		t.Errorf("not renewed: %s", after.hash)
	}
	login()
	h.restart()
	h.argon.memoryKiB = 16
	login()
	if stored().hash != after.hash {
		t.Error("renewed again")
	}
	h.o.NoScram = true
	h.clock.Advance(cacheTTL)
	login()
	if stored().scram.salt != nil {
		t.Error("a SCRAM verifier is kept against the policy")
	}
	h.o.NoScram, h.o.ScramIterations = false, sasl.MinIterations+1
	h.clock.Advance(cacheTTL)
	login()
	if got := stored().scram.iterations; got != sasl.MinIterations+1 {
		t.Errorf("SCRAM iterations %d", got)
	}
}

// TestLogin_renewalIsNotNeeded: a login succeeds though the credentials cannot
// be renewed.
func TestLogin_renewalIsNotNeeded(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	h.argon.memoryKiB = 16
	h.o.Rand = iotest.ErrReader(errors.New("no randomness"))
	if _, outcome, err := h.login(ctx, "one@demo.test", "secret", 0); outcome != loginVerified || err != nil {
		t.Errorf("%s, %v", outcome, err)
	}
	if err := h.SetPassword(ctx, addr("one@demo.test"), "other"); err == nil {
		t.Error("a password was set without a salt")
	}
}

func TestScram(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "gone")
	must(t, h.SetDisabled(ctx, addr("gone@demo.test"), true))
	verifier := func(user string) sasl.Verifier {
		t.Helper()
		v, err := h.Scram(ctx, user)
		must(t, err)
		return v
	}
	fits := func(v sasl.Verifier, password string) bool {
		t.Helper()
		w, err := sasl.NewVerifier(password, v.Salt, v.Iterations)
		must(t, err)
		return w.StoredKey == v.StoredKey && w.ServerKey == v.ServerKey
	}
	one := verifier("One@demo.test")
	if !fits(one, "secret") || one.Identity != (sasl.Identity{Account: 1, Address: addr("one@demo.test"), Epoch: one.Identity.Epoch}) {
		t.Errorf("one: %+v", one)
	}
	if gone := verifier("gone@demo.test"); !fits(gone, "secret") || gone.Identity != (sasl.Identity{}) {
		t.Errorf("disabled: %+v", gone)
	}
	none := verifier("none@demo.test")
	if none.Identity != (sasl.Identity{}) || len(none.Salt) != len(one.Salt) || none.Iterations != one.Iterations {
		t.Errorf("unknown: %+v", none)
	}
	if bytes.Equal(none.Salt, verifier("other@demo.test").Salt) || none.StoredKey == verifier("other@demo.test").StoredKey {
		t.Error("two unknown users have the same verifier")
	}
	junk := verifier("no address")
	h.restart()
	if again := verifier("NONE@demo.test"); !bytes.Equal(again.Salt, none.Salt) || again.StoredKey != none.StoredKey {
		t.Error("an invented salt changed over a restart")
	}
	if again := verifier("no address"); !bytes.Equal(again.Salt, junk.Salt) {
		t.Error("an invented salt of no address changed over a restart")
	}
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "newer"))
	if v := verifier("one@demo.test"); fits(v, "secret") || !fits(v, "newer") {
		t.Error("the verifier did not follow the password")
	}
}

// TestScram_policyOff: without verifiers everybody has an invented one.
func TestScram_policyOff(t *testing.T) {
	h := newHost(t)
	h.o.NoScram = true
	settle(h, "one")
	v, err := h.Scram(ctx, "one@demo.test")
	must(t, err)
	if v.Identity != (sasl.Identity{}) || len(v.Salt) != saltBytes {
		t.Errorf("verifier %+v", v)
	}
}

// TestDamagedHashIsAFault: a hash that cannot be read is no wrong password.
func TestDamagedHashIsAFault(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	c := change{op: opCredentials, id: 1, creds: credentials{hash: "$argon2id$v=19$m=99999999,t=2,p=1$x$y"}}
	_, err := h.x.Commit(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: appendChange(nil, c)})
	must(t, err)
	if _, err := h.Login(ctx, "one@demo.test", "secret"); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("err %v", err)
	}
	if _, err := h.Login(ctx, "two@demo.test", "secret"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	h := newHost(t)
	c := newLoginCache(h.clock, []byte("key"))
	has := func(k cacheKey) bool { _, ok := c.get(k, 0); return ok }
	for i := range cacheEntries + 10 {
		k := c.keyFor(ID(i), 1, "x")
		c.add(k, success{})
		c.add(k, success{})
		if !has(k) {
			t.Fatal("lost at once")
		}
	}
	if len(c.known) != cacheEntries || len(c.order) != cacheEntries {
		t.Errorf("%d entries, %d in order", len(c.known), len(c.order))
	}
	if has(c.keyFor(9, 1, "x")) || !has(c.keyFor(10, 1, "x")) {
		t.Error("it was not the oldest that went")
	}
}
