package ban

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unique"
)

const (
	// exemptDay is how long a login keeps an address from being banned.
	exemptDay = 24 * time.Hour
	// exemptMax is how many addresses are exempt for a login; the oldest
	// login goes first. Some hundred thousand accounts log in from fewer in
	// a day, seen from one host.
	exemptMax = 1 << 16
	// fixedMax bounds what an operator bans by hand: each change writes all
	// of it to the kernel anew.
	fixedMax = 4096
	// rangesMax bounds what the networks become when exempt addresses are
	// cut out of them: what one netlink transaction can carry.
	rangesMax = 1 << 14
	// fixedDurationMax is a year: what is to last longer belongs into the
	// firewall's own rules.
	fixedDurationMax = 366 * 24 * time.Hour
	// whyOctetsMax bounds a reason; it is shown on a line of a list.
	whyOctetsMax = 120
	// batchMax is how many changes one batch carries: the price of each was
	// found to fall up to there.
	batchMax = 500
	// removedMax bounds the removals that wait while the kernel cannot be
	// had; what is forgotten times out there by itself.
	removedMax = 1 << 16
)

// Reasons that do not come from a caller.
const (
	whyBefore = "from before the start"
	whyOther  = "found in the kernel's set"
)

// link is how the machine stands with the kernel.
type link uint8

const (
	linkNone link = iota // never to be had: no changes are kept for it
	linkDown             // not now
	linkUp
)

// machine is the list of bans, without I/O. It is not safe for concurrent use.
//
// What the kernel is to be told is kept as the sources that changed (dirty);
// what is to be said of each is seen when it is said (take), so that what was
// banned and pardoned in between costs one deletion and nothing is said twice.
type machine struct {
	timeout time.Duration
	bans    table
	exempt  table                // addresses
	homes   map[netip.Prefix]int // how many of exempt are in each /64
	never   networks[struct{}]
	fixed   networks[*Entry]

	link       link
	dirty      map[netip.Prefix]struct{}
	fixedDirty bool
	epoch      uint32
	evicted    int // since it was last asked
}

func newMachine(o Options) *machine {
	m := &machine{
		timeout: o.Timeout,
		bans:    newTable(o.Max),
		exempt:  newTable(exemptMax),
		homes:   map[netip.Prefix]int{},
		fixed:   newNetworks[*Entry](),
		dirty:   map[netip.Prefix]struct{}{},
	}
	m.reload(o.Never)
	return m
}

// plain gives an address as the tables hold it.
func plain(a netip.Addr) (netip.Addr, bool) {
	if !a.IsValid() {
		return a, false
	}
	return a.Unmap().WithZone(""), true
}

// within accepts any network of a find.
func within(struct{}) bool { return true }

// spared tells whether a source is not to be banned: of a /64, whether there is
// anything in it that is exempt.
func (m *machine) spared(p netip.Prefix, now time.Time) bool {
	if _, ok := m.never.overlap(p); ok {
		return true
	}
	if !p.IsSingleIP() {
		return m.homes[p] > 0
	}
	s := m.exempt.get(p)
	return s != nil && !s.ended(now)
}

// whySpared says why, of an address that is spared.
func (m *machine) whySpared(a netip.Addr) string {
	if p, _, ok := m.never.find(a, within); ok {
		return fmt.Sprintf("never banned: the configuration exempts %s", p)
	}
	s := m.exempt.get(single(a))
	return fmt.Sprintf("not banned before %s: logged in at %s",
		time.Unix(0, s.until).UTC().Format(time.RFC3339), time.Unix(0, s.since).UTC().Format(time.RFC3339))
}

// Outcomes of ban.
const (
	banNew    = "new"
	banAgain  = "again"
	banExempt = "exempt"
	banBad    = "invalid"
)

// ban bans an address, with the /64 around it if that is given and nothing in
// it is exempt.
func (m *machine) ban(a netip.Addr, with netip.Prefix, why string, now time.Time) string {
	a, ok := plain(a)
	if !ok {
		return banBad
	}
	m.expire(now, 2)
	m.expireExempt(now)
	p := single(a)
	if m.spared(p, now) {
		return banExempt
	}
	if h, ok := home(a); ok {
		if h == with.Masked() && !m.spared(h, now) {
			p = h
		} else {
			m.pardon(h) // there is now somebody in it who is not to be hit
		}
	}
	s := m.insert(p, now.Add(m.timeout))
	outcome := banAgain
	if s.count == 0 {
		s.since, outcome = now.UnixNano(), banNew
	}
	s.count++
	s.why = unique.Make(cut(why))
	m.bans.end(s, now.Add(m.timeout))
	m.mark(p)
	return outcome
}

