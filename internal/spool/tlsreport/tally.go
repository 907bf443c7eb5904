package tlsreport

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/tlsrpt"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

// Bounds of what is counted.
const (
	// domainsMax of all days: some 1 KB each. A site of 1,000 people writes to
	// some thousands a day; the mail of more is not reported on.
	domainsMax = 20_000
	// octetsMax of all together, about: three times what so many ordinary
	// domains take. Beyond it sessions are counted and no new kinds told apart,
	// so that nobody fills the memory with failures that are all different.
	octetsMax = 64 << 20
	// policiesMax of a domain in a day: it changes rarely, and has some hosts.
	policiesMax = 8
	// failuresMax kinds of a policy; more are counted, but not told apart.
	failuresMax = 32
	// linesMax of a policy are quoted, each of lineOctetsMax.
	linesMax      = 16
	lineOctetsMax = 200
	// reasonOctetsMax of a failure's detail.
	reasonOctetsMax = 200
	// sentMax reports that were sent are remembered.
	sentMax = 1000
)

// tally is what was counted and is not told yet, and what was sent.
type tally struct {
	domains map[key]*account
	octets  int    // of domains
	sent    []Sent // the oldest first
	dirty   bool
}

// key names the account of a domain in a day.
type key struct {
	date   string // in the form of time.DateOnly
	domain message.Domain
}

// account is what happened with a domain in a day.
type account struct {
	Policies []tlsrpt.PolicyResult `json:"policies"`
	Due      time.Time             `json:"due"`   // to be sent; zero: not decided
	First    time.Time             `json:"first"` // attempt; zero: none
	Sent     []string              `json:"sent,omitempty"`
	busy     bool                  // being sent
}

// add counts a session; false: there is no room.
func (t *tally) add(now time.Time, s tlspolicy.Session) bool {
	k := key{now.Format(time.DateOnly), s.Policy.Domain}
	a := t.domains[k]
	if a == nil && s.Report {
		return true // or two hosts would tell each other of it for ever
	}
	if a == nil {
		if len(t.domains) >= domainsMax || t.octets >= octetsMax {
			return false
		}
		if t.domains == nil {
			t.domains = make(map[key]*account)
		}
		a = &account{}
		t.domains[k] = a
		t.octets += a.size()
	}
	t.dirty = true
	p := s.Policy
	if f := s.Failure; f != nil && f.Policy != nil && f.Policy.Type() != tlspolicy.TypeNone {
		p = f.Policy // that which would have applied
	}
	room := t.octets < octetsMax
	t.octets -= a.size()
	defer func() { t.octets += a.size() }()
	r := a.policy(describe(p, s.Policy.Domain), room)
	if r == nil {
		return false
	}
	if s.Failure == nil {
		r.Summary.Successful++
		return true
	}
	r.Summary.Failed++
	fail(r, failureOf(s), room)
	return true
}

// size is about how many octets an account takes.
func (a *account) size() int {
	const fixed = 64 // of each
	n := fixed
	for i := range a.Policies {
		p := &a.Policies[i]
		n += fixed
		for _, text := range [...]tlsrpt.Lines{p.Policy.Text, p.Policy.MX} {
			for _, line := range text {
				n += 16 + len(line)
			}
		}
		for j := range p.Failures {
			f := &p.Failures[j]
			n += 2*fixed + len(f.Type) + len(f.Sender) + len(f.Host) + len(f.Helo) + len(f.Receiver) + len(f.Reason)
		}
	}
	return n
}

// forget takes an account out.
func (t *tally) forget(k key) {
	if a := t.domains[k]; a != nil {
		t.octets -= a.size()
		delete(t.domains, k)
	}
}

// copy shares nothing that changes.
func (a *account) copy() account {
	c := *a
	c.Policies = slices.Clone(a.Policies)
	for i := range c.Policies {
		c.Policies[i].Failures = slices.Clone(c.Policies[i].Failures)
	}
	return c
}

// policy finds a policy's counts, or makes them; nil: there is no room.
func (a *account) policy(p tlsrpt.Policy, room bool) *tlsrpt.PolicyResult {
	for i := range a.Policies {
		if q := &a.Policies[i].Policy; q.Type == p.Type && slices.Equal(q.Text, p.Text) && slices.Equal(q.MX, p.MX) {
			return &a.Policies[i]
		}
	}
	if len(a.Policies) >= policiesMax || !room {
		return nil
	}
	a.Policies = append(a.Policies, tlsrpt.PolicyResult{Policy: p})
	return &a.Policies[len(a.Policies)-1]
}

