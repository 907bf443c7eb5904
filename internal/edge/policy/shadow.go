package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// shadowChecksMax is how many checks in shadow are reported: one bit each
	// for every session that has passed.
	shadowChecksMax = 32
	// shadowExamplesMax is how many sessions a report shows for each check.
	shadowExamplesMax = 10
)

// ShadowReport says what checks in shadow would have done.
type ShadowReport struct {
	Since  time.Time     `json:"since"`
	Checks []ShadowCheck `json:"checks"`
}

// ShadowCheck is one check's part of a ShadowReport.
type ShadowCheck struct {
	Check       string          `json:"check"`
	Saw         int             `json:"saw"`          // sessions in which it had something to say
	WouldRefuse int             `json:"would_refuse"` // of those that were not refused anyway
	WouldDefer  int             `json:"would_defer"`
	Good        int             `json:"good"` // of these two, sessions with an accepted message
	Examples    []ShadowExample `json:"examples,omitempty"`
}

// ShadowExample is a session that a check in shadow would have refused or
// deferred.
type ShadowExample struct {
	Session string    `json:"session"`
	At      time.Time `json:"at"`
	IP      string    `json:"ip"`
	Helo    string    `json:"helo,omitempty"`
	From    string    `json:"from,omitempty"`
	Would   string    `json:"would"` // "refuse" or "defer"
	Good    bool      `json:"good"`
}

// WriteTo writes the report for people.
func (r ShadowReport) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "checks in shadow since %s\n", r.Since.UTC().Format(time.RFC3339))
	if len(r.Checks) == 0 {
		b.WriteString("none of them has seen anything\n")
	}
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%s: saw something in %d, would have refused %d and deferred %d; %d of those were good\n",
			c.Check, c.Saw, c.WouldRefuse, c.WouldDefer, c.Good)
		for _, x := range c.Examples {
			verdict := "    "
			if x.Good {
				verdict = "good"
			}
			fmt.Fprintf(&b, "  %s %s session %s, client [%s], HELO %q, from <%s>: would %s\n",
				verdict, x.At.UTC().Format(time.RFC3339), x.Session, x.IP, x.Helo, x.From, x.Would)
		}
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// shadow counts for the report.
type shadow struct {
	mu     sync.Mutex
	since  time.Time
	checks []ShadowCheck // guarded by mu; the index is the bit in masks
}

func (s *shadow) init(now time.Time) { s.since = now }

// Shadow reports what the checks in shadow would have done since the start.
func (p *Policy) Shadow() ShadowReport { return p.shadow.report() }

func (s *shadow) report() ShadowReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := ShadowReport{Since: s.since, Checks: slices.Clone(s.checks)}
	for i := range out.Checks {
		out.Checks[i].Examples = slices.Clone(out.Checks[i].Examples)
	}
	slices.SortFunc(out.Checks, func(a, b ShadowCheck) int { return strings.Compare(a.Check, b.Check) })
	return out
}

// index finds or makes the place of a check; -1 if there is none left. mu is
// held.
func (s *shadow) index(check string) int {
	i := slices.IndexFunc(s.checks, func(c ShadowCheck) bool { return c.Check == check })
	if i < 0 && len(s.checks) < shadowChecksMax {
		s.checks = append(s.checks, ShadowCheck{Check: check})
		i = len(s.checks) - 1
	}
	return i
}

// would is what a watched check would have made of a verdict: Pass is no
// difference.
func would(w *watched, v *Verdict, s *Scores) Kind {
	switch {
	case v.Kind == Refuse:
		return Pass
	case w.kind == Refuse || w.weight > 0 && v.Score < s.Refuse && v.Score+w.weight >= s.Refuse:
		return Refuse
	case v.Kind == Defer:
		return Pass
	case w.kind == Defer || w.weight > 0 && v.Score < s.Suspect && v.Score+w.weight >= s.Suspect:
		return Defer
	}
	return Pass
}

// mask has a bit for each check that would have kept the guest out.
func (s *shadow) mask(t *trial) (mask uint32) {
	if len(t.watched) == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range t.watched {
		if would(&t.watched[i], &t.v, &t.r.Scores) == Pass {
			continue
		}
		if at := s.index(t.watched[i].check); at >= 0 {
			mask |= 1 << at
		}
	}
	return mask
}

