package account

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var ctx = context.Background()

// settle gives a host a domain and accounts with the password "secret".
func settle(h *host, users ...string) {
	h.t.Helper()
	must(h.t, h.AddDomain(ctx, "demo.test"))
	for _, u := range users {
		_, err := h.AddAccount(ctx, addr(u+"@demo.test"), "secret", Settings{})
		must(h.t, err)
	}
}

func TestDomains(t *testing.T) {
	h := newHost(t)
	must(t, h.AddDomain(ctx, "demo.test"))
	must(t, h.AddDomain(ctx, "a.test"))
	for _, bad := range []message.Domain{"", "Demo.test", "demo.test.", "[192.0.2.1]", "ü.test", "a b"} {
		if err := h.AddDomain(ctx, bad); !errors.Is(err, ErrAddress) {
			t.Errorf("add %q: %v", bad, err)
		}
	}
	if err := h.AddDomain(ctx, "demo.test"); !errors.Is(err, ErrExists) {
		t.Errorf("add again: %v", err)
	}
	if err := h.RemoveDomain(ctx, "b.test"); !errors.Is(err, ErrNoSuchDomain) {
		t.Errorf("remove unknown: %v", err)
	}
	got, err := h.Domains(ctx)
	must(t, err)
	if len(got) != 2 || got[0].Name != "a.test" || got[1].Name != "demo.test" || !got[0].Created.Equal(h.clock.Now()) {
		t.Errorf("domains: %v", got)
	}
}

func TestRemoveDomain_inUse(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	must(t, h.AddDomain(ctx, "b.test"))
	must(t, h.AddAlias(ctx, addr("x@b.test"), addr("one@demo.test")))
	for _, d := range []message.Domain{"demo.test", "b.test"} {
		if err := h.RemoveDomain(ctx, d); !errors.Is(err, ErrDomainInUse) {
			t.Errorf("remove %s: %v", d, err)
		}
	}
	must(t, h.RemoveAccount(ctx, addr("one@demo.test")))
	if err := h.RemoveDomain(ctx, "demo.test"); !errors.Is(err, ErrDomainInUse) { // a target
		t.Errorf("remove target's domain: %v", err)
	}
	must(t, h.RemoveAlias(ctx, addr("x@b.test")))
	must(t, h.RemoveDomain(ctx, "demo.test"))
	must(t, h.RemoveDomain(ctx, "b.test"))
	if _, err := h.Resolve(ctx, addr("one@demo.test")); !errors.Is(err, ErrNotLocal) {
		t.Errorf("resolve: %v", err)
	}
}

func TestAccounts(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	for _, c := range []struct {
		address  message.Address
		password string
		o        Settings
		err      error
	}{
		{addr("ONE@demo.test"), "secret", Settings{}, ErrExists},
		{addr("x@elsewhere.test"), "secret", Settings{}, ErrNoSuchDomain},
		{addr("a+b@demo.test"), "secret", Settings{}, ErrAddress},
		{message.Address{Domain: "demo.test"}, "secret", Settings{}, ErrAddress},
		{addr("x@demo.test"), "", Settings{}, ErrPassword},
		{addr("x@demo.test"), "a\x00b", Settings{}, ErrPassword},
		{addr("x@demo.test"), "\xff", Settings{}, ErrPassword},
	} {
		if _, err := h.AddAccount(ctx, c.address, c.password, c.o); !errors.Is(err, c.err) {
			t.Errorf("add %s: %v, want %v", c.address, err, c.err)
		}
	}
	if _, err := h.AddAccount(ctx, addr("x@demo.test"), "secret", Settings{QuotaBytes: -1}); err == nil {
		t.Error("negative quota")
	}
	must(t, h.SetQuota(ctx, addr("one@demo.test"), 1000))
	must(t, h.SetAdmin(ctx, addr("one@demo.test"), true))
	must(t, h.SetDisabled(ctx, addr("two@demo.test"), true))
	for what, err := range map[string]error{
		"quota":    h.SetQuota(ctx, addr("no@demo.test"), 1),
		"admin":    h.SetAdmin(ctx, addr("no@demo.test"), true),
		"disabled": h.SetDisabled(ctx, addr("no@demo.test"), true),
		"password": h.SetPassword(ctx, addr("no@demo.test"), "x"),
		"remove":   h.RemoveAccount(ctx, addr("one+x@demo.test")),
	} {
		if !errors.Is(err, ErrNoSuchUser) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check := func(when string) {
		got, err := h.Accounts(ctx)
		must(t, err)
		want := []Account{
			{ID: 1, Address: addr("one@demo.test"), Admin: true, QuotaBytes: 1000, Created: h.clock.Now().UTC()},
			{ID: 2, Address: addr("two@demo.test"), Disabled: true, Created: h.clock.Now().UTC()},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", when, diff)
		}
	}
	check("before restart")
	h.restart()
	check("after restart")
	if a, err := h.ByID(ctx, 2); err != nil || a.Address != addr("two@demo.test") {
		t.Errorf("by ID: %v, %v", a, err)
	}
	if _, err := h.ByID(ctx, 3); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("by unknown ID: %v", err)
	}
}

