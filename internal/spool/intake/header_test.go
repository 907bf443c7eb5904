package intake

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// submitted plays the part of Body: what becomes of a text that arrives in
// pieces of n octets.
func submitted(s *submission, text string, n int) (string, error) {
	h, out := new(header), new(strings.Builder)
	edited := false
	edit := func() error {
		left, err := s.edit(h.raw)
		out.Write(left)
		out.WriteString("\r\n")
		edited = true
		return err
	}
	for text != "" {
		piece := text[:min(n, len(text))]
		text = text[len(piece):]
		begun, rest, err := h.write([]byte(piece))
		if err != nil {
			return "", err
		}
		if h.done && !edited {
			if err := edit(); err != nil {
				return "", err
			}
		}
		out.Write(begun)
		out.Write(rest)
	}
	if !h.done {
		begun := h.end()
		if err := edit(); err != nil {
			return "", err
		}
		out.Write(begun)
	}
	return out.String(), nil
}

// ours is the submission of a user who may send as one@demo.test and, by a
// grant, as anybody at granted.test.
func ours() *submission {
	return &submission{
		id: "abc", hostname: "mail.demo.test", date: "Sun, 22 Nov 2026 12:00:00 +0000",
		sender: message.Address{Local: "one", Domain: "demo.test"},
		maySend: func(a message.Address) bool {
			return a.Domain == "granted.test" || sameAddress(a, message.Address{Local: "one", Domain: "demo.test"})
		},
	}
}

const (
	fromOne    = "From: <one@demo.test>\r\n"
	addedDate  = "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
	addedID    = "Message-ID: <abc@mail.demo.test>\r\n"
	completely = "Date: d\r\nMessage-ID: <i@x>\r\n"
)

func TestSubmission_edits(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"whole", fromOne + completely + "\r\nhi\r\n", fromOne + completely + "\r\nhi\r\n"},
		{"date and id", fromOne + "\r\nhi\r\n", fromOne + addedDate + addedID + "\r\nhi\r\n"},
		{"empty date and id", fromOne + "Date: \r\nMessage-ID:\r\n \r\n\r\nhi\r\n", fromOne + addedDate + addedID + "\r\nhi\r\n"},
		{"folded Bcc", fromOne + "Bcc: a@b.example,\r\n\tc@d.example,\r\n  e@f.example\r\n" + completely + "\r\n", fromOne + completely + "\r\n"},
		{"Bcc last", fromOne + completely + "bcc: a@b.example\r\n\r\nBcc: of the text\r\n", fromOne + completely + "\r\nBcc: of the text\r\n"},
		{"Bcc folded at once", fromOne + "Bcc:\r\n a@b.example\r\n" + completely + "\r\n", fromOne + completely + "\r\n"},
		{"Bcc with a blank fold", fromOne + "Bcc: a@b.example,\r\n \r\n c@d.example\r\n" + completely + "\r\n", fromOne + completely + "\r\n"},
		{"Bcc before the colon", fromOne + "Bcc : a@b.example\r\nBCC\t:x\r\nResent-Bcc: y\r\n" + completely + "\r\n", fromOne + completely + "\r\n"},
		{"not Bcc", fromOne + "X-Bcc: a\r\nBccX: b\r\n" + completely + "\r\n", fromOne + "X-Bcc: a\r\nBccX: b\r\n" + completely + "\r\n"},
		{"Return-Path", "Return-Path: <x@y.example>\r\n" + fromOne + completely + "\r\n", fromOne + completely + "\r\n"},
		{"no header", "hello there\r\n\r\nhi\r\n", fromOne + addedDate + addedID + "\r\nhello there\r\n\r\nhi\r\n"},
		{"no blank line", fromOne + "hello there\r\nBcc: of the text\r\n", fromOne + addedDate + addedID + "\r\nhello there\r\nBcc: of the text\r\n"},
		{"header alone", fromOne + completely, fromOne + completely + "\r\n"},
		{"header without an end", completely + "From: one@demo.test", completely + "From: one@demo.test\r\n\r\n"},
		{"text without an end", fromOne + completely + "text", fromOne + completely + "\r\ntext\r\n"},
		{"nothing", "", fromOne + addedDate + addedID + "\r\n"},
		{"blank line only", "\r\n", fromOne + addedDate + addedID + "\r\n"},
		{"folded first line", " x\r\n" + fromOne, fromOne + addedDate + addedID + "\r\n x\r\n" + fromOne},
		{"8 bit", "From: \"\xc3\xa4\" <one@demo.test>\r\nSubject: \xff\xfe\r\n" + completely + "\r\n\xff\r\n",
			"From: \"\xc3\xa4\" <one@demo.test>\r\nSubject: \xff\xfe\r\n" + completely + "\r\n\xff\r\n"},
		{"NUL", fromOne + "Subject: a\x00b\r\n" + completely + "\r\n", fromOne + "Subject: a\x00b\r\n" + completely + "\r\n"},
		{"NUL in a name", fromOne + completely + "Sub\x00ject: a\r\nBcc: b\r\n", fromOne + completely + "\r\nSub\x00ject: a\r\nBcc: b\r\n"},
		{"several authors", "From: one@demo.test, \"B, C\" <b@granted.test>\r\nSender: <One@Demo.Test>\r\n" + completely + "\r\n",
			"From: one@demo.test, \"B, C\" <b@granted.test>\r\nSender: <One@Demo.Test>\r\n" + completely + "\r\n"},
		{"group", "From: We: one@demo.test;\r\n" + completely + "\r\n", "From: We: one@demo.test;\r\n" + completely + "\r\n"},
	} {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			got, err := submitted(ours(), c.text, n)
			if err != nil || got != c.want {
				t.Errorf("%s, by %d: %v\n%q\nwant\n%q", c.name, n, err, got, c.want)
				break
			}
		}
	}
}

