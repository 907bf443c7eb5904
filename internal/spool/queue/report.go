package queue

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const (
	// untoldPause is how long a recipient waits whose sender cannot be told
	// that it was refused; untoldMax how long beyond Options.Expire that goes
	// on before it ends with the sender untold.
	untoldPause = 5 * time.Minute
	untoldMax   = 24 * time.Hour
	// untriedStatus is of what has waited for too long, when nothing else is
	// known (RFC 3463 §3.5).
	untriedStatus = "4.4.7"
)

// about is what a report tells of.
type about uint8

const (
	failure about = iota
	delay
	success
)

func (a about) String() string {
	switch a {
	case failure:
		return "failure"
	case delay:
		return "delay"
	}
	return "success"
}

// What senders want to hear (RFC 3461 §4.1). Who says nothing is told of
// failures and, once, of a long delay.
func wantsFailure(n smtp.Notify) bool { return n == 0 || n&smtp.NotifyFailure != 0 }
func wantsDelay(n smtp.Notify) bool   { return n == 0 || n&smtp.NotifyDelay != 0 }
func wantsSuccess(n smtp.Notify) bool { return n&smtp.NotifySuccess != 0 }

// pick gives the places in a task of those whose sender is to be told of what
// came of it. state 0 stands for every success that is ours to tell of: a
// host that was passed the wish tells of it itself (RFC 3461 §5.2.1). The null
// reverse-path is told nothing (RFC 5321 §4.5.5).
func (q *Queue) pick(m *fate.Message, t *task, os []Outcome, state fate.State, wants func(smtp.Notify) bool) []int {
	if m.From.IsZero() {
		return nil
	}
	var out []int
	for i, o := range os {
		is := o.State == state
		if state == 0 {
			is = (o.State == fate.Delivered || o.State == fate.Relayed) && !o.Passed
		}
		if is && wants(m.Recipients[t.rcpts[i]].Notify) {
			out = append(out, i)
		}
	}
	return out
}

// report tells the sender what came of some recipients of a task, and makes it
// durable with that. It tells whether it could.
func (q *Queue) report(ctx context.Context, m *fate.Message, a about, t *task, os []Outcome, falls []fall, which []int) bool {
	in := map[int]bool{}
	rs := make([]dsn.Recipient, 0, len(which))
	for _, i := range which {
		in[i] = true
		r := m.Recipients[t.rcpts[i]]
		tried := os[i].At
		if t.kind != attempt {
			tried = r.Last.At
		}
		rs = append(rs, q.told(m, a, r, os[i].Event, tried))
	}
	cs := changesOf(t, os, falls, func(i int) bool { return in[i] })
	for i := range cs {
		cs[i].Attempt = t.kind == attempt
		cs[i].Warned = a == delay
	}
	if err := q.post(ctx, m, a, rs, cs); err != nil {
		q.log.Error("the sender cannot be told what became of a message", telemetry.Env, m.ID,
			telemetry.From, m.From.String(), telemetry.State, a.String(), telemetry.Err, err)
		return false
	}
	return true
}

// told is what a report says of one recipient.
func (q *Queue) told(m *fate.Message, a about, r fate.Recipient, e fate.Event, tried time.Time) dsn.Recipient {
	named := r.Address
	if !r.Rcpt.IsZero() {
		named = r.Rcpt // what the sender knows; where it leads is not for everyone to know
	}
	out := dsn.Recipient{Final: named, Original: r.Orcpt, Reply: renamed(e.Reply, r.Address, named), Reason: renamed(e.Reason, r.Address, named)}
	if e.Reply == "" {
		out.Status, out.Reason = finding(out.Reason)
	}
	if r.Attempts > 0 || e.Via != "" || e.Reply != "" {
		out.LastTry = tried
	}
	if e.Reply != "" {
		out.RemoteMTA, _, _ = strings.Cut(e.Via, " ")
	}
	switch {
	case a == failure:
		out.Action = dsn.Failed
	case a == delay:
		out.Action, out.RetryUntil = dsn.Delayed, m.Received.Add(q.o.Expire)
	case e.State == fate.Delivered:
		out.Action = dsn.Delivered
	default:
		out.Action = dsn.Relayed
	}
	if a == success || a == delay && !out.Status.Valid(400) {
		out.Status = "" // it speaks of something else
	}
	return out
}

// renamed is a text with one address in place of another, in whatever case it
// stands there: hosts like to repeat the recipient that they refuse.
func renamed(text string, from, to message.Address) string {
	if from == to || from.IsZero() {
		return text
	}
	old, now := from.String(), to.String()
	var out strings.Builder
	for i := 0; i < len(text); {
		if n := i + len(old); n <= len(text) && strings.EqualFold(text[i:n], old) {
			out.WriteString(now)
			i = n
			continue
		}
		out.WriteByte(text[i])
		i++
	}
	return out.String()
}

// finding parts what this host found out by itself, where no other has said
// anything: a status code (RFC 3463), then a sentence. There may be no code.
func finding(reason string) (smtp.EnhancedCode, string) {
	word, sentence, _ := strings.Cut(reason, " ")
	c := smtp.EnhancedCode(word)
	if c == "" || !c.Valid(400) && !c.Valid(500) {
		return "", reason
	}
	return c, sentence
}

// prefaced puts words before a sentence of ours, but after its code.
func prefaced(reason, words string) string {
	c, sentence := finding(reason)
	if c == "" {
		return words + sentence
	}
	return string(c) + " " + words + sentence
}

