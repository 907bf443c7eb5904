package policy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Query is a would-be delivery. Only IP is needed.
type Query struct {
	IP   netip.Addr `json:"ip"`
	Helo string     `json:"helo,omitempty"`
	From *string    `json:"from,omitempty"` // nil: not given; "" is the null reverse-path
	Rcpt string     `json:"rcpt,omitempty"`
}

// Explanation says how a verdict comes about, or came about.
type Explanation struct {
	Query
	At      time.Time `json:"at"`
	Session string    `json:"session,omitempty"` // of a past one
	Level   string    `json:"level,omitempty"`
	Problem string    `json:"problem,omitempty"` // with the question itself

	// At arrival.
	Arrival string        `json:"arrival,omitempty"` // admit, wait, refuse
	Why     string        `json:"why,omitempty"`
	Wait    time.Duration `json:"wait_ns,omitempty"`

	// At the first recipient.
	Verdict  string     `json:"verdict,omitempty"`
	By       string     `json:"by,omitempty"`
	Score    int        `json:"score"`
	Reply    string     `json:"reply,omitempty"`
	Headers  string     `json:"headers,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`

	Lists []dnsbl.Finding `json:"lists,omitempty"`
	SPF   *SPFFinding     `json:"spf,omitempty"`  // decides nothing
	Pool  string          `json:"pool,omitempty"` // of senders, for the greylist

	// Of a past session: all that is kept of it, and what became of it.
	Records []Record `json:"records,omitempty"`
	Outcome string   `json:"outcome,omitempty"` // refused, deferred, left, accepted, passed
}

// Explain makes every check as it would be made for this sender now, and
// changes nothing by it: rates and the greylist are only looked at. The lists
// are asked, and so is SPF if there is a sender.
func (p *Policy) Explain(ctx context.Context, q Query) Explanation {
	now := p.clock()
	q.IP = q.IP.Unmap().WithZone("")
	e := Explanation{Query: q, At: now, Level: p.Level().String()}
	if !q.IP.IsValid() {
		e.Problem = "no IP address"
		return e
	}
	entry := p.enter(q.IP, now, true)
	e.Arrival, e.Why, e.Wait = entry.Kind.String(), entry.Why, entry.Wait
	if entry.Why == whyBanned && p.parts.WhyBanned != nil {
		why, _ := p.parts.WhyBanned(q.IP)
		e.Why += ": " + why
	}
	g := Guest{Addr: q.IP, Helo: q.Helo, ESMTP: true, Arrived: now, Now: now, Known: entry.Known}
	e.Problem = g.fill(q)
	if p.parts.Lists != nil {
		e.Lists = p.parts.Lists.Findings(ctx, q.IP)
		g.Score, g.Scored = p.found(e.Lists), true
	}
	if p.parts.SPF != nil && g.HasFrom {
		f := p.parts.SPF.Check(ctx, q.IP, q.Helo, g.From)
		e.SPF = &f
	}
	e.Pool = p.pools.pool(g.From.Domain, q.IP)
	v := p.judge(&g, true).v
	e.Verdict, e.By, e.Score, e.Evidence, e.Headers = v.Kind.String(), v.By, v.Score, v.Evidence, v.Headers
	if v.Reply != nil {
		e.Reply = v.Reply.String()
	}
	return e
}

// fill takes the addresses of a query. It returns what is wrong with them.
func (g *Guest) fill(q Query) (problem string) {
	if q.From != nil {
		g.HasFrom = true
		if *q.From != "" && *q.From != "<>" {
			a, err := message.ParseAddress(*q.From)
			if err != nil {
				g.HasFrom, problem = false, "sender: "+err.Error()
			}
			g.From = a
		}
	}
	if q.Rcpt != "" {
		a, err := message.ParseAddress(q.Rcpt)
		if err != nil {
			return "recipient: " + err.Error()
		}
		g.To, g.HasTo = a, true
	}
	return problem
}

// found is the score that findings come to.
func (p *Policy) found(findings []dnsbl.Finding) (s dnsbl.Score) {
	lists := p.rules.Load().lists
	for _, f := range findings {
		i := slices.IndexFunc(lists, func(l dnsbl.List) bool { return l.Zone == f.Zone })
		switch {
		case i < 0:
		case f.Listed:
			s.Hits |= 1 << i
			s.Weight += int16(f.Weight)
		case f.Ignored != "":
			s.Silent |= 1 << i
		}
	}
	return s
}

// String returns the kind's name.
func (k EntryKind) String() string {
	switch k {
	case EntryWait:
		return "wait"
	case EntryAdmit:
		return "admit"
	case EntryRefuse:
		return "refuse"
	}
	return "?"
}

// ExplainSession finds a past session in the history.
func (p *Policy) ExplainSession(id string) (Explanation, bool) {
	records, err := p.history.session(id)
	if err != nil {
		p.log.Error("history of verdicts not read", slog.Any(telemetry.Err, err))
	}
	if len(records) == 0 {
		return Explanation{}, false
	}
	e := Explanation{Session: id, Records: records, At: records[0].At, Query: Query{IP: records[0].IP}}
	for i := range records {
		e.add(&records[i])
	}
	return e, true
}

// add takes a record of the session. The last verdict counts.
func (e *Explanation) add(r *Record) {
	if r.Helo != "" {
		e.Helo = r.Helo
	}
	if r.From != nil {
		e.From = r.From
	}
	switch r.What {
	case RecordVerdict:
		e.At, e.Level, e.Rcpt = r.At, r.Level, r.To
		e.Verdict, e.By, e.Score, e.Reply = r.Verdict, r.By, r.Score, r.Reply
		e.Evidence = withQuiet(r.Evidence)
		e.Outcome = map[string]string{Pass.String(): "passed", Refuse.String(): "refused", Defer.String(): "deferred"}[r.Verdict]
	case RecordAccepted:
		e.Outcome = "accepted"
	case RecordLeft:
		if e.Outcome == "" {
			e.Outcome = r.Outcome
		}
	}
}

