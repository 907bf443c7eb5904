package restraint

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// house is a Restraint with a clock and people to write to.
type house struct {
	*Restraint
	t     testing.TB
	clock *sim.Clock
	disk  *sim.Disk
}

func newHouse(t testing.TB, o Options) *house {
	t.Helper()
	h := &house{t: t, clock: sim.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)), disk: sim.NewDisk(1)}
	h.open(o)
	return h
}

func (h *house) open(o Options) {
	h.t.Helper()
	o.Clock, o.Rand = h.clock, rand.NewChaCha8([32]byte{1})
	var err error
	if h.Restraint, err = Open(h.disk, "sent", o); err != nil {
		h.t.Fatal(err)
	}
}

func person(kind string, n int) message.Address {
	return message.Address{Local: fmt.Sprintf("%s%d", kind, n), Domain: "example.org"}
}

func people(kind string, from, n int) []message.Address {
	out := make([]message.Address, n)
	for i := range out {
		out[i] = person(kind, from+i)
	}
	return out
}

// send sends one message and returns how many recipients it has, and what
// stopped it.
func (h *house) send(s Sender, to []message.Address) (int, Answer) {
	for i, a := range to {
		if v := h.Recipient(s, a, false); v.Verdict != Allow {
			return i, v
		}
	}
	if v := h.Message(s, to); v.Verdict != Allow {
		return 0, v
	}
	return len(to), Answer{}
}

// seen has an account write to somebody of ours from an address.
func (h *house) seen(id account.ID, from string) {
	h.t.Helper()
	if a := h.Recipient(Sender{Account: id, IP: netip.MustParseAddr(from)}, person("colleague", 1), true); a.Verdict != Allow {
		h.t.Fatalf("%+v", a)
	}
}

// live has an ordinary person write for some days: a few messages a working
// day to people they know, and now and then to a new one.
func (h *house) live(s Sender, days int) {
	h.t.Helper()
	rng := rand.New(rand.NewPCG(uint64(s.Account), 7))
	met := 10
	for range days {
		start := h.clock.Now()
		for range 12 {
			h.clock.Advance(30 * time.Minute)
			n := 1 + rng.IntN(3)
			to := make([]message.Address, n)
			for i := range to {
				to[i] = person("friend", rng.IntN(met))
			}
			if rng.IntN(6) == 0 {
				met++
			}
			if got, a := h.send(s, to); got != n {
				h.t.Fatalf("an ordinary day: %+v", a)
			}
		}
		h.clock.Advance(start.Add(24 * time.Hour).Sub(h.clock.Now()))
	}
}

// steal has a thief send 5,000 messages, pausing between them, and returns how
// many recipients got one before the account was held; whoever is told to come
// back later does.
func (h *house) steal(s Sender, per int, pause time.Duration) (left int, why Answer) {
	for n := range 5000 {
		got, a := h.send(s, people("victim", n*per, per))
		switch a.Verdict {
		case Hold:
			return left, a
		case Limit:
			h.clock.Advance(a.Until.Sub(h.clock.Now()))
		}
		left += got
		h.clock.Advance(pause)
	}
	return left, Answer{}
}

func TestThief_isHeld(t *testing.T) {
	for _, life := range []int{0, 1, 60, 365} {
		for _, per := range []int{1, 2, 50, 99} {
			for _, pause := range []time.Duration{
				0, 10 * time.Millisecond, time.Second, time.Minute, 10 * time.Minute, 30 * time.Minute, 45 * time.Minute, time.Hour, 2 * time.Hour,
			} {
				if per == 1 && pause > time.Hour {
					continue // 12 a day: as anybody may
				}
				h := newHouse(t, Options{})
				s := Sender{Account: 7}
				h.live(s, life)
				left, why := h.steal(s, per, pause)
				if why.Verdict != Hold || left >= 200 {
					t.Errorf("after %d days, %d recipients a message, every %s: %d have left, then %+v", life, per, pause, left, why)
				}
			}
		}
	}
}

