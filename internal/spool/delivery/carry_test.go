package delivery

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

func TestCarry_delivers(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	b := newBench(t, w, Options{})
	for range 2 { // on one connection
		b.want(b.carry(messageTo("one@example.org", "two@example.org")), fate.Relayed, queue.Up,
			"mx.example.org [192.0.2.1]:25", "none offered", "250 2.0.0 taken")
	}
	got := h.got()
	if len(got) != 2 || got[0].body != b.body || len(got[0].rcpt) != 2 || h.sessions != 1 {
		t.Fatalf("got %q in %d sessions", got, h.sessions)
	}
	if got[0].mail != "MAIL FROM:<a@sender.example> SIZE=25" {
		t.Errorf("%q", got[0].mail)
	}
}

func TestCarry_sendsWhatTheMessageSays(t *testing.T) {
	for _, chunking := range []bool{true, false} {
		w := newWorld()
		h := w.host("example.org", "mx.example.org", "192.0.2.1")
		b := newBench(t, w, Options{NoChunking: !chunking})
		b.body = "Return-Path: <a@sender.example>\r\nSubject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 200_000)
		m := messageTo("one@example.org", "gr\u00fc\u00dfe@example.org")
		m.Skip, m.Headers = int64(len("Return-Path: <a@sender.example>\r\n")), "DKIM-Signature: v=1\r\n"
		m.Body, m.UTF8, m.Ret, m.EnvID = smtp.Body8BitMIME, true, smtp.RetHeaders, "QQ+2B1"
		m.Recipients[0].Notify, m.Recipients[0].Rcpt = smtp.NotifySuccess, address("alias+x@demo.test")
		h.offers[1] = "SIZE"
		r := b.carry(m)
		b.want(r, fate.Relayed, queue.Up)
		if !r.Outcomes[0].Passed {
			t.Error("DSN was not passed")
		}
		got := h.got()
		want := m.Headers + b.body[m.Skip:]
		if len(got) != 1 || got[0].body != want {
			t.Fatalf("chunking %v: %d messages", chunking, len(got))
		}
		if got[0].mail != "MAIL FROM:<a@sender.example> SIZE=2400035 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1" &&
			!strings.HasPrefix(got[0].mail, "MAIL FROM:<a@sender.example> SIZE=") {
			t.Error(got[0].mail)
		}
		if got[0].rcpt[0] != "RCPT TO:<one@example.org> NOTIFY=SUCCESS ORCPT=rfc822;alias+2Bx@demo.test" {
			t.Error(got[0].rcpt[0])
		}
	}
}

