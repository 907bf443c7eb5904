package account

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"zombiezen.com/go/sqlite"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

func addrs(list string) (out []message.Address) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, parse(s))
	}
	return out
}

// routes tells what a resolution says, with what each recipient came through.
func routes(rs []Recipient) string {
	var out []string
	for _, r := range rs {
		s := r.Address.String()
		if !r.Via.IsZero() {
			s += "<" + aliasName(r.Via)
		}
		if r.Forwarder != 0 {
			s += fmt.Sprint("#", r.Forwarder)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestResolve_forwards(t *testing.T) {
	for name, c := range map[string]struct {
		forwards map[string]string // by account; "-" first keeps no copy
		aliases  map[string]string
		disabled string
		rcpt     string
		want     string
		err      error
	}{
		"elsewhere, with a copy": {forwards: map[string]string{"one": "One@example.org"},
			rcpt: "one+x@demo.test", want: "one@demo.test One@example.org<one@demo.test#1"},
		"elsewhere only": {forwards: map[string]string{"one": "- one@example.org"},
			rcpt: "one@demo.test", want: "one@example.org<one@demo.test#1"},
		"alias, account, elsewhere": {forwards: map[string]string{"one": "one@example.org"}, aliases: map[string]string{"all": "two@demo.test one@demo.test x@example.org"},
			rcpt: "all@demo.test", want: "two@demo.test<all@demo.test one@demo.test<all@demo.test one@example.org<one@demo.test#1 x@example.org<all@demo.test"},
		"each once": {forwards: map[string]string{"one": "x@example.org", "two": "x@example.org"}, aliases: map[string]string{"all": "two@demo.test one@demo.test"},
			rcpt: "all@demo.test", want: "two@demo.test<all@demo.test x@example.org<two@demo.test#2 one@demo.test<all@demo.test"},
		"to each other, with copies": {forwards: map[string]string{"one": "two@demo.test", "two": "one@demo.test"},
			rcpt: "two@demo.test", want: "two@demo.test one@demo.test<two@demo.test#2"},
		"to each other, without": {forwards: map[string]string{"one": "- two@demo.test", "two": "- one@demo.test"},
			rcpt: "two@demo.test", want: "one@demo.test<two@demo.test#2"},
		"only to one who is gone": {forwards: map[string]string{"one": "- gone@demo.test"},
			rcpt: "one@demo.test", want: "one@demo.test"},
		"only to one who is disabled": {forwards: map[string]string{"one": "- two@demo.test"}, disabled: "two",
			rcpt: "one@demo.test", want: "one@demo.test"},
		"by one who is disabled": {forwards: map[string]string{"one": "two@demo.test"}, disabled: "one",
			rcpt: "one@demo.test", err: ErrDisabled},
		"back through an alias": {forwards: map[string]string{"one": "all@demo.test"}, aliases: map[string]string{"all": "one@demo.test two@demo.test"},
			rcpt: "all@demo.test", want: "one@demo.test<all@demo.test two@demo.test<all@demo.test"},
		"a catch-all elsewhere": {aliases: map[string]string{"": "box@example.org"},
			rcpt: "anybody@demo.test", want: "box@example.org<@demo.test"},
	} {
		d := newDirectory()
		d.apply(change{op: opDomain, domain: "demo.test", created: 1})
		for i, u := range []string{"one", "two"} {
			d.apply(change{op: opAccount, id: ID(i + 1), address: addr(u + "@demo.test"), created: 1, settings: Settings{Disabled: u == c.disabled}})
			if to, ok := c.forwards[u]; ok {
				to, noCopy := strings.CutPrefix(to, "-")
				d.apply(change{op: opForward, id: ID(i + 1), targets: addrs(to), noCopy: noCopy})
			}
		}
		for a, to := range c.aliases {
			op := change{op: opAlias, targets: addrs(to)}
			op.setName(message.Address{Local: a, Domain: "demo.test"})
			d.apply(op)
		}
		got, err := d.resolve(addr(c.rcpt), nil)
		if routes(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, routes(got), err, c.want, c.err)
		}
	}
}

func TestSetForward(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two", "three")
	must(t, h.AddAlias(ctx, addr("to1@demo.test"), addr("one@demo.test")))
	must(t, h.SetForward(ctx, addr("two@demo.test"), Forward{Targets: addrs("to1@demo.test"), NoCopy: true}))
	many := make([]message.Address, maxForwards+1)
	for i := range many {
		many[i] = addr(fmt.Sprintf("x%d@example.org", i))
	}
	for name, c := range map[string]struct {
		who string
		f   Forward
		err error
	}{
		"nobody":         {"x", Forward{Targets: addrs("one@demo.test")}, ErrNoSuchUser},
		"to nobody":      {"one", Forward{Targets: addrs("x@demo.test")}, ErrNoSuchUser},
		"to itself":      {"one", Forward{Targets: addrs("one+x@demo.test")}, ErrAliasLoop},
		"back to itself": {"one", Forward{Targets: addrs("two@demo.test"), NoCopy: true}, ErrAliasLoop},
		"too many":       {"one", Forward{Targets: many}, ErrTooManyTargets},
		"no address":     {"one", Forward{Targets: []message.Address{{Local: "x"}}}, ErrAddress},
	} {
		if err := h.SetForward(ctx, addr(c.who+"@demo.test"), c.f); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
	want := Forward{Targets: addrs("two@demo.test one@example.org")}
	must(t, h.SetForward(ctx, addr("one@demo.test"), want))
	must(t, h.AddDomain(ctx, "example.net"))
	must(t, h.SetForward(ctx, addr("three@demo.test"), Forward{Targets: addrs("two@demo.test")}))
	h.restart()
	if got, err := h.Forward(ctx, addr("one@demo.test")); err != nil || !cmp.Equal(got, want) {
		t.Errorf("forward %v, %v", got, err)
	}
	got, err := h.Resolve(ctx, addr("two@demo.test"))
	if err != nil || routes(got) != "one@demo.test<to1@demo.test one@example.org<one@demo.test#1" {
		t.Errorf("two: %q, %v", routes(got), err)
	}
	must(t, h.RemoveAlias(ctx, addr("to1@demo.test")))
	must(t, h.SetForward(ctx, addr("one@demo.test"), Forward{NoCopy: true}))
	if got, err := h.Forward(ctx, addr("one@demo.test")); err != nil || got.NoCopy || len(got.Targets) != 0 {
		t.Errorf("no forward: %v, %v", got, err)
	}
	if got, err := h.Resolve(ctx, addr("two@demo.test")); err != nil || routes(got) != "two@demo.test" {
		t.Errorf("with nobody to forward to: %q, %v", routes(got), err)
	}
	if err := h.RemoveDomain(ctx, "demo.test"); !errors.Is(err, ErrDomainInUse) {
		t.Error(err)
	}
}

func TestRemoveDomain_forwardTarget(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	must(t, h.AddDomain(ctx, "b.test"))
	must(t, h.SetCatchAll(ctx, "b.test", addr("one@demo.test")))
	must(t, h.AddAlias(ctx, addr("x@b.test"), addr("y@example.org")))
	must(t, h.SetForward(ctx, addr("one@demo.test"), Forward{Targets: addrs("x@b.test")}))
	must(t, h.RemoveAlias(ctx, addr("x@b.test")))
	must(t, h.RemoveAlias(ctx, parse("@b.test")))
	if err := h.RemoveDomain(ctx, "b.test"); !errors.Is(err, ErrDomainInUse) {
		t.Errorf("remove the domain of a forward's target: %v", err)
	}
	must(t, h.SetForward(ctx, addr("one@demo.test"), Forward{}))
	must(t, h.RemoveDomain(ctx, "b.test"))
}

func TestMaySend(t *testing.T) {
	h := newHost(t)
	settle(h, "one", "two")
	must(t, h.AddDomain(ctx, "catch.test"))
	must(t, h.AddAlias(ctx, addr("sales@demo.test"), addr("one@demo.test"), addr("x@example.org")))
	must(t, h.AddAlias(ctx, addr("shop@demo.test"), addr("sales@demo.test")))
	must(t, h.SetCatchAll(ctx, "catch.test", addr("one@demo.test")))
	must(t, h.SetForward(ctx, addr("two@demo.test"), Forward{Targets: addrs("one@demo.test"), NoCopy: true}))
	may := func(from string, want bool) {
		t.Helper()
		var a message.Address
		if from != "" {
			a = parse(from)
		}
		if got := h.MaySend(1, a); got != want {
			t.Errorf("one as %s: %v", from, got)
		}
	}
	for _, from := range []string{"", "one@demo.test", "ONE@demo.test", "one+x@demo.test", "sales@demo.test", "Shop+x@demo.test", "any@catch.test"} {
		may(from, true)
	}
	for _, from := range []string{"two@demo.test", "nobody@demo.test", "x@example.org", "one@example.org", "one@sub.demo.test"} {
		may(from, false)
	}
	must(t, h.AddGrant(ctx, addr("one@demo.test"), addr("X@example.org")))
	must(t, h.AddGrant(ctx, addr("one@demo.test"), parse("@example.net")))
	if err := h.AddGrant(ctx, addr("one@demo.test"), addr("x@example.org")); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	if err := h.AddGrant(ctx, addr("one@demo.test"), message.Address{Domain: "no domain"}); !errors.Is(err, ErrAddress) {
		t.Errorf("no domain: %v", err)
	}
	h.restart()
	for _, from := range []string{"x@example.org", "x+y@example.org", "any@example.net"} {
		may(from, true)
	}
	for _, from := range []string{"y@example.org", "any@sub.example.net"} {
		may(from, false)
	}
	if h.MaySend(2, addr("x@example.org")) || h.MaySend(99, message.Address{}) {
		t.Error("another has the grant, or nobody may send")
	}
	if got, err := h.Grants(ctx, addr("one@demo.test")); err != nil || len(got) != 2 {
		t.Errorf("grants %v, %v", got, err)
	}
	must(t, h.RemoveGrant(ctx, addr("one@demo.test"), addr("x@example.org")))
	must(t, h.RemoveGrant(ctx, addr("one@demo.test"), parse("@example.net")))
	if err := h.RemoveGrant(ctx, addr("one@demo.test"), parse("@example.net")); !errors.Is(err, ErrNoSuchGrant) {
		t.Errorf("remove again: %v", err)
	}
	may("x@example.org", false)
	may("any@example.net", false)
	if (&Store{dir: newDirectory()}).MaySend(1, message.Address{}) {
		t.Error("a store without an index lets anybody send")
	}
}

func TestLimitsAndContact(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	n := func(v int64) *int64 { return &v }
	must(t, h.SetSendLimits(ctx, addr("one@demo.test"), n(50), nil))
	must(t, h.SetSendLimits(ctx, addr("one@demo.test"), nil, n(300)))
	must(t, h.SetContact(ctx, addr("one@demo.test"), addr("owner@example.org")))
	must(t, h.SetQuota(ctx, addr("one@demo.test"), 5))
	for what, err := range map[string]error{
		"negative limit": h.SetSendLimits(ctx, addr("one@demo.test"), n(-1), nil),
		"huge limit":     h.SetSendLimits(ctx, addr("one@demo.test"), nil, n(maxSend+1)),
		"own contact":    h.SetContact(ctx, addr("one@demo.test"), addr("One+x@demo.test")),
		"no contact":     h.SetContact(ctx, addr("one@demo.test"), message.Address{Local: "x"}),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	h.restart()
	a, err := h.ByID(ctx, 1)
	must(t, err)
	if a.SendHour != 50 || a.SendDay != 300 || a.Contact != addr("owner@example.org") || a.QuotaBytes != 5 {
		t.Errorf("%+v", a)
	}
	must(t, h.SetContact(ctx, addr("one@demo.test"), message.Address{}))
	if a, _ := h.ByID(ctx, 1); !a.Contact.IsZero() {
		t.Errorf("contact %v", a.Contact)
	}
}

// heard notes what OnHold and OnRelease say.
func heard(h *host) *[]string {
	var told []string
	h.OnHold(func(a Account) { told = append(told, "hold "+a.Address.Local+": "+a.Hold.Reason) })
	h.OnRelease(func(a Account) { told = append(told, "release "+a.Address.Local) })
	return &told
}

func TestHold(t *testing.T) {
	h := newHost(t)
	told := heard(h)
	settle(h, "one", "two")
	must(t, h.Hold(ctx, 1, "140 recipients\r\nin 6 minutes"))
	h.clock.Advance(time.Minute)
	must(t, h.Hold(ctx, 1, "another reason"))
	if err := h.Hold(ctx, 9, "x"); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("nobody: %v", err)
	}
	want := Hold{Since: h.clock.Now().Add(-time.Minute).UTC(), Reason: "140 recipients  in 6 minutes"}
	if a, err := h.ByID(ctx, 1); err != nil || a.Hold != want {
		t.Errorf("%+v, %v", a.Hold, err)
	}
	h.set = func(s *Store) { cheap(s); told = heard(&host{Store: s}) }
	before := *told
	h.restart()
	if a, err := h.ByID(ctx, 1); err != nil || a.Hold != want {
		t.Errorf("after a restart: %+v, %v", a.Hold, err)
	}
	must(t, h.Release(ctx, 1))
	must(t, h.Release(ctx, 1))
	must(t, h.Hold(ctx, 2, strings.Repeat("é", maxReason)))
	a, err := h.ByID(ctx, 2)
	must(t, err)
	if len(a.Hold.Reason) != maxReason {
		t.Errorf("a reason of %d octets", len(a.Hold.Reason))
	}
	if got := append(before, (*told)[:1]...); !cmp.Equal(got, []string{"hold one: 140 recipients  in 6 minutes", "release one"}) || len(*told) != 2 {
		t.Errorf("told %q", got)
	}
}

// A new password ends a hold; the old one again does not, and app passwords,
// of which one may be in the wrong hands, are removed.
func TestHold_endsWithThePassword(t *testing.T) {
	h := newHost(t)
	told := heard(h)
	settle(h, "one")
	app, err := h.AddAppPassword(ctx, addr("one@demo.test"), "telephone", SMTP)
	must(t, err)
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "second"))
	if _, err := h.For(SMTP).Password(ctx, "one@demo.test", app); err != nil {
		t.Errorf("a password was changed, and another one is gone: %v", err)
	}
	must(t, h.Hold(ctx, 1, "x"))
	if err := h.SetPassword(ctx, addr("one@demo.test"), "second"); !errors.Is(err, ErrSamePassword) {
		t.Errorf("the same again: %v", err)
	}
	if a, _ := h.ByID(ctx, 1); !a.Hold.On() {
		t.Error("released by its old password")
	}
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "third"))
	if a, _ := h.ByID(ctx, 1); a.Hold.On() {
		t.Error("still held")
	}
	if _, err := h.For(SMTP).Password(ctx, "one@demo.test", app); !errors.Is(err, ErrCredentials) {
		t.Errorf("the app password: %v", err)
	}
	if want := []string{"hold one: x", "release one"}; !cmp.Equal(*told, want) {
		t.Errorf("told %q", *told)
	}
	must(t, h.Hold(ctx, 1, "x"))
	must(t, h.SetPassword(ctx, addr("one@demo.test"), "fourth"))
}