func TestIDsAreNotGivenAgain(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	must(t, h.RemoveAccount(ctx, addr("two@demo.test")))
	h.restart()
	a, err := h.AddAccount(ctx, addr("two@demo.test"), "secret", Settings{})
	must(t, err)
	if a.ID != 3 {
		t.Errorf("ID %d after 1 and 2 were given", a.ID)
	}
}

func TestAliases(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	must(t, h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test"), addr("two+sales@demo.test")))
	must(t, h.SetCatchAll(ctx, "demo.test", addr("one@demo.test")))
	must(t, h.SetCatchAll(ctx, "demo.test", addr("two@demo.test")))
	many := make([]message.Address, maxTargets+1)
	for i := range many {
		many[i] = addr("one@demo.test")
	}
	for name, c := range map[string]struct {
		alias   string
		targets []message.Address
		err     error
	}{
		"taken by alias":   {"Sales@demo.test", []message.Address{addr("one@demo.test")}, ErrExists},
		"taken by account": {"one@demo.test", []message.Address{addr("two@demo.test")}, ErrExists},
		"foreign domain":   {"x@elsewhere.test", []message.Address{addr("one@demo.test")}, ErrNoSuchDomain},
		"self":             {"x@demo.test", []message.Address{addr("one@demo.test"), addr("x+a@demo.test")}, ErrAliasLoop},
		"no target":        {"x@demo.test", nil, ErrAddress},
		"too many":         {"x@demo.test", many, ErrTooManyTargets},
	} {
		if err := h.AddAlias(ctx, addr(c.alias), c.targets...); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
	if err := h.SetCatchAll(ctx, "demo.test", addr("nobody@demo.test")); !errors.Is(err, ErrAliasLoop) {
		t.Errorf("catch-all to nobody, whom it catches: %v", err)
	}
	if _, err := h.AddAccount(ctx, addr("SALES@demo.test"), "secret", Settings{}); !errors.Is(err, ErrExists) {
		t.Errorf("account where an alias is: %v", err)
	}
	h.restart()
	got, err := h.Aliases(ctx)
	must(t, err)
	want := []Alias{
		{Address: message.Address{Domain: "demo.test"}, Targets: []message.Address{addr("two@demo.test")}},
		{Address: addr("sales@demo.test"), Targets: []message.Address{addr("one@demo.test"), addr("two+sales@demo.test")}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got[0].CatchAll() || got[1].CatchAll() {
		t.Error("CatchAll")
	}
	must(t, h.RemoveAlias(ctx, message.Address{Domain: "demo.test"}))
	must(t, h.RemoveAlias(ctx, addr("sales@demo.test")))
	if err := h.RemoveAlias(ctx, addr("sales@demo.test")); !errors.Is(err, ErrNoSuchAlias) {
		t.Errorf("remove again: %v", err)
	}
	if err := h.AddAlias(ctx, addr("x@demo.test"), addr("nobody@demo.test")); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("alias to nobody: %v", err)
	}
}

// TestAliases_loopOverSeveral: the loop is found when its last link is added.
func TestAliases_loopOverSeveral(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	must(t, h.AddAlias(ctx, addr("c@demo.test"), addr("one@demo.test")))
	must(t, h.AddAlias(ctx, addr("b@demo.test"), addr("c@demo.test")))
	must(t, h.RemoveAlias(ctx, addr("c@demo.test")))
	if err := h.AddAlias(ctx, addr("c@demo.test"), addr("one@demo.test"), addr("b@demo.test")); !errors.Is(err, ErrAliasLoop) {
		t.Errorf("b to c to b: %v", err)
	}
}

// TestConcurrentAdditions: of many additions of one address one is right.
func TestConcurrentAdditions(t *testing.T) {
	h := newHost(t)
	settle(h)
	const tries = 16
	errs := make([]error, tries)
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() { _, errs[i] = h.AddAccount(ctx, addr("one@demo.test"), "secret", Settings{}) })
	}
	wg.Wait()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if got, err := h.Accounts(ctx); good != 1 || len(got) != 1 || err != nil {
		t.Errorf("%d additions succeeded, %v, %v", good, got, err)
	}
}

func TestCancelledChangeChangesNothing(t *testing.T) {
	h := newHost(t)
	must(t, h.writer.Acquire(ctx, 1)) // somebody else's change takes its time
	late, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.AddDomain(late, "demo.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	h.writer.Release(1)
	if got, err := h.Domains(ctx); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDetachedStoreGivesFaults(t *testing.T) {
	s := New(Options{})
	if _, err := s.Resolve(ctx, addr("one@demo.test")); !errors.Is(err, errDetached) {
		t.Errorf("resolve: %v", err)
	}
	if _, err := s.Login(ctx, "one@demo.test", "x"); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("login: %v", err)
	}
	if err := s.AddDomain(ctx, "demo.test"); !errors.Is(err, errDetached) {
		t.Errorf("add domain: %v", err)
	}
}

// snapshot is what State says now.
func (h *host) snapshot() string {
	h.t.Helper()
	var b []byte
	must(h.t, h.x.Read(ctx, func(conn *sqlite.Conn) (err error) {
		b, err = h.State(conn)
		return err
	}))
	return string(b)
}

// TestState: what State says makes the same accounts out of nothing.
func TestState(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two", "three")
	must(t, h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test")))
	must(t, h.SetCatchAll(ctx, "demo.test", addr("one@demo.test")))
	must(t, h.RemoveAccount(ctx, addr("three@demo.test")))
	state := h.snapshot()

	other := newHost(t)
	_, err := other.x.Commit(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: []byte(state)})
	must(t, err)
	if other.snapshot() != state {
		t.Error("the copy differs")
	}
	if a, err := other.Login(ctx, "one@demo.test", "secret"); err != nil || a.ID != 1 {
		t.Errorf("login at the copy: %v, %v", a, err)
	}
	if a, err := other.AddAccount(ctx, addr("four@demo.test"), "secret", Settings{}); err != nil || a.ID != 4 {
		t.Errorf("next account of the copy: %v, %v", a, err)
	}
}

// TestState_lateIsIgnored: a State that compaction writes while accounts go on
// changing does not take them back, neither live nor at a rebuild.
func TestState_lateIsIgnored(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	state := []byte(h.snapshot())
	asOf := h.j.Durable()
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "newer"))
	want := h.snapshot()
	_, err := h.x.Commit(ctx, &journal.Entry{Type: journal.TypeState, AsOf: asOf, Envelope: state})
	must(t, err)
	check := func(when string) {
		if h.snapshot() != want {
			t.Errorf("%s: the State took a change back", when)
		}
		if _, err := h.Login(ctx, "one@demo.test", "secret"); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: old password: %v", when, err)
		}
		if _, err := h.Login(ctx, "one@demo.test", "newer"); err != nil {
			t.Errorf("%s: new password: %v", when, err)
		}
	}
	check("live")
	h.restart()
	check("rebuilt")
}

