package message

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// checkMessage verifies whatever Message, Part and Envelope promise, the
// binary form included.
func checkMessage(t failer, raw []byte, m *Message) {
	t.Helper()
	if m.Size != int64(len(raw)) || m.Root == nil || m.Root.HeaderStart != 0 || m.Root.End != m.Size {
		t.Fatalf("root is not the whole message of %d bytes: %+v", len(raw), m.Root)
	}
	checkEnvelope(t, &m.Envelope)
	checkPart(t, raw, m.Root)
	b := m.AppendBinary(nil)
	again, err := DecodeMessage(b)
	if err != nil {
		t.Fatalf("DecodeMessage of our own form: %v", err)
	}
	if !reflect.DeepEqual(m, again) {
		t.Fatalf("binary form loses something:\n%s\n%s", describe(m), describe(again))
	}
}

func checkPart(t failer, raw []byte, p *Part) {
	t.Helper()
	if !(p.HeaderStart <= p.BodyStart && p.BodyStart <= p.End && p.End <= int64(len(raw))) {
		t.Fatalf("offsets out of order: %+v", p)
	}
	if n := int64(bytes.Count(raw[p.BodyStart:p.End], []byte("\n"))); n != p.Lines {
		t.Fatalf("%d lines in the body of %+v", n, p)
	}
	strs := []string{p.Type, p.Subtype, p.Disposition, p.Encoding, p.ID, p.Description, p.MD5, p.Location}
	strs = append(strs, p.Language...)
	for _, list := range [][]Param{p.Params, p.DispositionParams} {
		for _, param := range list {
			strs = append(strs, param.Name, param.Value)
		}
	}
	checkStrings(t, strs)
	if p.Type == "" || p.Subtype == "" {
		t.Fatalf("part without a type: %+v", p)
	}
	switch {
	case p.Multipart() && (len(p.Children) == 0 || p.Message()):
		t.Fatalf("multipart without children: %+v", p)
	case p.Message() && len(p.Children) != 1:
		t.Fatalf("message with %d children: %+v", len(p.Children), p)
	case p.Message() && (p.Children[0].HeaderStart != p.BodyStart || p.Children[0].End != p.End):
		t.Fatalf("embedded message does not fill its part: %+v %+v", p, p.Children[0])
	case !p.Multipart() && !p.Message() && len(p.Children) > 0:
		t.Fatalf("leaf with children: %+v", p)
	}
	if p.Message() {
		checkEnvelope(t, p.Envelope)
	}
	from := p.BodyStart
	for _, c := range p.Children {
		if c.HeaderStart < from || c.End > p.End {
			t.Fatalf("child %+v outside of [%d, %d)", c, from, p.End)
		}
		if c.HeaderStart > from && !bytes.Contains(raw[from:c.HeaderStart], []byte("--")) {
			t.Fatalf("no delimiter before %+v: %q", c, raw[from:c.HeaderStart])
		}
		checkPart(t, raw, c)
		from = c.End
	}
}

func checkEnvelope(t failer, e *Envelope) {
	t.Helper()
	checkStrings(t, []string{e.Date, e.Subject, e.InReplyTo, e.MessageID})
	if !e.OwnSender && !reflect.DeepEqual(e.Sender, e.From) || !e.OwnReplyTo && !reflect.DeepEqual(e.ReplyTo, e.From) {
		t.Fatalf("Sender or ReplyTo differ from From: %+v", e)
	}
	for _, list := range [][]EnvelopeAddress{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		checkAddresses(t, list)
	}
}

func checkAddresses(t failer, list []EnvelopeAddress) {
	t.Helper()
	open := false
	for _, a := range list {
		checkStrings(t, []string{a.Name, a.Route, a.Mailbox, a.Host})
		switch {
		case !a.Group() && a.Mailbox == "":
			t.Fatalf("address without a mailbox: %+v", list)
		case a.Group() && (a.Mailbox == "") != open:
			t.Fatalf("groups nested or not closed: %+v", list)
		case a.Group():
			open = !open
		}
	}
	if open {
		t.Fatalf("group not closed: %+v", list)
	}
}

func checkStrings(t failer, list []string) {
	t.Helper()
	for _, s := range list {
		if strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("CR, LF or NUL in %q", s)
		}
	}
}

// checkText verifies what DecodeHeader and DecodeParam promise.
func checkText(t failer, s string) {
	t.Helper()
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		t.Fatalf("not clean text: %q", s)
	}
}

// parsePieces parses raw in pieces of n bytes.
func parsePieces(raw []byte, n int) *Message {
	p := NewParser(Limits{})
	for len(raw) > 0 {
		k := min(n, len(raw))
		p.Write(raw[:k])
		raw = raw[k:]
	}
	return p.Close()
}

// describe is a tree in short lines: type, offsets, lines.
func describe(m *Message) string {
	var b strings.Builder
	var walk func(p *Part, indent string)
	walk = func(p *Part, indent string) {
		fmt.Fprintf(&b, "%s%s/%s %d-%d-%d", indent, p.Type, p.Subtype, p.HeaderStart, p.BodyStart, p.End)
		if p.Encoding != "" {
			fmt.Fprintf(&b, " %s", p.Encoding)
		}
		b.WriteByte('\n')
		for _, c := range p.Children {
			walk(c, indent+"  ")
		}
	}
	walk(m.Root, "")
	for _, d := range m.Defects {
		fmt.Fprintf(&b, "! %s at %d × %d\n", d.Kind, d.Offset, d.Count)
	}
	return b.String()
}

// failer is what a check needs of testing.TB and rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}
