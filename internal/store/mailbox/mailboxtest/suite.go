package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// Restart says what happens to the index between two runs of a store.
type Restart int

// The ways to restart.
const (
	Keep  Restart = iota // nothing
	Lose                 // it is deleted
	Older                // it is replaced by a copy that Save took earlier, if there is one
)

// Subject is a store under test and what can be done to it from outside.
type Subject interface {
	// Store is the store as of the last restart.
	Store() *mailbox.Store
	// Restart stops it and starts it again.
	Restart(Restart) error
	// Save takes a copy of the index for Older. It may restart the store.
	Save() error
	// Compact compacts whatever can be compacted.
	Compact() error
	// Verify compares the index with the truth and gives what is wrong.
	Verify() ([]string, error)
}

// RunSuite compares stores made by open with the model under random operations.
// open is called for every sequence of operations and must give an empty store.
func RunSuite(t *testing.T, open func(t *rapid.T) Subject) {
	t.Run("Model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			r := &run{t: t, ctx: context.Background(), s: open(t), m: NewModel()}
			t.Repeat(map[string]func(*rapid.T){
				"":              r.compare,
				"append":        r.append,
				"compact":       r.compact,
				"copy":          r.copy,
				"create":        r.create,
				"delete":        r.delete,
				"deliver":       r.deliver,
				"expunge":       r.expunge,
				"flags":         r.flags,
				"flags again":   r.flags,
				"provision":     r.provision,
				"removeAccount": r.removeAccount,
				"rename":        r.rename,
				"restart":       r.restart,
				"save":          r.save,
				"subscribe":     r.subscribe,
				"verify":        r.verify,
			})
		})
	})
}

// run is one sequence of operations.
type run struct {
	t   *rapid.T
	ctx context.Context
	s   Subject
	m   *Model
	n   int // messages made

	open []*watched // open mailboxes, to see that their lists stay right
}

// watched is a mailbox that is kept open over many operations.
type watched struct {
	mb    *mailbox.Mailbox
	since mailbox.ModSeq
	known map[mailbox.UID]bool
}

// same fails unless both sides ended alike: the same sentinel, or no error.
func (r *run) same(t *rapid.T, what string, got, want error) {
	t.Helper()
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		t.Fatalf("%s: store says %v, model says %v", what, got, want)
	}
}

func (r *run) must(t *rapid.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func drawAccount(t *rapid.T) account.ID {
	return account.ID(rapid.IntRange(1, 2).Draw(t, "account"))
}

func drawName(t *rapid.T, label string) string {
	return rapid.SampledFrom([]string{mailbox.Inbox, "A", "A/B", "A/B/C", "D", "Sent", "Grüße/ß"}).Draw(t, label)
}

// drawBox picks a mailbox that exists.
func (r *run) drawBox(t *rapid.T, label string) (*modelBox, account.ID) {
	type choice struct {
		b    *modelBox
		acct account.ID
	}
	var all []choice
	for acct := account.ID(1); acct <= 2; acct++ {
		a := r.m.account(acct)
		for _, name := range a.names() {
			all = append(all, choice{a.boxes[name], acct})
		}
	}
	if len(all) == 0 {
		t.Skip("no mailbox")
	}
	c := all[rapid.IntRange(0, len(all)-1).Draw(t, label)]
	return c.b, c.acct
}

// drawUIDs picks UIDs, some of which may not exist.
func drawUIDs(t *rapid.T, b *modelBox) []mailbox.UID {
	var uids []mailbox.UID
	for _, m := range b.messages {
		if rapid.Bool().Draw(t, fmt.Sprintf("uid %d", m.uid)) {
			uids = append(uids, m.uid)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "foreign UID") == 0 {
		uids = append(uids, b.uidNext+mailbox.UID(rapid.IntRange(0, 3).Draw(t, "beyond")))
	}
	return uids
}

func drawFlags(t *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{`\Seen`, `\Deleted`, `\Flagged`, `\Answered`, `\Draft`, "$Junk", "todo", "x.y"}),
		0, 4, rapid.ID).Draw(t, "flags")
}