// judged counts what the watched checks would have done.
func (s *shadow) judged(t *trial) {
	if len(t.watched) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range t.watched {
		at := s.index(t.watched[i].check)
		if at < 0 {
			continue
		}
		c := &s.checks[at]
		k := would(&t.watched[i], &t.v, &t.r.Scores)
		if c.count(k) {
			t.p.metrics.shadow.WithLabelValues(label(c.Check), k.String()).Inc()
			c.example(ShadowExample{Session: t.g.ID, At: t.now, IP: t.addr.String(), Helo: t.g.Helo,
				From: t.g.From.String(), Would: k.String()})
		}
	}
}

func (c *ShadowCheck) count(k Kind) bool {
	c.Saw++
	switch k {
	case Refuse:
		c.WouldRefuse++
	case Defer:
		c.WouldDefer++
	}
	return k != Pass
}

// example keeps a session if there is room; good ones take the place of others.
func (c *ShadowCheck) example(e ShadowExample) {
	if i := slices.IndexFunc(c.Examples, func(x ShadowExample) bool { return x.Session == e.Session }); i >= 0 {
		c.Examples[i].Good = c.Examples[i].Good || e.Good
		return
	}
	if len(c.Examples) < shadowExamplesMax {
		c.Examples = append(c.Examples, e)
		return
	}
	if i := slices.IndexFunc(c.Examples, func(x ShadowExample) bool { return !x.Good }); i >= 0 && e.Good {
		c.Examples[i] = e
	}
}

// good notes the first accepted message of a session.
func (s *shadow) good(g *Guest, mask uint32) {
	if mask == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.checks {
		if mask>>i&1 == 0 {
			continue
		}
		s.checks[i].Good++
		s.checks[i].example(ShadowExample{Session: g.ID, At: g.Now, IP: g.Addr.Unmap().String(), Helo: g.Helo,
			From: g.From.String(), Would: "refuse or defer", Good: true})
	}
}

// ShadowHistory makes the report anew from the history, for as long as that
// reaches back, with the thresholds of now.
func (p *Policy) ShadowHistory() (ShadowReport, error) {
	s := shadow{since: p.clock()}
	scores := p.rules.Load().Scores
	passed := passed{}
	passed.init()
	seqs, err := p.history.written()
	for _, seq := range seqs {
		err = errors.Join(err, p.history.lines(seq, func(line []byte) {
			// Most lines have nothing for the report; they are not decoded.
			if !bytes.Contains(line, []byte(`"shadow":true`)) && !bytes.Contains(line, []byte(`"what":"accepted"`)) {
				return
			}
			if r, err := DecodeRecord(line); err == nil {
				s.replay(&r, &scores, &passed, &p.hash)
			}
		}))
	}
	return s.report(), err
}

// replay counts one record.
func (s *shadow) replay(r *Record, scores *Scores, passed *passed, h *hasher) {
	if r.At.Before(s.since) {
		s.since = r.At
	}
	key := h.text(0, r.Session)
	if r.What == RecordAccepted {
		s.good(&Guest{ID: r.Session, Addr: r.IP, Now: r.At}, passed.take(key))
		return
	}
	v := Verdict{Score: r.Score}
	for _, k := range []Kind{Pass, Refuse, Defer} {
		if k.String() == r.Verdict {
			v.Kind = k
		}
	}
	var mask uint32
	for _, e := range r.Evidence {
		at := -1
		if e.Shadow {
			at = s.index(e.Check)
		}
		if at < 0 {
			continue
		}
		w := watched{check: e.Check, weight: e.Weight}
		if e.Weight == 0 { // it would have decided by itself
			w.kind = Refuse
			if e.Check == CheckRate || e.Check == CheckGreylist {
				w.kind = Defer
			}
		}
		c, k := &s.checks[at], would(&w, &v, scores)
		if c.count(k) {
			mask |= 1 << at
			x := ShadowExample{Session: r.Session, At: r.At, IP: r.IP.String(), Helo: r.Helo, Would: k.String()}
			if r.From != nil {
				x.From = *r.From
			}
			c.example(x)
		}
	}
	if v.Kind == Pass {
		passed.put(key, mask)
	}
}
