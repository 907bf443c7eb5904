package mailboxtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Source makes choices: a property test's, or a seed's.
type Source interface {
	// IntN chooses from 0 to n-1.
	IntN(label string, n int) int
}

// Step is one operation, for the store and for the model. Both give what they
// answered, which must be alike.
type Step struct {
	Name  string
	Store func(context.Context, *mailbox.Store) (any, error)
	Model func(*Model) (any, error)
}

// Generator makes steps that fit a model.
type Generator struct {
	src Source
	n   int // messages made
}

// NewGenerator makes a Generator that lets src choose.
func NewGenerator(src Source) *Generator { return &Generator{src: src} }

// Accounts are the accounts that steps are about.
func Accounts() []account.ID { return []account.ID{1, 2} }

// Next makes a step. It leaves m as it is.
func (g *Generator) Next(m *Model) Step {
	kinds := []func(*Model) (Step, bool){
		g.deliver, g.deliver, g.deliver, g.append, g.flags, g.flags, g.flags, g.expunge, g.expunge, g.copy, g.copy,
		g.create, g.create, g.provision, g.delete, g.rename, g.subscribe, g.removeAccount,
	}
	for {
		if s, ok := kinds[g.src.IntN("step", len(kinds))](m); ok {
			return s
		}
	}
}

func (g *Generator) account() account.ID {
	return Accounts()[g.src.IntN("account", len(Accounts()))]
}

func (g *Generator) name() string {
	names := []string{"A", mailbox.Inbox, "A/B", "A/B/C", "D", "Sent", "Grüße/ß"}
	return names[g.src.IntN("name", len(names))]
}

// where is a mailbox by name, so that it is found in any copy of the model.
type where struct {
	account account.ID
	name    string
	id      mailbox.ID
}

func (m *Model) at(w where) *modelBox { return m.account(w.account).boxes[w.name] }

// box picks a mailbox that exists.
func (g *Generator) box(m *Model) (where, bool) {
	var all []where
	for _, acct := range Accounts() {
		a := m.account(acct)
		for _, name := range a.names() {
			all = append(all, where{acct, name, a.boxes[name].id})
		}
	}
	if len(all) == 0 {
		return where{}, false
	}
	return all[g.src.IntN("mailbox", len(all))], true
}

// uids picks UIDs, of which some may not exist.
func (g *Generator) uids(b *modelBox) []mailbox.UID {
	var uids []mailbox.UID
	for _, m := range b.messages {
		if g.src.IntN("take", 2) == 1 {
			uids = append(uids, m.uid)
		}
	}
	if g.src.IntN("foreign", 5) == 4 {
		uids = append(uids, b.uidNext+mailbox.UID(g.src.IntN("beyond", 3)))
	}
	return uids
}

func (g *Generator) flagNames() []string {
	var names []string
	for _, f := range []string{`\Seen`, `\Deleted`, `\Flagged`, `\Answered`, `\Draft`, "$Junk", "todo", "x.y"} {
		if g.src.IntN("flag "+f, 3) == 2 {
			names = append(names, f)
		}
	}
	return names
}

func (g *Generator) date() time.Time {
	return time.Unix(int64(g.src.IntN("date", 6e9))-3e9, 0)
}

// letter is a message to be.
type letter struct{ prefix, text string }

// letter makes a message; now and then one that gets a file of its own.
func (g *Generator) letter() letter {
	g.n++
	size := []int{0, 10, 500, 70_000}[g.src.IntN("size", 4)]
	if g.src.IntN("long", 40) == 39 {
		size = 1_200_000
	}
	return letter{
		prefix: fmt.Sprintf("Return-Path: <%d@example.org>\r\n", g.n),
		text:   fmt.Sprintf("Subject: message %d\r\n\r\n%s\r\n", g.n, strings.Repeat("0123456789abcdef", (size+15)/16)),
	}
}