func TestThief_reason(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7}
	h.live(s, 60)
	h.clock.Advance(9 * time.Hour)
	_, why := h.steal(s, 1, 3*time.Second)
	for _, part := range []string{" recipients in ", "minutes, ", " never written to before; usual is ", " an hour"} {
		if !strings.Contains(why.Reason, part) {
			t.Errorf("%q lacks %q", why.Reason, part)
		}
	}
	t.Log(why.Reason)
	if r := why.Reply(); r.Code != 450 || !strings.Contains(r.Text, why.Reason) {
		t.Errorf("reply %v", r)
	}
	h = newHouse(t, Options{})
	h.live(s, 60)
	if _, why := h.steal(s, 1, 40*time.Minute); !strings.Contains(why.Reason, " days, 1") || !strings.HasSuffix(why.Reason, "usual is 25 a day") {
		t.Errorf("slowly: %q", why.Reason)
	}
	h = newHouse(t, Options{})
	if _, why := h.steal(s, 50, time.Second); why.Reason != "121 recipients in 2 seconds, 121 never written to before; it has sent hardly anything before" {
		t.Errorf("a new account: %q", why.Reason)
	}
}

// Held stays held until it is released, and then the store is full.
func TestReleased(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7}
	if _, why := h.steal(s, 1, 0); why.Verdict != Hold {
		t.Fatal(why)
	}
	if a := h.Recipient(s, person("other", 1), false); a.Verdict != Hold {
		t.Errorf("once more: %+v", a)
	}
	h.Released(7)
	if n, a := h.send(s, people("other", 0, 50)); n != 50 {
		t.Errorf("after the release: %+v", a)
	}
}

// Repeating oneself to a few strangers at machine pace is held too.
func TestFlood(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7}
	for n := range 199 {
		got, a := h.send(s, people("victim", 0, 1))
		if got == 1 {
			h.clock.Advance(time.Second)
			continue
		}
		if a.Verdict != Hold || n != floodMessages || !strings.Contains(a.Reason, "151 messages within an hour") {
			t.Errorf("message %d: %+v", n, a)
		}
		return
	}
	t.Error("199 messages went")
}

// meet has an account write to some new people every day.
func (h *house) meet(s Sender, days, a int) (n, want int, _ Answer) {
	for day := range days {
		for i := range a {
			k, why := h.send(s, people("customer", day*a+i, 1))
			if n += k; k != 1 {
				return n, days * a, why
			}
			h.clock.Advance(time.Hour)
		}
		h.clock.Advance(24*time.Hour - time.Duration(a)*time.Hour)
	}
	return n, days * a, Answer{}
}

// firstDay has the owner of a new account tell everybody of it, in small groups.
func (h *house) firstDay(s Sender) (n, want int, _ Answer) {
	for i := range 40 {
		h.clock.Advance(12 * time.Minute)
		k, why := h.send(s, append(people("friend", i*2, 2), person("friend", i/2)))
		if n += k; k != 3 {
			return n, 120, why
		}
	}
	return n, 120, Answer{}
}

// storm has somebody answer all of a large group again and again.
func (h *house) storm(s Sender) (n, want int, _ Answer) {
	h.live(s, 30)
	all := append(people("friend", 0, 10), people("colleague", 0, 35)...)
	for range 10 {
		h.clock.Advance(3 * time.Minute)
		k, why := h.send(s, all)
		if n += k; k != len(all) {
			return n, 450, why
		}
	}
	return n, 450, Answer{}
}

