package message

import (
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is a message that uses every field of the binary form.
func everything() *Message {
	from := []EnvelopeAddress{{Name: "Jürgen", Route: "@a,@b", Mailbox: "j", Host: "demo.test"}}
	to := []EnvelopeAddress{{Mailbox: "group"}, {Name: "Jürgen", Mailbox: "two", Host: "demo.test"}, {}}
	leaf := func(start int64) *Part {
		return &Part{HeaderStart: start, BodyStart: start + 10, End: start + 20, Lines: 1, Type: "text", Subtype: "plain"}
	}
	inner := leaf(700)
	inner.End = 2000
	embedded := &Part{
		HeaderStart: 500, BodyStart: 700, End: 2000, Lines: 1, Type: "message", Subtype: "rfc822",
		Envelope: &Envelope{Subject: "inner", From: from, Sender: from, ReplyTo: to, OwnReplyTo: true, Cc: from},
		Children: []*Part{inner},
	}
	rich := leaf(200)
	rich.Type, rich.Subtype, rich.Params = "image", "png", []Param{{"name", "a.png"}, {"charset", ""}}
	rich.Disposition, rich.DispositionParams = "attachment", []Param{{"filename", "a.png"}}
	rich.Encoding, rich.ID, rich.Description, rich.MD5, rich.Location = "base64", "<id@demo.test>", "d", "m", "l"
	rich.Language = []string{"en", "de"}
	return &Message{
		Size: 100_000,
		Root: &Part{
			BodyStart: 150, End: 100_000, Lines: 60, Type: "multipart", Subtype: "mixed",
			Params: []Param{{"boundary", "abc"}}, Children: []*Part{leaf(160), rich, embedded},
		},
		Envelope: Envelope{
			Date: "Fri, 21 Nov 1997 09:55:06 -0600", Subject: "s", InReplyTo: "<x@demo.test>", MessageID: "<y@demo.test>",
			From: from, Sender: to, ReplyTo: from, To: to, Cc: from, Bcc: from, OwnSender: true,
		},
		Defects: []Defect{{BareLF, 12, 3}, {ParamLimit, 100_000, 1}},
	}
}

// TestBinaryFormat freezes version 1: what an index holds must be readable
// forever. A change of the golden file is a change of the format.
func TestBinaryFormat(t *testing.T) {
	const file = "testdata/golden/binary_v1.hex"
	m := everything()
	got := hex.Dump(m.AppendBinary(nil))
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, file)), got); diff != "" {
		t.Fatalf("binary form (-want +got):\n%s", diff)
	}
	again, err := DecodeMessage(m.AppendBinary([]byte("prefix"))[len("prefix"):])
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("%v\n%s", err, cmp.Diff(m, again))
	}
}

// TestBinaryFormat_Damage flips every bit and cuts at every byte: an error or
// a tree that keeps its promises.
func TestBinaryFormat_Damage(t *testing.T) {
	whole := everything().AppendBinary(nil)
	for i := range whole {
		if m, err := DecodeMessage(whole[:i]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v, %v", i, m, err)
		}
		for bit := range 8 {
			b := append([]byte(nil), whole...)
			b[i] ^= 1 << bit
			checkDecoded(t, b)
		}
	}
	for _, b := range []string{"", "\x00", "\x02", "\x01", "\x01\x00", string(whole) + "x",
		"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if _, err := DecodeMessage([]byte(b)); !errors.Is(err, ErrFormat) {
			t.Errorf("%.20q: %v", b, err)
		}
	}
}