// make begins a message; now and then one so long that it gets a file of its
// own.
func (r *run) make(t *rapid.T) (*mailbox.Body, string) {
	r.n++
	size := rapid.SampledFrom([]int{0, 10, 500, 70_000}).Draw(t, "size")
	if rapid.IntRange(0, 30).Draw(t, "long") == 0 {
		size = 1_200_000
	}
	prefix := fmt.Sprintf("Return-Path: <%d@example.org>\r\n", r.n)
	text := fmt.Sprintf("Subject: message %d\r\n\r\n%s\r\n", r.n, strings.Repeat("0123456789abcdef", (size+15)/16))
	b, err := r.s.Store().NewBody(r.ctx, []byte(prefix))
	r.must(t, "new body", err)
	for rest := text; rest != ""; {
		n := min(len(rest), 100_000)
		_, err := b.Write([]byte(rest[:n]))
		r.must(t, "write body", err)
		rest = rest[n:]
	}
	return b, prefix + text
}

func drawDate(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(-3e9, 3e9).Draw(t, "date"), 0)
}

func (r *run) create(t *rapid.T) {
	acct, name := drawAccount(t), drawName(t, "name")
	use := rapid.SampledFrom([]string{"", "", `\Sent`, `\Archive`}).Draw(t, "use")
	info, err := r.s.Store().Create(r.ctx, acct, name, use)
	r.same(t, "create", err, r.m.create(acct, name, use))
	if err == nil && (info.Name != name || info.SpecialUse != use || !info.Exists) {
		t.Fatalf("create %s gave %+v", name, info)
	}
	r.adopt(t)
}

// adopt takes ids and UIDVALIDITYs of new mailboxes into the model; the latter
// must be higher than all before.
func (r *run) adopt(t *rapid.T) {
	t.Helper()
	highest := r.m.validity
	for acct, a := range r.m.accounts {
		infos, err := r.s.Store().List(r.ctx, acct)
		r.must(t, "list", err)
		for _, i := range infos {
			b := a.boxes[i.Name]
			if b == nil || b.id != 0 {
				continue
			}
			if i.UIDValidity <= r.m.validity {
				t.Fatalf("new mailbox %s has UIDVALIDITY %d, %d was given before", i.Name, i.UIDValidity, r.m.validity)
			}
			b.id, b.validity = i.ID, i.UIDValidity
			highest = max(highest, i.UIDValidity)
		}
	}
	r.m.validity = highest
}

func (r *run) provision(t *rapid.T) {
	acct := drawAccount(t)
	r.must(t, "provision", r.s.Store().Provision(r.ctx, acct))
	for _, p := range [][2]string{{mailbox.Inbox, ""}, {"Drafts", `\Drafts`}, {"Sent", `\Sent`}, {"Junk", `\Junk`}, {"Trash", `\Trash`}, {"Archive", `\Archive`}} {
		if r.m.create(acct, p[0], p[1]) == nil {
			r.m.subscribe(acct, p[0], true)
		}
	}
	r.adopt(t)
}

func (r *run) delete(t *rapid.T) {
	acct, name := drawAccount(t), drawName(t, "name")
	r.same(t, "delete", r.s.Store().Delete(r.ctx, acct, name), r.m.delete(acct, name))
}

func (r *run) rename(t *rapid.T) {
	acct, from, to := drawAccount(t), drawName(t, "from"), drawName(t, "to")
	r.same(t, "rename", r.s.Store().Rename(r.ctx, acct, from, to), r.m.rename(acct, from, to))
	r.adopt(t)
}

func (r *run) subscribe(t *rapid.T) {
	acct, name, on := drawAccount(t), drawName(t, "name"), rapid.Bool().Draw(t, "on")
	r.must(t, "subscribe", r.s.Store().Subscribe(r.ctx, acct, name, on))
	r.m.subscribe(acct, name, on)
}

func (r *run) removeAccount(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "really") != 0 {
		t.Skip("rare")
	}
	acct := drawAccount(t)
	r.must(t, "remove account", r.s.Store().RemoveAccount(r.ctx, acct))
	r.m.removeAccount(acct)
}

func (r *run) deliver(t *rapid.T) {
	body, text := r.make(t)
	date, flags := drawDate(t), drawFlags(t)
	d := mailbox.Delivery{ID: fmt.Sprint("env", r.n), From: message.Address{Local: "from", Domain: "example.org"}, Received: date}
	var boxes []*modelBox
	for range rapid.IntRange(1, 3).Draw(t, "recipients") {
		b, acct := r.drawBox(t, "mailbox")
		d.Filings = append(d.Filings, mailbox.Filing{Account: acct, Mailbox: b.id, Flags: flags})
		boxes = append(boxes, b)
	}
	_, filed, err := r.s.Store().Deliver(r.ctx, body, d)
	r.must(t, "deliver", err)
	uids := make(map[*modelBox]mailbox.UID)
	for i, b := range boxes {
		if uids[b] == 0 {
			uids[b] = b.add(newMessage(text, flags, date))[0]
		}
		if filed[i].UID != uids[b] {
			t.Fatalf("delivered as UID %d, model says %d", filed[i].UID, uids[b])
		}
	}
}

