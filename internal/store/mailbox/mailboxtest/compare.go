package mailboxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Compare looks at everything that a reader of s can see and says where it is
// not what the model has. New mailboxes' ids and UIDVALIDITYs are taken into
// the model. src chooses the MODSEQs from which changes are asked for.
func (m *Model) Compare(ctx context.Context, s *mailbox.Store, src Source) error {
	if err := m.Adopt(ctx, s); err != nil {
		return err
	}
	c := comparer{ctx: ctx, s: s, m: m, src: src}
	for _, acct := range Accounts() {
		if err := c.account(acct); err != nil {
			return fmt.Errorf("account %d: %w; model:\n%s", acct, err, m)
		}
	}
	return nil
}

// Adopt takes ids and UIDVALIDITYs of new mailboxes into the model; the latter
// must be higher than all before.
func (m *Model) Adopt(ctx context.Context, s *mailbox.Store) error {
	highest := m.validity
	for acct, a := range m.accounts {
		infos, err := s.List(ctx, acct)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		for _, i := range infos {
			b := a.boxes[i.Name]
			if b == nil || b.id != 0 || !i.Exists {
				continue
			}
			if i.UIDValidity <= m.validity {
				return fmt.Errorf("new mailbox %s has UIDVALIDITY %d, %d was given before", i.Name, i.UIDValidity, m.validity)
			}
			b.id, b.validity = i.ID, i.UIDValidity
			highest = max(highest, i.UIDValidity)
		}
	}
	m.validity = highest
	return nil
}

type comparer struct {
	ctx context.Context
	s   *mailbox.Store
	m   *Model
	src Source
}

