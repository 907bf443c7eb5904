package intake

import (
	"errors"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

const notice = "From: Mail <postmaster@demo.test>\r\nDate: d\r\nMessage-ID: <n@mail.demo.test>\r\nSubject: told\r\n\r\ntold\r\n"

// queued sends a message to another host, whose fate is yet to come.
func (r *room) queued() *fate.Message {
	r.t.Helper()
	id, err := r.send(r.from("one", "a@b.example"), subject("x"))
	if err != nil {
		r.t.Fatal(err)
	}
	m, _ := r.message(id)
	return m
}

// bounce is the change that a DSN tells of.
func bounce(m *fate.Message) []fate.Change {
	return []fate.Change{{LSN: m.LSN, Rcpt: []int{0}, Event: fate.Event{At: m.Received, State: fate.Bounced, Reply: "550 no"}}}
}

// wantBounced fails unless m has bounced, and the message id told so.
func (r *room) wantBounced(m *fate.Message, id string) {
	r.t.Helper()
	got, err := r.fates.ByID(r.t.Context(), m.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	if to := got.Recipients[0]; to.State != fate.Bounced || to.Last.DSN != id || to.Last.Reply != "550 no" {
		r.t.Errorf("recipient of the message: %+v", to)
	}
}

func TestPost_tellsTheSender(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true}, "one")
	must(t, r.accounts.SetQuota(t.Context(), addr(t, "one@demo.test"), 1)) // refuses no notice
	all.full = nil
	m := r.queued()
	all.full = errors.New("full") // neither does the queue
	id, err := r.Post(t.Context(), Post{To: parse(t, "one@demo.test", "one+x@demo.test", "a@b.example"), Body: []byte(notice), Changes: bounce(m)})
	if err != nil {
		t.Fatal(err)
	}
	told, text := r.wantFate(id, "one@demo.test delivered; a@b.example queued")
	if told.Source != fate.System || !told.From.IsZero() || told.MessageID != "<n@mail.demo.test>" || !strings.HasPrefix(told.Headers, "DKIM-Signature: ") {
		t.Errorf("%+v", told)
	}
	if !strings.HasPrefix(text, "Return-Path: <>\r\nReceived: by mail.demo.test id "+id+";\r\n\t") || !strings.HasSuffix(text, "\r\n"+notice) {
		t.Errorf("stored:\n%s", text)
	}
	if got := r.inboxOf("one"); len(got) != 1 || got[0] != text {
		t.Errorf("INBOX has %q", got)
	}
	r.wantBounced(m, id)
}

// TestPost_toNobody: a bounce whose sender has gone comes to an end.
func TestPost_toNobody(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one", "off")
	must(t, r.accounts.SetDisabled(t.Context(), addr(t, "off@demo.test"), true))
	for _, to := range []string{"gone@demo.test", "off@demo.test", "SRS0=AAAAAA=AA=b.example=a@mail.demo.test"} {
		m := r.queued()
		id, err := r.Post(t.Context(), Post{To: parse(t, to), Body: []byte(notice), Changes: bounce(m)})
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		told, _ := r.wantFate(id, to+" discarded")
		if why := told.Recipients[0].Last.Reason; !strings.HasPrefix(why, "no one to tell: ") {
			t.Errorf("%s: %q", to, why)
		}
		r.wantBounced(m, id)
	}
	if _, err := r.Post(t.Context(), Post{Body: []byte(notice)}); err == nil {
		t.Error("a message to nobody at all was taken")
	}
}

// TestPost_impossibleChange: a notice with a change that cannot be read back is
// refused whole, not booked for nobody.
func TestPost_impossibleChange(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one")
	m := r.queued()
	cs := bounce(m)
	cs[0].Rcpt = []int{0, 0}
	if id, err := r.Post(t.Context(), Post{To: parse(t, "one@demo.test"), Body: []byte(notice), Changes: cs}); err == nil {
		t.Errorf("taken as %s", id)
	}
	if s, err := r.fates.Sums(t.Context(), fate.Period{}); err != nil || s.Messages != 1 || s.Queued != 1 || len(s.Unaccounted) != 0 {
		t.Errorf("books %+v, %v", s, err)
	}
}

func TestPost_receipt(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one", "plain")
	ctx := t.Context()
	must(t, r.accounts.SetForward(ctx, addr(t, "one@demo.test"), account.Forward{Targets: parse(t, "k@b.example")}))
	for _, local := range []string{"one", "plain"} {
		a, err := r.accounts.Get(ctx, addr(t, local+"@demo.test"))
		must(t, err, r.mailboxes.Provision(ctx, a.ID))
		if local == "plain" {
			must(t, r.mailboxes.Delete(ctx, a.ID, "Sent"))
		}
	}
	id, err := r.Post(ctx, Post{To: parse(t, "one@demo.test", "plain@demo.test"), Body: []byte(notice), Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := r.wantFate(id, "one@demo.test delivered; plain@demo.test delivered")
	for n, want := range []string{"Sent of one@demo.test", "INBOX of plain@demo.test"} {
		if got := m.Recipients[n].Last.Via; got != want {
			t.Errorf("filed in %q, want %q", got, want)
		}
	}
	if len(r.inboxOf("one")) != 0 || len(r.inboxOf("plain")) != 1 {
		t.Error("filed elsewhere")
	}
	a, err := r.accounts.Get(ctx, addr(t, "one@demo.test"))
	must(t, err)
	info, err := r.mailboxes.Lookup(ctx, a.ID, "Sent")
	must(t, err)
	if s, err := r.mailboxes.GetStatus(ctx, info.ID); err != nil || s.Messages != 1 || s.Unseen != 0 {
		t.Errorf("Sent: %+v, %v", s, err)
	}
	// A receipt for somebody elsewhere leaves.
	id, err = r.Post(ctx, Post{From: message.Address{Local: "postmaster", Domain: "demo.test"}, To: parse(t, "a@b.example"), Body: []byte(notice), Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "a@b.example queued")
}

func TestPost_storeFaults(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one")
	m := r.queued()
	p := Post{To: parse(t, "one@demo.test"), Body: []byte(notice), Changes: bounce(m)}
	if _, err := r.Post(t.Context(), p); err != nil { // makes the INBOX
		t.Fatal(err)
	}
	m = r.queued()
	p.Changes = bounce(m)
	r.disk.Full(0)
	if _, err := r.Post(t.Context(), p); err == nil {
		t.Error("taken on a full disk")
	}
	r.disk.Full(-1)
	if got, err := r.fates.ByID(t.Context(), m.ID); err != nil || got.Recipients[0].State != fate.Queued {
		t.Errorf("%+v, %v", got, err)
	}
	id, err := r.Post(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	r.wantBounced(m, id)
}
