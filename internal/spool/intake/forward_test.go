package intake

import (
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// forwarding has a list and two accounts that forward; keeper keeps a copy.
func forwarding(t *testing.T, o Options) (*room, *others) {
	t.Helper()
	r, all := newOutgoing(t, o, "one", "keeper", "mover")
	ctx := t.Context()
	must(t,
		r.accounts.AddAlias(ctx, addr(t, "list@demo.test"), addr(t, "one@demo.test"), addr(t, "a@b.example"), addr(t, "c@d.example")),
		r.accounts.SetForward(ctx, addr(t, "keeper@demo.test"), account.Forward{Targets: parse(t, "k@b.example")}),
		r.accounts.SetForward(ctx, addr(t, "mover@demo.test"), account.Forward{Targets: parse(t, "m@b.example"), NoCopy: true}))
	return r, all
}

func TestForward_rewritesTheSender(t *testing.T) {
	r, all := forwarding(t, Options{Submission: true})
	for _, c := range []struct{ from, to, want string }{
		{"x@y.example", "list@demo.test", "one@demo.test delivered for list@demo.test; a@b.example queued for list@demo.test as SRS0@mail.demo.test; c@d.example queued for list@demo.test as SRS0@mail.demo.test"},
		{"", "mover@demo.test", "m@b.example queued for mover@demo.test"},
		// Whoever says that he is one of us and has not logged in may be anybody.
		{"one@demo.test", "mover@demo.test", "m@b.example queued for mover@demo.test as SRS0@mail.demo.test"},
		{"nobody@demo.test", "mover@demo.test", "m@b.example queued for mover@demo.test as SRS0@mail.demo.test"},
		{"x@y.example", "keeper+x@demo.test", "keeper@demo.test delivered for keeper+x@demo.test; k@b.example queued for keeper+x@demo.test as SRS0@mail.demo.test"},
	} {
		if err := r.Recipient(t.Context(), addr(t, "x@y.example"), addr(t, c.to)); err != nil {
			t.Errorf("%s: %v", c.to, err)
		}
		id, err := r.send(r.envelope(c.from, c.to), subject("x"))
		if err != nil {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
			continue
		}
		m, text := r.wantFate(id, c.want)
		if m.Source != fate.Inbound || m.Account != 0 || m.Headers != "" || !strings.HasSuffix(text, "\r\n"+subject("x")) {
			t.Errorf("%+v\n%s", m, text)
		}
	}
	if len(all.asked)+len(all.domains)+len(all.signed) > 0 {
		t.Errorf("others heard %+v", all)
	}
	id, err := r.send(r.from("one", "mover@demo.test"), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "m@b.example queued for mover@demo.test")
	must(t, r.accounts.AddGrant(t.Context(), addr(t, "one@demo.test"), addr(t, "x@y.example")))
	e := r.from("one", "mover@demo.test")
	e.From = addr(t, "x@y.example")
	if id, err = r.send(e, subject("x")); err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "m@b.example queued for mover@demo.test as SRS0@mail.demo.test")
}

// TestForward_onceEach: whoever is named in many ways is one recipient.
func TestForward_onceEach(t *testing.T) {
	r, _ := forwarding(t, Options{Submission: true})
	must(t, r.accounts.AddAlias(t.Context(), addr(t, "all@demo.test"), parse(t, "list@demo.test", "keeper@demo.test", "k@b.example")...))
	id, err := r.send(r.from("one", "k@b.example", "all@demo.test", "keeper@demo.test", "list@demo.test", "a@b.example"), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "k@b.example queued; one@demo.test delivered for all@demo.test; a@b.example queued for all@demo.test; "+
		"c@d.example queued for all@demo.test; keeper@demo.test delivered for all@demo.test")
}

