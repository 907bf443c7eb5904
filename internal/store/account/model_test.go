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
	admins    []string // oldest account first
	aliases   map[string][]string
}

func newModel() *model {
	return &model{domains: map[string]bool{}, passwords: map[string]string{}, disabled: map[string]bool{}, aliases: map[string][]string{}}
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
		if m.disabled[a] {
			disabled = true
		} else if !slices.Contains(out, a) {
			out = append(out, a)
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
			if _, err := m.resolve(t); err != nil && err != ErrDisabled {
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
		m := newModel()
		locals := []string{"a", "b", "c", "d"}
		domain := rapid.SampledFrom([]string{"x.test", "y.test"})
		local := rapid.SampledFrom(locals)
		account := rapid.Custom(func(t *rapid.T) string { return local.Draw(t, "local") + "@" + domain.Draw(t, "domain") })
		target := rapid.Custom(func(t *rapid.T) string {
			return local.Draw(t, "local") + rapid.SampledFrom([]string{"", "", "+tag"}).Draw(t, "detail") + "@" + domain.Draw(t, "domain")
		})
		targets := rapid.SliceOfN(target, 1, 3)
		password := rapid.SampledFrom([]string{"p", "q", "r"})
		same := func(what string, got, want error) {
			if !errors.Is(got, want) || (got == nil) != (want == nil) {
				t.Fatalf("%s: %v, the model says %v", what, got, want)
			}
		}
		known := func(a string) error {
			if _, ok := m.passwords[a]; !ok {
				return ErrNoSuchUser
			}
			return nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"add domain": func(t *rapid.T) {
				d := domain.Draw(t, "domain")
				var want error
				if m.domains[d] {
					want = ErrExists
				}
				m.domains[d] = true
				same("add domain", h.AddDomain(ctx, message.Domain(d)), want)
			},
			"remove domain": func(t *rapid.T) {
				d := domain.Draw(t, "domain")
				same("remove domain", h.RemoveDomain(ctx, message.Domain(d)), m.removeDomain(d))
			},
			"add account": func(t *rapid.T) {
				a, p := account.Draw(t, "account"), password.Draw(t, "password")
				_, isAlias := m.aliases[a]
				var want error
				switch {
				case !m.domains[a[2:]]:
					want = ErrNoSuchDomain
				case isAlias || known(a) == nil:
					want = ErrExists
				default:
					m.passwords[a] = p
				}
				_, err := h.AddAccount(ctx, addr(a), p, Settings{})
				same("add account", err, want)
			},
			"remove account": func(t *rapid.T) {
				a := account.Draw(t, "account")
				want := known(a)
				delete(m.passwords, a)
				delete(m.disabled, a)
				same("remove account", h.RemoveAccount(ctx, addr(a)), want)
			},
			"password": func(t *rapid.T) {
				a, p := account.Draw(t, "account"), password.Draw(t, "password")
				want := known(a)
				if want == nil {
					m.passwords[a] = p
				}
				same("password", h.SetPassword(ctx, addr(a), p), want)
			},
			"disable": func(t *rapid.T) {
				a, on := account.Draw(t, "account"), rapid.Bool().Draw(t, "on")
				want := known(a)
				if want == nil {
					m.disabled[a] = on
				}
				same("disable", h.SetDisabled(ctx, addr(a), on), want)
			},
			"add alias": func(t *rapid.T) {
				a, to := account.Draw(t, "alias"), targets.Draw(t, "targets")
				same(fmt.Sprintf("alias %s to %v", a, to), h.AddAlias(ctx, addr(a), parseAll(to)...), m.addAlias(a, to, false))
			},
			"set catch-all": func(t *rapid.T) {
				d, to := domain.Draw(t, "domain"), targets.Draw(t, "targets")
				same(fmt.Sprintf("catch-all %s to %v", d, to), h.SetCatchAll(ctx, message.Domain(d), parseAll(to)...), m.addAlias("@"+d, to, true))
			},
			"remove alias": func(t *rapid.T) {
				a := rapid.OneOf(account, rapid.Map(domain, func(d string) string { return "@" + d })).Draw(t, "alias")
				var want error
				if _, ok := m.aliases[a]; !ok {
					want = ErrNoSuchAlias
				}
				delete(m.aliases, a)
				same("remove alias", h.RemoveAlias(ctx, parse(a)), want)
			},
			"restart": func(t *rapid.T) { h.restart() },
			"": func(t *rapid.T) {
				compare(t, h, m, locals)
			},
		})
	})
}

// compare asks the store all that the model knows.
func compare(t *rapid.T, h *host, m *model, locals []string) {
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
		for _, l := range append(locals, "a+z", "nobody") {
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
	}
}