// TestHonest has people do what looks bad and is not.
func TestHonest(t *testing.T) {
	s := Sender{Account: 7}
	for name, do := range map[string]func(h *house) (n, want int, a Answer){
		"an invitation to 60, mostly known": func(h *house) (int, int, Answer) {
			h.live(s, 60)
			n, a := h.send(s, append(people("friend", 0, 40), people("guest", 0, 20)...))
			return n, 60, a
		},
		"an invitation to 110 who are new": func(h *house) (int, int, Answer) {
			h.live(s, 60)
			n, a := h.send(s, people("guest", 0, 110))
			return n, 110, a
		},
		"a new account's first day": func(h *house) (int, int, Answer) { return h.firstDay(s) },
		"a reply storm":             func(h *house) (int, int, Answer) { return h.storm(s) },
		"a support desk": func(h *house) (int, int, Answer) {
			h.send(s, people("friend", 0, 1))
			for i := range 30 * 40 {
				h.Heard(7, person("asker", i))
				if i >= 20 {
					if n, a := h.send(s, people("asker", i-20, 1)); n != 1 {
						return i, 1200, a
					}
				}
				h.clock.Advance(48 * time.Minute)
			}
			return 1200, 1200, Answer{}
		},
		"eight new people every working day":   func(h *house) (int, int, Answer) { return h.meet(s, 120, 8) },
		"fourteen a day from the first day on": func(h *house) (int, int, Answer) { return h.meet(s, 120, 14) },
		"a script that mails one place every minute": func(h *house) (n int, _ int, a Answer) {
			for range 2000 {
				h.clock.Advance(time.Minute)
				k, why := h.send(s, people("log", 0, 1))
				if n += k; k != 1 {
					return n, 2000, why
				}
			}
			return n, 2000, Answer{}
		},
		"a traveller": func(h *house) (n int, _ int, a Answer) {
			h.live(s, 30)
			for i := range 4 {
				h.seen(7, fmt.Sprintf("192.0.%d.1", i))
			}
			n, a = h.send(s, people("guest", 0, 60))
			return n, 60, a
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{})
			if n, want, a := do(h); n != want || a.Verdict != Allow {
				t.Errorf("%d of %d, then %+v", n, want, a)
			}
		})
	}
}

// A newsletter goes to 800 people every month, each by a message of its own;
// the operator has raised the limit. When its password is stolen, strangers
// are noticed all the same.
func TestNewsletter(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7, Hour: 1000, Day: 2500}
	for month := range 6 {
		for i, to := range people("reader", 0, 800+10*month) {
			if n, a := h.send(s, []message.Address{to}); n != 1 {
				t.Fatalf("month %d, reader %d: %+v", month, i, a)
			}
			h.clock.Advance(2 * time.Second)
		}
		h.clock.Advance(30 * 24 * time.Hour)
	}
	left, why := h.steal(s, 50, time.Second)
	if why.Verdict != Hold || left > 430 {
		t.Errorf("%d have left, then %+v", left, why)
	}
}

// TestNewsletter_overDays: a list that takes longer than the day's limit.
func TestNewsletter_overDays(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7, Day: 5000}
	for i, to := range people("reader", 0, 3000) {
		n, a := h.send(s, []message.Address{to})
		if a.Verdict == Limit {
			h.clock.Advance(a.Until.Sub(h.clock.Now()))
			n, a = h.send(s, []message.Address{to})
		}
		if n != 1 {
			t.Fatalf("reader %d: %+v", i, a)
		}
	}
}

func TestBounces(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7, Hour: 5000, Day: 5000}
	if a := h.Bounced(7); a.Verdict != Allow {
		t.Errorf("nobody's: %+v", a)
	}
	h.send(s, people("reader", 0, 1000))
	for range 19 {
		h.Relayed(7)
		if a := h.Bounced(7); a.Verdict != Allow {
			t.Fatalf("too early: %+v", a)
		}
	}
	h.Relayed(7)
	if a := h.Bounced(7); a.Verdict != Hold || a.Reason != "20 of the last 40 recipients were refused for good" {
		t.Errorf("half of them: %+v", a)
	}
	for range resultsMax {
		h.Relayed(7)
	}
	for i := range 200 { // a tenth
		if i%10 == 0 {
			if a := h.Bounced(7); a.Verdict != Allow {
				t.Fatalf("a tenth: %+v", a)
			}
		}
		h.Relayed(7)
	}
	for range 19 {
		h.Bounced(7)
	}
	h.clock.Advance(resultsKeep + time.Second)
	if a := h.Bounced(7); a.Verdict != Allow {
		t.Errorf("a week later: %+v", a)
	}
}