// furnish gives a host's accounts one of everything.
func furnish(t *testing.T, h *host) {
	t.Helper()
	one := addr("one@demo.test")
	must(t, h.SetForward(ctx, one, Forward{Targets: addrs("two@demo.test one@example.org"), NoCopy: true}))
	must(t, h.AddGrant(ctx, one, addr("sales@example.org")))
	must(t, h.AddGrant(ctx, one, parse("@example.net")))
	must(t, h.SetContact(ctx, one, addr("owner@example.org")))
	must(t, h.Hold(ctx, 2, "x"))
	for _, name := range []string{"telephone", "laptop"} {
		_, err := h.AddAppPassword(ctx, one, name, IMAP)
		must(t, err)
	}
	must(t, h.RemoveAppPassword(ctx, one, "laptop"))
	h.uses.note(use{1, "telephone", seconds(h.clock.Now())}, h.clock.Now().Add(time.Hour))
	h.writeUses(ctx, 0)
}

// TestState_extras: State and a rebuild know everything that an account may
// have, and removal leaves nothing of it.
func TestState_extras(t *testing.T) {
	h := newFileHost(t)
	settle(h, "one", "two")
	furnish(t, h)
	state := h.snapshot()
	other := newHost(t)
	_, err := other.x.Commit(ctx, &journal.Entry{Type: journal.TypeBatch, Envelope: []byte(state)})
	must(t, err)
	other.restart()
	if other.snapshot() != state {
		t.Error("the copy differs")
	}
	if diff := cmp.Diff(describe(t, h), describe(t, other)); diff != "" {
		t.Errorf("the copy says otherwise:\n%s", diff)
	}
	must(t, h.RemoveAccount(ctx, addr("one@demo.test")))
	must(t, h.RemoveAccount(ctx, addr("two@demo.test")))
	must(t, h.x.Read(ctx, func(conn *sqlite.Conn) error {
		return eachChange(conn, func(c change) {
			if c.id == 1 || c.id == 2 {
				t.Errorf("%#x is left of account %d", c.op, c.id)
			}
		})
	}))
}

