package account

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// model is what the store should be, in the plainest terms: texts and sets.
type model struct {
	domains   map[string]bool
	passwords map[string]string // by address
	disabled  map[string]bool
	aliases   map[string][]string
	grants    map[string]map[string]bool // by account; "@domain" is one
	held      map[string]bool
	apps      map[string]map[string]string // by account and name: the password
	forwards  map[string][]string          // to other hosts; "-" first keeps no copy
}

func newModel() *model {
	return &model{domains: map[string]bool{}, passwords: map[string]string{}, disabled: map[string]bool{}, aliases: map[string][]string{},
		grants: map[string]map[string]bool{}, held: map[string]bool{}, apps: map[string]map[string]string{}, forwards: map[string][]string{}}
}

// find is one step of a resolution: an account's address, or an alias's name.
func (m *model) find(rcpt string) (account, alias string, err error) {
	local, domain, _ := strings.Cut(rcpt, "@")
	if !m.domains[domain] {
		return "", "", ErrNotLocal
	}
	base, _, _ := strings.Cut(local, "+")
	for _, name := range []string{local + "@" + domain, base + "@" + domain} {
		if _, ok := m.passwords[name]; ok {
			return name, "", nil
		}
		if _, ok := m.aliases[name]; ok {
			return "", name, nil
		}
	}
	if _, ok := m.aliases["@"+domain]; ok {
		return "", "@" + domain, nil
	}
	return "", "", ErrNoSuchUser
}

// resolve returns addresses, or the error.
func (m *model) resolve(rcpt string) ([]string, error) {
	account, alias, err := m.find(rcpt)
	if err != nil {
		return nil, err
	}
	var out []string
	disabled := false
	take := func(a string) {
		to := append([]string{a}, m.forwards[a]...)
		if len(to) > 1 && to[1] == "-" {
			to = to[2:]
		}
		if m.disabled[a] {
			disabled, to = true, nil
		}
		for _, x := range to {
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	var walk func(alias string, path []string) error
	walk = func(alias string, path []string) error {
		if slices.Contains(path, alias) {
			return ErrAliasLoop
		}
		for _, t := range m.aliases[alias] {
			account, next, err := m.find(t)
			switch {
			case err == ErrNotLocal:
				take(t)
			case err != nil:
			case account != "":
				take(account)
			default:
				if err := walk(next, append(slices.Clone(path), alias)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if account != "" {
		take(account)
	} else if err := walk(alias, nil); err != nil {
		return nil, err
	}
	switch {
	case len(out) > 0:
		return out, nil
	case disabled:
		return nil, ErrDisabled
	}
	return nil, ErrNoSuchUser
}

func (m *model) addAlias(name string, targets []string, replace bool) error {
	_, domain, _ := strings.Cut(name, "@")
	if !m.domains[domain] {
		return ErrNoSuchDomain
	}
	if _, ok := m.passwords[name]; ok {
		return ErrExists
	}
	old, had := m.aliases[name]
	if had && !replace {
		return ErrExists
	}
	m.aliases[name] = targets
	err := func() error {
		for _, t := range targets {
			if _, err := m.resolve(t); err != nil && err != ErrDisabled && err != ErrNotLocal {
				return err
			}
		}
		if _, err := m.resolve(name); strings.HasPrefix(name, "@") || err == ErrDisabled {
			return nil
		} else {
			return err
		}
	}()
	if err != nil {
		delete(m.aliases, name)
		if had {
			m.aliases[name] = old
		}
	}
	return err
}

func (m *model) removeDomain(d string) error {
	if !m.domains[d] {
		return ErrNoSuchDomain
	}
	in := func(a string) bool { return strings.HasSuffix(a, "@"+d) }
	for a := range m.passwords {
		if in(a) {
			return ErrDomainInUse
		}
	}
	for a, targets := range m.aliases {
		if in(a) || slices.ContainsFunc(targets, in) {
			return ErrDomainInUse
		}
	}
	delete(m.domains, d)
	return nil
}

// parse is for addresses of the model: a catch-all has no local part.
func parse(s string) message.Address {
	if d, ok := strings.CutPrefix(s, "@"); ok {
		return message.Address{Domain: message.Domain(d)}
	}
	return addr(s)
}

func parseAll(ss []string) []message.Address {
	out := make([]message.Address, len(ss))
	for i, s := range ss {
		out[i] = parse(s)
	}
	return out
}

// machine is a store beside its model; its exported methods are what rapid
// does with both.
type machine struct {
	h *host
	m *model
}

// What the operations are about. Few names, so that they meet.
var (
	someLocals  = []string{"a", "b", "c", "d"}
	someDomain  = rapid.SampledFrom([]string{"x.test", "y.test"})
	someAccount = rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom(someLocals).Draw(t, "local") + "@" + someDomain.Draw(t, "domain")
	})
	someTargets = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		detail := rapid.SampledFrom([]string{"", "", "+tag"}).Draw(t, "detail")
		return rapid.SampledFrom(someLocals).Draw(t, "local") + detail + "@" + someDomain.Draw(t, "domain")
	}), 1, 3)
	somePassword = rapid.SampledFrom([]string{"p", "q", "r"})
)

// TestModel runs random operations on a store and on the model, with restarts
// that rebuild the index, and compares all that can be asked.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &host{t: t, disk: sim.NewDisk(1), clock: sim.NewClock(time.Unix(1790000000, 0)), set: func(s *Store) {
			cheap(s)
			s.o.NoScram = true
		}}
		h.start()
		defer h.stop()
		t.Repeat(rapid.StateMachineActions(&machine{h, newModel()}))
	})
}