// body streams the letter into the store.
func (l letter) body(ctx context.Context, s *mailbox.Store) (*mailbox.Body, error) {
	b, err := s.NewBody(ctx, []byte(l.prefix))
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk([]byte(l.text), 100_000) {
		if _, err := b.Write(part); err != nil {
			b.Abort()
			return nil, err
		}
	}
	return b, nil
}

func (g *Generator) create(*Model) (Step, bool) {
	acct, name := g.account(), g.name()
	use := []string{"", "", `\Sent`, `\Archive`}[g.src.IntN("use", 4)]
	return Step{
		Name: fmt.Sprintf("create %d/%s %s", acct, name, use),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) {
			info, err := s.Create(ctx, acct, name, use)
			return []string{info.Name, info.SpecialUse}, err
		},
		Model: func(m *Model) (any, error) { return []string{name, use}, m.create(acct, name, use) },
	}, true
}

func (g *Generator) provision(*Model) (Step, bool) {
	acct := g.account()
	return Step{
		Name:  fmt.Sprintf("provision %d", acct),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return nil, s.Provision(ctx, acct) },
		Model: func(m *Model) (any, error) {
			for _, p := range [][2]string{{mailbox.Inbox, ""}, {"Drafts", `\Drafts`}, {"Sent", `\Sent`}, {"Junk", `\Junk`}, {"Trash", `\Trash`}, {"Archive", `\Archive`}} {
				if m.create(acct, p[0], p[1]) == nil {
					m.subscribe(acct, p[0], true)
				}
			}
			return nil, nil
		},
	}, true
}

func (g *Generator) delete(*Model) (Step, bool) {
	acct, name := g.account(), g.name()
	return Step{
		Name:  fmt.Sprintf("delete %d/%s", acct, name),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return nil, s.Delete(ctx, acct, name) },
		Model: func(m *Model) (any, error) { return nil, m.delete(acct, name) },
	}, true
}

func (g *Generator) rename(*Model) (Step, bool) {
	acct, from, to := g.account(), g.name(), g.name()
	return Step{
		Name:  fmt.Sprintf("rename %d/%s to %s", acct, from, to),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return nil, s.Rename(ctx, acct, from, to) },
		Model: func(m *Model) (any, error) { return nil, m.rename(acct, from, to) },
	}, true
}

func (g *Generator) subscribe(*Model) (Step, bool) {
	acct, name, on := g.account(), g.name(), g.src.IntN("on", 2) == 0
	return Step{
		Name:  fmt.Sprintf("subscribe %d/%s %v", acct, name, on),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return nil, s.Subscribe(ctx, acct, name, on) },
		Model: func(m *Model) (any, error) { m.subscribe(acct, name, on); return nil, nil },
	}, true
}

func (g *Generator) removeAccount(*Model) (Step, bool) {
	acct := g.account()
	return Step{
		Name:  fmt.Sprintf("remove account %d", acct),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return nil, s.RemoveAccount(ctx, acct) },
		Model: func(m *Model) (any, error) { m.removeAccount(acct); return nil, nil },
	}, g.src.IntN("really", 4) == 3
}

func (g *Generator) deliver(m *Model) (Step, bool) {
	l, date, flags := g.letter(), g.date(), g.flagNames()
	d := mailbox.Delivery{ID: fmt.Sprint("env", g.n), From: message.Address{Local: "from", Domain: "example.org"}, Received: date}
	var to []where
	for range 1 + g.src.IntN("more recipients", 3) {
		w, ok := g.box(m)
		if !ok {
			return Step{}, false
		}
		to = append(to, w)
		d.Filings = append(d.Filings, mailbox.Filing{Account: w.account, Mailbox: w.id, Flags: flags})
	}
	return Step{
		Name: fmt.Sprintf("deliver message %d to %v", g.n, to),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) {
			b, err := l.body(ctx, s)
			if err != nil {
				return nil, err
			}
			defer b.Abort()
			_, filed, err := s.Deliver(ctx, b, d)
			var uids []mailbox.UID
			for _, f := range filed {
				uids = append(uids, f.UID)
			}
			return uids, err
		},
		Model: func(m *Model) (any, error) {
			var uids []mailbox.UID
			given := make(map[where]mailbox.UID)
			for _, w := range to {
				if given[w] == 0 {
					given[w] = m.at(w).add(newMessage(l.prefix+l.text, flags, date))[0]
				}
				uids = append(uids, given[w])
			}
			return uids, nil
		},
	}, true
}

