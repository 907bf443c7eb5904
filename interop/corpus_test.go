//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// letter is a message as it is handed in, with CRLF line ends.
type letter struct {
	name string
	data []byte
	wide bool // has bytes above 127
}

// corpus gives messages that careless programs change.
func corpus() []letter {
	head := func(name string) string {
		return "From: Sender <sender@bench.example>\r\nTo: <user0@bench.test>\r\n" +
			"Subject: " + name + "\r\nMessage-ID: <" + name + "@bench.example>\r\n" +
			"Date: Thu, 05 Nov 2026 10:00:00 +0000\r\n"
	}
	l := func(name, more, body string) letter {
		data := head(name) + more + "\r\n" + body
		return letter{name: name, data: []byte(data), wide: strings.ContainsFunc(data, func(r rune) bool { return r > 127 })}
	}
	wide := "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
	base64 := strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 200)
	return []letter{
		l("plain", "", "Hello.\r\n"),
		l("no-body", "", ""),
		l("dots", "", ".\r\n..\r\n...three\r\n. one\r\nend.\r\n.\r\n"),
		l("blanks", "", "\r\n\r\n  trailing blanks  \t\r\n\r\n\r\n"),
		l("longest-line", "", strings.Repeat("x", 998)+"\r\nshort\r\n"),
		l("folded", "X-Folded: one\r\n\ttwo\r\n three\r\nX-Empty:\r\nReferences: <a@b>\r\n <c@d>\r\n", "Folded fields stay folded.\r\n"),
		l("from-line", "", "From here to there\r\n>From quoted\r\nFrom the end\r\n"),
		l("eight-bit", wide, "Grüße aus Köln, 日本語, emoji 🌊\r\n"),
		l("attachment", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n",
			"preamble\r\n--=_b\r\nContent-Type: text/plain\r\n\r\nsee attached\r\n--=_b\r\n"+
				"Content-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n"+
				"Content-Disposition: attachment; filename=a.bin\r\n\r\n"+base64+"--=_b--\r\nepilogue\r\n"),
		l("large", "", strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 20000)),
	}
}

// traceFields are what a host may put in front of a message (RFC 5321 §4.4).
var traceFields = regexp.MustCompile(`(?i)^(Return-Path|Received|Delivered-To|X-Original-To):`)

// whole fails the test unless got is sent behind nothing but trace fields.
func whole(t *testing.T, what string, got, sent []byte) {
	t.Helper()
	prefix, ok := bytes.CutSuffix(got, sent)
	if !ok {
		t.Errorf("%s: not byte for byte as sent: %s", what, firstDifference(got, sent))
		return
	}
	text := strings.ReplaceAll(string(prefix), "\r\n", "\n")
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '\t' && !traceFields.MatchString(line) {
			t.Errorf("%s: %q stands in front, which is no trace field", what, line)
		}
	}
}

// firstDifference compares got with sent from the end, where they should agree.
func firstDifference(got, sent []byte) string {
	n := 0
	for n < len(got) && n < len(sent) && got[len(got)-1-n] == sent[len(sent)-1-n] {
		n++
	}
	cut := func(b []byte) []byte {
		end := len(b) - n
		return b[max(0, end-60):min(len(b), end+20)]
	}
	return fmt.Sprintf("%d bytes for %d; the last %d agree, before that %q for %q", len(got), len(sent), n, cut(got), cut(sent))
}

// lf gives a message with the line ends of a file.
func lf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }

// find gives the message of a set that belongs to a letter, by its Message-ID.
func find(t *testing.T, all [][]byte, l letter) []byte {
	t.Helper()
	var found []byte
	for _, b := range all {
		if bytes.Contains(b, []byte("Message-ID: <"+l.name+"@bench.example>")) {
			if found != nil {
				t.Errorf("%s is there twice", l.name)
			}
			found = b
		}
	}
	if found == nil {
		t.Errorf("%s is not there", l.name)
	}
	return found
}

// post hands letters to a user over one connection.
func post(t *testing.T, s *peers.Server, user int, letters []letter) {
	t.Helper()
	c, err := wire.DialSMTP(s.SMTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	for _, l := range letters {
		if err := c.Send("sender@bench.example", []string{s.User(user)}, wire.Stuff(l.data)); err != nil {
			t.Fatalf("send %s: %v", l.name, err)
		}
	}
}

// posted starts a host with the corpus in the mailbox of user 0.
func posted(t *testing.T) (*peers.Server, []letter) {
	t.Helper()
	s := startServer(t)
	letters := corpus()
	post(t, s, 0, letters)
	all := bodies(t, s, 0, "INBOX", len(letters))
	for _, l := range letters {
		if got := find(t, all, l); got != nil {
			whole(t, l.name, got, l.data)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return s, letters
}