// TestSRS_bounceFindsItsWay: what the next host sends to the sender that we
// made goes to the one it was made of, by whatever letters.
func TestSRS_bounceFindsItsWay(t *testing.T) {
	r, _ := forwarding(t, Options{})
	id, err := r.send(r.envelope("X@y.example", "mover@demo.test"), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := r.message(id)
	back := m.Recipients[0].Sender
	if err := r.Recipient(t.Context(), addr(t, "p@q.example"), back); err != nil {
		t.Fatal(err)
	}
	id, err = r.send(r.envelope("", back.String()), subject("bounce"))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := r.message(id); len(m.Recipients) != 1 || m.Recipients[0].Address != addr(t, "X@y.example") || m.Recipients[0].State != fate.Queued || !m.Recipients[0].Sender.IsZero() {
		t.Errorf("bounce goes to %s", fateOf(m))
	}
	forged := back
	forged.Local = strings.Replace(forged.Local, "y.example", "z.example", 1)
	wantReply(t, r.Recipient(t.Context(), addr(t, "p@q.example"), forged), 550, "5.1.1")
}

// TestSRS_ofOthers: what another forwarder has rewritten is an address like any
// other: users may write to it, a report finds its way, and we are no relay.
func TestSRS_ofOthers(t *testing.T) {
	r, _ := forwarding(t, Options{Submission: true})
	other := "SRS0=HHHH=TT=y.example=x@forward.example"
	id, err := r.send(r.from("one", other), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, other+" queued")
	if id, err = r.Post(t.Context(), Post{To: parse(t, other), Body: []byte(notice)}); err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, other+" queued")
	e := r.envelope("", "mover@demo.test")
	back := r.Intake.o.SRS.Forward(addr(t, "x@y.example"))
	back.Domain = "forward.example" // a genuine hash, and a domain that is not ours
	wantReply(t, r.Rcpt(t.Context(), &e, back), 550, "5.7.1")
}

// TestSRS_reportsOnly: whoever has seen a rewritten sender cannot have us carry
// what he likes there. Only at DATA: a host that asks at RCPT whether our sender
// exists may do so with any of its own.
func TestSRS_reportsOnly(t *testing.T) {
	r, _ := forwarding(t, Options{})
	back := r.Intake.o.SRS.Forward(addr(t, "x@y.example")).String()
	e := r.envelope("p@q.example", back)
	if err := r.Rcpt(t.Context(), &e, e.Recipients[0].To); err != nil {
		t.Error(err)
	}
	_, err := r.send(e, subject("x"))
	wantReply(t, err, 550, "5.7.1")
	_, err = r.send(r.envelope("p@q.example", "one@demo.test", back), subject("x"))
	wantReply(t, err, 550, "5.7.1")
	if _, err := r.send(r.envelope("", back), subject("x")); err != nil {
		t.Error(err)
	}
}

