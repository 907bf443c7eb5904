package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// TestSend_staleConnection: a host that has closed an idle connection is
// called again at once, and nobody notices.
func TestSend_staleConnection(t *testing.T) {
	for name, say := range map[string]string{"silently": "|drop|", "with a word": "|421 4.4.2 idle for too long|"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				h := w.host("example.org", "mx.example.org", "192.0.2.1")
				h.say["MAIL"] = say
				b := newBench(t, w, Options{})
				b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
				time.Sleep(5 * time.Second)
				b.want(b.carry(messageTo("two@example.org")), fate.Relayed, queue.Up)
				if len(h.got()) != 2 || h.sessions != 2 {
					t.Errorf("%d messages in %d sessions", len(h.got()), h.sessions)
				}
				b.close()
			})
		})
	}
}

// TestSend_neverTwice: once the end of a message has been sent, it is not sent
// again before the queue says so, also where the connection had been idle.
func TestSend_neverTwice(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		for _, pause := range []time.Duration{0, 5 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				h := w.host("example.org", "mx.example.org", "192.0.2.1")
				h.say["."] = "250 ok|drop|250 ok"
				b := newBench(t, w, Options{NoChunking: !chunking})
				b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
				time.Sleep(pause)
				b.want(b.carry(messageTo("two@example.org")), fate.Deferred, queue.Busy, "4.4.2", "the recipient may get it twice")
				if len(h.got()) != 2 {
					t.Errorf("%d messages", len(h.got()))
				}
				b.close()
			})
		}
	}
}

// TestSend_holdsNoWorker: whatever a host does, an attempt ends.
func TestSend_holdsNoWorker(t *testing.T) {
	for say, most := range map[string]time.Duration{
		"banner=hang":            6 * time.Minute,
		"banner=drip 220-":       6 * time.Minute,
		"EHLO=drip 250-":         11 * time.Minute,
		"MAIL=hang":              11 * time.Minute,
		"RCPT=drip 250 ":         11 * time.Minute,
		".=hang":                 11 * time.Minute,
		".=drip 250-":            11 * time.Minute,
		"MAIL FROM=drip 550-x\n": 11 * time.Minute,
	} {
		t.Run(say, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				h := w.host("example.org", "mx.example.org", "192.0.2.1")
				key, answer, _ := strings.Cut(say, "=")
				h.say[key] = answer
				b := newBench(t, w, Options{})
				began := b.d.o.Clock.Now()
				if r := b.carry(messageTo("one@example.org")); r.Outcomes[0].State != fate.Deferred {
					t.Errorf("%+v", r)
				}
				if took := b.d.o.Clock.Now().Sub(began); took > most {
					t.Errorf("took %v", took)
				}
				b.close()
			})
		})
	}
}

// TestSend_slowBody: a host that takes a large message by the octet is given
// up in the end, be it slow in each block or in all of them together.
func TestSend_slowBody(t *testing.T) {
	for _, pause := range []time.Duration{time.Minute, 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			h.slow = pause
			b := newBench(t, w, Options{})
			b.body = "Subject: x\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789012345678901234567\r\n", 15_000)
			began := b.d.o.Clock.Now()
			b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Busy, "4.4.2 The host did not answer in time")
			if took := b.d.o.Clock.Now().Sub(began); took > 25*time.Minute {
				t.Errorf("took %v", took)
			}
			b.close()
		})
	}
}

func TestSend_endsWithItsContext(t *testing.T) {
	for _, say := range []string{"banner", "EHLO", "MAIL", "RCPT"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			h.say[say] = "hang"
			b := newBench(t, w, Options{NoChunking: true})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := b.d.o.Clock.Now()
			r := b.d.Carry(ctx, queue.Job{Message: messageTo("one@example.org"), Rcpt: []int{0}})
			r.Done()
			b.want(r, fate.Deferred, queue.Unknown, "4.3.2 The attempt was interrupted")
			if took := b.d.o.Clock.Now().Sub(began); took != time.Second || r.Outcomes[0].RetryAfter != time.Second {
				t.Errorf("took %v, again after %v", took, r.Outcomes[0].RetryAfter)
			}
			b.close()
		})
	}
	w := newWorld()
	w.zone[dns.Question{Name: "example.org", Type: dns.MX}] = dns.Answer{Err: errHang}
	b := newBench(t, w, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := b.d.Carry(ctx, queue.Job{Message: messageTo("one@example.org"), Rcpt: []int{0}})
	r.Done()
	b.want(r, fate.Deferred, queue.Unknown, "interrupted")
}

func TestSend_eachRecipientForItself(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.say["RCPT TO:<no@"], h.say["RCPT TO:<later@"] = "550 5.1.1 unknown", "450 4.2.1 full"
	b := newBench(t, w, Options{})
	r := b.carry(messageTo("no@example.org", "one@example.org", "later@example.org"))
	b.wantAt(r, 0, fate.Bounced, "550 5.1.1 unknown", "refused the recipient")
	b.wantAt(r, 1, fate.Relayed)
	b.wantAt(r, 2, fate.Deferred, "450")
	if r.Health != queue.Up || len(h.got()) != 1 {
		t.Errorf("%v, %d messages", r.Health, len(h.got()))
	}
}