// checkEnvelopeAlone decodes the envelope of b alone and compares it with that of
// m, which DecodeMessage has made of b, or nil.
func checkEnvelopeAlone(t testing.TB, b []byte, m *Message) {
	t.Helper()
	e, err := DecodeEnvelope(b)
	var d EnvelopeDecoder
	texts, terr := d.DecodeTexts(string(b))
	if err == nil {
		want := &Envelope{Date: e.Date, Subject: e.Subject, InReplyTo: e.InReplyTo, MessageID: e.MessageID}
		if terr != nil || !reflect.DeepEqual(texts, want) {
			t.Fatalf("texts alone: %v, %v, not %v", texts, terr, want)
		}
	} else if terr != nil && (texts != nil || !errors.Is(terr, ErrFormat)) {
		t.Fatalf("%v with %v", texts, terr)
	}
	if err != nil {
		if e != nil || m != nil || !errors.Is(err, ErrFormat) {
			t.Fatalf("%v with %v, DecodeMessage says %v", e, err, m)
		}
		return
	}
	if m != nil && !reflect.DeepEqual(e, &m.Envelope) {
		t.Fatalf("envelope alone (-message's +got):\n%s", cmp.Diff(&m.Envelope, e))
	}
}

// TestEnvelopeDecoder_Reuse decodes different messages with one decoder, each
// after each: nothing of one may show in the next, nor may it allocate.
func TestEnvelopeDecoder_Reuse(t *testing.T) {
	many := "From: x@demo.test\r\nTo: " + strings.Repeat("Some Body <somebody@example.com>, ", spareAddresses) + "\r\n\r\n"
	var forms []string
	var want []*Message
	for _, m := range []*Message{everything(), Parse([]byte(many)), Parse(nil), Parse(mixedMail(1000))} {
		b := m.AppendBinary(nil)
		again, err := DecodeMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		forms, want = append(forms, string(b)), append(want, again)
	}
	var d EnvelopeDecoder
	for i := range forms {
		for j := range forms {
			for _, k := range []int{i, j} {
				e, err := d.Decode(forms[k])
				if err != nil || !reflect.DeepEqual(e, &want[k].Envelope) {
					t.Fatalf("%d in %d, %d: %v\n%s", k, i, j, err, cmp.Diff(&want[k].Envelope, e))
				}
			}
			d.Decode(forms[i][:len(forms[i])/2])
		}
	}
	if n := testing.AllocsPerRun(10, func() { d.Decode(forms[0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// checkDecoded decodes b, which may be anything.
func checkDecoded(t testing.TB, b []byte) {
	t.Helper()
	m, err := DecodeMessage(b)
	checkEnvelopeAlone(t, b, m)
	if err != nil {
		if m != nil || !errors.Is(err, ErrFormat) {
			t.Fatalf("%v with %v", m, err)
		}
		return
	}
	var walk func(p *Part, from, to int64)
	walk = func(p *Part, from, to int64) {
		if p.HeaderStart < from || p.BodyStart < p.HeaderStart || p.End < p.BodyStart || p.End > to || p.Lines > p.Size() {
			t.Fatalf("part %+v in [%d, %d)", p, from, to)
		}
		if p.Multipart() != (len(p.Children) > 0 && !p.Message()) || p.Message() && len(p.Children) != 1 {
			t.Fatalf("children of %+v", p)
		}
		from = p.BodyStart
		for _, c := range p.Children {
			walk(c, from, p.End)
			from = c.End
		}
	}
	walk(m.Root, 0, m.Size)
	again, err := DecodeMessage(m.AppendBinary(nil))
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("second generation differs: %v\n%s", err, cmp.Diff(m, again))
	}
	m.Root.AppendIMAP(nil, true, false)
	m.Envelope.AppendIMAP(nil, true)
}

// TestAppendBinary_Compact holds the form to its purpose: the index keeps it
// for every message.
func TestAppendBinary_Compact(t *testing.T) {
	raw := plainMail(4096)
	if n := len(Parse(raw).AppendBinary(nil)); n > 400 {
		t.Errorf("%d bytes for a plain mail of %d", n, len(raw))
	}
	raw = mixedMail(100_000)
	if n := len(Parse(raw).AppendBinary(nil)); n > 600 {
		t.Errorf("%d bytes for a mail of three parts", n)
	}
	many := "To: " + strings.Repeat("Some Body <somebody@example.com>, ", 1000) + "\r\n\r\n"
	if n := len(Parse([]byte(many)).AppendBinary(nil)); n > 7000 {
		t.Errorf("%d bytes for 1000 equal addresses", n)
	}
}