// TestCarry_asks has what the DNS may say of a domain.
func TestCarry_asks(t *testing.T) {
	mx := dns.Question{Name: "example.org", Type: dns.MX}
	for name, c := range map[string]struct {
		set    func(w *world)
		state  fate.State
		health queue.Health
		words  string
	}{
		"null MX": {func(w *world) { w.mx("example.org", "0 ") }, fate.Bounced, queue.Up, "5.1.10 The domain example.org takes no mail"},
		"unfit MX": {func(w *world) {
			w.server("example.org", "192.0.2.7", 25)
			w.zone[mx] = dns.Answer{Unfit: true}
		}, fate.Bounced, queue.Up, "5.4.4 No MX host of example.org has a name"},
		"no domain":     {func(w *world) {}, fate.Bounced, queue.Up, "5.1.2 The domain example.org does not exist."},
		"SERVFAIL":      {func(w *world) { w.zone[mx] = dns.Answer{RCode: dns.ServFail} }, fate.Deferred, queue.Down, "4.4.3"},
		"timeout":       {func(w *world) { w.zone[mx] = dns.Answer{Err: dns.ErrTimeout} }, fate.Deferred, queue.Down, "no name server answered in time"},
		"implicit":      {func(w *world) { w.server("example.org", "192.0.2.7", 25) }, fate.Relayed, queue.Up, "example.org [192.0.2.7]:25"},
		"nothing":       {func(w *world) { w.zone[dns.Question{Name: "example.org", Type: dns.TXT}] = dns.Answer{} }, fate.Bounced, queue.Up, "5.4.4 The mail host example.org has no address."},
		"no address":    {func(w *world) { w.mx("example.org", "mx.example.org") }, fate.Bounced, queue.Up, "5.4.4 The mail host mx.example.org has no address."},
		"we alone":      {func(w *world) { w.mx("example.org", "breakwater.example", "other.example") }, fate.Bounced, queue.Up, "5.4.6 Mail for example.org would come back"},
		"we by alias":   {func(w *world) { w.mx("example.org", "alias.example") }, fate.Bounced, queue.Up, "5.4.6"},
		"we by address": {func(w *world) { w.host("example.org", "x.example", "192.0.2.99") }, fate.Bounced, queue.Up, "5.4.6"},
		"we by name": {func(w *world) {
			w.server("breakwater.example", "192.0.2.9", 25)
			w.zone[mx] = dns.Answer{Target: "breakwater.example"}
		}, fate.Bounced, queue.Up, "5.4.6"},
		"loopback": {func(w *world) { w.host("example.org", "x.example", "127.0.0.1") }, fate.Bounced, queue.Up, "5.4.4 The MX host x.example of example.org has the address 127.0.0.1, which is private"},
		"private":  {func(w *world) { w.host("example.org", "x.example", "10.0.0.1") }, fate.Bounced, queue.Up, "5.4.4"},
		"mapped":   {func(w *world) { w.host("example.org", "x.example", "::ffff:127.0.0.1") }, fate.Bounced, queue.Up, "5.4.4"},
		"refused":  {func(w *world) { w.mx("example.org", "x.example"); w.addr("x.example", "192.0.2.5") }, fate.Deferred, queue.Down, "4.4.1 The host refused the connection."},
		"address failed": {func(w *world) {
			w.mx("example.org", "x.example")
			w.zone[dns.Question{Name: "x.example", Type: dns.A}] = dns.Answer{RCode: dns.ServFail}
		}, fate.Deferred, queue.Down, "4.4.3"},
		"we second": {func(w *world) {
			w.mx("example.org", "first.example", "breakwater.example", "third.example")
			w.addr("first.example", "192.0.2.1")
			w.server("third.example", "192.0.2.3", 25)
		}, fate.Deferred, queue.Down, "first.example [192.0.2.1]:25"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.set(w)
			b := newBench(t, w, Options{Self: []string{"Alias.example"}, SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.99")}})
			b.want(b.carry(messageTo("one@example.org")), c.state, c.health, c.words)
		})
	}
}

func TestCarry_triesHostsInOrder(t *testing.T) {
	w := newWorld()
	w.mx("example.org", "20 second.example", "10 first.example", "20 also.example", "30 last.example")
	w.addr("first.example", "192.0.2.1", "2001:db8::1")
	w.server("second.example", "192.0.2.2", 25).say["banner"] = "554 5.7.1 not you"
	w.server("also.example", "192.0.2.3", 25).say["banner"] = "554 5.7.1 not you"
	last := w.server("last.example", "192.0.2.4", 25)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "last.example")
	if len(last.got()) != 1 || len(w.dials) != 5 || w.dials[0] != "[2001:db8::1]:25" || w.dials[1] != "192.0.2.1:25" || w.dials[4] != "192.0.2.4:25" {
		t.Errorf("%q", w.dials)
	}
	last.say["banner"] = "554 nobody here"
	b.d.pool.closeIdle()
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "refused") // the first may be back
	w.mx("example.org", "second.example", "also.example")
	b.want(b.carry(messageTo("one@example.org")), fate.Bounced, queue.Up, "554 5.7.1 not you", "The host does not want to talk to us.")
}

func TestCarry_triesNoMoreThanItMay(t *testing.T) {
	w := newWorld()
	var hosts []string
	for i := range 30 {
		name := "mx" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example"
		hosts = append(hosts, name)
		for j := range 4 {
			w.addr(name, netip.AddrFrom4([4]byte{192, 0, 2, byte(4*i + j)}).String())
		}
	}
	w.mx("example.org", hosts...)
	b := newBench(t, w, Options{})
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down)
	if len(w.dials) != addrsMax {
		t.Errorf("%d connections", len(w.dials))
	}
}