// insert gives the slot of a source, and marks what had to go for it.
func (m *machine) insert(p netip.Prefix, until time.Time) *slot {
	s, _, evicted := m.bans.put(p, until)
	if evicted.IsValid() {
		m.evicted++
		m.mark(evicted)
	}
	return s
}

func cut(why string) string {
	if len(why) <= whyOctetsMax {
		return why
	}
	end := whyOctetsMax
	for end > 0 && why[end]&0xC0 == 0x80 {
		end-- // not in the middle of a character
	}
	return why[:end]
}

// prolongParts: a ban that the kernel has is prolonged from here when a part of
// its time in so many is over, so that knocking does not become a stream of
// messages to the kernel.
const prolongParts = 8

// banned tells whether an address is banned. What is asked about came past the
// kernel, or through a proxy, so this is where its knocking prolongs the ban.
func (m *machine) banned(a netip.Addr, now time.Time) bool {
	a, ok := plain(a)
	if !ok {
		return false
	}
	if s := m.over(a, func(s *slot) bool { return !s.ended(now) }); s != nil {
		s.count++
		until := now.Add(m.timeout)
		if !s.kernel || m.link != linkUp {
			m.bans.end(s, until)
		} else if until.UnixNano()-s.until > int64(m.timeout/prolongParts) {
			m.bans.end(s, until)
			m.mark(s.source())
		}
		return true
	}
	_, _, ok = m.fixed.find(a, func(e *Entry) bool { return e.Until.After(now) })
	return ok && !m.spared(single(a), now)
}

// over gives the ban of an address, else that of its /64, that ok accepts: in
// the order of the kernel's rules.
func (m *machine) over(a netip.Addr, ok func(*slot) bool) *slot {
	if s := m.bans.get(single(a)); s != nil && ok(s) {
		return s
	}
	if h, is := home(a); is {
		if s := m.bans.get(h); s != nil && ok(s) {
			return s
		}
	}
	return nil
}

// errFull says that there are too many bans by hand.
var errFull = fmt.Errorf("there are %d bans by hand already; a firewall's own rules are the place for more", fixedMax)

func (m *machine) add(p netip.Prefix, why string, d time.Duration, now time.Time) error {
	p, ok := normal(p)
	switch {
	case !ok:
		return errors.New("not an address or a network")
	case p.Bits() == 0:
		return fmt.Errorf("%s is everybody", p)
	case d < 0 || d > fixedDurationMax:
		return fmt.Errorf("for %s: a ban lasts up to %s", d, fixedDurationMax)
	case d == 0:
		d = m.timeout
	}
	if q, ok := m.never.overlap(p); ok {
		return fmt.Errorf("%s is not banned: the configuration exempts %s", p, q)
	}
	if a, ok := m.exemptIn(p, now); ok {
		return fmt.Errorf("%s is not banned: %s logged in within a day", p, a)
	}
	e := m.fixed.of[p]
	if e == nil {
		if len(m.fixed.of) >= fixedMax {
			return errFull
		}
		e = &Entry{Prefix: p, Since: now, Fixed: true}
		m.fixed.set(p, e)
	}
	e.Until, e.Why, e.Count = now.Add(d), cut(why), e.Count+1
	e.Kernel = false
	m.markFixed()
	return nil
}

// exemptIn gives an address within p that is exempt for a login.
func (m *machine) exemptIn(p netip.Prefix, now time.Time) (found netip.Addr, ok bool) {
	m.exempt.all(func(s *slot) {
		if a := s.source().Addr(); !ok && p.Contains(a) && !s.ended(now) {
			found, ok = a, true
		}
	})
	return found, ok
}

// remove ends the bans that hold an address, or the bans of exactly this
// network, and gives what they were of.
func (m *machine) remove(p netip.Prefix) (ended []netip.Prefix) {
	p, ok := normal(p)
	if !ok {
		return nil
	}
	end := func(q netip.Prefix) {
		there := isSource(q) && m.pardon(q)
		if m.fixed.drop(q) {
			m.markFixed()
			there = true
		}
		if there {
			ended = append(ended, q)
		}
	}
	end(p)
	if !p.IsSingleIP() {
		return ended
	}
	if h, ok := home(p.Addr()); ok {
		end(h)
	}
	for {
		q, _, ok := m.fixed.find(p.Addr(), func(*Entry) bool { return true })
		if !ok {
			return ended
		}
		end(q)
	}
}

// pardon ends the ban of a source.
func (m *machine) pardon(p netip.Prefix) bool {
	if !m.bans.drop(p) {
		return false
	}
	m.mark(p)
	return true
}

