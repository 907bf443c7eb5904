package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

const (
	livesMax      = 1000     // lives of a trace: more than anybody reads
	linesMax      = 50_000   // recipients and events of a trace: an answer of some ten megabytes
	signaturesMax = 10       // signatures that are named: a host signs with two
	headerScanMax = 64 << 10 // octets of our own header fields that are looked at
)

// Query says whose life is to be told.
type Query struct {
	What  string    `json:"what"` // the id of a message, its Message-ID, or an address
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Limit int       `json:"limit,omitempty"`
}

// Life is the life of one message.
type Life struct {
	ID        string    `json:"id"`
	MessageID string    `json:"message_id,omitempty"`
	Source    string    `json:"source"`
	Account   string    `json:"account,omitempty"` // who submitted it
	Received  time.Time `json:"received"`
	Size      int64     `json:"size"`
	Session   string    `json:"session,omitempty"`
	RemoteIP  string    `json:"remote_ip,omitempty"`
	Protocol  string    `json:"protocol,omitempty"`
	TLS       string    `json:"tls,omitempty"`
	From      string    `json:"from"`             // "" is the null reverse-path
	Signed    []string  `json:"signed,omitempty"` // "selector._domainkey.example.org"
	To        []LifeTo  `json:"recipients"`
}

// LifeTo is what became of one recipient.
type LifeTo struct {
	Address  string      `json:"address"`
	Rcpt     string      `json:"rcpt,omitempty"`   // as named at RCPT TO, if it is another
	Sender   string      `json:"sender,omitempty"` // the reverse-path, if it is another
	State    string      `json:"state"`
	Due      time.Time   `json:"due,omitzero"`   // of an open one: when it is tried
	Hold     string      `json:"hold,omitempty"` // why it is held, where no event says so
	Attempts int         `json:"attempts"`
	Route    string      `json:"route,omitempty"`
	Events   []LifeEvent `json:"events,omitempty"`
}

// LifeEvent is one thing that happened.
type LifeEvent struct {
	At     time.Time `json:"at"`
	State  string    `json:"state"`
	Via    string    `json:"via,omitempty"`
	TLS    string    `json:"tls,omitempty"`
	Reply  string    `json:"reply,omitempty"`
	Reason string    `json:"reason,omitempty"`
	DSN    string    `json:"dsn,omitempty"`
	By     string    `json:"by,omitempty"`
}

// Lives are what a trace found, newest first.
type Lives struct {
	Lives []Life `json:"lives"`
	More  bool   `json:"more,omitempty"` // there are older ones, beyond the limit
}

// Trace tells the lives of messages, newest first.
func (l *Ledger) Trace(ctx context.Context, q Query) (Lives, error) {
	limit := q.Limit
	if limit <= 0 || limit > livesMax {
		limit = livesMax
	}
	type found struct {
		lsn  journal.LSN
		life Life
	}
	out := Lives{Lives: []Life{}}
	var all []found
	seen := map[journal.LSN]bool{}
	for _, f := range finds(q.What) {
		f.Since, f.Until, f.Limit = q.Since, q.Until, limit+1
		lines := 0
		err := l.fates.Trace(ctx, f, func(m *fate.Message) error {
			if seen[m.LSN] {
				return nil
			}
			if lines += linesOf(m); lines > linesMax && len(seen) > 0 {
				out.More = true
				return errEnough
			}
			seen[m.LSN] = true
			all = append(all, found{m.LSN, l.life(m)})
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return Lives{}, fmt.Errorf("look for %q: %w", q.What, err)
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.lsn, a.lsn) })
	out.More = out.More || len(all) > limit
	for _, f := range all[:min(len(all), limit)] {
		out.Lives = append(out.Lives, f.life)
	}
	return out, nil
}

// linesOf is about how many lines the life of a message takes.
func linesOf(m *fate.Message) int {
	n := 0
	for i := range m.Recipients {
		n += 1 + len(m.Recipients[i].Events)
	}
	return n
}

// finds are the ways to understand what is asked for. An address looks like a
// Message-ID, with angle brackets or without, and people paste either.
func finds(what string) []fate.Find {
	bare := strings.TrimSuffix(strings.TrimPrefix(what, "<"), ">")
	if bare == what && !strings.Contains(what, "@") {
		return []fate.Find{{ID: what}}
	}
	out := []fate.Find{{MessageID: "<" + bare + ">"}}
	if a, err := message.ParseAddress(bare); err == nil {
		out = append(out, fate.Find{Address: a.String()})
	}
	return out
}

func (l *Ledger) life(m *fate.Message) Life {
	out := Life{
		ID: m.ID, MessageID: m.MessageID, Source: m.Source.String(), Received: m.Received.UTC(), Size: m.Size,
		Session: m.Session, Protocol: m.Protocol, TLS: m.TLS, From: m.From.String(), Signed: signatures(m.Headers),
		To: make([]LifeTo, len(m.Recipients)),
	}
	if m.Account != 0 {
		out.Account = l.o.Owner(m.Account)
	}
	if m.RemoteIP.IsValid() {
		out.RemoteIP = m.RemoteIP.String()
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		out.To[i] = lifeTo(r)
		if r.State.Ended() || r.State == fate.Held || l.held == nil {
			continue
		}
		if why := l.held(m, i); why != "" {
			out.To[i].State, out.To[i].Hold, out.To[i].Due = fate.Held.String(), why, time.Time{}
		}
	}
	return out
}

func lifeTo(r *fate.Recipient) LifeTo {
	out := LifeTo{
		Address: r.Address.String(), Rcpt: r.Rcpt.String(), Sender: r.Sender.String(),
		State: r.State.String(), Attempts: r.Attempts, Route: r.Route,
	}
	if !r.State.Ended() && r.State != fate.Held {
		out.Due = utc(r.Due)
	}
	events := r.Events
	if len(events) == 0 && !r.Last.At.IsZero() {
		events = []fate.Event{r.Last}
	}
	for _, e := range events {
		out.Events = append(out.Events, LifeEvent{
			At: e.At.UTC(), State: e.State.String(), Via: e.Via, TLS: e.TLS,
			Reply: e.Reply, Reason: e.Reason, DSN: e.DSN, By: e.By,
		})
	}
	return out
}

// signatures names the keys of the DKIM signatures among header fields that we
// added: where each stands in the DNS (RFC 6376 §3.6.2.1).
func signatures(headers string) []string {
	var out []string
	headers = headers[:min(len(headers), headerScanMax)]
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(headers)
	for field := range strings.Lines(unfolded) {
		name, value, ok := strings.Cut(field, ":")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "DKIM-Signature") || len(out) == signaturesMax {
			continue
		}
		tags := map[string]string{}
		for tag := range strings.SplitSeq(value, ";") {
			if k, v, ok := strings.Cut(tag, "="); ok {
				tags[strings.TrimSpace(k)] = strings.TrimSpace(v)
			}
		}
		if tags["s"] != "" && tags["d"] != "" {
			out = append(out, tags["s"]+"._domainkey."+tags["d"])
		}
	}
	return out
}
