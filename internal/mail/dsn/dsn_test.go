package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	now     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	arrival = time.Date(2026, 11, 20, 11, 30, 0, 0, time.UTC)
)

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const sent = "From: one@demo.test\r\n" +
	"To: two@example.org\r\n" +
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= to you\r\n" +
	"Date: Fri, 20 Nov 2026 12:29:58 +0100\r\n" +
	"Message-ID: <a1@demo.test>\r\n" +
	"References: <r1@example.org>\r\n\t<r2@example.org>\r\n" +
	"\r\n" +
	"Hello\r\n"

func report(t testing.TB, to string, rs ...Recipient) Report {
	return Report{
		ID: "2026.abc", Now: now, Hostname: "mx.demo.test", To: address(t, to),
		EnvID: "id+20one", Ret: smtp.RetHeaders, Arrival: arrival,
		Recipients: rs, Original: strings.NewReader(sent),
	}
}

func failed(t testing.TB, to string) Recipient {
	return Recipient{
		Final: address(t, to), Action: Failed, RemoteMTA: "mx.example.org [192.0.2.1]:25",
		Reply: "550 5.1.1 <" + to + "> no such user\nsee https://example.org/why", LastTry: now.Add(-time.Minute),
	}
}

func build(t testing.TB, r Report) []byte {
	t.Helper()
	b, err := Build(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBuild_Golden shows what reports look like: review the files when they
// change.
func TestBuild_Golden(t *testing.T) {
	mixed := report(t, "one@demo.test", failed(t, "two@example.org"),
		Recipient{Final: address(t, "three@example.org"), Original: "rfc822;list+2Bx@demo.test", Action: Failed, Status: "5.4.7",
			Reason: "mx.example.org did not answer for 5 days", LastTry: now},
		Recipient{Final: address(t, "four@example.org"), Action: Delayed, RemoteMTA: "mx.example.org", Reply: "451 4.7.1 Greylisted, try again later",
			RetryUntil: now.AddDate(0, 0, 3), LastTry: now})
	full := report(t, "one@demo.test", failed(t, "two@example.org"), failed(t, "three@example.org"))
	full.Recipients[1].Reply = full.Recipients[0].Reply
	full.Ret = smtp.RetFull
	wide := report(t, "ü@demo.test", failed(t, "δ@example.org"))
	wide.Recipients[0].Original = `utf-8;δ\x{2B}x@example.org`
	narrow := report(t, "one@demo.test", failed(t, "δ@xn--bcher-kva.example"))
	success := report(t, "one@demo.test",
		Recipient{Final: address(t, "two@demo.test"), Action: Delivered, LastTry: now},
		Recipient{Final: address(t, "three@example.org"), Action: Relayed, RemoteMTA: "mx.example.org", Reply: "250 2.0.0 ok", LastTry: now},
		Recipient{Final: address(t, "all@demo.test"), Action: Expanded})
	eight := report(t, "one@demo.test", failed(t, "two@example.org"))
	eight.Ret = smtp.RetFull
	eight.Original = strings.NewReader("From: one@demo.test\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n")
	bare := report(t, "one@demo.test", Recipient{Final: address(t, "two@example.org"), Action: Failed})
	bare.Original, bare.EnvID, bare.Arrival = nil, "", time.Time{}
	for name, r := range map[string]Report{
		"mixed": mixed, "full": full, "international": wide, "international_to_ascii": narrow, "success": success, "eight_bit": eight, "bare": bare,
	} {
		got := build(t, r)
		file := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: want -, got +\n%s", name, diff)
		}
		checkMIME(t, r, got)
	}
}

// checkMIME holds a report to its form: three parts at most, 7-bit for an
// ASCII sender, lines that any host takes.
func checkMIME(t testing.TB, r Report, raw []byte) *message.Message {
	t.Helper()
	m := message.Parse(raw)
	root := m.Root
	if root.Type != "multipart" || root.Subtype != "report" || root.Param("report-type") != "delivery-status" || len(root.Children) < 2 || len(root.Children) > 3 {
		t.Fatalf("got %s/%s with %d parts\n%s", root.Type, root.Subtype, len(root.Children), raw)
	}
	if c := root.Children[0]; c.Type != "text" || c.Subtype != "plain" {
		t.Errorf("got first part %s/%s", c.Type, c.Subtype)
	}
	if c := root.Children[1]; c.Type != "message" || !strings.HasSuffix(c.Subtype, "delivery-status") {
		t.Errorf("got second part %s/%s", c.Type, c.Subtype)
	}
	if !plainLines(raw) || r.To.ASCII() && !sevenBit(raw) {
		t.Errorf("not in lines that can be sent:\n%q", raw)
	}
	if got := m.Envelope.From; len(got) != 1 || got[0].Mailbox != "MAILER-DAEMON" || got[0].Host != string(r.Hostname) {
		t.Errorf("got From %+v", got)
	}
	n := 0
	for f := range message.Fields(raw) {
		if f.Is("Auto-Submitted") && f.Value() == "auto-replied" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("got %d fields Auto-Submitted", n)
	}
	return m
}

func TestBuild_Refuses(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"nobody to tell":  func(r *Report) { r.To = message.Address{} },
		"no id":           func(r *Report) { r.ID = "" },
		"id with a break": func(r *Report) { r.ID = "a\r\nX: y" },
		"quoted id":       func(r *Report) { r.ID = `"a b"` },
		"no host":         func(r *Report) { r.Hostname = "" },
		"nobody":          func(r *Report) { r.Recipients = nil },
		"no address":      func(r *Report) { r.Recipients[0].Final = message.Address{} },
		"no action":       func(r *Report) { r.Recipients[0].Action = "lost" },
		"unreadable":      func(r *Report) { r.Original = iotest.ErrReader(errors.New("disk")) },
	} {
		r := report(t, "one@demo.test", failed(t, "two@example.org"))
		change(&r)
		if _, err := Build(r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func third(t testing.TB, r Report) (kind string, body []byte) {
	t.Helper()
	raw := build(t, r)
	m := checkMIME(t, r, raw)
	if len(m.Root.Children) < 3 {
		return "", nil
	}
	p := m.Root.Children[2]
	b, err := io.ReadAll(p.Decode(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return p.Type + "/" + p.Subtype, b
}

// TestBuild_Original: what is returned of the message.
func TestBuild_Original(t *testing.T) {
	long := "From: a@b\r\n\r\n" + strings.Repeat("x\r\n", OriginalMax/3)
	wideHeader := "From: a@b\r\nSubject: ü\r\n\r\nü\r\n"
	for _, c := range []struct {
		name, to string
		action   Action
		ret      smtp.Ret
		original string
		kind     string
		want     string
	}{
		{"headers", "a@b.test", Failed, smtp.RetHeaders, "A: b\r\n\r\nc\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"unstated", "a@b.test", Failed, smtp.RetUnstated, "A: b\r\n\r\nc\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"full", "a@b.test", Failed, smtp.RetFull, "A: b\r\n\r\nc\r\n", "message/rfc822", "A: b\r\n\r\nc\r\n"},
		{"full of a success", "a@b.test", Delivered, smtp.RetFull, "A: b\r\n\r\nc\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"full of a delay", "a@b.test", Delayed, smtp.RetFull, "A: b\r\n\r\nc\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"too long", "a@b.test", Failed, smtp.RetFull, long, "text/rfc822-headers", "From: a@b\r\n"},
		{"8-bit fields", "a@b.test", Failed, smtp.RetFull, wideHeader, "text/rfc822-headers", "From: a@b\r\nSubject: ü\r\n"},
		{"8-bit fields, international sender", "ü@b.test", Failed, smtp.RetFull, wideHeader, "message/global", wideHeader},
		{"their header alone", "ü@b.test", Failed, smtp.RetHeaders, wideHeader, "message/global-headers", "From: a@b\r\nSubject: ü\r\n"},
		{"8-bit body, international sender", "ü@b.test", Failed, smtp.RetFull, "A: b\r\n\r\nü\r\n", "message/rfc822", "A: b\r\n\r\nü\r\n"},
		{"Latin-1 fields", "ü@b.test", Failed, smtp.RetFull, "A: \xfc\r\n\r\nü\r\n", "text/rfc822-headers", "A: \xfc\r\n"},
		{"NUL in the header", "a@b.test", Failed, smtp.RetHeaders, "A: \x00\r\n\r\n", "text/rfc822-headers", "A: \x00\r\n"},
		{"bare LF", "a@b.test", Failed, smtp.RetHeaders, "A: b\nC: d\n\nc\n", "text/rfc822-headers", "A: b\r\nC: d\r\n"},
		{"long line", "a@b.test", Failed, smtp.RetHeaders, "A: " + strings.Repeat("x", 2000) + "\r\n\r\n", "text/rfc822-headers", "A: " + strings.Repeat("x", 2000) + "\r\n"},
		{"nothing", "a@b.test", Failed, smtp.RetFull, "", "", ""},
		{"no header", "a@b.test", Failed, smtp.RetHeaders, "\r\nbody\r\n", "", ""},
	} {
		r := report(t, c.to, failed(t, "two@example.org"))
		r.Recipients[0].Action, r.Ret, r.Original = c.action, c.ret, strings.NewReader(c.original)
		if kind, body := third(t, r); kind != c.kind || string(body) != c.want {
			t.Errorf("%s: got %s %.200q, want %s %q", c.name, kind, body, c.kind, c.want)
		}
	}
}

// TestBuild_LongHeader: a header that is longer than what is returned is cut
// at the end of a line.
func TestBuild_LongHeader(t *testing.T) {
	r := report(t, "a@b.test", failed(t, "two@example.org"))
	r.Original = strings.NewReader(strings.Repeat("X-Long: 12345\r\n", OriginalMax))
	kind, body := third(t, r)
	if kind != "text/rfc822-headers" || len(body) > OriginalMax || len(body) < OriginalMax-20 || !bytes.HasSuffix(body, []byte("12345\r\n")) {
		t.Errorf("got %s of %d octets", kind, len(body))
	}
}

// TestBuild_Hostile: what strangers write cannot leave its place.
func TestBuild_Hostile(t *testing.T) {
	plain := build(t, report(t, "one@demo.test", failed(t, "two@example.org")))
	boundary := message.Parse(plain).Root.Boundary()
	evil := []string{
		"\r\nX-Evil: 1\r\n\r\n", "\n\nAction: delivered\n", "--" + boundary + "\r\n", "--" + boundary + "--\r\n", "\x00\x1b[2J\u202e\u2028",
		strings.Repeat("x", 5000), strings.Repeat("y ", 5000), "\xff\xfe", "=?utf-8?q?=0D=0AX-Evil:_1?=",
	}
	for _, e := range evil {
		r := report(t, "one@demo.test", Recipient{
			Final: address(t, "two@example.org"), Action: Failed, RemoteMTA: e, Reply: "550 " + e, Reason: e, Original: "rfc822;" + e,
		})
		r.EnvID = string(smtp.AppendXtext(nil, e))
		r.Original = strings.NewReader("Subject: " + e + "\r\nMessage-ID: <" + e + ">\r\nReferences: <a@b> <" + e + ">\r\n--" + boundary + "\r\n\r\n--" + boundary + "--\r\n")
		r.Ret = smtp.RetFull
		raw := build(t, r)
		m := checkMIME(t, r, raw)
		if len(m.Root.Children) != 3 || bytes.Contains(raw[:m.Root.BodyStart], []byte("\r\nX-Evil")) {
			t.Errorf("%q: %d parts\n%s", e, len(m.Root.Children), raw)
		}
		got, err := Parse(bytes.NewReader(raw), int64(len(raw)))
		if err != nil || len(got.Recipients) != 1 || got.Recipients[0].Action != Failed {
			t.Errorf("%q: got %+v, %v", e, got, err)
		}
		text, err := io.ReadAll(m.Root.Children[0].Text(bytes.NewReader(raw)))
		if err != nil || bytes.ContainsAny(text, "\x00\x1b\u202e\u2028") || len(text) > 8000 {
			t.Errorf("%q: got text of %d octets: %.300q, %v", e, len(text), text, err)
		}
	}
}

// What the sender's program called the message comes back octet by octet.
func TestBuild_EnvID(t *testing.T) {
	r := report(t, "one@demo.test", Recipient{Final: message.Address{Local: "x", Domain: "example.org"}, Action: Failed})
	r.EnvID = "a+20+20b+20" + strings.Repeat("c", 80)
	b, err := Build(r)
	if want := "\r\nOriginal-Envelope-Id: a  b " + strings.Repeat("c", 80) + "\r\n"; err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%v, want %q in\n%s", err, want, b)
	}
}

func TestBuild_Status(t *testing.T) {
	for _, c := range []struct {
		action Action
		status smtp.EnhancedCode
		reply  string
		want   smtp.EnhancedCode
	}{
		{Failed, "5.7.1", "550 5.1.1 no", "5.7.1"},
		{Failed, "", "550 5.1.1 no", "5.1.1"},
		{Failed, "", "550-5.1.1 no", "5.1.1"},
		{Failed, "", "550 no", "5.0.0"},
		{Failed, "", "451 4.3.0 no", "4.3.0"},
		{Failed, "", "451 no", "4.0.0"},
		{Failed, "", "250 2.0.0 ok", "5.0.0"},
		{Failed, "rubbish", "", "5.0.0"},
		{Delayed, "", "451 4.7.1 no", "4.7.1"},
		{Delayed, "", "550 5.1.1 no", "4.0.0"},
		{Delayed, "", "no", "4.0.0"},
		{Delivered, "", "250 2.6.0 ok", "2.0.0"},
		{Relayed, "2.1.5", "", "2.1.5"},
	} {
		rc := Recipient{Action: c.action, Status: c.status, Reply: c.reply}
		if got := rc.status(); got != c.want {
			t.Errorf("%s, %q, %q: got %s, want %s", c.action, c.status, c.reply, got, c.want)
		}
	}
}

// TestMeaning: every sentence ends, and no code is without one.
func TestMeaning(t *testing.T) {
	for _, c := range []smtp.EnhancedCode{"5.0.0", "4.0.0", "5.1.1", "5.1.10", "5.1.99", "4.4.7", "5.7.26", "5.9.9", "5.6.7", ""} {
		if m := meaning(c); !strings.HasSuffix(m.why, ".") || !strings.HasSuffix(m.advice, ".") {
			t.Errorf("%s: got %+v", c, m)
		}
	}
	if meaning("5.1.1") == meaning("5.1.10") || meaning("5.4.7") == meaning("5.4.1") {
		t.Error("details are taken for each other")
	}
}
