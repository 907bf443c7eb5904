package restraint

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

func at(id account.ID, ip string) Sender { return Sender{Account: id, IP: netip.MustParseAddr(ip)} }

// One program with many passwords sends from one network: what all of them
// together may send has an end, whatever each of them may.
func TestSite_limits(t *testing.T) {
	o := Options{Hour: 30, Day: 100, NetworkHour: 100, NetworkDay: 150, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}}
	for _, c := range []struct {
		name string
		ip   func(n int) string
		want int
	}{
		{"one address", func(int) string { return "192.0.2.1" }, 100},
		{"its neighbours", func(n int) string { return fmt.Sprintf("192.0.2.%d", 1+n%250) }, 100},
		{"IPv4 in IPv6", func(n int) string { return fmt.Sprintf("::ffff:192.0.2.%d", 1+n%250) }, 100},
		{"one customer", func(n int) string { return fmt.Sprintf("2001:db8:1:%x::1", n) }, 100},
		{"many customers", func(n int) string { return fmt.Sprintf("2001:db8:%x::1", n/30) }, 600},
		{"an exempt address", func(int) string { return "198.51.100.7" }, 600},
		{"its neighbour", func(int) string { return "198.51.100.8" }, 100},
		{"this host", func(n int) string { return fmt.Sprintf("127.0.0.%d", 1+n%250) }, 600},
		{"this host, IPv6", func(int) string { return "::1" }, 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, o)
			sent, last := 0, Answer{}
			for n := range 600 {
				s := at(account.ID(1+n/30), c.ip(n))
				a := h.Recipient(s, person("friend", n%3), false)
				if a.Verdict == Allow {
					sent++
				} else if last == (Answer{}) {
					last = a
				}
			}
			if sent != c.want {
				t.Errorf("%d recipients, want %d", sent, c.want)
			}
			if c.want == 600 {
				return
			}
			for _, part := range []string{"The limit of the network ", ", 100 recipients an hour from all accounts, is reached; it can send again after 2026-11-02 10:05 UTC"} {
				if !strings.Contains(last.Reason, part) || last.Verdict != Limit || last.Reply().Code != 450 {
					t.Errorf("%+v lacks %q", last, part)
				}
			}
		})
	}
}

// What is over in an hour is over, and then the day's limit counts; both are
// remembered over a restart, and what was withdrawn counts for neither.
func TestSite_limitsEnd(t *testing.T) {
	h := newHouse(t, Options{Hour: 1000, Day: 1000, NetworkHour: 10, NetworkDay: 15})
	s := at(1, "192.0.2.1")
	fill := func(want int) Answer {
		t.Helper()
		for n := 0; ; n++ {
			if a := h.Recipient(s, person("friend", 1), false); a.Verdict != Allow {
				if n != want {
					t.Errorf("%d recipients, then %+v; want %d", n, a, want)
				}
				return a
			}
		}
	}
	fill(10)
	h.Withdrawn(s, 4)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(Options{Hour: 1000, Day: 1000, NetworkHour: 10, NetworkDay: 15})
	a := fill(4)
	h.clock.Advance(a.Until.Sub(h.clock.Now()))
	a = fill(5)
	if !strings.Contains(a.Reason, "15 recipients a day") {
		t.Errorf("%+v", a)
	}
	h.clock.Advance(a.Until.Sub(h.clock.Now()))
	fill(10)
}

// An account whose limit the operator raised has that limit, wherever it is.
func TestSite_raised(t *testing.T) {
	h := newHouse(t, Options{Hour: 10, Day: 20})
	list := at(1, "192.0.2.1")
	list.Hour, list.Day = 500, 500
	for n := range 500 {
		if a := h.Recipient(list, person("reader", n), false); a.Verdict != Allow {
			t.Fatalf("reader %d: %+v", n, a)
		}
	}
	if a := h.Recipient(at(2, "192.0.2.2"), person("friend", 1), false); a.Verdict != Allow {
		t.Errorf("its neighbour: %+v", a)
	}
	if n := h.Networks(); len(n) != 1 || n[0].Hour != 1 || n[0].HourLimit != 100 || n[0].DayLimit != 200 {
		t.Errorf("%+v", n)
	}
}

// town has people who have written for a while, each from a place of their own.
func town(t *testing.T, o Options, accounts int) *house {
	t.Helper()
	h := newHouse(t, o)
	for day := range 3 {
		for id := range accounts {
			s := at(account.ID(1+id), fmt.Sprintf("10.0.%d.1", id))
			if n, a := h.send(s, people("friend", day, 3)); n != 3 {
				t.Fatal(a)
			}
		}
		h.clock.Advance(24 * time.Hour)
	}
	return h
}

// raid has a thief write with each password in turn from one network, and tells
// how many strangers got something and how many accounts are held.
func (h *house) raid(ip string, accounts int) (left, held int, why Answer) {
	out := map[int]bool{}
	for n := range 200 {
		for id := range accounts {
			if out[id] {
				continue
			}
			k, a := h.send(at(account.ID(1+id), ip), people("victim", 1000*id+n, 1))
			left += k
			if a.Verdict == Hold {
				out[id], why = true, a
			}
		}
		h.clock.Advance(time.Second)
	}
	return left, len(out), why
}

// A program with many stolen passwords gets out hardly more with all of them
// than it would with one.
func TestSite_crowd(t *testing.T) {
	for _, accounts := range []int{crowdAccounts, 20, 60, 2*newcomersMax + 50} {
		h := town(t, Options{}, accounts)
		left, held, why := h.raid("192.0.2.1", accounts)
		if held != accounts || left > max(200, crowdStrangers*accounts) {
			t.Errorf("%d accounts: %d have left, %d are held", accounts, left, held)
		}
		if !strings.Contains(why.Reason, " accounts that began to send from 192.0.2.0/24 within a day") {
			t.Errorf("%+v", why)
		}
		n := h.Networks()
		if len(n) == 0 || n[0].Network.String() != "192.0.2.0/24" || !n[0].Crowded || len(n[0].Newcomers) < crowdAccounts {
			t.Errorf("%+v", n[0])
		}
		t.Logf("%d accounts: %d have left", accounts, left)
	}
}

