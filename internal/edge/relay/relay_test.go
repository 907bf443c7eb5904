package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const xclientEhlo = "PIPELINING\nSIZE 1000000\n8BITMIME\nSMTPUTF8\nDSN\nXCLIENT NAME ADDR PROTO HELO PORT"

func TestSend_passesAllOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo, on: func(step, line string) string {
			if strings.Contains(line, "<bad@") {
				return "550-5.1.1 <bad@demo.test>: no such user\r\n550 5.1.1 Really"
			}
			return ""
		}}
		r := f.relay(t, Options{})
		e := envelope("one", "bad", "two")
		e.Size, e.Body, e.UTF8, e.Ret, e.EnvID = 100, smtp.Body8BitMIME, true, smtp.RetHeaders, "x1"
		e.Recipients[0].Notify, e.Recipients[0].Orcpt = smtp.NotifyNever, "rfc822;o@b.example"
		e.Headers = "X-Greylist: delayed\r\n"
		codes, err := send(t.Context(), r, e, "Subject: x\r\n\r\n.dot\r\n..\r\nlast line")
		if want := "250 250 550 250 354 250 queued as 4XYZ"; codes != want || err != nil {
			t.Errorf("got %s, %v, want %s", codes, err, want)
		}
		heard, taken := f.seen()
		if want := "XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.7 PORT=4000 PROTO=ESMTP HELO=client.example|" +
			"MAIL FROM:<a@b.example> SIZE=2148 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x1|" +
			"RCPT TO:<one@demo.test> NOTIFY=NEVER ORCPT=rfc822;o@b.example|RCPT TO:<bad@demo.test>|RCPT TO:<two@demo.test>|DATA"; heard != want {
			t.Errorf("got %s\nwant %s", heard, want)
		}
		if len(taken) != 1 || !strings.HasPrefix(taken[0], "Received: from client.example ([198.51.100.7]) by mx.example with ESMTP id s1;\r\n\t") ||
			!strings.HasSuffix(taken[0], "\r\nX-Greylist: delayed\r\nSubject: x\r\n\r\n.dot\r\n..\r\nlast line\r\n") {
			t.Errorf("got %q", taken)
		}
		// The same session again: it need not be introduced again.
		if codes, _ = send(t.Context(), r, envelope("one"), "x\r\n"); codes != "250 250 354 250 queued as 4XYZ" {
			t.Errorf("got %s", codes)
		}
		if heard, _ := f.seen(); f.conns != 1 || heard != "MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|DATA" {
			t.Errorf("got %s on connection %d, want the first without XCLIENT", heard, f.conns)
		}
		// Another on the same connection.
		e = envelope("one")
		e.Session, e.Protocol, e.Helo = "s2", "SMTP", "a+b"
		e.RemoteIP = message6
		_, _ = send(t.Context(), r, e, "x\r\n")
		if heard, _ := f.seen(); f.conns != 1 || !strings.HasPrefix(heard, "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PORT=4000 PROTO=SMTP HELO=a+2Bb|MAIL") {
			t.Errorf("got %s on connection %d", heard, f.conns)
		}
		idle(t, r)
	})
}

// TestFaults_atEveryStep: whatever an inner server does at whatever step, a
// client hears 250 only if it said so, and 5yz only if it meant the mail; it
// waits no longer than it must, and nothing is left in use.
func TestFaults_atEveryStep(t *testing.T) {
	steps := []string{"banner", "EHLO", "XCLIENT", "MAIL", "RCPT", "DATA", "body", "dot"}
	faults := []string{"450 4.2.0 Later", "550 5.7.1 Never", "421 4.3.2 Bye", "250 2.0.0 Fine", "354 Go on", "hello", "999 x", hangUp, silence, endless, takeIt}
	// What is told at last, by step: for a refusal by 450 and by 550.
	want := map[string]string{
		"banner": "450 451", "EHLO": "451 451", "XCLIENT": "450 451", "MAIL": "450 550", "RCPT": "450 550", "DATA": "450 550",
		"body": "250 250", "dot": "450 550",
	}
	for _, ehlo := range []string{xclientEhlo, strings.TrimPrefix(xclientEhlo, "PIPELINING\n")} {
		for _, step := range steps {
			for i, fault := range faults {
				t.Run(fmt.Sprintf("%v/%s/%q", strings.HasPrefix(ehlo, "PIPE"), step, fault), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := &fake{ehlo: ehlo, on: func(at, line string) string {
							if at == step {
								return fault
							}
							return ""
						}}
						r := f.relay(t, Options{})
						began := time.Now()
						codes, _ := send(t.Context(), r, envelope("one"), "x\r\n")
						took := time.Since(began)
						_, taken := f.seen()
						last := codes[strings.LastIndexByte(codes, ' ')+1:]
						if last == "" {
							t.Fatalf("got %q", codes)
						}
						ok := last == "4XYZ" || strings.HasSuffix(codes, " 354 250 Fine")
						if ok && len(taken) != 1 {
							t.Errorf("got %s, and the inner server took %d messages", codes, len(taken))
						}
						if !ok && last[0] != '4' && fault != faults[1] {
							t.Errorf("got %s for %q", codes, fault)
						}
						if i < 2 && !(ok && step == "body") {
							if want := strings.Fields(want[step])[i]; last != want {
								t.Errorf("got %s, want %s at last", codes, want)
							}
						}
						if took > 10*time.Minute {
							t.Errorf("took %v", took)
						}
						idle(t, r)
					})
				})
			}
		}
	}
}