// Check is run after each operation.
func (c *machine) Check(t *rapid.T) { compare(t, c.h, c.m) }

func same(t *rapid.T, what string, got, want error) {
	if !errors.Is(got, want) || (got == nil) != (want == nil) {
		t.Fatalf("%s: %v, the model says %v", what, got, want)
	}
}

// known is nil if the model has the account.
func (c *machine) known(a string) error {
	if _, ok := c.m.passwords[a]; !ok {
		return ErrNoSuchUser
	}
	return nil
}

func (c *machine) AddDomain(t *rapid.T) {
	d := someDomain.Draw(t, "domain")
	var want error
	if c.m.domains[d] {
		want = ErrExists
	}
	c.m.domains[d] = true
	same(t, "add domain", c.h.AddDomain(ctx, message.Domain(d)), want)
}

func (c *machine) RemoveDomain(t *rapid.T) {
	d := someDomain.Draw(t, "domain")
	same(t, "remove domain", c.h.RemoveDomain(ctx, message.Domain(d)), c.m.removeDomain(d))
}

func (c *machine) AddAccount(t *rapid.T) {
	a, p := someAccount.Draw(t, "account"), somePassword.Draw(t, "password")
	_, isAlias := c.m.aliases[a]
	var want error
	switch {
	case !c.m.domains[a[2:]]:
		want = ErrNoSuchDomain
	case isAlias || c.known(a) == nil:
		want = ErrExists
	default:
		c.m.passwords[a] = p
	}
	_, err := c.h.AddAccount(ctx, addr(a), p, Settings{})
	same(t, "add account", err, want)
}

func (c *machine) RemoveAccount(t *rapid.T) {
	a := someAccount.Draw(t, "account")
	want := c.known(a)
	delete(c.m.passwords, a)
	delete(c.m.disabled, a)
	delete(c.m.grants, a)
	delete(c.m.held, a)
	delete(c.m.apps, a)
	delete(c.m.forwards, a)
	same(t, "remove account", c.h.RemoveAccount(ctx, addr(a)), want)
}

func (c *machine) SetPassword(t *rapid.T) {
	a, p := someAccount.Draw(t, "account"), somePassword.Draw(t, "password")
	want := c.known(a)
	switch {
	case want != nil:
	case c.m.held[a] && c.m.passwords[a] == p:
		want = ErrSamePassword
	default:
		c.m.passwords[a] = p
		if c.m.held[a] {
			delete(c.m.apps, a)
		}
		delete(c.m.held, a)
	}
	same(t, "password", c.h.SetPassword(ctx, addr(a), p), want)
}

func (c *machine) SetDisabled(t *rapid.T) {
	a, on := someAccount.Draw(t, "account"), rapid.Bool().Draw(t, "on")
	want := c.known(a)
	if want == nil {
		c.m.disabled[a] = on
	}
	same(t, "disable", c.h.SetDisabled(ctx, addr(a), on), want)
}

func (c *machine) AddAlias(t *rapid.T) {
	a, to := someAccount.Draw(t, "alias"), someTargets.Draw(t, "targets")
	same(t, fmt.Sprintf("alias %s to %v", a, to), c.h.AddAlias(ctx, addr(a), parseAll(to)...), c.m.addAlias(a, to, false))
}

func (c *machine) SetCatchAll(t *rapid.T) {
	d, to := someDomain.Draw(t, "domain"), someTargets.Draw(t, "targets")
	same(t, fmt.Sprintf("catch-all %s to %v", d, to), c.h.SetCatchAll(ctx, message.Domain(d), parseAll(to)...), c.m.addAlias("@"+d, to, true))
}

func (c *machine) RemoveAlias(t *rapid.T) {
	catchAll := rapid.Map(someDomain, func(d string) string { return "@" + d })
	a := rapid.OneOf(someAccount, catchAll).Draw(t, "alias")
	var want error
	if _, ok := c.m.aliases[a]; !ok {
		want = ErrNoSuchAlias
	}
	delete(c.m.aliases, a)
	same(t, "remove alias", c.h.RemoveAlias(ctx, parse(a)), want)
}

func (c *machine) Restart(*rapid.T) { c.h.restart() }

// compare asks the store all that the model knows.
func compare(t *rapid.T, h *host, m *model) {
	aliases, err := h.Aliases(ctx)
	must(t, err)
	var names []string
	for _, a := range aliases {
		names = append(names, aliasName(a.Address))
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(m.aliases)); !slices.Equal(names, want) {
		t.Fatalf("aliases %v, the model says %v", names, want)
	}
	for _, d := range []string{"x.test", "y.test"} {
		for _, l := range append(someLocals, "a+z", "nobody") {
			rcpt := l + "@" + d
			got, err := h.Resolve(ctx, addr(rcpt))
			want, wantErr := m.resolve(rcpt)
			var addresses []string
			for _, r := range got {
				addresses = append(addresses, r.Address.String())
			}
			if !slices.Equal(addresses, want) || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
				t.Fatalf("resolve %s: %v, %v; the model says %v, %v", rcpt, addresses, err, want, wantErr)
			}
		}
	}
	for a, p := range m.passwords {
		_, err := h.Login(ctx, a, p)
		if m.disabled[a] != errors.Is(err, ErrDisabled) || !m.disabled[a] && err != nil {
			t.Fatalf("login of %s: %v", a, err)
		}
		if _, err := h.Login(ctx, a, p+"x"); !errors.Is(err, ErrCredentials) {
			t.Fatalf("login of %s with a wrong password: %v", a, err)
		}
		compareExtras(t, h, m, a)
	}
}