// TestSend_senders: recipients whose reverse-paths differ go in transactions
// of their own, over one connection.
func TestSend_senders(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	b := newBench(t, w, Options{})
	m := messageTo("one@example.org", "two@example.org", "three@example.org")
	m.Recipients[1].Sender = address("SRS0=x@breakwater.example")
	b.want(b.carry(m), fate.Relayed, queue.Up)
	got := h.got()
	if len(got) != 2 || len(got[0].rcpt) != 2 || !strings.Contains(got[1].mail, "SRS0=x@breakwater.example") || h.sessions != 1 {
		t.Errorf("%+v", got)
	}
	m = messageTo("one@example.org")
	m.From = address("")
	b.want(b.carry(m), fate.Relayed, queue.Up)
	if got = h.got(); !strings.HasPrefix(got[2].mail, "MAIL FROM:<>") {
		t.Error(got[2].mail)
	}
}

func TestSend_manyRecipients(t *testing.T) {
	var many []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("user%03d@example.org", i))
	}
	for name, c := range map[string]struct {
		offer, say string
		want       []int
	}{
		"by our own limit": {"", "", []int{100, 100, 50}},
		"by LIMITS":        {"LIMITS RCPTMAX=90", "", []int{90, 90, 70}},
		"by 452":           {"", "RCPT TO:<user=" + strings.Repeat("250 ok|", 80) + strings.Repeat("452 4.5.3 too many|", 20) + "250 ok", []int{80, 100, 70}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			if c.offer != "" {
				h.offers = append(h.offers, c.offer)
			}
			if key, say, ok := strings.Cut(c.say, "="); ok {
				h.say[key] = say
			}
			b := newBench(t, w, Options{})
			r := b.carry(messageTo(many...))
			for i := range many {
				b.wantAt(r, i, fate.Relayed)
			}
			var sizes []int
			for _, m := range h.got() {
				sizes = append(sizes, len(m.rcpt))
			}
			if !slices.Equal(sizes, c.want) {
				t.Errorf("%v", sizes)
			}
		})
	}
}

// TestSend_unfit: what a host cannot take is not sent to it.
func TestSend_unfit(t *testing.T) {
	eight := "Subject: x\r\n\r\ngr\u00fc\u00dfe\r\n"
	for name, c := range map[string]struct {
		without string
		set     func(b *bench, m *fate.Message)
		state   fate.State
		words   string
	}{
		"size":          {"", func(b *bench, m *fate.Message) { b.body = strings.Repeat("x\r\n", 400_000) }, fate.Bounced, "5.3.4 The message has 1200000 octets, and the host takes no more than 1000000."},
		"UTF-8 address": {"SMTPUTF8", func(b *bench, m *fate.Message) { m.UTF8 = true; m.Recipients[0].Address.Local = "gr\u00fc\u00dfe" }, fate.Bounced, "5.6.7"},
		"UTF-8 sender":  {"SMTPUTF8", func(b *bench, m *fate.Message) { m.UTF8 = true; m.From.Local = "gr\u00fc\u00dfe" }, fate.Bounced, "5.6.7"},
		"UTF-8 header":  {"SMTPUTF8", func(b *bench, m *fate.Message) { m.UTF8 = true; b.body = "Subject: \u00fc\r\n\r\nx\r\n" }, fate.Bounced, "5.6.7"},
		"UTF-8 unused":  {"SMTPUTF8", func(b *bench, m *fate.Message) { m.UTF8 = true; b.body = eight }, fate.Relayed, ""},
		"7 bits":        {"8BITMIME", func(b *bench, m *fate.Message) { m.Body = smtp.Body8BitMIME }, fate.Relayed, ""},
		"REQUIRETLS":    {"", func(b *bench, m *fate.Message) { m.RequireTLS = true }, fate.Bounced, "5.7.30"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			h.offers = slices.DeleteFunc(h.offers, func(s string) bool { return s == c.without })
			b := newBench(t, w, Options{})
			m := messageTo("one@example.org")
			c.set(b, m)
			b.want(b.carry(m), c.state, queue.Up, c.words)
			if c.state == fate.Bounced && len(h.got())+strings.Count(h.said(), "MAIL") != 0 {
				t.Errorf("said %q", h.said())
			}
		})
	}
}

