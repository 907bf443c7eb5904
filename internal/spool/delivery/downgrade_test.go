package delivery

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// decoded is the text of a message of one part.
func decoded(t *testing.T, msg string) string {
	t.Helper()
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	var r io.Reader = strings.NewReader(body)
	switch h := strings.ToLower(header); {
	case strings.Contains(h, "quoted-printable"):
		r = quotedprintable.NewReader(r)
	case strings.Contains(h, "base64"):
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSend_downgrades: a host without 8BITMIME gets 7-bit octets that mean the
// same, be the message small or large.
func TestSend_downgrades(t *testing.T) {
	const header = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
	for _, lines := range []int{3, 20_000} {
		for _, offer := range []string{"", "CHUNKING"} {
			w := newWorld()
			h := w.host("example.org", "mx.example.org", "192.0.2.1")
			h.offers = []string{"PIPELINING", "SIZE"}
			if offer != "" {
				h.offers = append(h.offers, offer)
			}
			b := newBench(t, w, Options{})
			text := strings.Repeat("gr\u00fc\u00dfe\r\n", lines)
			b.body = header + "\r\n" + text
			m := messageTo("one@example.org")
			m.Body = smtp.Body8BitMIME
			b.want(b.carry(m), fate.Relayed, queue.Up)
			got := h.got()
			if len(got) != 1 || strings.ContainsFunc(got[0].body, func(r rune) bool { return r >= 0x80 }) {
				t.Fatalf("%d lines, %q: %d messages", lines, offer, len(got))
			}
			if decoded(t, got[0].body) != text || strings.Contains(got[0].mail, "BODY") {
				t.Errorf("%d lines, %q: %q", lines, offer, got[0].mail)
			}
		}
	}
}

// TestSend_cannotDowngrade: what has no 7-bit form goes back.
func TestSend_cannotDowngrade(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.offers = slices.DeleteFunc(h.offers, func(s string) bool { return s == "8BITMIME" })
	b := newBench(t, w, Options{})
	b.body = "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n"
	m := messageTo("one@example.org")
	b.want(b.carry(m), fate.Bounced, queue.Up, "5.6.3 The message has 8-bit content")
	if len(h.got()) != 0 {
		t.Error("it was taken")
	}
}

// TestSend_damagedWhileDowngraded: the making of a large message is given up.
func TestSend_damagedWhileDowngraded(t *testing.T) {
	w := newWorld()
	h := w.host("example.org", "mx.example.org", "192.0.2.1")
	h.offers = []string{"PIPELINING"}
	b := newBench(t, w, Options{})
	b.body = "Subject: x\r\n\r\n" + strings.Repeat("gr\u00fc\u00dfe\r\n", 20_000)
	b.bad = 100_000
	b.want(b.carry(messageTo("one@example.org")), fate.SetAside, queue.Unknown, "5.3.0")
	h.say["DATA"] = "drop"
	b.bad = 0
	b.want(b.carry(messageTo("one@example.org")), fate.Deferred, queue.Busy, "4.4.2")
}
