package host

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// outCheck is one look at all that a host has.
type outCheck struct {
	w     *outWorld
	h     *outHost
	when  string
	end   bool // nothing may wait any more
	seen  map[string]*fate.Message
	filed map[account.ID]map[journal.LSN]int
	told  map[outTold]int
	lost  map[outRef]bool // the results that a crash has forgotten
}

// outTold is what reports say: of which message, of which recipient as its
// sender named it.
type outTold struct {
	id, named string
	action    dsn.Action
}

// check compares what a host has with what was promised. The host has no
// attempts under way.
func (w *outWorld) check(h *outHost, when string, end bool) {
	c := &outCheck{
		w: w, h: h, when: when, end: end, seen: map[string]*fate.Message{},
		filed: map[account.ID]map[journal.LSN]int{}, told: map[outTold]int{}, lost: map[outRef]bool{},
	}
	c.books()
	c.mailboxes()
	c.reports()
	var all []*fate.Message
	if err := h.store.Fates.Trace(w.t.Context(), fate.Find{Limit: 1 << 16}, func(m *fate.Message) error {
		all = append(all, m)
		return nil
	}); err != nil {
		c.wrong("trace: %v", err)
	}
	for _, m := range all {
		c.message(m)
	}
	c.promises()
	c.trips()
	for id, lsns := range c.filed {
		for lsn, n := range lsns {
			c.wrong("account %d has message %s %d times too often", id, lsn, n)
		}
	}
}

func (c *outCheck) wrong(format string, args ...any) {
	c.w.t.Helper()
	c.w.t.Errorf("seed %d, %s: "+format, append([]any{c.w.seed, c.when}, args...)...)
}

// books closes the books.
func (c *outCheck) books() {
	b, err := c.h.store.ledger(nil).Close(c.w.t.Context(), ledger.Period{})
	if err != nil || !b.Balanced || len(b.Unaccounted) > 0 || c.end && b.Queued > 0 {
		c.wrong("the books: %+v, %v", b, err)
	}
}

// mailboxes reads what is in the mailboxes of all accounts.
func (c *outCheck) mailboxes() {
	ctx := c.w.t.Context()
	all, err := c.h.store.Accounts.Accounts(ctx)
	if err != nil {
		c.wrong("accounts: %v", err)
	}
	for _, a := range all {
		c.filed[a.ID] = map[journal.LSN]int{}
		infos, err := c.h.store.Mailboxes.List(ctx, a.ID)
		if err != nil {
			c.wrong("list mailboxes: %v", err)
		}
		for _, info := range infos {
			m, err := c.h.store.Mailboxes.OpenMailbox(ctx, info.ID)
			if err != nil {
				c.wrong("open %s: %v", info.Name, err)
				continue
			}
			entries, _, err := m.Entries(ctx)
			if err != nil {
				c.wrong("list %s: %v", info.Name, err)
			}
			for _, e := range entries {
				c.filed[a.ID][e.Message]++
				c.body(e.Message)
			}
			m.Close()
		}
	}
}

// body reads a message that somebody has, and notes what it reports.
func (c *outCheck) body(lsn journal.LSN) {
	raw, err := c.h.read(lsn)
	if err != nil {
		c.wrong("message %s: %v", lsn, err)
		return
	}
	c.w.net.mu.Lock()
	defer c.w.net.mu.Unlock()
	c.w.net.reported(raw)
}

// reports counts what senders have been told.
func (c *outCheck) reports() {
	c.w.net.mu.Lock()
	defer c.w.net.mu.Unlock()
	for id, r := range c.w.net.reports {
		if c.w.mails[r.about] == nil {
			c.wrong("report %s is about %q, which nobody sent", id, r.about)
		}
		for _, to := range r.Recipients {
			c.told[outTold{r.about, to.Final.String(), to.Action}]++
		}
	}
}

// message checks what became of a message.
func (c *outCheck) message(m *fate.Message) {
	if c.seen[m.MessageID] != nil {
		c.wrong("%s is there twice", m.MessageID)
	}
	c.seen[m.MessageID] = m
	mail := c.w.mails[m.MessageID]
	var to map[string]string
	switch {
	case m.Source == fate.System:
	case mail == nil:
		c.wrong("%s is there, and nobody sent it", m.MessageID)
	default:
		to = mail.leadsTo()
		if len(m.Recipients) != len(to) && !mail.some {
			c.wrong("%s has %d recipients, want %d", m.MessageID, len(m.Recipients), len(to))
		}
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if m.Source != fate.System && to[r.Address.String()] == "" {
			c.wrong("%s goes to %s, which is not one of %v", m.MessageID, r.Address, to)
		}
		if r.Account != 0 {
			c.here(m, r)
		} else {
			c.elsewhere(m, r)
		}
	}
	if c.end {
		c.senders(m)
	}
}

// here checks a recipient of ours, who has the message once.
func (c *outCheck) here(m *fate.Message, r *fate.Recipient) {
	if n := c.filed[r.Account][m.LSN]; n != 1 || r.State != fate.Delivered {
		c.wrong("%s is %s for %s, who has it %d times", m.MessageID, r.State, r.Address, n)
	}
	delete(c.filed[r.Account], m.LSN)
}

