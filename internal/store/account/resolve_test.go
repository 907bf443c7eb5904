package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// townDirectory is what the tests of resolution look at.
func townDirectory() *directory {
	d := newDirectory()
	for _, name := range []message.Domain{"demo.test", "other.test", "catch.test", "[192.0.2.1]"} {
		d.apply(change{op: opDomain, domain: name, created: 1})
	}
	accounts := []struct {
		address string
		o       Settings
	}{
		{"one@demo.test", Settings{}},
		{"two@demo.test", Settings{}},
		{"gone@demo.test", Settings{Disabled: true}},
		{"admin@demo.test", Settings{Admin: true}},
		{"boss@other.test", Settings{Admin: true}},
		{"jürgen@demo.test", Settings{}},
	}
	for i, a := range accounts {
		d.apply(change{op: opAccount, id: ID(i + 1), address: addr(a.address), created: 1, settings: a.o})
	}
	for alias, targets := range map[string]string{
		"sales@demo.test":       "one@demo.test two@demo.test one@demo.test",
		"all@demo.test":         "sales@demo.test admin@demo.test gone@demo.test",
		"tagged@demo.test":      "one+fixed@demo.test two@demo.test",
		"one+special@demo.test": "two@demo.test",
		"silent@demo.test":      "gone@demo.test",
		"lost@demo.test":        "nobody@demo.test",
		"away@demo.test":        "nobody@demo.test two@elsewhere.test one@demo.test two@elsewhere.test Two@elsewhere.test",
		"ring@demo.test":        "ring2@demo.test",
		"ring2@demo.test":       "one@demo.test ring+x@demo.test",
		"@catch.test":           "one@demo.test",
		"named@catch.test":      "two@demo.test",
	} {
		c := change{op: opAlias}
		if rest, ok := strings.CutPrefix(alias, "@"); ok {
			c.domain = message.Domain(rest)
		} else {
			c.address = addr(alias)
		}
		for t := range strings.FieldsSeq(targets) {
			c.targets = append(c.targets, addr(t))
		}
		d.apply(c)
	}
	return d
}

func TestResolve(t *testing.T) {
	d := townDirectory()
	for _, c := range []struct {
		rcpt, want string // "account[+detail] …"
		err        error
	}{
		{"one@demo.test", "one", nil},
		{"ONE@demo.test", "one", nil},
		{"JÜRGEN@demo.test", "jürgen", nil},
		{"ju\u0308rgen@demo.test", "jürgen", nil},
		{"one+tag@demo.test", "one+tag", nil},
		{"One+Tag+More@demo.test", "one+Tag+More", nil},
		{"one+@demo.test", "one", nil},
		{"+one@demo.test", "", ErrNoSuchUser},
		{"one+special@demo.test", "two", nil},
		{"sales@demo.test", "one two", nil},
		{"sales+x@demo.test", "one+x two+x", nil},
		{"tagged+x@demo.test", "one+fixed two+x", nil},
		{"all@demo.test", "one two admin", nil},
		{"nobody@demo.test", "", ErrNoSuchUser},
		{"gone@demo.test", "", ErrDisabled},
		{"silent@demo.test", "", ErrDisabled},
		{"lost@demo.test", "", ErrNoSuchUser},
		{"ring@demo.test", "", ErrAliasLoop},
		{"away+x@demo.test", "two@elsewhere.test one+x Two@elsewhere.test", nil},
		{"one@elsewhere.test", "", ErrNotLocal},
		{"one@[192.0.2.9]", "", ErrNotLocal},
		{"postmaster@demo.test", "admin", nil},
		{"PostMaster@other.test", "boss", nil},
		{"postmaster@catch.test", "admin", nil}, // not the catch-all
		{"postmaster+spam@demo.test", "admin+spam", nil},
		{"any@catch.test", "one", nil},
		{"any+tag@catch.test", "one", nil},
		{"named@catch.test", "two", nil},
		{"", "", ErrNotLocal},
	} {
		var rcpt message.Address
		if c.rcpt != "" {
			rcpt = addr(c.rcpt)
		}
		got, err := d.resolve(rcpt, nil)
		if text := recipients(got); text != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.rcpt, text, err, c.want, c.err)
		}
	}
	if got, err := d.resolve(message.Address{Local: "Postmaster"}, nil); recipients(got) != "admin" {
		t.Errorf("RCPT TO:<Postmaster>: %v, %v", got, err)
	}
}

func recipients(rs []Recipient) string {
	var out []string
	for _, r := range rs {
		s := r.Address.Local
		if r.Detail != "" {
			s += "+" + r.Detail
		}
		if r.Remote() {
			s = r.Address.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestResolve_postmasterNeedsAnEnabledAdmin(t *testing.T) {
	d := townDirectory()
	d.apply(change{op: opSettings, id: 4, settings: Settings{Admin: true, Disabled: true}})
	if got, _ := d.resolve(addr("postmaster@demo.test"), nil); recipients(got) != "boss" {
		t.Errorf("with one admin disabled: %v", got)
	}
	d.apply(change{op: opAccount, id: 9, address: addr("postmaster@demo.test"), created: 1, settings: Settings{Disabled: true}})
	if got, _ := d.resolve(addr("postmaster@demo.test"), nil); recipients(got) != "boss" {
		t.Errorf("with a disabled postmaster account: %v", got)
	}
	d.apply(change{op: opSettings, id: 9})
	if got, _ := d.resolve(addr("postmaster@demo.test"), nil); recipients(got) != "postmaster" {
		t.Errorf("with a postmaster account: %v", got)
	}
	d.apply(change{op: opSettings, id: 5})
	d.apply(change{op: opAccountRemoved, id: 9})
	if _, err := d.resolve(addr("postmaster@demo.test"), nil); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("with no admin: %v", err)
	}
}

func TestResolve_limits(t *testing.T) {
	d := townDirectory()
	for i := range maxDepth + 1 { // chain0 -> chain1 -> … -> one
		next := "one@demo.test"
		if i < maxDepth {
			next = fmt.Sprintf("chain%d@demo.test", i+1)
		}
		d.apply(change{op: opAlias, address: addr(fmt.Sprintf("chain%d@demo.test", i)), targets: []message.Address{addr(next)}})
	}
	if _, err := d.resolve(addr("chain0@demo.test"), nil); !errors.Is(err, ErrTooManyTargets) {
		t.Errorf("chain of %d: %v", maxDepth+1, err)
	}
	if got, err := d.resolve(addr("chain1@demo.test"), nil); recipients(got) != "one" {
		t.Errorf("chain of %d: %v, %v", maxDepth, got, err)
	}
	// Three levels of the same wide alias: fan-out without many accounts.
	for i := range 3 {
		var targets []message.Address
		for j := range 20 {
			next := "one@demo.test"
			if i < 2 {
				next = fmt.Sprintf("wide%d+%d@demo.test", i+1, j)
			}
			targets = append(targets, addr(next))
		}
		d.apply(change{op: opAlias, address: addr(fmt.Sprintf("wide%d@demo.test", i)), targets: targets})
	}
	if _, err := d.resolve(addr("wide0@demo.test"), nil); !errors.Is(err, ErrTooManyTargets) {
		t.Errorf("fan-out: %v", err)
	}
	if got, err := d.resolve(addr("wide1@demo.test"), nil); recipients(got) != "one+0" || err != nil {
		t.Errorf("less fan-out: %v, %v", got, err)
	}
}