// describe makes what a report says of a policy (RFC 8460 §4.4).
func describe(p *tlspolicy.Policy, domain message.Domain) tlsrpt.Policy {
	out := tlsrpt.Policy{Type: tlsrpt.Text(p.Type()), Domain: tlsrpt.Text(domain)}
	switch p.Type() {
	case tlspolicy.TypeSTS:
		out.MX = lines(p.Patterns)
	case tlspolicy.TypeTLSA:
		out.MX = lines([]string{p.Host})
	}
	out.Text = lines(p.Text)
	return out
}

func lines(in []string) tlsrpt.Lines {
	var out tlsrpt.Lines
	for _, s := range in[:min(len(in), linesMax)] {
		out = append(out, tlsrpt.Text(s[:min(len(s), lineOctetsMax)]))
	}
	return out
}

func failureOf(s tlspolicy.Session) tlsrpt.Failure {
	f := tlsrpt.Failure{
		Type: tlsrpt.Text(s.Failure.Type), Sender: addr(s.Local), Receiver: addr(s.Remote),
		Host: tlsrpt.Text(s.Policy.Host), Helo: printable(s.Helo),
	}
	if s.Failure.Err != nil {
		f.Reason = printable(s.Failure.Err.Error())
	}
	return f
}

func addr(a netip.Addr) tlsrpt.Text {
	if !a.IsValid() {
		return ""
	}
	return tlsrpt.Text(a.Unmap().WithZone("").String())
}

// printable makes ASCII of what strangers said.
func printable(s string) tlsrpt.Text {
	b := []byte(s[:min(len(s), reasonOctetsMax)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return tlsrpt.Text(b)
}

// fail counts a failure of a kind.
func fail(r *tlsrpt.PolicyResult, f tlsrpt.Failure, room bool) {
	for i := range r.Failures {
		have := r.Failures[i]
		have.Sessions = 0
		if have == f {
			r.Failures[i].Sessions++
			return
		}
	}
	if len(r.Failures) < failuresMax && room {
		f.Sessions = 1
		r.Failures = append(r.Failures, f)
	}
}

// job is a report to be sent, with copies of what was counted.
type job struct {
	key
	account
	to    []string // who took it now
	again bool     // some did not, and may later
	err   error    // why; or that nobody wants it
}

// due gives what is to be sent now; jitter says how long after midnight a
// report is due.
func (t *tally) due(now time.Time, jitter func() time.Duration) []*job {
	today := now.Format(time.DateOnly)
	var out []*job
	for k, a := range t.domains {
		if k.date >= today || a.busy {
			continue
		}
		if a.Due.IsZero() {
			day, err := time.Parse(time.DateOnly, k.date)
			if err != nil {
				t.forget(k)
				continue
			}
			a.Due = day.AddDate(0, 0, 1).Add(jitter())
			t.dirty = true
		}
		if !now.Before(a.Due) {
			out = append(out, &job{key: k, account: a.copy()})
		}
	}
	slices.SortFunc(out, func(a, b *job) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.domain, b.domain))
	})
	out = out[:min(len(out), passMax)]
	for _, j := range out {
		t.domains[j.key].busy = true
	}
	return out
}

// settle takes in what became of a job.
func (t *tally) settle(j *job, now time.Time) {
	a := t.domains[j.key]
	a.busy = false
	t.dirty = true
	a.Sent = append(slices.Clip(a.Sent), j.to...)
	if a.First.IsZero() {
		a.First = now
	}
	if j.again && now.Sub(a.First) < retryMax {
		a.Due = now.Add(retryPause)
		return
	}
	t.forget(j.key)
	if len(a.Sent) == 0 && j.err == nil {
		return // nobody wants it
	}
	var sum tlsrpt.Summary
	for _, p := range a.Policies {
		sum.Successful += p.Summary.Successful
		sum.Failed += p.Summary.Failed
	}
	s := Sent{Date: j.date, Domain: j.domain, At: now, To: a.Sent, Successful: int64(sum.Successful), Failed: int64(sum.Failed)}
	if j.err != nil {
		s.Error = string(printable(j.err.Error()))
	}
	t.sent = append(t.sent, s)
	if extra := len(t.sent) - sentMax; extra > 0 {
		t.sent = slices.Delete(t.sent, 0, extra)
	}
}