// elsewhere checks a recipient at another host.
func (c *outCheck) elsewhere(m *fate.Message, r *fate.Recipient) {
	c.w.net.mu.Lock()
	defer c.w.net.mu.Unlock()
	t := c.w.net.tallies[outRef{m.MessageID, r.Address.String()}]
	if t == nil {
		t = &outTally{}
	}
	switch {
	case c.end && !r.State.Ended():
		c.wrong("%s is still %s for %s", m.MessageID, r.State, r.Address)
	case r.State == fate.Relayed && t.accepted == 0:
		c.wrong("%s is relayed to %s, who does not have it", m.MessageID, r.Address)
	case t.replied && r.State == fate.Bounced:
		c.wrong("%s bounced for %s after it was taken", m.MessageID, r.Address)
	case t.replied && r.State != fate.Relayed && c.w.net.orderly:
		c.wrong("%s was taken for %s, the host stopped orderly, and it is %s", m.MessageID, r.Address, r.State)
	case t.replied && r.State != fate.Relayed:
		t.excused++ // the crash came before the result was durable
		c.lost[outRef{m.MessageID, r.Address.String()}] = true
	}
	t.replied = false
	if t.accepted > 1+t.excused {
		c.wrong("%s was taken for %s %d times, of which %d are excused; %s", m.MessageID, r.Address, t.accepted, t.excused, outStory(r))
	}
}

func outStory(r *fate.Recipient) string {
	var b strings.Builder
	for _, e := range r.Events {
		b.WriteString(e.At.Format("02 15:04:05.000 ") + e.State.String() + " " + e.Reply + " " + e.Reason + "; ")
	}
	return b.String()
}

// senders checks what the sender of a message was told of its recipients.
func (c *outCheck) senders(m *fate.Message) {
	if m.Source == fate.System {
		return
	}
	failed, passed, here, all := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		named := r.Address.String()
		if !r.Rcpt.IsZero() {
			named = r.Rcpt.String()
		}
		all[named]++
		if m.From.IsZero() {
			continue // is told nothing
		}
		if r.State == fate.Bounced && (r.Notify == 0 || r.Notify&smtp.NotifyFailure != 0) {
			failed[named]++
		}
		if r.Account != 0 && r.Notify&smtp.NotifySuccess != 0 {
			here[named] = 1
		}
		if site := c.w.net.sites[string(r.Address.Domain)]; r.State == fate.Relayed && r.Notify&smtp.NotifySuccess != 0 && !site.dsn {
			passed[named]++
		}
	}
	for named, n := range all {
		if got := c.told[outTold{m.MessageID, named, dsn.Failed}]; got != failed[named] {
			c.wrong("%s failed %d times for %s, and %s was told %d times", m.MessageID, failed[named], named, m.From, got)
		}
		if got := c.told[outTold{m.MessageID, named, dsn.Relayed}]; got > passed[named] || got < passed[named] && c.end {
			c.wrong("%s was relayed for %s, and %s was told %d times", m.MessageID, named, m.From, got)
		}
		if got := c.told[outTold{m.MessageID, named, dsn.Delayed}]; got > n {
			c.wrong("%s was warned of %s for %s %d times (was the disk full: %t); %s", m.From, m.MessageID, named, got, c.w.filled, c.warnings(m))
		}
		if got := c.told[outTold{m.MessageID, named, dsn.Delivered}] + c.told[outTold{m.MessageID, named, dsn.Expanded}]; got > 1 || got < here[named] && c.end {
			c.wrong("%s was told %d times that %s has come to %s", m.From, got, m.MessageID, named)
		}
	}
}

// warnings tells which reports there are of a message, which of them the books
// know, and what they say of its recipients.
func (c *outCheck) warnings(m *fate.Message) string {
	var b strings.Builder
	for id, r := range c.w.net.reports {
		if r.about == m.MessageID {
			fmt.Fprintf(&b, "%s (known: %t) %s; ", id, c.seen[id] != nil, r.Recipients[0].Action)
		}
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		fmt.Fprintf(&b, "%s (warned: %t) %s", r.Address, r.Warned, outStory(r))
	}
	return b.String()
}

// promises checks that what got its 250 is there, and that nothing has arrived
// anywhere that is not.
func (c *outCheck) promises() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for id, mail := range c.w.mails {
		m := c.seen[id]
		switch {
		case mail.reply == "":
		case m == nil:
			c.wrong("%s got its %q and is not there", id, mail.reply)
		case !strings.Contains(mail.reply, m.ID):
			c.wrong("%s got its %q and is %s", id, mail.reply, m.ID)
		}
	}
	c.w.net.mu.Lock()
	defer c.w.net.mu.Unlock()
	for ref := range c.w.net.tallies {
		m := c.seen[ref.id]
		if m == nil {
			c.wrong("%q came to %s, and is not in the books", ref.id, ref.rcpt)
			continue
		}
		ours := false
		for i := range m.Recipients {
			ours = ours || m.Recipients[i].Address.String() == ref.rcpt
		}
		if !ours {
			c.wrong("%s came to %s, who is none of its recipients", ref.id, ref.rcpt)
		}
	}
}

// trips checks that on no connection another message has followed one whose
// result was not durable: a crash forgets what was under way and no more.
func (c *outCheck) trips() {
	n := c.w.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.trips {
		for _, ref := range t.taken {
			if last := t.taken[len(t.taken)-1]; c.lost[ref] && ref.id != last.id {
				c.wrong("%s was sent before it was durable that %s was taken for %s", last.id, ref.id, ref.rcpt)
			}
		}
	}
	n.trips = nil
}

// reported notes a report that somebody has got; the caller holds mu.
func (n *outNet) reported(b []byte) {
	r, err := dsn.Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	n.reports[outMessageID(b)] = outReport{r, outMessageID(append([]byte("\r\n"), r.OriginalHeader...))}
}