// TestRebuild: a deleted index.db comes back the same.
func TestRebuild(t *testing.T) {
	h := newFileHost(t)
	settle(h, "one", "two")
	must(t, h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test")))
	must(t, h.SetPassword(ctx, addr("two@demo.test"), "other"))
	want := h.snapshot()
	h.restart()
	if h.snapshot() != want {
		t.Error("changed over a restart")
	}
	h.stop()
	must(t, index.Remove(h.path))
	h.start()
	if h.snapshot() != want {
		t.Error("changed by a rebuild")
	}
}

// TestApply_laterFactsHold: where a damaged record is missing, what comes
// after it still has a meaning, in the tables as in the directory.
func TestApply_laterFactsHold(t *testing.T) {
	h := newHost(t)
	for _, c := range []change{
		{op: opAccount, id: 1, address: addr("one@demo.test"), created: 5}, // its domain was lost
		{op: opAccount, id: 2, address: addr("ONE@demo.test"), created: 6}, // 1's removal was lost
		{op: opCredentials, id: 9}, // its account was lost
		{op: opSettings, id: 9, settings: Settings{Admin: true}},
		{op: opAccountRemoved, id: 9},
		{op: opDomainRemoved, domain: "lost.test"},
		{op: opAliasRemoved, address: addr("lost@demo.test")},
	} {
		_, err := h.x.Commit(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: appendChange(nil, c)})
		must(t, err)
	}
	live, err := h.Accounts(ctx)
	must(t, err)
	if len(live) != 1 || live[0].ID != 2 {
		t.Errorf("accounts: %v", live)
	}
	domains, err := h.Domains(ctx)
	must(t, err)
	h.restart()
	again, err := h.Accounts(ctx)
	must(t, err)
	domainsAgain, err := h.Domains(ctx)
	must(t, err)
	if diff := cmp.Diff(live, again) + cmp.Diff(domains, domainsAgain); diff != "" {
		t.Errorf("directory and tables differ:\n%s", diff)
	}
}