func (g *Generator) append(m *Model) (Step, bool) {
	w, ok := g.box(m)
	if !ok {
		return Step{}, false
	}
	type item struct {
		letter
		flags []string
		date  time.Time
	}
	var items []item
	for range 1 + g.src.IntN("more messages", 3) {
		items = append(items, item{g.letter(), g.flagNames(), g.date()})
	}
	return Step{
		Name: fmt.Sprintf("append %d messages to %v", len(items), w),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) {
			var msgs []mailbox.AppendMessage
			for _, i := range items {
				b, err := i.body(ctx, s)
				if err != nil {
					return nil, err
				}
				defer b.Abort()
				msgs = append(msgs, mailbox.AppendMessage{Body: b, Flags: i.flags, Date: i.date})
			}
			uids, validity, err := s.Append(ctx, w.id, msgs)
			return []any{uids, validity}, err
		},
		Model: func(m *Model) (any, error) {
			var msgs []modelMessage
			for _, i := range items {
				msgs = append(msgs, newMessage(i.prefix+i.text, i.flags, i.date))
			}
			return []any{m.at(w).add(msgs...), m.at(w).validity}, nil
		},
	}, true
}

func (g *Generator) flags(m *Model) (Step, bool) {
	w, ok := g.box(m)
	if !ok {
		return Step{}, false
	}
	b := m.at(w)
	c := mailbox.SetFlags{UIDs: g.uids(b), Flags: g.flagNames(), Mode: mailbox.Mode(g.src.IntN("mode", 3))}
	if g.src.IntN("conditional", 2) == 1 {
		since := mailbox.ModSeq(g.src.IntN("unchanged since", int(b.modSeq)+1))
		c.UnchangedSince = &since
	}
	return Step{
		Name:  fmt.Sprintf("set flags in %v: %v %d %v", w, c.UIDs, c.Mode, c.Flags),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) { return s.SetFlags(ctx, w.id, c) },
		Model: func(m *Model) (any, error) {
			before := m.at(w).modSeq
			modified := m.at(w).setFlags(c)
			return mailbox.FlagsResult{Modified: modified, ModSeq: m.at(w).modSeq, Written: m.at(w).modSeq > before}, nil
		},
	}, true
}

func (g *Generator) expunge(m *Model) (Step, bool) {
	w, ok := g.box(m)
	if !ok {
		return Step{}, false
	}
	uids := g.uids(m.at(w))
	return Step{
		Name: fmt.Sprintf("expunge %v from %v", uids, w),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) {
			seq, gone, err := s.Expunge(ctx, w.id, uids)
			return []any{gone, seq}, err
		},
		Model: func(m *Model) (any, error) {
			gone := m.at(w).expunge(uids, false)
			return []any{gone, m.at(w).modSeq}, nil
		},
	}, true
}

func (g *Generator) copy(m *Model) (Step, bool) {
	src, ok := g.box(m)
	if !ok {
		return Step{}, false
	}
	dst, _ := g.box(m)
	uids, move := g.uids(m.at(src)), g.src.IntN("move", 2) == 1
	return Step{
		Name: fmt.Sprintf("copy %v from %v to %v, move %v", uids, src, dst, move),
		Store: func(ctx context.Context, s *mailbox.Store) (any, error) {
			if move {
				return s.Move(ctx, src.id, uids, dst.id)
			}
			return s.Copy(ctx, src.id, uids, dst.id)
		},
		Model: func(m *Model) (any, error) { return m.copy(m.at(src), uids, m.at(dst), move) },
	}, true
}
