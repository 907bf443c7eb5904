package mailboxtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Model is what a store should be: everything in memory, nothing clever.
type Model struct {
	accounts map[account.ID]*modelAccount
	validity uint32 // highest UIDVALIDITY that was seen
}

type modelAccount struct {
	boxes         map[string]*modelBox
	subscriptions map[string]bool
}

type modelBox struct {
	id       mailbox.ID
	validity uint32
	use      string
	uidNext  mailbox.UID
	modSeq   mailbox.ModSeq
	messages []modelMessage // by UID
	gone     []modelGone
	keywords []string
}

type modelMessage struct {
	uid    mailbox.UID
	modSeq mailbox.ModSeq
	flags  map[string]bool
	date   int64
	body   string
}

type modelGone struct {
	uid    mailbox.UID
	modSeq mailbox.ModSeq
}

// NewModel makes an empty model.
func NewModel() *Model { return &Model{accounts: make(map[account.ID]*modelAccount)} }

func (m *Model) account(id account.ID) *modelAccount {
	a := m.accounts[id]
	if a == nil {
		a = &modelAccount{boxes: make(map[string]*modelBox), subscriptions: make(map[string]bool)}
		m.accounts[id] = a
	}
	return a
}

// names returns an account's mailbox names in order.
func (a *modelAccount) names() []string { return slices.Sorted(maps.Keys(a.boxes)) }

// create makes a mailbox and its superiors.
func (m *Model) create(acct account.ID, name, use string) error {
	a := m.account(acct)
	if use != "" {
		for _, b := range a.boxes {
			if b.use == use {
				return mailbox.ErrSpecialUse
			}
		}
	}
	if a.boxes[name] != nil {
		return mailbox.ErrExists
	}
	m.superiors(acct, name)
	a.boxes[name] = &modelBox{use: use, uidNext: 1, modSeq: 1}
	return nil
}

func (m *Model) superiors(acct account.ID, name string) {
	a := m.account(acct)
	for i := range len(name) {
		if name[i] == '/' && a.boxes[name[:i]] == nil {
			a.boxes[name[:i]] = &modelBox{uidNext: 1, modSeq: 1}
		}
	}
}

// delete removes a mailbox.
func (m *Model) delete(acct account.ID, name string) error {
	a := m.account(acct)
	switch {
	case name == mailbox.Inbox:
		return mailbox.ErrInboxForever
	case a.boxes[name] == nil:
		return mailbox.ErrNoSuchMailbox
	}
	delete(a.boxes, name)
	return nil
}

// rename moves a mailbox and its inferiors.
func (m *Model) rename(acct account.ID, from, to string) error {
	a := m.account(acct)
	if from == mailbox.Inbox {
		return m.renameInbox(acct, to)
	}
	if strings.HasPrefix(to, from+"/") {
		return mailbox.ErrName
	}
	moving := make(map[string]*modelBox)
	for name, b := range a.boxes {
		if name == from || strings.HasPrefix(name, from+"/") {
			moving[name] = b
		}
	}
	if len(moving) == 0 {
		return mailbox.ErrNoSuchMailbox
	}
	for name := range moving {
		if a.boxes[to+name[len(from):]] != nil {
			return mailbox.ErrExists
		}
	}
	m.superiors(acct, to)
	for name, b := range moving {
		delete(a.boxes, name)
		a.boxes[to+name[len(from):]] = b
	}
	return nil
}

// renameInbox moves the messages of INBOX into a new mailbox.
func (m *Model) renameInbox(acct account.ID, to string) error {
	inbox := m.account(acct).boxes[mailbox.Inbox]
	if inbox == nil {
		return mailbox.ErrNoSuchMailbox
	}
	if err := m.create(acct, to, ""); err != nil {
		return err
	}
	var uids []mailbox.UID
	for _, msg := range inbox.messages {
		uids = append(uids, msg.uid)
	}
	_, err := m.copy(inbox, uids, m.account(acct).boxes[to], true)
	if err == mailbox.ErrNoSuchMessage {
		return nil
	}
	return err
}

// subscribe notes a subscription.
func (m *Model) subscribe(acct account.ID, name string, on bool) {
	if on {
		m.account(acct).subscriptions[name] = true
	} else {
		delete(m.account(acct).subscriptions, name)
	}
}

// removeAccount forgets an account.
func (m *Model) removeAccount(acct account.ID) { delete(m.accounts, acct) }

// touch takes the next MODSEQ.
func (b *modelBox) touch() mailbox.ModSeq { b.modSeq++; return b.modSeq }