// TestPostmaster: he is there under the host's own name, which the dialogue gives
// to one who is asked for without a domain, and for reports to senders that were
// too long to be rewritten.
func TestPostmaster(t *testing.T) {
	for name, srs := range map[string]message.Domain{"Mail.demo.test": "mail.demo.test", "mx.demo.test": "fwd.demo.test"} {
		r, _ := forwarding(t, Options{})
		must(t, r.accounts.SetAdmin(t.Context(), addr(t, "one@demo.test"), true))
		rewriter, err := mailauth.NewSRS(mailauth.SRSOptions{Domain: srs, Secrets: [][]byte{[]byte("0123456789abcdef")}, Clock: sys.RealClock()})
		must(t, err)
		r.Intake.o.Hostname, r.Intake.o.SRS = name, rewriter
		to := "PostMaster@" + strings.ToLower(name)
		id, err := r.send(r.envelope("x@y.example", to), subject("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.wantFate(id, "one@demo.test delivered for "+to)
		long := rewriter.Forward(addr(t, strings.Repeat("x", 60)+"@y.example")).String()
		if id, err = r.send(r.envelope("", long), subject("x")); err != nil {
			t.Fatal(err)
		}
		r.wantFate(id, "one@demo.test delivered for "+long)
		e := r.envelope("x@y.example")
		for _, other := range []string{"nobody@" + strings.ToLower(name), "postmaster@y.example", "postmaster@sub.mail.demo.test"} {
			wantReply(t, r.Rcpt(t.Context(), &e, addr(t, other)), 550, "5.7.1")
		}
	}
}

// TestForward_loop: what an address has forwarded is not forwarded by it
// again, and nobody's copy is lost in silence.
func TestForward_loop(t *testing.T) {
	r, _ := forwarding(t, Options{})
	returned := func(via string) string {
		id, err := r.send(r.envelope("x@y.example", via), subject("x"))
		if err != nil {
			t.Fatal(err)
		}
		m, text := r.message(id)
		return text[m.Skip:]
	}
	_, err := r.send(r.envelope("x@y.example", "mover@demo.test"), returned("mover@demo.test"))
	wantReply(t, err, 554, "5.4.6")
	_, err = r.send(r.envelope("x@y.example", "list@demo.test", "one@demo.test"), returned("list@demo.test"))
	wantReply(t, err, 554, "5.4.6")
	// It comes back to what was named, or to what is behind that.
	must(t, r.accounts.AddAlias(t.Context(), addr(t, "team@demo.test"), parse(t, "one@demo.test", "mover@demo.test", "keeper@demo.test")...))
	for _, to := range []string{"team@demo.test", "team+x@demo.test"} {
		_, err = r.send(r.envelope("x@y.example", "team@demo.test"), returned(to))
		wantReply(t, err, 554, "5.4.6")
	}
	id, err := r.send(r.envelope("x@y.example", "keeper@demo.test"), returned("keeper@demo.test"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := r.wantFate(id, "keeper@demo.test delivered; k@b.example discarded for keeper@demo.test as SRS0@mail.demo.test")
	if why := m.Recipients[1].Last.Reason; !strings.Contains(why, "loop") {
		t.Errorf("reason is %q", why)
	}
	// Others' fields, and text that looks like one, are no loop.
	for _, text := range []string{
		"Delivered-To: keeper@demo.test\r\n\r\n", "X: y\r\n\r\nDelivered-To: mover@demo.test\r\n",
		"X-Delivered-To: mover@demo.test\r\n\r\n", strings.Repeat("X: y\r\n", 2000) + "\r\n",
	} {
		id, err := r.send(r.envelope("x@y.example", "mover@demo.test"), text)
		if err != nil {
			t.Errorf("%.40q: %v", text, err)
			continue
		}
		r.wantFate(id, "m@b.example queued for mover@demo.test as SRS0@mail.demo.test")
	}
	_, err = r.send(r.envelope("x@y.example", "mover@demo.test"), "Delivered-To:\r\n MOVER@demo.test\r\nX")
	wantReply(t, err, 554, "5.4.6")
}

// TestForward_namesNobodyElse: whoever gets a message learns of no address but
// the one that led to him, of blind copies least of all; and the sender, who
// gets the header back in reports, not of what is behind it.
func TestForward_namesNobodyElse(t *testing.T) {
	r, _ := forwarding(t, Options{})
	must(t, r.accounts.AddAlias(t.Context(), addr(t, "team@demo.test"), parse(t, "one@demo.test", "mover@demo.test")...))
	for to, want := range map[string]string{
		"list@demo.test": "list@demo.test", "one@demo.test": "", "mover@demo.test": "mover@demo.test",
		"mover@demo.test list@demo.test": "", "mover@demo.test one@demo.test": "", "one@demo.test mover@demo.test": "",
		"mover@demo.test a@b.example": "", "team@demo.test": "team@demo.test", "mover+x@demo.test": "mover+x@demo.test",
	} {
		r.Intake.o.Submission = strings.Contains(to, "a@b.example") // which strangers cannot
		e := r.from("one", strings.Fields(to)...)
		id, err := r.send(e, subject("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, text := r.message(id)
		_, got, _ := strings.Cut(text, "\r\nDelivered-To: ")
		if got, _, _ = strings.Cut(got, "\r\n"); !strings.Contains(text, "\r\nDelivered-To: ") {
			got = ""
		}
		if got != want {
			t.Errorf("to %s: delivered to %q, want %q", to, got, want)
		}
	}
}
