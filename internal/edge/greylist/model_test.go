package greylist

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// model is the table in plain words: no bounds, no hashes, no shards.
type model struct {
	passed, accepted map[string]time.Time // pool → last seen
	waiting          []*modelWaiter
	lost, returned   int
}

type modelWaiter struct {
	names []string
	first time.Time
	last  time.Time
	back  bool
	taken bool
	held  map[string]*modelHeld
}

type modelHeld struct {
	first    time.Time
	attempts int
	passed   bool
}

func pools(s Sender) []string {
	site := netip.PrefixFrom(s.Addr, 24).Masked().String() + " " + heloDomain(s.Helo)
	if s.Pool == "" {
		return []string{site}
	}
	return []string{site, s.Pool}
}

func fresh(m map[string]time.Time, names []string, now time.Time) bool {
	for _, n := range names {
		if at, ok := m[n]; ok && now.Unix()/60-at.Unix()/60 < int64(keepDefault/time.Minute) {
			return true
		}
	}
	return false
}

func (m *model) find(s Sender) (w *modelWaiter, named bool) {
	names := pools(s)
	for i := range names {
		want := names[len(names)-1-i] + "|" + string(s.Domain) // by SPF first
		for _, w := range m.waiting {
			for _, n := range w.names {
				if n == want {
					if len(names) > len(w.names) {
						w.names = append(w.names, names[1]+"|"+string(s.Domain))
						return w, true
					}
					return w, false
				}
			}
		}
	}
	return nil, false
}

func (m *model) expire(now time.Time) {
	for len(m.waiting) > 0 && now.Sub(m.waiting[0].first) >= windowDefault {
		if !m.waiting[0].back {
			m.lost++
		}
		m.waiting = m.waiting[1:]
	}
}

func (m *model) check(s Sender, to string, now time.Time) Decision {
	m.expire(now)
	known := fresh(m.passed, pools(s), now) || fresh(m.accepted, pools(s), now)
	w, named := m.find(s)
	if w == nil {
		if known {
			return Decision{Pass: true, Attempts: 1}
		}
		w = &modelWaiter{first: now, held: map[string]*modelHeld{}}
		for _, p := range pools(s) {
			w.names = append(w.names, p+"|"+string(s.Domain))
		}
		m.waiting = append(m.waiting, w)
	}
	h := w.held[to]
	if named && !now.After(w.last) { // told again with its pool: nothing changes
		d := Decision{Pass: known || now.Sub(w.first) >= time.Minute, Attempts: 1}
		if h != nil {
			d.Attempts = h.attempts + 1
		}
		switch {
		case !d.Pass:
			d.First, d.Retry = w.first, w.first.Add(time.Minute)
		case h != nil:
			d.First, d.Waited = h.first, now.Sub(h.first)
		}
		return d
	}
	if known || now.Sub(w.first) >= time.Minute {
		if !w.back && (h != nil || !known) {
			w.back = true
			w.last = now
			m.returned++
		}
		for _, p := range pools(s) {
			if !known {
				m.passed[p] = now
			}
		}
		if h == nil {
			return Decision{Pass: true, Attempts: 1}
		}
		h.attempts++
		h.passed = true
		return Decision{Pass: true, First: h.first, Waited: now.Sub(h.first), Attempts: h.attempts}
	}
	if h == nil {
		h = &modelHeld{first: now}
		w.held[to] = h
	}
	h.attempts++
	w.last = now
	return Decision{First: w.first, Retry: w.first.Add(time.Minute), Attempts: h.attempts}
}

func (m *model) accept(s Sender, now time.Time) {
	for _, p := range append(pools(s), netip.PrefixFrom(s.Addr, 24).Masked().String()) {
		m.accepted[p] = now
	}
	w, _ := m.find(s)
	if w == nil {
		return
	}
	for to, h := range w.held {
		if h.passed {
			delete(w.held, to)
		}
	}
	w.taken = w.taken || w.back
	if w.taken && len(w.held) == 0 {
		for i := range m.waiting {
			if m.waiting[i] == w {
				m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
				break
			}
		}
	}
}

// Any order of attempts, messages, time and restarts does what the model does.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		disk := sim.NewDisk(1)
		if err := disk.MkdirAll("/data", 0o700); err != nil {
			r.Fatal(err)
		}
		tab := open(t, disk, on())
		m := &model{passed: map[string]time.Time{}, accepted: map[string]time.Time{}}
		now := start()
		sender := rapid.Custom(func(r *rapid.T) Sender {
			s := Sender{
				Addr:   netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "198.51.100.1"}).Draw(r, "addr")),
				Helo:   rapid.SampledFrom([]string{"a.one.test", "b.one.test", "two.test"}).Draw(r, "helo"),
				Domain: rapid.SampledFrom([]message.Domain{"one.test", "two.test", ""}).Draw(r, "domain"),
			}
			if rapid.Bool().Draw(r, "spf") {
				s.Pool = "spf:" + string(s.Domain)
			}
			return s
		})
		to := rapid.SampledFrom([]string{"one", "two"})
		r.Repeat(map[string]func(*rapid.T){
			"check": func(r *rapid.T) {
				s, to := sender.Draw(r, "sender"), to.Draw(r, "to")
				peeked := tab.Peek(s, message.Address{Local: to, Domain: "demo.test"}, now)
				got, want := tab.Check(s, message.Address{Local: to, Domain: "demo.test"}, now), m.check(s, to, now)
				if peeked != want {
					r.Fatalf("Peek(%+v, %s) = %+v, want %+v", s, to, peeked, want)
				}
				if got != want {
					r.Fatalf("Check(%+v, %s) = %+v, want %+v", s, to, got, want)
				}
			},
			"accept": func(r *rapid.T) {
				s := sender.Draw(r, "sender")
				tab.Accepted(s, now)
				m.accept(s, now)
			},
			"time": func(r *rapid.T) {
				now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 61 * 24 * time.Hour}).Draw(r, "time"))
			},
			"restart": func(r *rapid.T) {
				if err := tab.Close(); err != nil {
					r.Fatal(err)
				}
				tab = open(t, disk, on())
			},
			"": func(r *rapid.T) {
				s := sender.Draw(r, "sender")
				if got, want := tab.Known(s, now), fresh(m.accepted, pools(s), now); got != want {
					r.Fatalf("Known(%+v) = %v, want %v", s, got, want)
				}
				if got, want := tab.KnownAddr(s.Addr, now), fresh(m.accepted, []string{netip.PrefixFrom(s.Addr, 24).Masked().String()}, now); got != want {
					r.Fatalf("KnownAddr(%s) = %v, want %v", s.Addr, got, want)
				}
				m.expire(now)
				waiting := 0
				for _, w := range m.waiting {
					if !w.back {
						waiting++
					}
				}
				if got := tab.Report(now); got.Waiting != waiting || len(tab.tally.missing) != min(m.lost, listMax) {
					r.Fatalf("%d waiting, %d lost; want %d, %d", got.Waiting, len(tab.tally.missing), waiting, m.lost)
				}
			},
		})
	})
}