// account compares an account's tree, mailboxes and usage.
func (c *comparer) account(acct account.ID) error {
	if err := c.tree(acct); err != nil {
		return err
	}
	var size, messages int64
	a := c.m.account(acct)
	for _, name := range a.names() {
		if err := c.mailbox(a.boxes[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, m := range a.boxes[name].messages {
			size, messages = size+int64(len(m.body)), messages+1
		}
	}
	gotSize, gotMessages, err := c.s.Usage(c.ctx, acct)
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	if gotSize != size || gotMessages != messages {
		return fmt.Errorf("uses %d bytes in %d messages, model says %d in %d", gotSize, gotMessages, size, messages)
	}
	return nil
}

// tree compares names, special uses and subscriptions.
func (c *comparer) tree(acct account.ID) error {
	a := c.m.account(acct)
	infos, err := c.s.List(c.ctx, acct)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	seen := make(map[string]bool)
	for _, i := range infos {
		b := a.boxes[i.Name]
		switch {
		case seen[i.Name]:
			return fmt.Errorf("%s is listed twice", i.Name)
		case i.Exists != (b != nil), i.Subscribed != a.subscriptions[i.Name], i.Account != acct,
			b != nil && (i.ID != b.id || i.SpecialUse != b.use || i.UIDValidity != b.validity):
			return fmt.Errorf("listed: %+v, model has %+v, subscribed %v", i, b, a.subscriptions[i.Name])
		}
		seen[i.Name] = true
	}
	for _, names := range [][]string{a.names(), slices.Collect(maps.Keys(a.subscriptions))} {
		for _, name := range names {
			if !seen[name] {
				return fmt.Errorf("%s is not listed", name)
			}
		}
	}
	return nil
}

// mailbox compares a mailbox's numbers and messages.
func (c *comparer) mailbox(b *modelBox) error {
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
	got, err := c.s.GetStatus(c.ctx, b.id)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if got != want {
		return fmt.Errorf("has status %+v, model says %+v", got, want)
	}
	mb, err := c.s.OpenMailbox(c.ctx, b.id)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer mb.Close()
	es, seq, err := mb.Entries(c.ctx)
	if err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	if len(es) != len(b.messages) || seq != b.modSeq {
		return fmt.Errorf("has %d entries at %d, model says %d at %d", len(es), seq, len(b.messages), b.modSeq)
	}
	for i, e := range es {
		if err := c.entry(mb, e, b.messages[i]); err != nil {
			return err
		}
	}
	if err := c.summaries(b); err != nil {
		return err
	}
	return c.changes(mb, b)
}

func (c *comparer) entry(mb *mailbox.Mailbox, e mailbox.Entry, m modelMessage) error {
	flags := mb.FlagNames(e.Flags)
	slices.Sort(flags)
	if e.UID != m.uid || e.ModSeq != m.modSeq || e.Size != uint32(len(m.body)) || e.Date != m.date ||
		!slices.Equal(flags, slices.Sorted(maps.Keys(m.flags))) {
		return fmt.Errorf("has %+v with %v, model says UID %d, MODSEQ %d, %d bytes, date %d, %v",
			e, flags, m.uid, m.modSeq, len(m.body), m.date, m.flags)
	}
	return c.text(e.Message, m.body)
}

func (c *comparer) text(lsn journal.LSN, want string) error {
	body, err := c.s.OpenMessage(c.ctx, lsn)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer body.Close()
	got := bytes.NewBuffer(make([]byte, 0, body.Size()+bytes.MinRead))
	if _, err := got.ReadFrom(io.NewSectionReader(body, 0, body.Size())); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if got.String() != want {
		return fmt.Errorf("message %s has %d bytes that are not the %d delivered", lsn, got.Len(), len(want))
	}
	return nil
}

// summaries asks for the parsed form of all UIDs there may be.
func (c *comparer) summaries(b *modelBox) error {
	var uids []mailbox.UID
	for u := mailbox.UID(1); u != b.uidNext; u++ {
		uids = append(uids, u)
	}
	at := 0
	err := c.s.Summaries(c.ctx, b.id, uids, func(u mailbox.UID, m *message.Message) error {
		want := b.messages[at]
		at++
		subject, _, _ := strings.Cut(want.body[strings.Index(want.body, "Subject: ")+9:], "\r\n")
		if u != want.uid || m == nil || m.Envelope.Subject != subject || m.Size != int64(len(want.body)) {
			return fmt.Errorf("UID %d has summary %+v, model has UID %d, %s", u, m, want.uid, subject)
		}
		return nil
	})
	if err == nil && at != len(b.messages) {
		err = fmt.Errorf("%d summaries of %d messages", at, len(b.messages))
	}
	return err
}

// changes asks what happened since some MODSEQ.
func (c *comparer) changes(mb *mailbox.Mailbox, b *modelBox) error {
	since := mailbox.ModSeq(c.src.IntN("since", int(b.modSeq)+1))
	got, err := mb.Changes(c.ctx, since)
	if err != nil {
		return fmt.Errorf("changes: %w", err)
	}
	var changed, gotChanged []mailbox.UID
	for _, m := range b.messages {
		if m.modSeq > since {
			changed = append(changed, m.uid)
		}
	}
	for _, e := range got.Changed {
		gotChanged = append(gotChanged, e.UID)
	}
	if !slices.Equal(gotChanged, changed) || got.ModSeq != b.modSeq || got.UIDNext != b.uidNext {
		return fmt.Errorf("since %d: changed %v, at %d, %d, model says %v, at %d, %d",
			since, gotChanged, got.ModSeq, got.UIDNext, changed, b.modSeq, b.uidNext)
	}
	return b.checkVanished(got.Vanished, since)
}

// checkVanished accepts more than what vanished since, but nothing that is
// there (RFC 7162 §3.2.6).
func (b *modelBox) checkVanished(got []mailbox.UID, since mailbox.ModSeq) error {
	if !slices.IsSorted(got) {
		return fmt.Errorf("vanished is not in order: %v", got)
	}
	for _, u := range got {
		if u >= b.uidNext || b.find(u) != nil {
			return fmt.Errorf("vanished names UID %d, which is there or to come", u)
		}
	}
	for _, g := range b.gone {
		if g.modSeq > since && !slices.Contains(got, g.uid) {
			return fmt.Errorf("vanished since %d lacks UID %d", since, g.uid)
		}
	}
	return nil
}