func TestSite_noCrowd(t *testing.T) {
	const n = 20
	for name, c := range map[string]struct {
		o    Options
		do   func(h *house)
		ip   string
		over int // that are not in it
	}{
		"each at home":       {do: func(*house) {}, ip: "", over: 0},
		"an exempt network":  {o: Options{Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")}}, ip: "192.0.2.1"},
		"this host":          {ip: "127.0.0.1"},
		"four are no crowd":  {ip: "192.0.2.1", over: n - crowdAccounts + 1},
		"since half a day":   {ip: "192.0.2.1", do: func(h *house) { h.arrive(n, "192.0.2.1"); h.clock.Advance(newFor) }},
		"holding is off":     {o: Options{LimitsOnly: true}, ip: "192.0.2.1"},
		"nobody knows more":  {ip: "192.0.2.1", do: func(h *house) { h.open(Options{}); h.clock.Advance(time.Hour) }},
		"none, address lost": {ip: "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			h := town(t, c.o, n)
			if c.do != nil {
				c.do(h)
			}
			for id := range n - c.over {
				s := Sender{Account: account.ID(1 + id)}
				switch c.ip {
				case "":
					s = at(s.Account, fmt.Sprintf("10.0.%d.9", id))
				case "invalid":
				default:
					s = at(s.Account, c.ip)
				}
				if k, a := h.send(s, people("guest", 100*id, 60)); k != 60 {
					t.Fatalf("account %d: %d, %+v", id, k, a)
				}
			}
			for _, k := range h.Networks() {
				if k.Crowded && !c.o.LimitsOnly {
					t.Errorf("%+v", k)
				}
			}
		})
	}
}

// arrive has accounts write to colleagues from a place.
func (h *house) arrive(n int, ip string) {
	for id := range n {
		h.seen(account.ID(1+id), ip)
	}
}

// A memory that has just begun knows nobody, and suspects nobody for that. After
// a while an account that never sent anything is a newcomer like any other.
func TestSite_learns(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		held bool
	}{{0, false}, {learnFor, true}} {
		h := newHouse(t, Options{})
		h.clock.Advance(c.age)
		_, held, _ := h.raid("192.0.2.1", 10)
		left := h.Networks()[0]
		if left.Crowded != c.held || held != 10 { // for the strangers of each alone
			t.Errorf("after %s: %+v, %d held", c.age, left, held)
		}
	}
}

// Who is released is no newcomer any more.
func TestSite_released(t *testing.T) {
	h := town(t, Options{}, 10)
	h.raid("192.0.2.1", 10)
	for id := range 10 {
		h.Released(account.ID(1 + id))
	}
	if n := h.Networks()[0]; n.Crowded || len(n.Newcomers) > 0 {
		t.Errorf("%+v", n)
	}
}

// The networks of a day are bounded, and those that are idle are forgotten.
func TestSite_bounded(t *testing.T) {
	h := newHouse(t, Options{})
	for n := range sitesMax + 50 { // in a bit more than a day
		h.seen(account.ID(1+n%10), fmt.Sprintf("2001:db8:%x::1", n))
		h.clock.Advance(10 * time.Second)
	}
	if len(h.sites) > sitesMax {
		t.Errorf("%d networks", len(h.sites))
	}
	if h.sites[netip.MustParsePrefix("2001:db8::/48")] != nil {
		t.Error("the one used longest ago is there")
	}
	h.clock.Advance(3 * 24 * time.Hour)
	if n := h.Networks(); len(n) != 0 {
		t.Errorf("%d networks are shown", len(n))
	}
}

// What is known of networks is the same after a restart.
func TestSite_kept(t *testing.T) {
	h := town(t, Options{}, 8)
	h.raid("2001:db8::1", 8)
	before := h.Networks()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(Options{})
	if after := h.Networks(); !reflect.DeepEqual(before, after) || h.born == 0 {
		t.Errorf("%+v\n%+v, begun at %d", before, after, h.born)
	}
}

// Who comes to where a crowd is, and has written to many during the days
// before, is no part of it for that.
func TestSite_traveller(t *testing.T) {
	const traveller, crowd = 1, 10
	h := town(t, Options{}, crowd)
	home := at(traveller, "10.0.0.1")
	hear := func(from, n int) []message.Address {
		asked := people("asker", from, n)
		for _, a := range asked {
			h.Heard(traveller, a)
		}
		return asked
	}
	for day := range 5 {
		if n, a := h.send(home, append(people("customer", 10*day, 10), hear(30*day, 30)...)); n != 40 {
			t.Fatal(a)
		}
		h.clock.Advance(24 * time.Hour)
	}
	for id := traveller + 1; id <= crowd; id++ {
		h.send(at(account.ID(id), "192.0.2.1"), people("victim", 1000*id, crowdStrangers))
	}
	if n := h.Networks()[0]; !n.Crowded {
		t.Fatalf("%+v", n)
	}
	if n, a := h.send(at(traveller, "192.0.2.2"), append(people("host", 0, crowdStrangers), hear(1000, 60)...)); n != crowdStrangers+60 {
		t.Errorf("after %d: %+v", n, a)
	}
	if n, a := h.send(at(traveller, "192.0.2.2"), people("victim", 0, 40)); a.Verdict != Hold || n > 20 {
		t.Errorf("what the crowd does, it may: %d, %+v", n, a)
	}
}