// Many networks, or bounces, leave less of the store.
func TestSignsThatAddUp(t *testing.T) {
	s := Sender{Account: 7}
	h := newHouse(t, Options{})
	h.live(s, 30)
	for i := range 20 {
		h.seen(7, fmt.Sprintf("2001:db8:%x::1", i))
		h.seen(7, fmt.Sprintf("2001:db8:%x:ffff::2", i))
	}
	if n := h.Standing(s).Networks; n != 20 {
		t.Errorf("%d networks", n)
	}
	left, why := h.steal(s, 1, 0)
	if left > 33 || !strings.Contains(why.Reason, "from 20 networks within an hour") {
		t.Errorf("from everywhere: %d, %+v", left, why)
	}
	h = newHouse(t, Options{})
	h.live(s, 30)
	for range 8 {
		h.Relayed(7)
		h.Relayed(7)
		h.Bounced(7)
	}
	if left, why := h.steal(s, 1, 0); left > 60 || why.Verdict != Hold {
		t.Errorf("with bounces: %d, %+v", left, why)
	}
}

func TestLimits(t *testing.T) {
	h := newHouse(t, Options{Hour: 20, Day: 50})
	s := Sender{Account: 7}
	start := h.clock.Now()
	for range 3 {
		for range 100 {
			a := h.Recipient(s, person("friend", 0), false)
			if a.Verdict == Limit {
				if a.Until.Before(h.clock.Now().Add(50*time.Minute)) || a.Until.After(h.clock.Now().Add(25*time.Hour)) {
					t.Errorf("at %s until %s", h.clock.Now(), a.Until)
				}
				if r := a.Reply(); r.Code != 450 || r.Enhanced != "4.7.1" || !strings.Contains(r.Text, a.Until.Format("15:04")) {
					t.Errorf("reply %v", r)
				}
				h.clock.Advance(a.Until.Sub(h.clock.Now()))
				break
			}
		}
	}
	if got := h.clock.Now().Sub(start); got < 24*time.Hour || got > 26*time.Hour {
		t.Errorf("50 took %s", got)
	}
	if a := h.Recipient(s, person("friend", 0), true); a.Verdict != Allow {
		t.Errorf("when the limit ended: %+v", a)
	}
	if a := h.Recipient(Sender{Account: 8, Hour: 2}, person("friend", 0), true); a.Verdict != Allow {
		t.Error(a)
	}
	h.Recipient(Sender{Account: 8, Hour: 2}, person("friend", 0), true)
	if a := h.Recipient(Sender{Account: 8, Hour: 2}, person("friend", 0), true); a.Verdict != Limit {
		t.Errorf("its own limit: %+v", a)
	}
	h.Withdrawn(Sender{Account: 8}, 1)
	if a := h.Recipient(Sender{Account: 8, Hour: 2}, person("friend", 0), true); a.Verdict != Allow {
		t.Errorf("after one was withdrawn: %+v", a)
	}
}

// A thief who first writes to the account in his victims' names gets out more,
// and not much more.
func TestThief_forgesSenders(t *testing.T) {
	h := newHouse(t, Options{Day: 5000})
	s := Sender{Account: 7}
	h.Heard(7, person("victim", 0)) // it has not sent yet: nothing is remembered
	if len(h.books) != 0 {
		t.Error("a book of an account that does not send")
	}
	h.live(s, 1)
	sent := 0
	for n := range 5000 {
		h.Heard(7, person("victim", n))
		k, a := h.send(s, people("victim", n, 1))
		if sent += k; a.Verdict == Hold {
			break
		}
		h.clock.Advance(10 * time.Second)
	}
	if sent > 6*strangersBase {
		t.Errorf("%d have left", sent)
	}
}

