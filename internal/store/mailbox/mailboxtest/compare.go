package mailboxtest

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// compare looks at everything that a reader can see.
func (r *run) compare(t *rapid.T) {
	for acct := account.ID(1); acct <= 2; acct++ {
		r.compareTree(t, acct)
		var bytes, messages int64
		for name, b := range r.m.account(acct).boxes {
			r.compareBox(t, name, b)
			for _, m := range b.messages {
				bytes, messages = bytes+int64(len(m.body)), messages+1
			}
		}
		gotBytes, gotMessages, err := r.s.Store().Usage(r.ctx, acct)
		r.must(t, "usage", err)
		if gotBytes != bytes || gotMessages != messages {
			t.Fatalf("account %d uses %d bytes in %d messages, model says %d in %d", acct, gotBytes, gotMessages, bytes, messages)
		}
	}
	r.compareWatched(t)
}

// compareTree compares names, special uses and subscriptions.
func (r *run) compareTree(t *rapid.T, acct account.ID) {
	a := r.m.account(acct)
	infos, err := r.s.Store().List(r.ctx, acct)
	r.must(t, "list", err)
	seen := make(map[string]bool)
	for _, i := range infos {
		if seen[i.Name] {
			t.Fatalf("%s is listed twice", i.Name)
		}
		seen[i.Name] = true
		b := a.boxes[i.Name]
		if i.Exists != (b != nil) || i.Subscribed != a.subscriptions[i.Name] || i.Account != acct {
			t.Fatalf("listed: %+v, model has %+v, subscribed %v", i, b, a.subscriptions[i.Name])
		}
		if b != nil && (i.ID != b.id || i.SpecialUse != b.use || i.UIDValidity != b.validity) {
			t.Fatalf("listed: %+v, model has %+v", i, b)
		}
	}
	for name := range a.boxes {
		if !seen[name] {
			t.Fatalf("%s is not listed; model:\n%s", name, r.m)
		}
	}
	for name := range a.subscriptions {
		if !seen[name] {
			t.Fatalf("subscription %s is not listed", name)
		}
	}
}

// compareBox compares a mailbox's numbers and messages.
func (r *run) compareBox(t *rapid.T, name string, b *modelBox) {
	want := mailbox.Status{Messages: uint32(len(b.messages)), UIDNext: b.uidNext, UIDValidity: b.validity, HighestModSeq: b.modSeq}
	for _, m := range b.messages {
		want.Size += int64(len(m.body))
		if !m.flags[`\Seen`] {
			want.Unseen++
		}
		if m.flags[`\Deleted`] {
			want.Deleted++
		}
	}
	got, err := r.s.Store().GetStatus(r.ctx, b.id)
	r.must(t, "status", err)
	if got != want {
		t.Fatalf("%s has status %+v, model says %+v", name, got, want)
	}
	mb, err := r.s.Store().OpenMailbox(r.ctx, b.id)
	r.must(t, "open", err)
	defer mb.Close()
	es, seq, err := mb.Entries(r.ctx)
	r.must(t, "entries", err)
	if len(es) != len(b.messages) || seq != b.modSeq {
		t.Fatalf("%s has %d entries at %d, model says %d at %d", name, len(es), seq, len(b.messages), b.modSeq)
	}
	for i, e := range es {
		r.compareEntry(t, name, mb, e, b.messages[i])
	}
	r.compareSummaries(t, b)
	r.compareChanges(t, mb, b)
	if len(r.open) < 4 && !slices.ContainsFunc(r.open, func(w *watched) bool { return w.mb.Info().ID == b.id }) {
		r.watch(t, b)
	}
}

func (r *run) compareEntry(t *rapid.T, name string, mb *mailbox.Mailbox, e mailbox.Entry, m modelMessage) {
	flags := mb.FlagNames(e.Flags)
	slices.Sort(flags)
	if e.UID != m.uid || e.ModSeq != m.modSeq || e.Size != uint32(len(m.body)) || e.Date != m.date ||
		!slices.Equal(flags, slices.Sorted(maps.Keys(m.flags))) {
		t.Fatalf("%s has %+v with %v, model says UID %d, MODSEQ %d, %d bytes, date %d, %v",
			name, e, flags, m.uid, m.modSeq, len(m.body), m.date, m.flags)
	}
	r.compareText(t, e.Message, m.body)
}