// learn notes keywords in the order of their first use.
func (b *modelBox) learn(flags []string) {
	for _, f := range flags {
		if !strings.HasPrefix(f, `\`) && !slices.Contains(b.keywords, f) {
			b.keywords = append(b.keywords, f)
		}
	}
}

// add files messages under the next UIDs with one MODSEQ.
func (b *modelBox) add(msgs ...modelMessage) []mailbox.UID {
	seq := b.touch()
	var uids []mailbox.UID
	for _, msg := range msgs {
		msg.uid, msg.modSeq, msg.flags = b.uidNext, seq, maps.Clone(msg.flags)
		b.learn(slices.Sorted(maps.Keys(msg.flags)))
		b.uidNext++
		b.messages = append(b.messages, msg)
		uids = append(uids, msg.uid)
	}
	return uids
}

func newMessage(body string, flags []string, date time.Time) modelMessage {
	m := modelMessage{body: body, flags: make(map[string]bool), date: date.Unix()}
	for _, f := range flags {
		m.flags[f] = true
	}
	return m
}

// find returns a message, or nil.
func (b *modelBox) find(u mailbox.UID) *modelMessage {
	for i := range b.messages {
		if b.messages[i].uid == u {
			return &b.messages[i]
		}
	}
	return nil
}

// setFlags does what STORE does; it returns the UIDs that failed the condition.
func (b *modelBox) setFlags(c mailbox.SetFlags) []mailbox.UID {
	var modified []mailbox.UID
	changes := make(map[mailbox.UID]map[string]bool)
	for _, u := range c.UIDs {
		msg := b.find(u)
		if msg == nil {
			continue
		}
		if c.UnchangedSince != nil && msg.modSeq > *c.UnchangedSince {
			modified = append(modified, u)
			continue
		}
		want := maps.Clone(msg.flags)
		if c.Mode == mailbox.Replace {
			clear(want)
		}
		for _, f := range c.Flags {
			if c.Mode == mailbox.Remove {
				delete(want, f)
			} else {
				want[f] = true
			}
		}
		if !maps.Equal(want, msg.flags) {
			changes[u] = want
		}
	}
	if len(changes) == 0 {
		return modified
	}
	if c.Mode != mailbox.Remove {
		b.learn(c.Flags)
	}
	seq := b.touch()
	for u, want := range changes {
		msg := b.find(u)
		msg.flags, msg.modSeq = want, seq
	}
	return modified
}

// expunge removes messages that have \Deleted, or all if any is set.
func (b *modelBox) expunge(uids []mailbox.UID, any bool) []mailbox.UID {
	var gone []mailbox.UID
	for _, u := range uids {
		if msg := b.find(u); msg != nil && (any || msg.flags[`\Deleted`]) {
			gone = append(gone, u)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	seq := b.touch()
	b.messages = slices.DeleteFunc(b.messages, func(msg modelMessage) bool { return slices.Contains(gone, msg.uid) })
	for _, u := range gone {
		b.gone = append(b.gone, modelGone{u, seq})
	}
	return gone
}

// copy files messages in another mailbox, or moves them there.
func (m *Model) copy(src *modelBox, uids []mailbox.UID, dst *modelBox, move bool) (mailbox.CopyResult, error) {
	var msgs []modelMessage
	var res mailbox.CopyResult
	for _, u := range uids {
		if msg := src.find(u); msg != nil {
			res.Src = append(res.Src, u)
			msgs = append(msgs, *msg)
		}
	}
	if len(msgs) == 0 {
		return res, mailbox.ErrNoSuchMessage
	}
	res.Dst = dst.add(msgs...)
	res.UIDValidity = dst.validity
	if move {
		src.expunge(res.Src, true)
	}
	return res, nil
}

// String describes a model for failures.
func (m *Model) String() string {
	var b strings.Builder
	for id, a := range m.accounts {
		for _, name := range a.names() {
			box := a.boxes[name]
			fmt.Fprintf(&b, "%d/%s uidnext %d modseq %d: %d messages\n", id, name, box.uidNext, box.modSeq, len(box.messages))
		}
	}
	return b.String()
}

// Clone makes a copy that shares nothing that changes.
func (m *Model) Clone() *Model {
	c := &Model{accounts: make(map[account.ID]*modelAccount), validity: m.validity}
	for id, a := range m.accounts {
		n := c.account(id)
		n.subscriptions = maps.Clone(a.subscriptions)
		for name, b := range a.boxes {
			box := *b
			box.messages, box.gone, box.keywords = slices.Clone(b.messages), slices.Clone(b.gone), slices.Clone(b.keywords)
			n.boxes[name] = &box
		}
	}
	return c
}

// byID finds a mailbox wherever it is.
func (m *Model) byID(id mailbox.ID) *modelBox {
	for _, a := range m.accounts {
		for _, b := range a.boxes {
			if b.id == id {
				return b
			}
		}
	}
	return nil
}