// TestCarry_shuffles: load is spread between hosts of one preference.
func TestCarry_shuffles(t *testing.T) {
	w := newWorld()
	w.mx("example.org", "10 a.example", "10 b.example", "10 c.example")
	for i, n := range []string{"a", "b", "c"} {
		w.server(n+".example", netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}).String(), 25).say["."] = "250 ok drop"
	}
	b := newBench(t, w, Options{MaxMessages: 1})
	seen := map[string]int{}
	for range 60 {
		seen[b.carry(messageTo("one@example.org")).Outcomes[0].Via]++
	}
	if len(seen) != 3 {
		t.Errorf("%v", seen)
	}
}

func TestCarry_slowIPv6CostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.host("example.org", "mx.example.org", "192.0.2.1")
		w.server("mx.example.org", "2001:db8::1", 25).away = true
		b := newBench(t, w, Options{Source6: netip.MustParseAddr("2001:db8::77"), Source4: netip.MustParseAddr("192.0.2.77")})
		began := b.d.o.Clock.Now()
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "192.0.2.1")
		if took := b.d.o.Clock.Now().Sub(began); took != connectFirst {
			t.Errorf("took %v", took)
		}
		if len(w.locals) != 2 || w.locals[0] != b.d.o.Source6 || w.locals[1] != b.d.o.Source4 {
			t.Errorf("from %v", w.locals)
		}
		b.close()
	})
}

// TestCarry_refusals has what is final and what is not.
func TestCarry_refusals(t *testing.T) {
	for name, c := range map[string]struct {
		say    string // command "=" answer
		state  fate.State
		health queue.Health
		words  string
	}{
		"sender never":      {"MAIL=550 5.7.1 no", fate.Bounced, queue.Up, "The host refused the sender."},
		"sender later":      {"MAIL=451 4.7.1 greylisted", fate.Deferred, queue.Busy, "The host wants the sender to be sent again later."},
		"recipient never":   {"RCPT=550 5.1.1 unknown", fate.Bounced, queue.Up, "550 5.1.1 unknown"},
		"sender unknown":    {"MAIL=451 4.1.8 no such domain", fate.Deferred, queue.Up, "4.1.8"},
		"sender too often":  {"MAIL=450 too many messages", fate.Deferred, queue.Busy, "450"},
		"recipient later":   {"RCPT=450 4.2.1 full", fate.Deferred, queue.Up, "450 4.2.1 full"},
		"recipient grey":    {"RCPT=450 4.7.1 greylisted", fate.Deferred, queue.Up, "450 4.7.1 greylisted"},
		"recipient plain":   {"RCPT=451 try again later", fate.Deferred, queue.Up, "451 try again later"},
		"recipient, busy":   {"RCPT=450 mailbox busy", fate.Deferred, queue.Up, "450 mailbox busy"},
		"no room at RCPT":   {"RCPT=452 4.3.1 disk", fate.Deferred, queue.Busy, "452 4.3.1 disk"},
		"no room, plain":    {"RCPT=452 insufficient storage", fate.Deferred, queue.Busy, "452"},
		"trouble at RCPT":   {"RCPT=451 4.3.0 lookup", fate.Deferred, queue.Busy, "451 4.3.0"},
		"too many at first": {"RCPT=452 4.5.3 too many recipients", fate.Deferred, queue.Busy, "452"},
		"grey at the end":   {".=451 4.7.1 greylisted", fate.Deferred, queue.Up, "451 4.7.1"},
		"plain at the end":  {".=451 not now", fate.Deferred, queue.Busy, "451"},
		"message never":     {".=554 5.7.1 spam", fate.Bounced, queue.Up, "The host refused the message."},
		"message later":     {".=451 4.3.0 disk", fate.Deferred, queue.Busy, "451"},
		"goes at greeting":  {"banner=421 4.7.0 busy", fate.Deferred, queue.Busy, "421 4.7.0 busy"},
		"goes at EHLO":      {"EHLO=421 4.7.0 busy", fate.Deferred, queue.Busy, "421"},
		"goes at MAIL":      {"MAIL=421 4.7.0 busy", fate.Deferred, queue.Busy, "421"},
		"goes at RCPT":      {"RCPT=421 4.7.0 busy", fate.Deferred, queue.Busy, "421"},
		"goes at the end":   {".=421 4.7.0 busy", fate.Deferred, queue.Busy, "421"},
		"lost at MAIL":      {"MAIL=drop", fate.Deferred, queue.Down, "4.4.2 The connection was lost while"},
		"lost at RCPT":      {"RCPT=drop", fate.Deferred, queue.Busy, "4.4.2 The connection was lost while"},
		"lost at the end":   {".=drop", fate.Deferred, queue.Busy, "the recipient may get it twice"},
		"garbage":           {"banner=hello", fate.Deferred, queue.Down, "The host broke the protocol"},
		"before the banner": {`banner=\n220 hi`, fate.Deferred, queue.Down, "The host broke the protocol"},
		"too early":         {`banner=220 hi\n250 ok`, fate.Deferred, queue.Down, "The host broke the protocol"},
		"354 to MAIL":       {"MAIL=354 what", fate.Deferred, queue.Down, "The host broke the protocol"},
		"354 to RCPT":       {"RCPT=354 what", fate.Deferred, queue.Busy, "The host broke the protocol"},
		"354 to the end":    {".=354 what", fate.Deferred, queue.Busy, "twice"},
		"one octet":         {"EHLO=2", fate.Deferred, queue.Down, "The host broke the protocol"},
		"long line":         {"EHLO=250 " + strings.Repeat("x", 1<<20), fate.Deferred, queue.Down, "The host broke the protocol"},
		"many lines":        {"EHLO=" + strings.Repeat(`250-x\n`, 5000) + "250 x", fate.Deferred, queue.Down, "The host broke the protocol"},
		"code changes":      {`RCPT=550-no\n250 yes`, fate.Deferred, queue.Busy, "The host broke the protocol"},
	} {
		for _, chunking := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld()
				h := w.host("example.org", "mx.example.org", "192.0.2.1")
				key, answer, _ := strings.Cut(c.say, "=")
				h.say[key] = answer
				b := newBench(t, w, Options{NoChunking: !chunking})
				if chunking && c.health != queue.Up && (key == "MAIL" || key == "RCPT") && c.words != "421" && !strings.HasPrefix(answer, "4") {
					// All was sent at once, so its end was sent, too.
					b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Busy, "twice")
					return
				}
				b.want(b.carry(messageTo("one@example.org")), c.state, c.health, c.words)
				if len(h.got()) > 1 {
					t.Errorf("%d messages", len(h.got()))
				}
			})
		}
	}
}