// TestFaults_mailAndRcptTogether: the refusal of the sender is what counts,
// also when the inner server does not bother about the recipient.
func TestFaults_mailAndRcptTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo, on: func(step, line string) string {
			switch step {
			case "MAIL":
				return "553 5.1.8 Sender unknown"
			case "RCPT":
				return hangUp
			}
			return ""
		}}
		r := f.relay(t, Options{})
		codes, err := send(t.Context(), r, envelope("one", "two"), "x\r\n")
		if codes != "250 553 553" || !strings.Contains(err.Error(), "5.1.8 Sender unknown") {
			t.Errorf("got %s, %v", codes, err)
		}
		idle(t, r)
	})
}

// TestPool_idleConnectionDied: a connection that the inner server closed while
// it was idle, or says 421 on, costs nobody anything.
func TestPool_idleConnectionDied(t *testing.T) {
	for _, how := range []string{hangUp, "421 4.4.2 Timeout"} {
		for _, step := range []string{"XCLIENT", "MAIL", "RCPT"} {
			synctest.Test(t, func(t *testing.T) {
				count := 0
				f := &fake{ehlo: xclientEhlo}
				f.on = func(at, line string) string {
					if at == step {
						if count++; count == 2 {
							return how
						}
					}
					return ""
				}
				r := f.relay(t, Options{})
				for i, want := range []string{"250 250 354 250 queued as 4XYZ", "250 250 354 250 queued as 4XYZ"} {
					e := envelope("one")
					e.Session = fmt.Sprint("s", i)
					if codes, err := send(t.Context(), r, e, "x\r\n"); codes != want {
						t.Errorf("%s, %q: got %s, %v, want %s", step, how, codes, err, want)
					}
				}
				if _, taken := f.seen(); f.conns != 2 || len(taken) != 2 {
					t.Errorf("%s, %q: %d connections and %d messages, want 2 and 2", step, how, f.conns, len(taken))
				}
				idle(t, r)
			})
		}
	}
}

// TestPool_keepsFew: old connections are closed, and there are never more than
// there may be.
func TestPool_keepsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{MaxConns: 3, MaxIdle: 2})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		hold := make([]*transaction, 3)
		for i := range hold {
			e := envelope("one")
			e.Session = fmt.Sprint("s", i)
			tx, err := r.Open(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			hold[i] = tx.(*transaction)
			if err := tx.Recipient(ctx, address("one", "demo.test")); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		codes, err := send(ctx, r, envelope("one"), "x\r\n")
		if took := time.Since(began); codes != "250 451" || took != slotDefault {
			t.Errorf("got %s, %v after %v, want 451 after %v", codes, err, took, slotDefault)
		}
		for _, tx := range hold {
			tx.Close()
		}
		synctest.Wait()
		if got := kept(r); got != 2 {
			t.Errorf("%d connections are idle, want 2", got)
		}
		time.Sleep(2 * idleForDefault)
		synctest.Wait()
		if got := kept(r); got != 0 {
			t.Errorf("%d connections are idle after a while, want 0", got)
		}
		cancel()
		<-done
		idle(t, r)
	})
}

// TestDown_costsNothing: while the inner server is down nobody waits and
// nobody connects but the probe; when it is back, so is the mail.
func TestDown_costsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		f.change(func() { f.down = true })
		for range 2 {
			if codes, _ := send(ctx, r, envelope("one"), "x\r\n"); codes != "250 450" {
				t.Errorf("got %s, want 250 450", codes)
			}
		}
		if codes, err := send(ctx, r, envelope("one"), "x\r\n"); codes != "450" || r.Up() {
			t.Errorf("got %s, %v, want 450 at MAIL", codes, err)
		}
		f.change(func() { // it takes connections and says nothing
			f.down = false
			f.on = func(step, _ string) string {
				if step == "banner" {
					return silence
				}
				return ""
			}
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		f.change(func() {
			if f.conns < 2 || f.conns > 20 {
				t.Errorf("%d connections in ten minutes to a server that is silent", f.conns)
			}
		})
		if codes, _ := send(ctx, r, envelope("one"), "x\r\n"); codes != "450" {
			t.Errorf("got %s, want 450", codes)
		}
		f.change(func() { f.on = nil })
		time.Sleep(retryMax + bannerDefault)
		if codes, err := send(ctx, r, envelope("one"), "x\r\n"); codes != "250 250 354 250 queued as 4XYZ" {
			t.Errorf("got %s, %v", codes, err)
		}
		cancel()
		<-done
		idle(t, r)
	})
}

