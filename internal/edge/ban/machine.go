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
// What the kernel is to be told is kept as the addresses that changed (dirty);
// what is to be said of each is seen when it is said (take), so that what was
// banned and pardoned in between costs one deletion and nothing is said twice.
type machine struct {
	timeout time.Duration
	bans    table
	exempt  table
	never   networks[struct{}]
	fixed   networks[*Entry]

	link       link
	dirty      map[netip.Addr]struct{}
	fixedDirty bool
	epoch      uint32
	evicted    int // since it was last asked
}

func newMachine(o Options) *machine {
	m := &machine{
		timeout: o.Timeout,
		bans:    newTable(o.Max),
		exempt:  newTable(exemptMax),
		fixed:   newNetworks[*Entry](),
		dirty:   map[netip.Addr]struct{}{},
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

// spared tells whether an address is not to be banned.
func (m *machine) spared(a netip.Addr, now time.Time) bool {
	if _, _, ok := m.never.find(a, within); ok {
		return true
	}
	s := m.exempt.get(a)
	return s != nil && !s.ended(now)
}

// whySpared says why, of an address that is spared.
func (m *machine) whySpared(a netip.Addr) string {
	if p, _, ok := m.never.find(a, within); ok {
		return fmt.Sprintf("never banned: the configuration exempts %s", p)
	}
	s := m.exempt.get(a)
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

func (m *machine) ban(a netip.Addr, why string, now time.Time) string {
	a, ok := plain(a)
	if !ok {
		return banBad
	}
	m.expire(now, 2)
	if m.spared(a, now) {
		return banExempt
	}
	s := m.insert(a, now.Add(m.timeout))
	outcome := banAgain
	if s.count == 0 {
		s.since, outcome = now.UnixNano(), banNew
	}
	s.count++
	s.why = unique.Make(cut(why))
	m.bans.end(s, now.Add(m.timeout))
	m.mark(a)
	return outcome
}

// insert gives the slot of an address, and marks what had to go for it.
func (m *machine) insert(a netip.Addr, until time.Time) *slot {
	s, _, evicted := m.bans.put(a, until)
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
	if s := m.bans.get(a); s != nil && !s.ended(now) {
		s.count++
		until := now.Add(m.timeout)
		if !s.kernel || m.link != linkUp {
			m.bans.end(s, until)
		} else if until.UnixNano()-s.until > int64(m.timeout/prolongParts) {
			m.bans.end(s, until)
			m.mark(a)
		}
		return true
	}
	_, _, ok = m.fixed.find(a, func(e *Entry) bool { return e.Until.After(now) })
	return ok && !m.spared(a, now)
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
		if a := s.addr(); !ok && p.Contains(a) && !s.ended(now) {
			found, ok = a, true
		}
	})
	return found, ok
}

func (m *machine) remove(p netip.Prefix) bool {
	p, ok := normal(p)
	if !ok {
		return false
	}
	if m.fixed.drop(p) {
		m.markFixed()
	} else {
		ok = false
	}
	if p.IsSingleIP() && m.pardon(p.Addr()) {
		ok = true
	}
	return ok
}

// pardon ends the ban of an address.
func (m *machine) pardon(a netip.Addr) bool {
	if !m.bans.drop(a) {
		return false
	}
	m.mark(a)
	return true
}

func (m *machine) authenticated(a netip.Addr, now time.Time) {
	a, ok := plain(a)
	if !ok {
		return
	}
	s, fresh, _ := m.exempt.put(a, now.Add(exemptDay))
	s.since = now.UnixNano()
	m.exempt.end(s, now.Add(exemptDay))
	m.pardon(a)
	if _, _, in := m.fixed.find(a, func(*Entry) bool { return true }); in && fresh {
		m.markFixed()
	}
}

func (m *machine) reload(never []netip.Prefix) {
	m.never = newNetworks[struct{}]()
	for _, p := range never {
		if p, ok := normal(p); ok {
			m.never.set(p, struct{}{})
		}
	}
	var gone []netip.Addr
	m.bans.all(func(s *slot) {
		if _, _, ok := m.never.find(s.addr(), within); ok {
			gone = append(gone, s.addr())
		}
	})
	for _, a := range gone {
		m.pardon(a)
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
		a := s.addr()
		m.bans.drop(a)
		delete(m.dirty, a)
	}
}

// expireFixed forgets the bans by hand and the exemptions that are over.
func (m *machine) expireFixed(now time.Time) {
	for p, e := range m.fixed.of {
		if !e.Until.After(now) {
			m.fixed.drop(p)
			m.markFixed()
		}
	}
	for s := m.exempt.first(); s != nil && s.ended(now); s = m.exempt.first() {
		a := s.addr()
		m.exempt.drop(a)
		if _, _, in := m.fixed.find(a, func(*Entry) bool { return true }); in {
			m.markFixed()
		}
	}
}

func (m *machine) entries(now time.Time) []Entry {
	all := make([]Entry, 0, m.bans.len()+len(m.fixed.of))
	m.bans.all(func(s *slot) {
		if !s.ended(now) || s.kernel && m.link == linkUp {
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

func (m *machine) why(a netip.Addr, now time.Time) (Entry, string, bool) {
	a, ok := plain(a)
	if !ok {
		return Entry{}, "not an address", false
	}
	if m.spared(a, now) {
		return Entry{}, m.whySpared(a), false
	}
	if s := m.bans.get(a); s != nil && (!s.ended(now) || s.kernel && m.link == linkUp) {
		e := s.entry()
		return e, e.Why, true
	}
	if _, e, ok := m.fixed.find(a, func(e *Entry) bool { return e.Until.After(now) }); ok {
		return *e, e.Why, true
	}
	return Entry{}, "not banned", false
}