func TestSubmission_refuses(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       int
		enhanced   smtp.EnhancedCode
	}{
		{"foreign", "From: ceo@bank.example\r\n\r\n", 550, "5.7.1"},
		{"foreign behind one's own", "From: one@demo.test, ceo@bank.example\r\n\r\n", 550, "5.7.1"},
		{"foreign without a comma", "From: one@demo.test ceo@bank.example\r\n\r\n", 550, "5.7.1"},
		{"foreign in a fold", "From: one@demo.test,\r\n\t<ceo@bank.example>\r\n\r\n", 550, "5.7.1"},
		{"foreign before the colon", "From : ceo@bank.example\r\n\r\n", 550, "5.7.1"},
		{"foreign in a group", "From: one@demo.test, We: ceo@bank.example;\r\n\r\n", 550, "5.7.1"},
		{"foreign, last of many", "From: " + strings.Repeat("one@demo.test, ", 20000) + "ceo@bank.example\r\n\r\n", 552, "5.3.4"},
		{"many", "From: " + strings.Repeat("one@demo.test, ", 101) + "ceo@bank.example\r\n\r\n", 550, "5.7.1"},
		{"foreign sender", fromOne + "Sender: two@demo.test\r\n\r\n", 550, "5.7.1"},
		{"no address", "From: one\r\n\r\n", 550, "5.7.1"},
		{"8 bit in a domain", "From: one@demo\xff.test\r\n\r\n", 550, "5.7.1"},
		{"empty", "From:\r\n\r\n", 550, "5.6.0"},
		{"empty group", "From: nobody:;\r\n\r\n", 550, "5.6.0"},
		{"two of them", fromOne + fromOne + "\r\n", 550, "5.6.0"},
		{"two senders", fromOne + "Sender: one@demo.test\r\nSENDER: one@demo.test\r\n\r\n", 550, "5.6.0"},
		{"one and another", fromOne + "Subject: x\r\nfrom: ceo@bank.example\r\n\r\n", 550, "5.6.0"},
		{"too long", fromOne + "Subject: " + strings.Repeat("x", headerOctetsMax) + "\r\n\r\n", 552, "5.3.4"},
		{"too many", fromOne + strings.Repeat("X: y\r\n", headerFieldsMax) + "\r\n", 552, "5.3.4"},
		{"one long line", strings.Repeat("x", headerOctetsMax+1), 552, "5.3.4"},
	} {
		for _, n := range []int{3, 1 << 20} {
			_, err := submitted(ours(), c.text, n)
			wantReply(t, err, c.code, c.enhanced)
			if t.Failed() {
				t.Fatal(c.name)
			}
		}
	}
	for _, text := range []string{"From: ceo@bank.example\r\n\r\n", "From: nobody\r\nSender: x\r\n\r\n"} {
		s := ours()
		s.maySend = nil
		if _, err := submitted(s, text, 100); err != nil {
			t.Errorf("unchecked: %q: %v", text, err)
		}
	}
}

