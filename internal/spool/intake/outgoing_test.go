package intake

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// others plays all who stand behind an Intake.
type others struct {
	full    error
	forbid  *smtp.Reply // at RCPT
	hold    *smtp.Reply // at the end
	asked   []string
	domains []string
	signed  []string // bodies, by author
}

func (o *others) Room() error { return o.full }

func (o *others) Recipient(e *smtp.Envelope, to message.Address) *smtp.Reply {
	o.asked = append(o.asked, fmt.Sprint(e.User, " ", to))
	return o.forbid
}

func (o *others) Message(e *smtp.Envelope) *smtp.Reply {
	o.asked = append(o.asked, fmt.Sprint(e.User, " ", e.Recipients))
	return o.hold
}

func (o *others) Correspond(domain string) { o.domains = append(o.domains, domain) }

func (o *others) Begin(author message.Domain) Signature {
	if author != "demo.test" {
		return nil
	}
	return &signature{o: o}
}

type signature struct {
	o    *others
	body strings.Builder
}

func (s *signature) Write(p []byte) (int, error) { return s.body.Write(p) }

func (s *signature) Fields(header []byte) (string, error) {
	if strings.Contains(string(header), "X-Unsigned") {
		return "", errors.New("no key")
	}
	s.o.signed = append(s.o.signed, s.body.String())
	return fmt.Sprintf("DKIM-Signature: of %d octets\r\n", len(header)), nil
}

