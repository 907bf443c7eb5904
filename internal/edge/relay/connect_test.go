package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

var message6 = netip.MustParseAddr("2001:db8::7")

// TestProxy: a connection for each client, which says who it is, and is kept
// for its session's next message only.
func TestProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{proxy: true}
		r := f.relay(t, Options{Facts: Proxy})
		for _, session := range []string{"s1", "s1", "s2"} {
			e := envelope("one")
			e.Session = session
			if session == "s2" {
				e.RemoteIP = message6
			}
			if codes, err := send(t.Context(), r, e, "x\r\n"); codes != "250 250 354 250 queued as 4XYZ" {
				t.Errorf("got %s, %v", codes, err)
			}
		}
		var from []string
		for _, h := range f.from {
			from = append(from, h.Source.String())
		}
		if got, want := strings.Join(from, " "), "198.51.100.7:4000 [2001:db8::7]:4000"; got != want {
			t.Errorf("got connections from %s, want %s", got, want)
		}
		idle(t, r)
	})
}

// TestProxy_clientIsRefused: what the inner server says to one client is told
// to it, and is no reason to think that the server is down.
func TestProxy_clientIsRefused(t *testing.T) {
	for re, want := range map[string]string{"554 5.7.1 Listed": "250 554", hangUp: "250 451", "421 4.7.0 Too many": "250 451"} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{proxy: true, on: func(step, _ string) string {
				if step == "banner" {
					return re
				}
				return ""
			}}
			r := f.relay(t, Options{Facts: Proxy})
			for range 3 {
				if codes, err := send(t.Context(), r, envelope("one"), "x\r\n"); codes != want || !r.Up() {
					t.Errorf("%q: got %s, %v, up %v; want %s", re, codes, err, r.Up(), want)
				}
			}
			idle(t, r)
		})
	}
}

// TestXCLIENT_isNeeded: a server that would take every client for us gets no
// mail.
func TestXCLIENT_isNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		r := f.relay(t, Options{})
		codes, err := send(t.Context(), r, envelope("one"), "x\r\n")
		if codes != "250 451" || !strings.Contains(err.Error(), errFacts.Error()) {
			t.Errorf("got %s, %v", codes, err)
		}
		r.o.Facts = Unstated
		if codes, err := send(t.Context(), r, envelope("one"), "x\r\n"); codes != "250 250 354 250 queued as 4XYZ" {
			t.Errorf("got %s, %v", codes, err)
		}
		if heard, _ := f.seen(); heard != "MAIL FROM:<a@b.example>|RCPT TO:<one@demo.test>|DATA" {
			t.Errorf("heard %s", heard)
		}
		idle(t, r)
	})
}

// TestTLS in all combinations of what is wanted and what there is.
func TestTLS(t *testing.T) {
	const good = "250 250 354 250 queued as 4XYZ"
	for _, c := range []struct {
		want     StartTLS
		offered  bool
		answer   string // to STARTTLS; "" is 220
		tls      bool   // it does the handshake
		trusted  bool
		codes    string
		starttls bool // it was asked for
	}{
		{TLSIfOffered, true, "", true, false, good, true},
		{TLSIfOffered, false, "", true, false, good, false},
		{TLSIfOffered, true, "454 4.7.0 Not now", false, false, good, true},
		{TLSIfOffered, true, "", false, false, good, true}, // it lies
		{TLSIfOffered, true, "220 Go on\r\n250 injected", true, false, good, true},
		{TLSNever, true, "", true, true, good, false},
		{TLSRequired, true, "", true, true, good, true},
		{TLSRequired, true, "", true, false, "250 450", true},
		{TLSRequired, false, "", true, true, "250 450", false},
		{TLSRequired, true, "454 4.7.0 Not now", true, true, "250 450", true},
		{TLSRequired, true, "", false, true, "250 450", true},
		{TLSRequired, true, "220 Go on\r\n250 injected", true, true, "250 450", true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, roots := certificate(t)
				f := &fake{ehlo: xclientEhlo, on: func(step, _ string) string {
					if step == "STARTTLS" {
						return c.answer
					}
					return ""
				}}
				if c.tls {
					f.tls = server
				}
				if c.offered {
					f.ehlo += "\nSTARTTLS"
				}
				if !c.trusted {
					roots = x509.NewCertPool()
				}
				r := f.relay(t, Options{StartTLS: c.want, TLS: &tls.Config{RootCAs: roots}})
				codes, err := send(t.Context(), r, envelope("one"), "x\r\n")
				if codes != c.codes {
					t.Errorf("got %s, %v, want %s", codes, err, c.codes)
				}
				if heard, _ := f.seen(); strings.Contains(heard, "STARTTLS") != c.starttls {
					t.Errorf("heard %s, want STARTTLS %v", heard, c.starttls)
				}
				idle(t, r)
				synctest.Wait()
			})
		})
	}
}

// TestProbe_offers: what the inner server can do is told, and again when it
// changes.
func TestProbe_offers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offers []Offer
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{Offered: func(o Offer) { offers = append(offers, o) }})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(2*probeEveryDefault + time.Minute)
		f.change(func() { f.ehlo = "SIZE 5000\nXCLIENT ADDR" })
		time.Sleep(probeEveryDefault)
		cancel()
		<-done
		if got, want := fmt.Sprintf("%+v", offers), "[{SizeMax:997952 EightBitMIME:true SMTPUTF8:true DSN:true} {SizeMax:2952 EightBitMIME:false SMTPUTF8:false DSN:false}]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		e := envelope("one")
		e.Size = 3000
		if codes, _ := send(t.Context(), r, e, "x\r\n"); codes != "552" {
			t.Errorf("got %s for a message that is too big, want 552", codes)
		}
		e = envelope("one")
		e.UTF8 = true
		if codes, _ := send(t.Context(), r, e, "x\r\n"); codes != "450" {
			t.Errorf("got %s for SMTPUTF8, want 450", codes)
		}
		idle(t, r)
	})
}

// TestProbe_openRelay: a server that takes a stranger's mail for anybody gets
// none, unless the domains are listed.
func TestProbe_openRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		r := f.relay(t, Options{Domains: []message.Domain{}})
		if err := r.Probe(t.Context()); err == nil {
			t.Error("got no error for an open relay")
		}
		if codes, _ := send(t.Context(), r, envelope("one"), "x\r\n"); codes != "451" {
			t.Errorf("got %s, want 451", codes)
		}
		if heard, _ := f.seen(); heard != "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=25 PROTO=ESMTP HELO=mx.example|MAIL FROM:<>|RCPT TO:<relay-test@example.com>" {
			t.Errorf("heard %s", heard)
		}
		f.on = func(step, line string) string {
			if strings.Contains(line, "example.com") {
				return "554 5.7.1 Relay access denied"
			}
			return ""
		}
		if err := r.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		if codes, _ := send(t.Context(), r, envelope("one"), "x\r\n"); codes != "250 250 354 250 queued as 4XYZ" {
			t.Errorf("got %s", codes)
		}
		idle(t, r)
	})
}

func TestNew_refuses(t *testing.T) {
	for _, to := range []string{"", "inner.example", ":25", "inner.example:25:1"} {
		if _, err := New(Options{To: to}); err == nil {
			t.Errorf("%q was accepted", to)
		}
	}
}