func (r *run) append(t *rapid.T) {
	b, _ := r.drawBox(t, "mailbox")
	var msgs []mailbox.AppendMessage
	var want []modelMessage
	for range rapid.IntRange(1, 3).Draw(t, "messages") {
		body, text := r.make(t)
		date, flags := drawDate(t), drawFlags(t)
		msgs = append(msgs, mailbox.AppendMessage{Body: body, Flags: flags, Date: date})
		want = append(want, newMessage(text, flags, date))
	}
	uids, validity, err := r.s.Store().Append(r.ctx, b.id, msgs)
	r.must(t, "append", err)
	if w := b.add(want...); !slices.Equal(uids, w) || validity != b.validity {
		t.Fatalf("appended as %v of %d, model says %v of %d", uids, validity, w, b.validity)
	}
}

func (r *run) flags(t *rapid.T) {
	b, _ := r.drawBox(t, "mailbox")
	c := mailbox.SetFlags{UIDs: drawUIDs(t, b), Flags: drawFlags(t),
		Mode: rapid.SampledFrom([]mailbox.Mode{mailbox.Add, mailbox.Remove, mailbox.Replace}).Draw(t, "mode")}
	if rapid.Bool().Draw(t, "conditional") {
		since := mailbox.ModSeq(rapid.Uint64Range(0, uint64(b.modSeq)).Draw(t, "unchanged since"))
		c.UnchangedSince = &since
	}
	got, err := r.s.Store().SetFlags(r.ctx, b.id, c)
	r.must(t, "set flags", err)
	if want := b.setFlags(c); !slices.Equal(got.Modified, want) || got.ModSeq != b.modSeq {
		t.Fatalf("set flags: modified %v at %d, model says %v at %d", got.Modified, got.ModSeq, want, b.modSeq)
	}
}

func (r *run) expunge(t *rapid.T) {
	b, _ := r.drawBox(t, "mailbox")
	uids := drawUIDs(t, b)
	seq, gone, err := r.s.Store().Expunge(r.ctx, b.id, uids)
	r.must(t, "expunge", err)
	if want := b.expunge(uids, false); !slices.Equal(gone, want) || seq != b.modSeq {
		t.Fatalf("expunged %v at %d, model says %v at %d", gone, seq, want, b.modSeq)
	}
}

func (r *run) copy(t *rapid.T) {
	src, _ := r.drawBox(t, "from")
	dst, _ := r.drawBox(t, "to")
	uids, move := drawUIDs(t, src), rapid.Bool().Draw(t, "move")
	do := r.s.Store().Copy
	if move {
		do = r.s.Store().Move
	}
	got, err := do(r.ctx, src.id, uids, dst.id)
	want, wantErr := r.m.copy(src, uids, dst, move)
	r.same(t, "copy", err, wantErr)
	if err == nil && (got.UIDValidity != want.UIDValidity || !slices.Equal(got.Src, want.Src) || !slices.Equal(got.Dst, want.Dst)) {
		t.Fatalf("copied %+v, model says %+v", got, want)
	}
}

func (r *run) compact(t *rapid.T) { r.must(t, "compact", r.s.Compact()) }

func (r *run) verify(t *rapid.T) {
	wrong, err := r.s.Verify()
	r.must(t, "verify", err)
	if len(wrong) > 0 {
		t.Fatalf("verify found: %s", strings.Join(wrong, "\n"))
	}
}

func (r *run) save(t *rapid.T) {
	r.unwatch()
	r.must(t, "save index", r.s.Save())
}

// unwatch closes what is open, before a restart.
func (r *run) unwatch() {
	for _, w := range r.open {
		w.mb.Close()
	}
	r.open = nil
}

func (r *run) restart(t *rapid.T) {
	how := rapid.SampledFrom([]Restart{Keep, Lose, Older}).Draw(t, "how")
	r.unwatch()
	r.must(t, "restart", r.s.Restart(how))
}