// newOutgoing is newRoom for users, with all that stands behind it.
func newOutgoing(t *testing.T, o Options, locals ...string) (*room, *others) {
	t.Helper()
	all := new(others)
	srs, err := mailauth.NewSRS(mailauth.SRSOptions{
		Domain: "mail.demo.test", Secrets: [][]byte{[]byte("0123456789abcdef")}, Clock: sys.RealClock(),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Hostname = "mail.demo.test"
	o.Queue, o.Limiter, o.Correspondents, o.Signer, o.SRS = all, all, all, all, srs
	return newRoom(t, o, locals...), all
}

// from is an envelope of a user.
func (r *room) from(local string, to ...string) smtp.Envelope {
	r.t.Helper()
	e := r.envelope(local+"@demo.test", to...)
	a, err := r.accounts.Get(r.t.Context(), addr(r.t, local+"@demo.test"))
	if err != nil {
		r.t.Fatal(err)
	}
	e.Account, e.User, e.Protocol = uint64(a.ID), a.Address, "ESMTPSA"
	return e
}

// message returns what is known of a message, and what is stored of it.
func (r *room) message(id string) (*fate.Message, string) {
	r.t.Helper()
	ctx := r.t.Context()
	m, err := r.fates.ByID(ctx, id)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := r.mailboxes.OpenMessage(ctx, m.LSN)
	if err != nil {
		r.t.Fatal(err)
	}
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		r.t.Fatal(err)
	}
	text := string(octets)
	if m.Size != int64(len(text)) || !strings.HasPrefix(text, "Return-Path: <") || !strings.HasSuffix(text[:m.Skip], "\r\n") || strings.Count(text[:m.Skip], "\n") != 1 {
		r.t.Errorf("size %d, skip %d of\n%s", m.Size, m.Skip, text)
	}
	return m, text
}

// fateOf writes the recipients of a message down: address, state, sender.
func fateOf(m *fate.Message) string {
	var out []string
	for _, r := range m.Recipients {
		s := r.Address.String() + " " + r.State.String()
		if !r.Rcpt.IsZero() {
			s += " for " + r.Rcpt.String()
		}
		if !r.Sender.IsZero() {
			at, _, _ := strings.Cut(r.Sender.Local, "=")
			s += " as " + at + "@" + string(r.Sender.Domain)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func (r *room) wantFate(id, want string) (*fate.Message, string) {
	r.t.Helper()
	m, text := r.message(id)
	if got := fateOf(m); got != want {
		r.t.Errorf("fate is\n%s, want\n%s", got, want)
	}
	return m, text
}

// must fails on an error of several calls.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestSubmission_toOthersAndUs(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true}, "one", "two")
	e := r.from("one", "a@b.example", "two@demo.test", "a@b.example", "c@d.example")
	e.Ret, e.EnvID, e.UTF8, e.RequireTLS, e.Body = smtp.RetHeaders, "x+2By", true, true, smtp.Body7Bit
	e.Recipients[0].Notify, e.Recipients[0].Orcpt = smtp.NotifySuccess|smtp.NotifyDelay, "rfc822;a@b.example"
	e.Recipients[1].Notify = smtp.NotifySuccess
	for _, to := range e.Recipients {
		if err := r.Rcpt(t.Context(), &e, to.To); err != nil {
			t.Fatal(err)
		}
	}
	id, err := r.send(e, "From: one@demo.test\r\nBcc: c@d.example,\r\n\tx@y.example\r\nSubject: hi\r\n\r\nh\xc3\xa4\r\n")
	if err != nil {
		t.Fatal(err)
	}
	m, text := r.wantFate(id, "a@b.example queued; two@demo.test delivered; c@d.example queued")
	if m.Source != fate.Submitted || m.Account != account.ID(e.Account) || m.Session != "s1" || m.Protocol != "ESMTPSA" || m.RemoteIP != e.RemoteIP {
		t.Errorf("who: %+v", m)
	}
	if m.From != e.From || m.Ret != e.Ret || m.EnvID != e.EnvID || !m.UTF8 || !m.RequireTLS || m.Body != smtp.Body8BitMIME {
		t.Errorf("what the next host is to be told: %+v", m)
	}
	if m.Recipients[0].Notify != e.Recipients[0].Notify || m.Recipients[0].Orcpt != e.Recipients[0].Orcpt {
		t.Errorf("recipient: %+v", m.Recipients[0])
	}
	if m.MessageID != "<"+id+"@mail.demo.test>" || !strings.Contains(text, "\r\nMessage-ID: "+m.MessageID+"\r\n\r\nh\xc3\xa4\r\n") || !strings.Contains(text, "\r\nDate: ") {
		t.Errorf("Message-ID %s in\n%s", m.MessageID, text)
	}
	if strings.Contains(text, "c@d.example") || strings.Contains(text, "DKIM") || strings.Contains(text[m.Skip:], "Return-Path") {
		t.Errorf("stored:\n%s", text)
	}
	if !strings.HasPrefix(m.Headers, "DKIM-Signature: ") || !slices.Equal(all.signed, []string{"h\xc3\xa4\r\n"}) {
		t.Errorf("signed %q as %q", all.signed, m.Headers)
	}
	if got := r.inboxOf("two"); len(got) != 1 || got[0] != text {
		t.Errorf("two has %q", got)
	}
	if len(all.asked) != 5 || strings.Join(all.domains, " ") != "b.example d.example" {
		t.Errorf("others heard %+v", all)
	}
}

func TestSubmission_headerIsChecked(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one", "two")
	e := r.from("one", "a@b.example")
	_, err := r.send(e, "From: two@demo.test\r\n\r\nhi\r\n")
	wantReply(t, err, 550, "5.7.1")
	_, err = r.send(e, "From: two@demo.test") // is the end of it, too
	wantReply(t, err, 550, "5.7.1")
	must(t, r.accounts.AddGrant(t.Context(), addr(t, "one@demo.test"), addr(t, "two@demo.test")))
	if _, err = r.send(e, "From: two@demo.test\r\n\r\nhi\r\n"); err != nil {
		t.Errorf("granted: %v", err)
	}
	e.From = addr(t, "two@demo.test")
	if err := r.Sender(t.Context(), &e); err != nil {
		t.Errorf("granted: %v", err)
	}
	r.o.AnyFrom = true
	r.Intake.o.AnyFrom = true
	if _, err = r.send(e, "From: ceo@bank.example\r\n\r\nhi\r\n"); err != nil {
		t.Errorf("unchecked: %v", err)
	}
}

// TestSubmission_unsigned: mail that cannot be signed still leaves.
func TestSubmission_unsigned(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true, AnyFrom: true}, "one", "two")
	for _, text := range []string{"From: a@b.example\r\n\r\n", "X-Unsigned: 1\r\n\r\n"} {
		id, err := r.send(r.from("one", "a@b.example"), text)
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := r.message(id); m.Headers != "" {
			t.Errorf("signed: %q", m.Headers)
		}
	}
	if _, err := r.send(r.from("one", "two@demo.test"), "Subject: stays\r\n\r\n"); err != nil || len(all.signed) != 0 {
		t.Errorf("%v, signed %q", err, all.signed)
	}
}

// TestSubmission_signsAsNobodyElse: where any From is let through, the domain of
// another author does not answer for it.
func TestSubmission_signsAsNobodyElse(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true, AnyFrom: true}, "boss")
	must(t, r.accounts.AddDomain(t.Context(), "away.test"))
	one, err := r.accounts.AddAccount(t.Context(), addr(t, "one@away.test"), "password", account.Settings{})
	must(t, err, r.accounts.AddAlias(t.Context(), addr(t, "info@demo.test"), one.Address))
	e := r.envelope("one@away.test", "a@b.example")
	e.Account, e.User = uint64(one.ID), one.Address
	for field, want := range map[string]int{
		"From: boss@demo.test": 0, "From: boss@demo.test, info@demo.test": 0, "From: info+x@demo.test": 1, "From: one@away.test": 0,
		"From: demo.test": 0, "Subject: x": 0,
	} {
		all.signed = nil
		if _, err := r.send(e, field+"\r\n\r\n"); err != nil || len(all.signed) != want {
			t.Errorf("%s: %v, signed %d times", field, err, len(all.signed))
		}
	}
}