// TestCarry_remembersWhoIsDeaf: a host or an address that does not answer
// costs its time once, and not for each message.
func TestCarry_remembersWhoIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.mx("example.org", "first.example", "second.example")
		w.server("first.example", "192.0.2.1", 25).away = true
		w.server("second.example", "192.0.2.2", 25)
		w.server("second.example", "2001:db8::2", 25).away = true
		b := newBench(t, w, Options{})
		began := b.d.o.Clock.Now()
		for _, most := range []time.Duration{connectDefault + connectFirst, 0, 0} {
			before := b.d.o.Clock.Now()
			b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "second.example [192.0.2.2]:25")
			if took := b.d.o.Clock.Now().Sub(before); took != most {
				t.Errorf("took %v, want %v", took, most)
			}
		}
		time.Sleep(deafFor)
		w.hosts[netip.MustParseAddrPort("192.0.2.1:25")].away = false
		b.want(b.carry(messageTo("one@example.org")), fate.Relayed, queue.Up, "first.example")
		if took := b.d.o.Clock.Now().Sub(began); took != deafFor+connectDefault+connectFirst {
			t.Errorf("took %v", took)
		}
		b.close()
	})
}

// TestCarry_deafBeforeUs: that a host before us does not answer makes no loop
// of what it is for.
func TestCarry_deafBeforeUs(t *testing.T) {
	w := newWorld()
	w.mx("example.org", "first.example", "us.example", "third.example")
	w.addr("first.example", "192.0.2.1")
	w.addr("us.example", "192.0.2.99")
	third := w.server("third.example", "192.0.2.3", 25)
	b := newBench(t, w, Options{SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.99")}})
	for range 2 {
		b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Down, "first.example")
	}
	if third.sessions != 0 {
		t.Error("a host after us was called")
	}
}