// describe is all that can be asked about the accounts of furnish.
func describe(t *testing.T, h *host) (out []any) {
	t.Helper()
	all, err := h.Accounts(ctx)
	must(t, err)
	for _, a := range all {
		f, err := h.Forward(ctx, a.Address)
		must(t, err)
		g, err := h.Grants(ctx, a.Address)
		must(t, err)
		p, err := h.AppPasswords(ctx, a.Address)
		must(t, err)
		out = append(out, a, f, g, p)
	}
	return out
}

// TestHold_concurrent: holds and releases from many sides end with what was
// told being what is.
func TestHold_concurrent(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	on := false // guarded by the calls being one at a time
	h.OnHold(func(Account) { on = true })
	h.OnRelease(func(Account) { on = false })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if i%2 == 0 {
					must(t, h.Hold(ctx, 1, "x"))
				} else {
					must(t, h.Release(ctx, 1))
				}
				h.MaySend(1, addr("one@demo.test"))
				if _, err := h.Login(ctx, "one@demo.test", "secret"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if a, err := h.ByID(ctx, 1); err != nil || a.Hold.On() != on {
		t.Errorf("hold %v, told %v, %v", a.Hold, on, err)
	}
}

// TestAppPassword_removedMeanwhile: a removed app password lets nobody in once
// RemoveAppPassword has returned, whatever logins are under way.
func TestAppPassword_removedMeanwhile(t *testing.T) {
	h := newHost(t)
	settle(h, "one")
	for range 10 {
		app, err := h.AddAppPassword(ctx, addr("one@demo.test"), "x", IMAP)
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					if err := may(h, IMAP, app); err != nil && !errors.Is(err, ErrCredentials) {
						t.Error(err)
					}
				}
			})
		}
		must(t, h.RemoveAppPassword(ctx, addr("one@demo.test"), "x"))
		if err := may(h, IMAP, app); !errors.Is(err, ErrCredentials) {
			t.Errorf("after its removal: %v", err)
		}
		wg.Wait()
		if err := may(h, IMAP, app); !errors.Is(err, ErrCredentials) {
			t.Errorf("later: %v", err)
		}
	}
}
