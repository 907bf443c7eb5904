package dnsbl

import (
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

// How a list does; all but OK are ignored.
const (
	OK       = "ok"
	Silent   = "silent"   // does not answer, or too late
	Poisoned = "poisoned" // lists 127.0.0.1, or answers what no list answers
	Refusing = "refusing" // does not want to answer us
)

const (
	// freshMax is how old the test of a zone may be by which a hit is believed:
	// so long can a zone that begins to list everybody do harm.
	freshMax = 10 * time.Second
	// missesMax in a row within no less than silenceMax make a zone silent: a
	// lost packet does not, nor does a resolver that restarts.
	missesMax  = 8
	silenceMax = 5 * time.Second
	// retestMin and retestMax are how often an ignored zone is tested: the gap
	// doubles when it falls ill again within relapse.
	retestMin = 15 * time.Second
	retestMax = 5 * time.Minute
	relapse   = 10 * time.Minute
	// testWait is how long a test may run until another is made; every resolver
	// has given up by then.
	testWait = 30 * time.Second
	// testEvery is how often a zone is tested that nobody asks about.
	testEvery = 5 * time.Minute
)

// Families of addresses, each tested by itself.
const (
	v4 = iota
	v6
	families
)

func family(a netip.Addr) int {
	if a.Is4() {
		return v4
	}
	return v6
}

// Names that tell a working list: it never has 127.0.0.1, and always has
// 127.0.0.2; for IPv6 the same addresses mapped (RFC 5782 §5).
const (
	never4  = "1.0.0.127"
	always4 = "2.0.0.127"
	never6  = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
	always6 = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
)

// zone is one name that is asked, for one list or several. All but the first
// fields are guarded by the Checker's mu.
type zone struct {
	name  string // immutable, like the next four
	index int
	lists uint32
	white bool // all of its lists are of good senders
	m     zoneMetrics

	state    string
	why      string
	since    time.Time
	unproven bool          // does not list 127.0.0.2
	epoch    uint32        // counts the illnesses: what was remembered before one is forgotten
	gap      time.Duration // until an ignored zone is tested again
	misses   int           // in a row
	missing  time.Time     // since when, if misses is not 0
	tests    [families]test

	asked, answered, silent uint64
}

// test is how a zone's tests by 127.0.0.1 stand.
type test struct {
	running bool
	began   time.Time
	clean   time.Time // the last good end
	bad     bool      // the last one found it poisoned
	held    []held    // hits that wait for the end
}

// held is a hit that waits until the zone is known to be sane.
type held struct {
	k    *check
	hits uint32
	ttl  time.Duration
}

func (z *zone) fresh(family int, now time.Time) bool {
	clean := z.tests[family].clean
	return !clean.IsZero() && now.Sub(clean) <= freshMax
}

// setState changes a zone's state; the checker is locked.
func (c *Checker) setState(z *zone, state, why string, now time.Time, t *todo) {
	if z.state == state {
		z.why = why
		return
	}
	if state == OK {
		z.misses = 0
		z.m.usable.Set(1)
		t.log(func() {
			c.o.Log.Info("DNS list is used again", telemetry.Domain, z.name)
		})
	} else {
		if z.state == OK && z.epoch > 0 && now.Sub(z.since) < relapse {
			z.gap = min(2*z.gap, retestMax)
		} else if z.state == OK {
			z.gap = retestMin
		}
		if state == Refusing {
			z.gap = retestMax // it may be that we ask too much
		}
		z.epoch++
		z.m.usable.Set(0)
		t.log(func() {
			c.o.Log.Warn("DNS list is ignored", telemetry.Domain, z.name, telemetry.State, state, telemetry.Reason, why)
		})
	}
	z.state, z.why, z.since = state, why, now
}

// miss takes that an answer did not come in time, or was of no use.
func (c *Checker) miss(z *zone, v verdict, why string, now time.Time, t *todo) {
	if z.misses++; z.misses == 1 {
		z.missing = now
	}
	if z.state == OK && z.misses >= missesMax && now.Sub(z.missing) >= silenceMax {
		state := Silent
		if v == refusing {
			state = Refusing
		}
		c.setState(z, state, why, now, t)
	}
}

// diagnose takes what an answer says of a zone's health; late ones were
// counted when they were due. The checker is locked.
func (c *Checker) diagnose(z *zone, v verdict, a *dns.Answer, late bool, why string, now time.Time, t *todo) {
	switch {
	case v == clear || v == listed || v == silent || v == refusing && a.RCode == dns.Refused:
		if late {
			return
		}
		if v == clear || v == listed {
			z.misses = 0
		} else {
			c.miss(z, v, why, now, t)
		}
	case v == refusing:
		c.setState(z, Refusing, why, now, t)
	case v == poisoned:
		c.setState(z, Poisoned, why, now, t)
	}
}

// startTest asks whether a zone lists 127.0.0.1, unless it is being asked; the
// checker is locked.
func (c *Checker) startTest(z *zone, family int, now time.Time, t *todo) {
	s := &z.tests[family]
	if s.running && now.Sub(s.began) < testWait {
		return
	}
	s.running, s.began = true, now
	name := never4
	if family == v6 {
		name = never6
	}
	t.asks = append(t.asks, ask{
		q:    dns.Question{Name: name + "." + z.name, Type: dns.A},
		done: func(a dns.Answer) { c.tested(z, family, &a) },
	})
}

// retest tests a zone that is ignored, if it is time: the longer it is ill, the
// less often. The checker is locked.
func (c *Checker) retest(z *zone, now time.Time, t *todo) {
	ill := now.Sub(z.since)
	gap := max(z.gap, min(ill/4, retestMax))
	if ill >= gap && now.Sub(z.tests[v4].began) >= gap {
		c.startTest(z, v4, now, t)
		c.startTest(z, v6, now, t)
	}
}

// tested takes the end of a test.
func (c *Checker) tested(z *zone, family int, a *dns.Answer) {
	var t todo
	v, _, why := z.judge(c.lists, a)
	if v == listed {
		v, why = poisoned, "lists 127.0.0.1"
	}
	now := c.o.Clock.Now()
	c.mu.Lock()
	s := &z.tests[family]
	s.running = false
	switch late := now.Sub(s.began) > c.o.Timeout; {
	case v == clear && late && family == v4:
		c.miss(z, silent, "answers too late", now, &t)
	case v == clear && !late:
		s.clean, s.bad, z.misses = now, false, 0
		if z.fresh(v4, now) && !z.tests[v4].bad && !z.tests[v6].bad {
			c.setState(z, OK, "", now, &t)
		}
	case v == poisoned || v == refusing && a.RCode != dns.Refused:
		s.bad = v == poisoned
		s.clean = time.Time{}
		c.diagnose(z, v, a, false, why, now, &t)
	case family == v4:
		c.diagnose(z, v, a, false, why, now, &t)
	}
	waiting := s.held
	s.held = nil
	for _, h := range waiting {
		c.settle(h.k, z, z.state == OK && z.fresh(family, now), h.hits, h.ttl, now, &t)
	}
	c.mu.Unlock()
	c.do(&t)
}

// Health is how a list does.
type Health struct {
	Zone     string
	Asked    uint64 // questions
	Answered uint64 // in time and well
	Silent   uint64 // questions without a usable answer in time
	Listed   uint64 // hits, without those that were remembered
	State    string // OK, Silent, Poisoned or Refusing
	Why      string // what is wrong, in words
	Since    time.Time
}

// Health returns how the lists do, in their order.
func (c *Checker) Health() []Health {
	out := make([]Health, len(c.lists))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, z := range c.zones {
		for i := range c.lists {
			if z.lists>>i&1 == 0 {
				continue
			}
			out[i] = Health{
				Zone: c.lists[i].Zone, Asked: z.asked, Answered: z.answered, Silent: z.silent, Listed: c.hits[i],
				State: z.state, Why: z.why, Since: z.since,
			}
			if z.state == OK && z.unproven {
				out[i].Why = "does not list 127.0.0.2"
			}
		}
	}
	return out
}