func (r *run) compareText(t *rapid.T, lsn journal.LSN, want string) {
	body, err := r.s.Store().OpenMessage(r.ctx, lsn)
	r.must(t, "open message", err)
	defer body.Close()
	got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	r.must(t, "read message", err)
	if string(got) != want {
		t.Fatalf("message %s has %d bytes that are not the %d delivered", lsn, len(got), len(want))
	}
}

func (r *run) compareSummaries(t *rapid.T, b *modelBox) {
	var uids []mailbox.UID
	for u := mailbox.UID(1); u != b.uidNext; u++ {
		uids = append(uids, u)
	}
	at := 0
	err := r.s.Store().Summaries(r.ctx, b.id, uids, func(u mailbox.UID, m *message.Message) error {
		want := b.messages[at]
		at++
		subject, _, _ := strings.Cut(want.body[strings.Index(want.body, "Subject: ")+9:], "\r\n")
		if u != want.uid || m == nil || m.Envelope.Subject != subject || m.Size != int64(len(want.body)) {
			return errors.New("summary of UID " + subject)
		}
		return nil
	})
	r.must(t, "summaries", err)
	if at != len(b.messages) {
		t.Fatalf("%d summaries of %d messages", at, len(b.messages))
	}
}

// compareChanges asks what happened since a random MODSEQ.
func (r *run) compareChanges(t *rapid.T, mb *mailbox.Mailbox, b *modelBox) {
	since := mailbox.ModSeq(rapid.Uint64Range(0, uint64(b.modSeq)).Draw(t, "since"))
	c, err := mb.Changes(r.ctx, since)
	r.must(t, "changes", err)
	var changed []mailbox.UID
	for _, m := range b.messages {
		if m.modSeq > since {
			changed = append(changed, m.uid)
		}
	}
	got := make([]mailbox.UID, 0, len(c.Changed))
	for _, e := range c.Changed {
		got = append(got, e.UID)
	}
	if !slices.Equal(got, changed) || c.ModSeq != b.modSeq || c.UIDNext != b.uidNext {
		t.Fatalf("since %d: changed %v, at %d, %d, model says %v, at %d, %d", since, got, c.ModSeq, c.UIDNext, changed, b.modSeq, b.uidNext)
	}
	checkVanished(t, c.Vanished, b, since)
}

// checkVanished accepts more than what vanished since, but nothing that is
// there (RFC 7162 §3.2.6).
func checkVanished(t *rapid.T, got []mailbox.UID, b *modelBox, since mailbox.ModSeq) {
	if !slices.IsSorted(got) {
		t.Fatalf("vanished is not in order: %v", got)
	}
	for _, u := range got {
		if u >= b.uidNext || b.find(u) != nil {
			t.Fatalf("vanished names UID %d, which is there or to come", u)
		}
	}
	for _, g := range b.gone {
		if g.modSeq > since && !slices.Contains(got, g.uid) {
			t.Fatalf("vanished since %d lacks UID %d", since, g.uid)
		}
	}
}

// watch keeps a mailbox open from now on.
func (r *run) watch(t *rapid.T, b *modelBox) {
	mb, err := r.s.Store().OpenMailbox(r.ctx, b.id)
	r.must(t, "open", err)
	w := &watched{mb: mb, since: b.modSeq, known: make(map[mailbox.UID]bool)}
	for _, m := range b.messages {
		w.known[m.uid] = true
	}
	r.open = append(r.open, w)
}

// compareWatched follows open mailboxes by their changes alone, as a session
// does, and sees that this leads to the same messages.
func (r *run) compareWatched(t *rapid.T) {
	r.open = slices.DeleteFunc(r.open, func(w *watched) bool {
		if w.mb.Deleted() {
			w.mb.Close()
			return true
		}
		c, err := w.mb.Changes(r.ctx, w.since)
		r.must(t, "changes", err)
		for _, e := range c.Changed {
			w.known[e.UID] = true
		}
		for _, u := range c.Vanished {
			delete(w.known, u)
		}
		w.since = c.ModSeq
		b := r.byID(w.mb.Info().ID)
		if b == nil || len(w.known) != len(b.messages) {
			t.Fatalf("following %s led to %d messages, model has %+v", w.mb.Info().Name, len(w.known), b)
		}
		for _, m := range b.messages {
			if !w.known[m.uid] {
				t.Fatalf("following %s missed UID %d", w.mb.Info().Name, m.uid)
			}
		}
		return false
	})
}

func (r *run) byID(id mailbox.ID) *modelBox {
	for _, a := range r.m.accounts {
		for _, b := range a.boxes {
			if b.id == id {
				return b
			}
		}
	}
	return nil
}
