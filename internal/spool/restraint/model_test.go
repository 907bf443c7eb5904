package restraint

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// TestProperties does random things to two restraints, one of which is written
// and read again now and then: they always say the same, their memory stays
// within its bounds, and no more than a limit is allowed in its time.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Hour: 40, Day: 120, MaxAccounts: 3, MaxKnown: 300}
		a, b := newHouse(t, o), newHouse(t, o)
		var all []sent
		forgotten := false // somebody, and how much he has sent
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			id := account.ID(rapid.IntRange(1, 4).Draw(rt, "account"))
			s := Sender{Account: id, IP: netip.AddrFrom4([4]byte{192, 0, 2 + byte(id)%2, byte(id)})}
			n := rapid.IntRange(0, 60).Draw(rt, "n")
			switch rapid.IntRange(0, 7).Draw(rt, "what") {
			case 0, 1, 2:
				to := people("friend", rapid.IntRange(0, 200).Draw(rt, "from"), n)
				for _, p := range to {
					x, y := a.Recipient(s, p, n%5 == 0), b.Recipient(s, p, n%5 == 0)
					if x != y {
						rt.Fatalf("%+v, and after a restart %+v", x, y)
					}
					if x.Verdict == Allow {
						all = append(all, sent{id, a.clock.Now()})
					}
				}
				if x, y := a.Message(s, to), b.Message(s, to); x != y {
					rt.Fatalf("message: %+v, and after a restart %+v", x, y)
				}
			case 3:
				for range n {
					if x, y := a.Bounced(id), b.Bounced(id); x != y {
						rt.Fatalf("bounce: %+v, and after a restart %+v", x, y)
					}
				}
				for _, p := range people("friend", n, n) {
					a.Heard(id, p)
					b.Heard(id, p)
				}
			case 4:
				a.Released(id)
				b.Released(id)
			case 5, 6:
				d := time.Duration(rapid.IntRange(0, 200_000).Draw(rt, "seconds")) * time.Second
				if n%2 == 0 {
					d /= 100
				}
				a.clock.Advance(d)
				b.clock.Advance(d)
			case 7:
				if err := b.Close(); err != nil {
					rt.Fatal(err)
				}
				b.open(o)
			}
			for _, k := range all {
				forgotten = forgotten || a.books[k.id] == nil
			}
			if len(a.books) > 3 || a.names > 300+knownMax || !reflect.DeepEqual(a.Standing(s), b.Standing(s)) {
				rt.Fatalf("%d books, %d names, %+v and %+v", len(a.books), a.names, a.Standing(s), b.Standing(s))
			}
		}
		if !forgotten {
			withinLimit(rt, all)
		}
	})
}

// sent is one recipient that was allowed.
type sent struct {
	id account.ID
	at time.Time
}

// withinLimit fails if an account sent to more than 40 in any hour.
func withinLimit(t *rapid.T, all []sent) {
	for i, first := range all {
		n := 0
		for _, x := range all[i:] {
			if x.id == first.id && x.at.Sub(first.at) < time.Hour {
				n++
			}
		}
		if n > 40 {
			t.Fatalf("%d recipients of account %d within an hour", n, first.id)
		}
	}
}

// TestWindow holds a window against a list of times: nothing leaves it early,
// nothing late by more than a step, and below says when there is room.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := window{period: rapid.SampledFrom([]period{hourly, daily, weekly}).Draw(rt, "period")}
		span, step := time.Hour, 5*time.Minute
		switch w.period {
		case daily:
			span, step = 24*time.Hour, time.Hour
		case weekly:
			span, step = 7*24*time.Hour, 24*time.Hour
		}
		now := time.Unix(1790000000, 0)
		var all []time.Time
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, int(span/time.Second)/4).Draw(rt, "pause")) * time.Second)
			w.add(now, 1)
			all = append(all, now)
			least, most := 0, 0
			for _, at := range all {
				if now.Sub(at) < span {
					least++
				}
				if now.Sub(at) < span+step {
					most++
				}
			}
			if n := w.sum(now); n < least || n > most {
				rt.Fatalf("%d, should be %d to %d", n, least, most)
			}
			limit := rapid.IntRange(1, w.sum(now)).Draw(rt, "limit")
			until := w.below(now, limit)
			before, then := w, w
			if before.sum(until.Add(-time.Second)) < limit || then.sum(until) >= limit {
				rt.Fatalf("below %d at %s: %d before, %d then", limit, until, before.sum(until.Add(-time.Second)), then.sum(until))
			}
		}
		w.take(now, len(all)+5)
		if n := w.sum(now); n != 0 {
			rt.Fatalf("%d after all was taken", n)
		}
	})
}

// FuzzDecode: whatever is read is refused, or written again as it was, and
// whoever goes on with it does not break.
func FuzzDecode(f *testing.F) {
	h := newHouse(f, Options{})
	h.send(at(7, "192.0.2.1"), people("friend", 0, 5))
	h.mu.Lock()
	good := h.encode()
	h.mu.Unlock()
	f.Add(good[headLen:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealed(body)
		s, err := decode(b)
		if err != nil {
			return
		}
		h := newHouse(t, Options{})
		if err := h.file.Replace(b); err != nil {
			t.Fatal(err)
		}
		h.open(Options{})
		if len(s.books) > 0 {
			sender := at(s.books[0].id, "192.0.2.1")
			h.send(sender, people("friend", 0, 5))
			h.Bounced(sender.Account)
			h.Standing(sender)
		}
		for _, n := range s.sites {
			h.Recipient(Sender{Account: 1, IP: n.network.Addr()}, person("friend", 1), false)
		}
		h.Networks()
		h.mu.Lock()
		again, err := decode(h.encode())
		h.mu.Unlock()
		if err != nil || len(again.books) < len(s.books) || len(again.sites) < len(s.sites) {
			t.Fatalf("%d books become %d, %v", len(s.books), len(again.books), err)
		}
	})
}

// sealed puts a head before a body.
func sealed(body []byte) []byte {
	b := append(make([]byte, headLen), body...)
	copy(b, magic)
	b[len(magic)] = formatVersion
	return reseal(b)
}

func TestEncode_isRead(t *testing.T) {
	h := newHouse(t, Options{})
	for id := range account.ID(5) {
		s := Sender{Account: id + 1}
		h.live(s, 3)
		h.seen(id+1, "192.0.2.1")
		h.Bounced(id + 1)
		h.Heard(id+1, person("asker", 1))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.encode()
	s, err := decode(b)
	if err != nil || len(s.books) != 5 || s.secret != h.secret {
		t.Fatal(err)
	}
	for _, k := range s.books {
		want := *h.books[k.id]
		want.prev, want.next = nil, nil
		if !reflect.DeepEqual(*k, want) {
			t.Errorf("account %d:\n%+v\n%+v", k.id, *k, want)
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if i >= len(magic)+2 && i < len(magic)+4 {
			continue // the octets that mean nothing
		}
		if _, err := decode(bad); err == nil {
			t.Fatalf("octet %d was changed, and nobody noticed", i)
		}
	}
}