func (m *machine) authenticated(a netip.Addr, now time.Time) {
	a, ok := plain(a)
	if !ok {
		return
	}
	s, fresh, evicted := m.exempt.put(single(a), now.Add(exemptDay))
	s.since = now.UnixNano()
	m.exempt.end(s, now.Add(exemptDay))
	if evicted.IsValid() {
		m.unspare(evicted.Addr())
	}
	if fresh {
		m.count(a, 1)
	}
	m.pardon(single(a))
	if h, ok := home(a); ok {
		m.pardon(h)
	}
	if _, _, in := m.fixed.find(a, func(*Entry) bool { return true }); in && fresh {
		m.markFixed()
	}
}

// count counts the exempt addresses of a /64.
func (m *machine) count(a netip.Addr, by int) {
	h, ok := home(a)
	if !ok {
		return
	}
	if m.homes[h] += by; m.homes[h] == 0 {
		delete(m.homes, h)
	}
}

func (m *machine) reload(never []netip.Prefix) {
	m.never = newNetworks[struct{}]()
	for _, p := range never {
		if p, ok := normal(p); ok {
			m.never.set(p, struct{}{})
		}
	}
	var gone []netip.Prefix
	m.bans.all(func(s *slot) {
		if _, ok := m.never.overlap(s.source()); ok {
			gone = append(gone, s.source())
		}
	})
	for _, p := range gone {
		m.pardon(p)
	}
	for p := range m.fixed.of {
		if m.never.covers(p) {
			m.fixed.drop(p)
		}
	}
	m.markFixed()
}

// expire forgets up to n entries whose time is over. One that the kernel has
// may have been prolonged there: it stays until the kernel's set was read.
func (m *machine) expire(now time.Time, n int) {
	for ; n > 0; n-- {
		s := m.bans.first()
		if s == nil || !s.ended(now) || s.kernel && m.link == linkUp {
			break
		}
		p := s.source()
		m.bans.drop(p)
		delete(m.dirty, p)
	}
}

// expireFixed forgets the bans by hand that are over, and the exemptions.
func (m *machine) expireFixed(now time.Time) {
	for p, e := range m.fixed.of {
		if !e.Until.After(now) {
			m.fixed.drop(p)
			m.markFixed()
		}
	}
	m.expireExempt(now)
}

// expireExempt forgets the exemptions that are over.
func (m *machine) expireExempt(now time.Time) {
	for s := m.exempt.first(); s != nil && s.ended(now); s = m.exempt.first() {
		p := s.source()
		m.exempt.drop(p)
		m.unspare(p.Addr())
	}
}

// unspare notes that an address is exempt no more.
func (m *machine) unspare(a netip.Addr) {
	m.count(a, -1)
	if _, _, in := m.fixed.find(a, func(*Entry) bool { return true }); in {
		m.markFixed()
	}
}

func (m *machine) entries(now time.Time) []Entry {
	all := make([]Entry, 0, m.bans.len()+len(m.fixed.of))
	m.bans.all(func(s *slot) {
		if m.holds(s, now) {
			all = append(all, s.entry())
		}
	})
	for _, e := range m.fixed.of {
		if e.Until.After(now) {
			all = append(all, *e)
		}
	}
	return all
}

// why tells of the ban that holds all of p.
func (m *machine) why(p netip.Prefix, now time.Time) (Entry, string, bool) {
	p, ok := normal(p)
	if !ok {
		return Entry{}, "not an address or a network", false
	}
	a, alone := p.Addr(), p.IsSingleIP()
	if alone && m.spared(p, now) {
		return Entry{}, m.whySpared(a), false
	}
	if s := m.over(a, func(s *slot) bool { return m.holds(s, now) && s.source().Bits() <= p.Bits() }); s != nil {
		e := s.entry()
		return e, e.Why, true
	}
	if _, e, ok := m.fixed.findFrom(a, p.Bits(), func(e *Entry) bool { return e.Until.After(now) }); ok {
		return *e, e.Why, true
	}
	if alone {
		return Entry{}, "not banned", false
	}
	return Entry{}, m.whyNotWhole(p, now), false
}

// holds tells whether a ban goes on: by its time, or since packets may have
// prolonged it in the kernel.
func (m *machine) holds(s *slot, now time.Time) bool {
	return !s.ended(now) || s.kernel && m.link == linkUp
}

// whyNotWhole says what is banned within a network that is not.
func (m *machine) whyNotWhole(p netip.Prefix, now time.Time) string {
	n := 0
	m.bans.all(func(s *slot) {
		if p.Overlaps(s.source()) && m.holds(s, now) {
			n++
		}
	})
	for q, e := range m.fixed.of {
		if p.Overlaps(q) && e.Until.After(now) {
			n++
		}
	}
	if n == 0 {
		return "not banned"
	}
	return fmt.Sprintf("not as a whole; bans of parts of it: %d", n)
}
