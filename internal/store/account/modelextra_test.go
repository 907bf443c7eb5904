package account

import (
	"errors"
	"strings"

	"pgregory.net/rapid"
)

// What the model's machine does with what an account may have besides.

var someGrant = rapid.OneOf(someAccount, rapid.SampledFrom([]string{"@x.test", "@far.test", "a@far.test"}))

func (c *machine) Grant(t *rapid.T) {
	a, as := someAccount.Draw(t, "account"), someGrant.Draw(t, "as")
	want := c.known(a)
	if want == nil && c.m.grants[a][as] {
		want = ErrExists
	}
	if want == nil {
		if c.m.grants[a] == nil {
			c.m.grants[a] = map[string]bool{}
		}
		c.m.grants[a][as] = true
	}
	same(t, "grant", c.h.AddGrant(ctx, addr(a), parse(as)), want)
}

func (c *machine) Revoke(t *rapid.T) {
	a, as := someAccount.Draw(t, "account"), someGrant.Draw(t, "as")
	want := c.known(a)
	if want == nil && !c.m.grants[a][as] {
		want = ErrNoSuchGrant
	}
	delete(c.m.grants[a], as)
	same(t, "revoke", c.h.RemoveGrant(ctx, addr(a), parse(as)), want)
}

func (c *machine) Hold(t *rapid.T) {
	a, on := someAccount.Draw(t, "account"), rapid.Bool().Draw(t, "on")
	acct, err := c.h.Get(ctx, addr(a))
	same(t, "get", err, c.known(a))
	if err != nil {
		return
	}
	c.m.held[a] = on
	if on {
		must(t, c.h.Hold(ctx, acct.ID, "x"))
	} else {
		must(t, c.h.Release(ctx, acct.ID))
	}
}

func (c *machine) AppPassword(t *rapid.T) {
	a, name := someAccount.Draw(t, "account"), rapid.SampledFrom([]string{"p", "q"}).Draw(t, "name")
	want := c.known(a)
	if rapid.Bool().Draw(t, "remove") {
		if want == nil && c.m.apps[a][name] == "" {
			want = ErrNoSuchAppPassword
		}
		delete(c.m.apps[a], name)
		same(t, "remove app password", c.h.RemoveAppPassword(ctx, addr(a), name), want)
		return
	}
	if want == nil && c.m.apps[a][name] != "" {
		want = ErrExists
	}
	p, err := c.h.AddAppPassword(ctx, addr(a), name, IMAP)
	same(t, "app password", err, want)
	if err == nil {
		if c.m.apps[a] == nil {
			c.m.apps[a] = map[string]string{}
		}
		c.m.apps[a][name] = p
	}
}

func (c *machine) Forward(t *rapid.T) {
	a := someAccount.Draw(t, "account")
	to := rapid.SampledFrom([]string{"", "f@far.test", "- f@far.test", "f@far.test g@far.test"}).Draw(t, "to")
	want := c.known(a)
	if want == nil {
		c.m.forwards[a] = strings.Fields(to)
	}
	list, noCopy := strings.CutPrefix(to, "-")
	same(t, "forward", c.h.SetForward(ctx, addr(a), Forward{Targets: addrs(list), NoCopy: noCopy}), want)
}

// maySend is what MaySend should say of an account that has no alias.
func (m *model) maySend(a, from string) bool {
	_, domain, _ := strings.Cut(from, "@")
	base, _, _ := strings.Cut(strings.TrimSuffix(from, "@"+domain), "+")
	if m.grants[a][from] || m.grants[a]["@"+domain] || m.grants[a][base+"@"+domain] {
		return true
	}
	forwards := m.forwards
	m.forwards = nil
	defer func() { m.forwards = forwards }()
	to, err := m.resolve(from)
	if err != nil {
		return false
	}
	for _, x := range to {
		if x == a {
			return true
		}
	}
	return false
}

func compareExtras(t *rapid.T, h *host, m *model, a string) {
	acct, err := h.Get(ctx, addr(a))
	must(t, err)
	if acct.Hold.On() != m.held[a] || h.told[acct.ID] != m.held[a] {
		t.Fatalf("hold of %s: %v, told %v; the model says %v", a, acct.Hold, h.told[acct.ID], m.held[a])
	}
	for _, from := range []string{"a@x.test", "a+z@x.test", "d@y.test", "nobody@x.test", "a@far.test", "b@far.test"} {
		if got, want := h.MaySend(acct.ID, addr(from)), m.maySend(a, from); got != want {
			t.Fatalf("%s as %s: %v, the model says %v", a, from, got, want)
		}
	}
	for name, p := range m.apps[a] {
		_, err := h.For(IMAP).Password(ctx, a, p)
		if m.disabled[a] != errors.Is(err, ErrDisabled) || !m.disabled[a] && err != nil {
			t.Fatalf("login of %s with app password %s: %v", a, name, err)
		}
	}
	apps, err := h.AppPasswords(ctx, addr(a))
	must(t, err)
	if len(apps) != len(m.apps[a]) {
		t.Fatalf("app passwords of %s: %v; the model says %v", a, apps, m.apps[a])
	}
}
