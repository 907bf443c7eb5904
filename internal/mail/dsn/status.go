package dsn

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// statusPart is the part for programs (RFC 3464 §2). With wide it may be
// RFC 6533's message/global-delivery-status; without, international addresses
// are written in ASCII.
func statusPart(r *Report, wide bool) part {
	global := wide && r.international()
	w := &statusWriter{global: global}
	if id, ok := smtp.DecodeXtext(r.EnvID); ok {
		w.exact("Original-Envelope-Id", printable(id, false))
	}
	w.field("Reporting-MTA", "dns; "+string(r.Hostname))
	w.date("Arrival-Date", r.Arrival)
	for i := range r.Recipients {
		w.b.WriteString("\r\n")
		w.recipient(&r.Recipients[i])
	}
	header := "Content-Type: message/delivery-status\r\n"
	if global {
		header = "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"
	}
	return part{header, w.b.Bytes()}
}

func (r *Report) international() bool {
	for _, rc := range r.Recipients {
		if !rc.Final.ASCII() || strings.IndexFunc(rc.Original, notASCII) >= 0 {
			return true
		}
	}
	return false
}

type statusWriter struct {
	b      bytes.Buffer
	global bool
}

func (w *statusWriter) recipient(rc *Recipient) {
	w.exact("Original-Recipient", w.originalRecipient(rc.Original))
	w.exact("Final-Recipient", w.address(rc.Final))
	w.field("Action", string(rc.Action))
	w.field("Status", string(rc.status()))
	if host, _, _ := strings.Cut(rc.RemoteMTA, " "); host != "" {
		w.field("Remote-MTA", "dns; "+printable(host, false))
	}
	if rc.Reply != "" {
		w.field("Diagnostic-Code", "smtp; "+printable(words(rc.Reply), w.global))
	}
	w.date("Last-Attempt-Date", rc.LastTry)
	if rc.Action == Delayed {
		w.date("Will-Retry-Until", rc.RetryUntil)
	}
}

// field writes a field, folded at white space.
func (w *statusWriter) field(name, value string) {
	if value == "" {
		return
	}
	line := len(name) + 1
	w.b.WriteString(name + ":")
	for word := range strings.FieldsSeq(value) {
		word = word[:min(len(word), wordOctetsMax)]
		if line+1+len(word) > 78 && line > len(name)+1 {
			w.b.WriteString("\r\n")
			line = 0
		}
		w.b.WriteString(" " + word)
		line += 1 + len(word)
	}
	w.b.WriteString("\r\n")
}

// exact writes a field whose white space matters. An international address of
// the greatest length is too long for a line in its ASCII form, and is cut.
func (w *statusWriter) exact(name, value string) {
	if value != "" {
		w.b.WriteString(name + ": " + strings.ToValidUTF8(value[:min(len(value), wordOctetsMax)], "?") + "\r\n")
	}
}

func (w *statusWriter) date(name string, t time.Time) {
	if !t.IsZero() {
		w.field(name, t.UTC().Format(dateLayout))
	}
}

// address is a recipient's address with its type (RFC 3464 §2.1.2, RFC 6533
// §3).
func (w *statusWriter) address(a message.Address) string {
	if a.ASCII() {
		return "rfc822; " + a.String()
	}
	return "utf-8; " + escaped(a.String(), w.global)
}

// originalRecipient is ORCPT= as a field has it (RFC 3461 §6.3): its xtext is
// decoded, but RFC 6533's own encoding stays.
func (w *statusWriter) originalRecipient(orcpt string) string {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok {
		return ""
	}
	if strings.EqualFold(kind, "utf-8") {
		if text, ok := unescaped(addr); ok {
			addr = escaped(text, w.global)
		}
	} else if text, ok := smtp.DecodeXtext(addr); ok {
		addr = text
	}
	if addr = printable(addr, w.global); addr == "" {
		return ""
	}
	return printable(kind, false) + "; " + addr
}

// escaped writes an address as utf-8-addr-unitext, or, if it has to be ASCII,
// as utf-8-addr-xtext (RFC 6533 §3).
func escaped(s string, global bool) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r == '+' || r == '=' || r == '\\' || r == 0x7f || r >= 0x80 && !global {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unescaped undoes escaped. ok is false for what is none.
func unescaped(s string) (text string, ok bool) {
	var b strings.Builder
	for s != "" {
		before, rest, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			break
		}
		digits, after, closed := strings.Cut(rest, "}")
		if !closed || !strings.HasPrefix(digits, "x{") || len(digits) > len("x{10FFFF") {
			return "", false
		}
		n, err := strconv.ParseUint(digits[2:], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		b.WriteRune(rune(n))
		s = after
	}
	return b.String(), utf8.ValidString(b.String())
}

// status is the code to tell (RFC 3464 §2.3.4): that which was given, or that
// of the reply, or one that says no more than the action does.
func (rc *Recipient) status() smtp.EnhancedCode {
	if known(rc.Status) {
		return rc.Status
	}
	code, enhanced := replyCodes(rc.Reply)
	switch {
	case rc.Action == Failed && enhanced != "" && enhanced[0] != '2':
		return enhanced
	case rc.Action == Failed && code/100 == 4:
		return "4.0.0"
	case rc.Action == Failed:
		return "5.0.0"
	case rc.Action == Delayed && enhanced != "" && enhanced[0] == '4':
		return enhanced
	case rc.Action == Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// known tells whether a code has the form of RFC 3463.
func known(c smtp.EnhancedCode) bool {
	return c != "" && (c.Valid(200) || c.Valid(400) || c.Valid(500))
}

// replyCodes takes the codes off the beginning of a reply.
func replyCodes(reply string) (code int, enhanced smtp.EnhancedCode) {
	if len(reply) < 3 {
		return 0, ""
	}
	code, err := strconv.Atoi(reply[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, ""
	}
	word, _, _ := strings.Cut(strings.TrimLeft(reply[3:], " -"), " ")
	if c := smtp.EnhancedCode(word); known(c) {
		return code, c
	}
	return code, ""
}

// words are a remote's words on one line, cut.
func words(reply string) string {
	lines := strings.FieldsFunc(reply, func(r rune) bool { return r == '\n' || r == '\r' })
	return clean(strings.Join(lines, "; "), replyOctetsMax)
}

// clean makes a stranger's text fit for people: valid UTF-8 of at most max
// octets, without control characters and others that change how a line looks.
func clean(s string, octets int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= octets {
		return s
	}
	cut := octets
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// printable makes a text fit for a field: ASCII, or UTF-8 if that may be.
func printable(s string, wide bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '…' && !wide:
			return '.'
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && (!wide || !unicode.IsPrint(r)):
			return '?'
		}
		return r
	}, s)
}