func TestSubmission_limits(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true}, "one", "two")
	e := r.from("one", "a@b.example", "two@demo.test")
	all.forbid = &smtp.Reply{Code: 450, Enhanced: "4.7.1", Text: "Too many for today"}
	for _, to := range e.Recipients {
		wantReply(t, r.Rcpt(t.Context(), &e, to.To), 450, "4.7.1")
	}
	all.forbid, all.hold = nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Held"}
	_, err := r.send(e, subject("x"))
	wantReply(t, err, 550, "5.7.1")
	if n := r.count("two", subject("x")); n != 0 {
		t.Errorf("%d copies", n)
	}
}

func TestQueue_full(t *testing.T) {
	r, all := newOutgoing(t, Options{Submission: true}, "one", "two")
	must(t, r.accounts.AddAlias(t.Context(), addr(t, "list@demo.test"), addr(t, "one@demo.test"), addr(t, "a@b.example")))
	all.full = errors.New("full")
	e := r.from("one")
	for to, code := range map[string]int{"a@b.example": 452, "list@demo.test": 452, "two@demo.test": 0} {
		err := r.Rcpt(t.Context(), &e, addr(t, to))
		if code != 0 {
			wantReply(t, err, code, "4.3.1")
		} else if err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	_, err := r.Begin(t.Context(), r.from("one", "a@b.example"))
	wantReply(t, err, 452, "4.3.1")
	r.Intake.o.Queue = nil
	wantReply(t, r.Rcpt(t.Context(), &e, addr(t, "list@demo.test")), 550, "5.7.1")
}

// TestStrangers_neverRelay: whatever a stranger writes, mail goes to our users
// or nowhere.
func TestStrangers_neverRelay(t *testing.T) {
	for _, submission := range []bool{false, true} { // a service for users whose client has not logged in
		r, _ := newOutgoing(t, Options{Submission: submission, Routed: func(d message.Domain) bool { return d != "demo.test" }}, "one")
		must(t, r.accounts.AddDomain(t.Context(), "inner.test"))
		for path, want := range map[string]smtp.EnhancedCode{
			"<a@b.example>":                                             "5.7.1",
			"<@demo.test:a@b.example>":                                  "5.7.1", // a source route, RFC 5321 appendix C
			"<@demo.test,@mail.demo.test:a@b.example>":                  "5.7.1",
			"<a@[192.0.2.1]>":                                           "5.7.1",
			"<one@[127.0.0.1]>":                                         "5.7.1",
			"<a@mail.demo.test>":                                        "5.7.1",
			"<a@demo.test.example>":                                     "5.7.1",
			"<\"one@demo.test\"@b.example>":                             "5.7.1",
			"<\"a@b.example\"@demo.test>":                               "5.1.1",
			"<a%b.example@demo.test>":                                   "5.1.1",
			"<\"a%b.example\"@demo.test>":                               "5.1.1",
			"<b.example!a@demo.test>":                                   "5.1.1",
			"<a%b.example@inner.test>":                                  "5.7.1",
			"<\"a@b.example\"@inner.test>":                              "5.7.1",
			"<b.example!a@inner.test>":                                  "5.7.1",
			"<one@demo.test@b.example>":                                 "", // is no path
			"<SRS0=AAAAAA=AA=b.example=a@demo.test>":                    "5.1.1",
			"<SRS0=AAAAAA=AA=b.example=a@mail.demo.test>":               "5.1.1",
			"<srs1=AAAAAA=b.example==AA=AA=c.example=a@mail.demo.test>": "5.1.1",
		} {
			to, _, err := smtp.ParsePath([]byte(path))
			if want == "" {
				if err == nil {
					t.Errorf("%s is %v", path, to)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			e := r.envelope("x@y.example")
			wantReply(t, r.Rcpt(t.Context(), &e, to), 550, want)
			wantReply(t, r.Recipient(t.Context(), e.From, to), 550, want)
			e.Recipients = []smtp.Recipient{{To: to}}
			_, err = r.Begin(t.Context(), e)
			wantReply(t, err, 550, want)
			if t.Failed() {
				t.Fatalf("%s, submission %v", path, submission)
			}
		}
	}
	// A login counts for nothing where no users are served.
	r, _ := newOutgoing(t, Options{}, "one")
	e := r.from("one", "a@b.example")
	wantReply(t, r.Rcpt(t.Context(), &e, e.Recipients[0].To), 550, "5.7.1")
}

// TestStrangers_catchAll: what looks like a route is but a name to it.
func TestStrangers_catchAll(t *testing.T) {
	r, _ := newOutgoing(t, Options{}, "one")
	must(t, r.accounts.SetCatchAll(t.Context(), "demo.test", addr(t, "one@demo.test")))
	id, err := r.send(r.envelope("x@y.example", "a%b.example@demo.test"), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "one@demo.test delivered for a%b.example@demo.test")
}

func TestRouted(t *testing.T) {
	r, _ := newOutgoing(t, Options{Routed: func(message.Domain) bool { return true }}, "one")
	must(t, r.accounts.AddDomain(t.Context(), "inner.test"))
	id, err := r.send(r.envelope("x@y.example", "a@inner.test", "unknown@demo.test", "one@demo.test"), subject("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantFate(id, "a@inner.test queued; unknown@demo.test queued; one@demo.test delivered")
}

// TestCommit_factsAreBounded: recipients at the limit of every length are sent
// to in several messages, not refused for ever.
func TestCommit_factsAreBounded(t *testing.T) {
	r, _ := newOutgoing(t, Options{Submission: true}, "one")
	e := r.from("one")
	for n := range 6000 {
		e.Recipients = append(e.Recipients, smtp.Recipient{
			To:    message.Address{Local: fmt.Sprintf("%0240d", n), Domain: "b.example"},
			Orcpt: "rfc822;" + strings.Repeat("x", 490),
		})
	}
	_, err := r.send(e, subject("x"))
	wantReply(t, err, 452, "4.5.3")
	e.Recipients = e.Recipients[:1000] // as many as a session takes
	if _, err := r.send(e, subject("x")); err != nil {
		t.Error(err)
	}
}