// post makes a report and sends it, with the null reverse-path.
func (q *Queue) post(ctx context.Context, m *fate.Message, a about, rs []dsn.Recipient, cs []fate.Change) error {
	id, err := q.reportID()
	if err != nil {
		return err
	}
	body, err := dsn.Build(dsn.Report{
		ID: id, Now: q.o.Clock.Now(), Hostname: q.o.Hostname, To: m.From,
		EnvID: m.EnvID, Ret: returned(m), Arrival: m.Received,
		Recipients: rs, Original: q.original(ctx, m),
	})
	if err != nil {
		return fmt.Errorf("make the report: %w", err)
	}
	_, err = q.poster.Post(ctx, Notice{To: m.From, Sender: message.Address{}, Body: body, Changes: cs, Receipt: a == success})
	if err != nil {
		return fmt.Errorf("post the report: %w", err)
	}
	q.o.Metrics.reports.WithLabelValues(a.String()).Inc()
	return nil
}

// returned is how much of a message its sender gets back. Of one with REQUIRETLS
// that is no more than the header, since the way back may have no TLS (RFC 8689
// §5).
func returned(m *fate.Message) smtp.Ret {
	if m.RequireTLS {
		return smtp.RetHeaders
	}
	return m.Ret
}

func (q *Queue) reportID() (string, error) {
	var b [12]byte
	q.randMu.Lock()
	defer q.randMu.Unlock()
	if _, err := io.ReadFull(q.o.Rand, b[:]); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// original gives the beginning of the message, without what this host has put
// in front for itself. If it cannot be read, or something in it is damaged, it
// is left out: that the sender is told matters more.
func (q *Queue) original(ctx context.Context, m *fate.Message) io.Reader {
	if q.o.Bodies == nil {
		return nil
	}
	b, err := q.o.Bodies.OpenMessage(ctx, m.LSN)
	if err == nil {
		defer b.Close()
		from := min(max(m.Skip, 0), b.Size())
		head := make([]byte, min(b.Size()-from, dsn.OriginalMax+1))
		if _, err = b.ReadAt(head, from); err == nil || errors.Is(err, io.EOF) {
			return bytes.NewReader(head)
		}
	}
	q.log.Warn("a report returns nothing of its message", telemetry.Env, m.ID, telemetry.Err, err)
	return nil
}

// warn tells the sender of a message that some recipients have not got it yet.
func (q *Queue) warn(ctx context.Context, t *task) []fall {
	m, falls := q.message(ctx, t)
	if m == nil {
		return falls
	}
	os, falls := q.standing(t, m)
	var which []int
	for i, o := range os {
		falls[i].warned = true
		if o.State != 0 && !m.From.IsZero() && !m.Recipients[t.rcpts[i]].Warned && wantsDelay(m.Recipients[t.rcpts[i]].Notify) {
			which = append(which, i)
		}
	}
	if len(which) > 0 && !q.report(ctx, m, delay, t, os, falls, which) {
		for _, i := range which {
			falls[i].warned = false
		}
	}
	return falls
}

// standing gives what came of recipients so far as if it were news, and falls
// that leave them as they are.
func (q *Queue) standing(t *task, m *fate.Message) ([]Outcome, []fall) {
	now := q.o.Clock.Now().UTC()
	os := make([]Outcome, len(t.slots))
	falls := q.later(t, 0)
	for i, rcpt := range t.rcpts {
		r := m.Recipients[rcpt]
		if r.State.Ended() {
			falls[i] = fall{state: r.State}
			continue
		}
		e := r.Last
		if e.Reason == "" && e.Reply == "" {
			e.Reason = "No attempt has been possible yet."
			if why := q.HeldWhy(m, rcpt); why != "" {
				e.Reason = "No attempt has been possible yet: " + why + "."
			}
		}
		e.At, e.State, e.By, e.DSN = now, falls[i].state, "", ""
		os[i] = Outcome{Event: e}
	}
	return os, falls
}

// expire gives up recipients that have waited for too long.
func (q *Queue) expire(ctx context.Context, t *task) []fall {
	m, falls := q.message(ctx, t)
	if m == nil {
		return falls
	}
	why := fmt.Sprintf("Given up after %s. ", days(q.o.Expire))
	return q.giveUp(ctx, t, m, func(e fate.Event) fate.Event {
		if c, _ := finding(e.Reason); c == "" && e.Reply == "" {
			e.Reason = untriedStatus + " " + e.Reason
		}
		e.Reason = prefaced(e.Reason, why)
		return e
	})
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 && d > 24*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

// giveUp bounces the recipients of a task, whose last event it has rewritten.
func (q *Queue) giveUp(ctx context.Context, t *task, m *fate.Message, rewrite func(fate.Event) fate.Event) []fall {
	os, falls := q.standing(t, m)
	asItWas := append([]fall(nil), falls...)
	for i := range os {
		if os[i].State == 0 {
			continue
		}
		os[i].Event = rewrite(os[i].Event)
		os[i].State = fate.Bounced
		os[i].Reason = cut(os[i].Reason, fate.ReasonMax)
		falls[i] = fall{state: fate.Bounced}
	}
	which := q.pick(m, t, os, fate.Bounced, wantsFailure)
	told := map[int]bool{}
	if len(which) > 0 {
		if q.report(ctx, m, failure, t, os, falls, which) {
			for _, i := range which {
				told[i] = true
			}
		} else if q.o.Clock.Now().Sub(m.Received) <= q.o.Expire+untoldMax {
			for _, i := range which {
				told[i] = true // not yet: nothing is recorded of it
				falls[i], os[i].State = asItWas[i], 0
			}
		}
	}
	cs := changesOf(t, os, falls, func(i int) bool { return !told[i] })
	for i := range cs {
		cs[i].Attempt = false
	}
	if !q.saver.save(ctx, cs) {
		return asItWas
	}
	q.tell(t, m, os, falls)
	return falls
}