// TestSend_mixedAddresses: a recipient that a host cannot be named takes none
// with it whom it can.
func TestSend_mixedAddresses(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.offers = slices.DeleteFunc(h.offers, func(s string) bool { return s == "SMTPUTF8" })
	b := newBench(t, w, Options{})
	m := messageTo("one@example.org", "two@example.org", "three@example.org")
	m.UTF8, m.Recipients[1].Address.Local = true, "gr\u00fc\u00dfe"
	r := b.carry(m)
	b.wantAt(r, 0, fate.Relayed)
	b.wantAt(r, 1, fate.Bounced, "5.6.7")
	b.wantAt(r, 2, fate.Relayed)
	if got := h.got(); len(got) != 1 || len(got[0].rcpt) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestSend_damagedBody(t *testing.T) {
	for _, bad := range []int64{5, 100_000} {
		w := newWorld()
		h := w.host("example.org", "mx.example.org", "192.0.2.1")
		b := newBench(t, w, Options{NoChunking: true})
		b.body, b.bad = strings.Repeat("0123456789\r\n", 20_000), bad
		m := messageTo("one@example.org")
		m.Body = smtp.Body7Bit
		b.want(b.carry(m), fate.SetAside, queue.Unknown, "5.3.0 The stored message is damaged.")
		if len(h.got()) != 0 {
			t.Error("it was taken")
		}
	}
}

// TestSend_smuggledCommand: an address that should never have got here makes no
// command of its own.
func TestSend_smuggledCommand(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	b := newBench(t, w, Options{})
	m := messageTo("one@example.org")
	m.Recipients[0].Address.Local = "one>\r\nRCPT TO:<two"
	b.want(b.carry(m), fate.Bounced, queue.Unknown, "5.1.3")
	m = messageTo("one@example.org")
	m.Ret, m.EnvID = smtp.RetFull, "x\r\nRSET"
	b.want(b.carry(m), fate.Bounced, queue.Unknown, "5.1.3")
	if len(h.got()) != 0 || strings.Contains(h.said(), "MAIL") {
		t.Error(h.said())
	}
}

// TestSend_chunkingInNameOnly: a host that does not know BDAT gets DATA.
func TestSend_chunkingInNameOnly(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.say["."] = "502 5.5.1 what?|250 ok"
	b := newBench(t, w, Options{})
	r := b.carry(messageTo("one@example.org"))
	b.want(r, fate.Deferred, queue.Up, "502 5.5.1", "by DATA")
	if r.Outcomes[0].RetryAfter != dottedRetry {
		t.Errorf("again after %v", r.Outcomes[0].RetryAfter)
	}
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	if got := h.said(); strings.Count(got, "BDAT") != 1 || strings.Count(got, "DATA") != 1 {
		t.Errorf("%q", got)
	}
	h.say["."] = "554 no"
	b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "554 no")
}

// TestSend_bareLineEnds: such a body goes by BDAT as it is, and never by DATA.
func TestSend_bareLineEnds(t *testing.T) {
	for _, chunking := range []bool{true, false} {
		w := newWorld()
		h := w.host("example.org", "mx.example.org", "192.0.2.1")
		b := newBench(t, w, Options{NoChunking: !chunking})
		b.body = "Subject: x\r\n\r\nx\n.\nMAIL FROM:<>\r\ny\rz\r\n"
		r := b.carry(messageTo("one@example.org"))
		switch got := h.got(); {
		case chunking && (r.Outcomes[0].State != fate.Relayed || got[0].body != b.body):
			t.Errorf("%+v", r)
		case !chunking && len(got) > 0 && strings.Contains(strings.ReplaceAll(got[0].body, "\r\n", ""), "\n"):
			t.Errorf("%q", got)
		case !chunking && r.Outcomes[0].State != fate.Relayed:
			b.want(r, fate.Bounced, queue.Up, "5.6.0")
		}
	}
}

// TestSend_tarpits: a domain with many hosts that each take their time costs a
// worker minutes and not hours.
func TestSend_tarpits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var hosts []string
		for i := range 10 {
			name := fmt.Sprintf("mx%d.example.org", i)
			hosts = append(hosts, name)
			for j := range 2 {
				w.server(name, fmt.Sprintf("192.0.2.%d", 10*i+j+1), 25).say["banner"] = "hang"
			}
		}
		w.mx("example.org", hosts...)
		b := newBench(t, w, Options{})
		began := b.d.o.Clock.Now()
		b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "4.4.2 The host did not answer in time while greeting us.")
		if took := b.d.o.Clock.Now().Sub(began); took > searchMax+10*time.Minute {
			t.Errorf("took %v", took)
		}
		b.close()
	})
}

// TestSend_oneMessageEach: a host that closes after each message gets them all,
// each once.
func TestSend_oneMessageEach(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.say["."] = "250 ok drop"
	b := newBench(t, w, Options{})
	for range 5 {
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up)
	}
	if len(h.got()) != 5 || h.sessions != 5 {
		t.Errorf("%d messages in %d sessions", len(h.got()), h.sessions)
	}
}

// TestSend_sessionEndsInBetween: recipients that one connection did not get to
// go over another.
func TestSend_sessionEndsInBetween(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.offers = append(h.offers, "LIMITS RCPTMAX=1")
	h.say["."] = "250 ok drop"
	b := newBench(t, w, Options{})
	r := b.carry(messageTo("one@example.org", "two@example.org", "three@example.org"))
	for i := range 3 {
		b.wantAt(r, i, fate.Relayed)
	}
	h.say["MAIL"] = "250 ok|250 ok|421 enough"
	r = b.carry(messageTo("one@example.org", "two@example.org", "three@example.org"))
	b.wantAt(r, 1, fate.Relayed)
	b.wantAt(r, 2, fate.Deferred, "421 enough")
	if len(h.got()) != 5 {
		t.Errorf("%d messages", len(h.got()))
	}
}