// withQuiet puts back the checks that found nothing, which the history does
// not keep, up to the one that decided.
func withQuiet(kept []Evidence) []Evidence {
	order := Checks()
	place := func(check string) int { return slices.Index(order, label(check)) }
	last := len(order)
	for _, e := range kept {
		if e.Decided && e.Check != CheckGreylist && place(e.Check) < place(CheckKnown) {
			last = place(e.Check)
		} else if e.Decided && last == len(order) {
			last = max(place(CheckScore), place(e.Check))
		}
	}
	var out []Evidence
	for i, check := range order {
		found, helo := false, false
		for _, e := range kept {
			if place(e.Check) == i {
				out, found = append(out, e), true
			}
			helo = helo || strings.HasPrefix(e.Check, CheckHelo)
		}
		oneOfHelo := strings.HasPrefix(check, CheckHelo) && check != CheckBadHelo && (check != CheckHelo || helo)
		if !found && i <= last && !oneOfHelo {
			out = append(out, Evidence{Check: check, Detail: nothing})
		}
	}
	return out
}

// String returns the explanation as text.
func (e Explanation) String() string {
	var b strings.Builder
	_, _ = e.WriteTo(&b) // a Builder takes everything
	return b.String()
}

// WriteTo writes the explanation for people.
func (e Explanation) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	e.head(&b)
	if len(e.Evidence) > 0 {
		b.WriteString("checks\n")
	}
	for _, v := range e.Evidence {
		e.line(&b, v)
	}
	for _, f := range e.Lists {
		fmt.Fprintf(&b, "list %s: asked %s, answer %s", f.Zone, f.Question, cmpOr(f.Answer, "none"))
		switch {
		case f.Listed:
			fmt.Fprintf(&b, ": listed, weight %+d", f.Weight)
		case f.Ignored != "":
			b.WriteString(": ignored, " + f.Ignored)
		}
		if f.Cached {
			b.WriteString(" (remembered)")
		}
		b.WriteString("\n")
	}
	if s := e.SPF; s != nil {
		fmt.Fprintf(&b, "SPF of %s: %s %s %s(decides nothing here)\n", s.Domain, s.Result, s.Mechanism, spaced(s.Problem))
		for _, step := range s.Steps {
			b.WriteString("  " + step + "\n")
		}
	}
	for i := range e.Records {
		e.Records[i].write(&b)
	}
	if e.Outcome != "" {
		b.WriteString("outcome: " + e.Outcome + "\n")
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (e *Explanation) head(b *strings.Builder) {
	if e.Session != "" {
		fmt.Fprintf(b, "session %s, ", e.Session)
	}
	fmt.Fprintf(b, "client [%s]", e.IP)
	if e.Helo != "" {
		fmt.Fprintf(b, ", HELO %q", e.Helo)
	}
	if e.From != nil {
		fmt.Fprintf(b, ", from <%s>", strings.Trim(*e.From, "<>"))
	}
	if e.Rcpt != "" {
		fmt.Fprintf(b, ", to <%s>", e.Rcpt)
	}
	fmt.Fprintf(b, ", at %s", e.At.UTC().Format(time.RFC3339))
	if e.Level != "" {
		fmt.Fprintf(b, ", load %s", e.Level)
	}
	b.WriteString("\n")
	if e.Problem != "" {
		b.WriteString("problem: " + e.Problem + "\n")
	}
	if e.Arrival != "" {
		fmt.Fprintf(b, "at arrival: %s (%s)", e.Arrival, e.Why)
		if e.Wait > 0 {
			fmt.Fprintf(b, ", banner after %s", e.Wait)
		}
		b.WriteString("\n")
	}
	if e.Verdict != "" {
		fmt.Fprintf(b, "verdict: %s, decided by %s, score %d\n", e.Verdict, e.By, e.Score)
	}
	if e.Reply != "" {
		b.WriteString("reply: " + e.Reply + "\n")
	}
	if e.Headers != "" {
		b.WriteString("header: " + strings.TrimSpace(e.Headers) + "\n")
	}
	if e.Pool != "" {
		b.WriteString("pool of senders: " + e.Pool + "\n")
	}
}

func (e *Explanation) line(b *strings.Builder, v Evidence) {
	mark := " "
	if v.Decided {
		mark = "*"
	}
	fmt.Fprintf(b, "%s %-20s %s", mark, v.Check, v.Detail)
	if v.Weight != 0 {
		fmt.Fprintf(b, " (%+d)", v.Weight)
	}
	if v.Shadow {
		b.WriteString(" in shadow: not counted")
	}
	if v.Decided {
		b.WriteString(" ← decided")
	}
	b.WriteString("\n")
}

// write writes a record in short; that of a verdict is in the explanation.
func (r *Record) write(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s", r.At.UTC().Format("2006-01-02 15:04:05.000"), r.What)
	switch r.What {
	case RecordVerdict:
		fmt.Fprintf(b, ": %s by %s", r.Verdict, r.By)
	case RecordLeft:
		fmt.Fprintf(b, ": %s after %s, %d octets, %d µs of CPU, %d DNS questions", r.Ended,
			time.Duration(r.StayMS)*time.Millisecond, r.Octets, r.CPUUS, r.Questions)
	}
	b.WriteString("\n")
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