func TestSubmission_author(t *testing.T) {
	s := ours()
	if _, err := submitted(s, "Sender: one@demo.test\r\nFrom: a <b@granted.test>, one@demo.test\r\nMessage-ID: <x@y> \r\n\r\n", 9); err != nil {
		t.Fatal(err)
	}
	if s.author.Domain != "granted.test" || s.messageID != "<x@y>" {
		t.Errorf("author %q, id %q", s.author, s.messageID)
	}
	s = ours()
	if _, err := submitted(s, "Subject: x\r\n\r\n", 9); err != nil || s.author.Domain != "demo.test" || s.messageID != "<abc@mail.demo.test>" {
		t.Errorf("author %q, id %q, %v", s.author, s.messageID, err)
	}
}

// FuzzSubmission: however a message is cut, the same leaves; nobody's name but
// the user's own leaves, nor any Bcc; all that is needed is there; and a
// second pass changes nothing.
func FuzzSubmission(f *testing.F) {
	for _, s := range []string{
		fromOne + "Bcc: a@b.example,\r\n\tc@d.example\r\n\r\nhi\r\n", "hello\r\n", "", fromOne, "From: x@y\r\n\r\n",
		"From: one@demo.test\r\n \r\nX\r\n\r\n", " \r\n\r\n", "Bcc\t: x\r\n\ty\r\nz", "Date:\r\n\r\n", "From: a:;\r\n\r\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r"), nil), []byte("\n"), []byte("\r\n")) // a session lets no other line ends through
		whole, err := submitted(ours(), string(b), 1<<20)
		pieces, err2 := submitted(ours(), string(b), 1+max(0, cut)%19)
		if whole != pieces || (err == nil) != (err2 == nil) {
			t.Fatalf("in one piece %v\n%q\nin pieces %v\n%q", err, whole, err2, pieces)
		}
		if err != nil {
			if r := (*smtp.Reply)(nil); !errors.As(err, &r) {
				t.Fatalf("fault: %v", err)
			}
			return
		}
		checkLeft(t, whole)
		if again, err := submitted(ours(), whole, 1<<20); err != nil || again != whole {
			t.Fatalf("second pass: %v\n%q\nafter\n%q", err, again, whole)
		}
	})
}

// checkLeft reads a message that leaves with the parser of messages.
func checkLeft(t *testing.T, text string) {
	count := map[string]int{}
	for f := range message.Fields([]byte(text)) {
		count[strings.ToLower(f.Name)]++
	}
	if count["from"] != 1 || count["date"] == 0 || count["message-id"] == 0 || count["bcc"]+count["resent-bcc"]+count["return-path"] > 0 {
		t.Fatalf("fields %v in\n%q", count, text)
	}
	m := message.Parse([]byte(text))
	if _, body, ok := strings.Cut(text, "\r\n\r\n"); !ok || m.Root.BodyStart != int64(len(text)-len(body)) {
		t.Fatalf("the body begins at %d of\n%q", m.Root.BodyStart, text)
	}
	for _, a := range m.Envelope.From {
		if addr, ok := addressOf(a); !a.Group() && (!ok || !ours().maySend(addr)) {
			t.Fatalf("From has %v in\n%q", a, text)
		}
	}
}

// TestSubmission_mailboxLine: the line before a message in a mailbox file goes, in
// whatever pieces it comes; what is only like one is the body's beginning.
func TestSubmission_mailboxLine(t *testing.T) {
	const fields = "From: <one@demo.test>\r\nDate: d\r\nMessage-ID: <m>\r\nBcc: secret@b.example\r\n\r\nbody\r\n"
	const want = "From: <one@demo.test>\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nbody\r\n"
	for _, line := range []string{"From one@demo.test Sun Nov 22 10:38:10 2026\r\n", ">From - Sun Nov  1 10:38:10 2026\r\n"} {
		for _, n := range []int{1, 7, 1000} {
			if got, err := submitted(ours(), line+fields, n); err != nil || got != want {
				t.Errorf("%q in pieces of %d: %v\n%s", line, n, err, got)
			}
		}
	}
	for _, line := range []string{"From all of us: a good year, and Sun every day\r\n", "From one@demo.test Sun\r\n", "Subject x\r\n"} {
		if got, err := submitted(ours(), line+"\r\nmore\r\n", 1000); err != nil || !strings.HasSuffix(got, "\r\n\r\n"+line+"\r\nmore\r\n") {
			t.Errorf("%q: %v\n%s", line, err, got)
		}
	}
}