// TestRemembered: a recipient that does not exist is asked about once in two
// minutes, whoever sends; refusals for other reasons are never remembered.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo, on: func(step, line string) string {
			switch {
			case strings.HasPrefix(line, "RCPT TO:<gone@"):
				return "550 5.1.1 No such user"
			case strings.HasPrefix(line, "RCPT TO:<listed@"):
				return "554 5.7.1 Client host rejected"
			case strings.HasPrefix(line, "RCPT TO:<plain@"):
				return "550 No"
			}
			return ""
		}}
		r := f.relay(t, Options{})
		for _, c := range []struct {
			to    string
			wait  time.Duration
			conns bool // whether the inner server hears of it
			want  string
		}{
			{"gone", 0, true, "250 550"},
			{"gone", time.Minute, false, "250 550"},
			{"gone", time.Minute, true, "250 550"},
			{"listed", 0, true, "250 554"}, {"listed", 0, true, "250 554"},
			{"plain", 0, true, "250 550"}, {"plain", 0, true, "250 550"},
			{"one", 0, true, "250 250 354 250 queued as 4XYZ"}, {"one", 0, true, "250 250 354 250 queued as 4XYZ"},
		} {
			time.Sleep(c.wait)
			codes, _ := send(t.Context(), r, envelope(c.to), "x\r\n")
			heard, _ := f.seen()
			if codes != c.want || (heard != "") != c.conns {
				t.Errorf("%s: got %s, heard %q; want %s, heard %v", c.to, codes, heard, c.want, c.conns)
			}
		}
		for to, want := range map[string]string{"one": "true true", "gone": "false true", "listed": "false false"} {
			exists, sure := r.Known(address(to, "demo.test"))
			if got := fmt.Sprint(exists, sure); got != want {
				t.Errorf("%s: got %s, want %s", to, got, want)
			}
		}
		idle(t, r)
	})
}

func TestRemembered_isBounded(t *testing.T) {
	var v verifier
	now := time.Unix(0, 0)
	for i := range rememberedMax + 10 {
		v.note(address(fmt.Sprint(i), "demo.test"), &smtp.Reply{Code: 550}, now.Add(time.Hour))
	}
	if len(v.known) != rememberedMax || len(v.order) != rememberedMax {
		t.Errorf("%d and %d are remembered, want %d", len(v.known), len(v.order), rememberedMax)
	}
	if v.refused(address("9", "demo.test"), now) != nil || v.refused(address("10", "demo.test"), now) == nil {
		t.Error("it is not the oldest that were forgotten")
	}
}

// TestDomains: what is not ours is not passed on; the bare postmaster is.
func TestDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{Domains: []message.Domain{"other.test"}})
		if codes, _ := send(t.Context(), r, envelope("one"), "x\r\n"); codes != "250 550" || f.conns != 0 {
			t.Errorf("got %s, %d connections; want 250 550 and none", codes, f.conns)
		}
		e := envelope()
		e.Recipients = []smtp.Recipient{{To: address("postmaster", "mx.example")}}
		if codes, _ := send(t.Context(), r, e, "x\r\n"); !strings.HasPrefix(codes, "250 250 354 250") {
			t.Errorf("got %s for the postmaster", codes)
		}
		idle(t, r)
	})
}

// TestGuard_disagrees: a recipient that the inner server accepted and somebody
// before it refused must not get the message.
func TestGuard_disagrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{})
		e := envelope("one", "two")
		tx, err := r.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range e.Recipients {
			if err := tx.Recipient(t.Context(), to.To); err != nil {
				t.Error(err)
			}
		}
		e.Recipients = e.Recipients[:1]
		if _, err := tx.Begin(t.Context(), *e); err == nil {
			t.Error("a body was begun for one of two recipients")
		}
		tx.Close()
		idle(t, r)
	})
}

// TestAbort_isNeverDelivered, at every octet of a body.
func TestAbort_isNeverDelivered(t *testing.T) {
	text := "Subject: x\r\n\r\n.\r\n.\r\nlast\r\n"
	for cut := range len(text) + 1 {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{ehlo: xclientEhlo}
			r := f.relay(t, Options{})
			e := envelope("one")
			tx, err := r.Open(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Recipient(t.Context(), e.Recipients[0].To); err != nil {
				t.Fatal(err)
			}
			b, err := tx.Begin(t.Context(), *e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write([]byte(text[:cut])); err != nil {
				t.Error(err)
			}
			b.Abort()
			tx.Close()
			synctest.Wait()
			if _, taken := f.seen(); len(taken) != 0 || kept(r) != 0 {
				t.Errorf("cut at %d: %q was taken, %d connections idle; want none", cut, taken, kept(r))
			}
			idle(t, r)
		})
	}
}