// Those of ours are no strangers.
func TestLocal(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7}
	for i := range 300 {
		if a := h.Recipient(s, person("colleague", i), true); a.Verdict != Allow {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if st := h.Standing(s); st.Hour != 300 || st.Day != 300 || st.Strangers != 0 || st.Room != 120 || st.HourLimit != 500 || st.DayLimit != 2000 {
		t.Errorf("%+v", st)
	}
}

// Memory is bounded, and who has sent lately is not forgotten for others.
func TestBounds(t *testing.T) {
	h := newHouse(t, Options{MaxAccounts: 10, MaxKnown: 200})
	for id := range account.ID(100) {
		s := Sender{Account: id + 1}
		h.send(s, people("friend", 0, 30))
		h.send(Sender{Account: 1000}, people("friend", 0, 5))
		if len(h.books) > 10 || h.names > 200 {
			t.Fatalf("%d books, %d names", len(h.books), h.names)
		}
	}
	if h.books[1000] == nil || h.books[100] == nil {
		t.Error("the newest are forgotten")
	}
	sum := 0
	for _, b := range h.books {
		sum += len(b.known) + len(b.heard)
	}
	if sum != h.names {
		t.Errorf("%d names are counted, there are %d", h.names, sum)
	}
	h = newHouse(t, Options{})
	s := Sender{Account: 1, Hour: 1 << 20, Day: 1 << 20}
	h.send(s, people("friend", 0, knownMax+100))
	if n := h.Standing(s).Known; n != knownMax {
		t.Errorf("%d known", n)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Hour: -1}, {MaxKnown: namesMost + 1}, {MaxAccounts: accountsMost + 1}} {
		if _, err := Open(sim.NewDisk(1), "sent", o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// TestLimitsOnly_neverHolds: an operator may want the limits and no guesses.
func TestLimitsOnly_neverHolds(t *testing.T) {
	clock := sim.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	r, err := Open(sim.NewDisk(1), "/senders", Options{Hour: 1000, Day: 1000, LimitsOnly: true, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	held := Sender{Account: 1}
	for i := range 1001 {
		to := message.Address{Local: fmt.Sprintf("someone%d", i), Domain: "example.org"}
		want := Allow
		if i == 1000 {
			want = Limit
		}
		if a := r.Recipient(held, to, false); a.Verdict != want {
			t.Fatalf("recipient %d: %+v", i, a)
		}
		if a := r.Message(held, []message.Address{to}); a.Verdict != Allow {
			t.Fatalf("message %d: %+v", i, a)
		}
		if a := r.Bounced(1); a.Verdict != Allow {
			t.Fatalf("bounce %d: %+v", i, a)
		}
	}
}

// BenchmarkRecipient is one RCPT of an account that knows as many as it may.
func BenchmarkRecipient(b *testing.B) {
	h := newHouse(b, Options{Hour: 1 << 29, Day: 1 << 29})
	s := Sender{Account: 7, Hour: 1 << 30}
	to := people("friend", 0, knownMax)
	h.send(s, to)
	i := 0
	for b.Loop() {
		if a := h.Recipient(s, to[i%len(to)], false); a.Verdict != Allow {
			b.Fatal(a)
		}
		i += 37
	}
}

// TestStrange: of whom it knows, and of accounts that send nothing, nothing need be
// found out.
func TestStrange(t *testing.T) {
	h := newHouse(t, Options{})
	h.send(Sender{Account: 7}, people("friend", 0, 1))
	h.Heard(7, person("asker", 0))
	for who, want := range map[message.Address]bool{person("friend", 0): false, person("asker", 0): false, person("friend", 1): true} {
		if got := h.Strange(7, who); got != want {
			t.Errorf("%s: %t", who, got)
		}
		if h.Strange(8, who) {
			t.Errorf("%s is strange to an account that sends nothing", who)
		}
	}
}
