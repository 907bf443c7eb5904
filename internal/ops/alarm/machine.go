package alarm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	repeatDefault = 6 * time.Hour   // often enough for each shift, too rarely to be filtered away
	settleDefault = time.Minute     // what comes and goes faster is one alarm
	tickEvery     = 5 * time.Second // how late a repeat may be

	alarmsMax = 1000 // alarms that are up: more than anybody reads, each a few KB
	moreMax   = 100  // critical alarms beyond them: many held accounts must not hide a full disk
	factsMax  = 32   // facts of an alarm, those first by name
	keyMax    = 200  // octets of a key or of a fact's name
	textMax   = 1000 // octets of a text or of a fact: a syslog message has room for it
)

// machine decides what is told and when. It has no I/O.
type machine struct {
	host           string
	repeat, settle time.Duration
	up             map[string]*state
}

// state is an alarm that is up, or that was a moment ago.
type state struct {
	Alarm
	down time.Time // since when its reason is gone; zero: it is up
}

// raise puts an alarm up. It is told if it is new or has become worse.
func (m *machine) raise(now time.Time, key string, sev Severity, text string, facts Facts) (Notice, bool) {
	key, text, facts = cut(key, keyMax), cut(text, textMax), bound(facts)
	s := m.up[key]
	if s == nil {
		most := alarmsMax
		if sev == Critical {
			most += moreMax
		}
		if len(m.up) >= most {
			return Notice{}, false
		}
		s = &state{Alarm: Alarm{Key: key, Since: now.UTC()}}
		m.up[key] = s
	}
	fresh := s.Told.IsZero() || sev > s.Severity
	// It stays as bad as it was at its worst: what goes up and down between
	// two severities is not told each time.
	s.Severity, s.Text, s.Facts, s.down = max(sev, s.Severity), text, facts, time.Time{}
	if !fresh {
		return Notice{}, false
	}
	return m.notice(s, Raised, now), true
}

// clear takes an alarm down, which tick tells once it has stayed down.
func (m *machine) clear(now time.Time, key string) {
	if s := m.up[cut(key, keyMax)]; s != nil && s.down.IsZero() {
		s.down = now
	}
}

// tick gives the notices that are due: of alarms that are still up, and of
// those that have settled.
func (m *machine) tick(now time.Time) []Notice {
	var out []Notice
	for _, s := range m.sorted() {
		switch {
		case !s.down.IsZero() && now.Sub(s.down) >= m.settle:
			delete(m.up, s.Key)
			out = append(out, m.notice(s, Cleared, now))
		case s.down.IsZero() && now.Sub(s.Told) >= m.repeat:
			out = append(out, m.notice(s, Repeated, now))
		}
	}
	return out
}

func (m *machine) notice(s *state, event string, now time.Time) Notice {
	s.Told = now.UTC()
	return Notice{
		Host: m.host, Event: event, Key: s.Key, Severity: s.Severity,
		Text: s.Text, Facts: s.Facts, Since: s.Since, At: s.Told,
	}
}

func (m *machine) list() []Alarm {
	out := []Alarm{}
	for _, s := range m.sorted() {
		if s.down.IsZero() {
			out = append(out, s.Alarm)
		}
	}
	return out
}

// sorted gives all, oldest first.
func (m *machine) sorted() []*state {
	return slices.SortedFunc(maps.Values(m.up), func(a, b *state) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Key, b.Key))
	})
}

// bound copies facts, as many and as long as they may be: the caller may go on
// writing to its own.
func bound(f Facts) Facts {
	if len(f) == 0 {
		return nil
	}
	out := make(Facts, min(len(f), factsMax))
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if len(out) == factsMax {
			break
		}
		out[cut(name, keyMax)] = cut(f[name], textMax)
	}
	return out
}

// cut gives the first n octets of a text, without half a character.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
