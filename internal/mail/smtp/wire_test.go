package smtp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func TestReply_format(t *testing.T) {
	long := strings.Repeat("x", 1200)
	for _, c := range []struct {
		r    Reply
		want string
	}{
		{Reply{250, "2.0.0", "OK"}, "250 2.0.0 OK\r\n"},
		{Reply{354, "", "Go on"}, "354 Go on\r\n"},
		{Reply{550, "5.7.1", "a\nb\n"}, "550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 \r\n"},
		{Reply{221, "", ""}, "221 \r\n"},
		{Reply{550, "", "caf\xc3\xa9\r\x00\x7f"}, "550 caf?????\r\n"},
		{Reply{451, "4.3.0", long}, "451-4.3.0 " + long[:500] + "\r\n451-4.3.0 " + long[500:1000] + "\r\n451 4.3.0 " + long[1000:] + "\r\n"},
	} {
		if got := string(c.r.AppendTo(nil)); got != c.want {
			t.Errorf("%v: got %q", &c.r, got)
		}
	}
}

func TestReply_error(t *testing.T) {
	var err error = &Reply{552, "5.2.2", "Mailbox full\nvery"}
	if got := err.Error(); got != "552 5.2.2 Mailbox full; very" {
		t.Errorf("got %q", got)
	}
}

func TestEnhancedCode_Valid(t *testing.T) {
	for _, c := range []struct {
		e    EnhancedCode
		code int
		want bool
	}{
		{"", 354, true}, {"2.1.5", 250, true}, {"5.7.1", 550, true}, {"5.7.1", 450, false}, {"4.2.0", 450, true},
		{"3.0.0", 354, false}, {"2.1", 250, false}, {"2.1.5.6", 250, false}, {"2.1234.5", 250, false}, {"2.01.5", 250, false}, {"2.1.x", 250, false},
	} {
		if got := c.e.Valid(c.code); got != c.want {
			t.Errorf("%q with %d: %v", c.e, c.code, got)
		}
	}
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Reply
		n    int
		err  error
	}{
		{"250 2.1.0 OK\r\nrest", Reply{250, "2.1.0", "OK"}, 14, nil},
		{"250-a\r\n250 b\r\n", Reply{250, "", "a\nb"}, 14, nil},
		{"550-5.1.1 a\r\n550 5.1.1 b\r\n", Reply{550, "5.1.1", "a\nb"}, 26, nil},
		{"550-5.1.1 a\r\n550 b\r\n", Reply{550, "5.1.1", "a\nb"}, 20, nil},
		{"250\r\n", Reply{250, "", ""}, 5, nil},
		{"250 ok\n", Reply{250, "", "ok"}, 7, nil},
		{"250 4.1.0 odd class\r\n", Reply{250, "", "4.1.0 odd class"}, 21, nil},
		{"250 2.1.0", Reply{}, 0, ErrIncomplete},
		{"250-a\r\n", Reply{}, 0, ErrIncomplete},
		{"", Reply{}, 0, ErrIncomplete},
		{"250-a\r\n251 b\r\n", Reply{}, 0, ErrReply},
		{"hello\r\n", Reply{}, 0, ErrReply},
		{"650 x\r\n", Reply{}, 0, ErrReply},
		{"250x\r\n", Reply{}, 0, ErrReply},
		{"250 " + strings.Repeat("x", 5000), Reply{}, 0, ErrReply},
		{strings.Repeat("250-x\r\n", 300), Reply{}, 0, ErrReply},
	} {
		r, n, err := ParseReply([]byte(c.in))
		if r != c.want || n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%.40q: %+v %d %v", c.in, r, n, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	for _, s := range []string{"250 2.1.0 OK\r\n", "250-a\r\n250 b\r\n", "550-5.1.1 a\r\n550 5.1.1 b\n", "421\r\n", "250 2.0.0\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := ParseReply(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("%d of %d octets", n, len(b))
		}
		for i := range len(r.Text) {
			if c := r.Text[i]; (c < ' ' || c > '~') && c != '\n' {
				return // is not written as it was read
			}
		}
		for line := range strings.SplitSeq(r.Text, "\n") {
			if len(line) > ReplyLineMax-20 || strings.HasPrefix(line, string(r.Enhanced)) || r.Enhanced == "" && isEnhanced(line) {
				return // likewise
			}
		}
		again, _, err := ParseReply(r.AppendTo(nil))
		if err != nil || again != r {
			t.Errorf("%q: %+v became %+v (%v)", b, r, again, err)
		}
	})
}

func isEnhanced(line string) bool {
	_, n := cutEnhanced([]byte(line))
	return n > 0
}

func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		in   string
		verb Verb
		arg  string
		ok   bool
	}{
		{"NOOP", VerbNoop, "", true}, {"noop  x y  ", VerbNoop, "x y", true}, {"StartTLS", VerbStartTLS, "", true},
		{"MAIL FROM:<>", VerbMail, "FROM:<>", true}, {"FOO bar", VerbUnknown, "bar", true}, {"XCLIENT\tA=B", VerbUnknown, "A=B", true},
		{"", 0, "", false}, {" NOOP", 0, "", false}, {"MAIL:FROM", 0, "", false}, {"NO\x00OP", 0, "", false}, {"NOOP \x1b", 0, "", false},
		{"DAT\x21", 0, "", false}, {"dAtA", VerbData, "", true}, {"D\xc1TA", 0, "", false},
	} {
		got, err := ParseCommand([]byte(c.in))
		if got.Verb != c.verb || string(got.Arg) != c.arg || (err == nil) != c.ok {
			t.Errorf("%q: %v %q %v", c.in, got.Verb, got.Arg, err)
		}
	}
	for v := VerbHelo; v < verbCount; v++ {
		if got, err := ParseCommand([]byte(strings.ToLower(v.String()))); err != nil || got.Verb != v {
			t.Errorf("%v: %v %v", v, got.Verb, err)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for line := range strings.SplitSeq(script, "\r\n") {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		line := c.AppendTo(nil)
		again, err := ParseCommand(bytes.TrimSuffix(line, []byte("\r\n")))
		if err != nil || again.Verb != c.Verb || !bytes.Equal(again.Name, c.Name) || !bytes.Equal(again.Arg, c.Arg) {
			t.Errorf("%q: %+v became %+v (%v)", b, c, again, err)
		}
		if c.Verb != VerbUnknown && !strings.EqualFold(c.Verb.String(), string(c.Name)) {
			t.Errorf("%q is %v", c.Name, c.Verb)
		}
	})
}

func TestParsePath(t *testing.T) {
	a := func(local, domain string) message.Address {
		return message.Address{Local: local, Domain: message.Domain(domain)}
	}
	for _, c := range []struct {
		in   string
		want message.Address
		rest string
		ok   bool
	}{
		{"<>", message.Address{}, "", true}, {"<> SIZE=1", message.Address{}, " SIZE=1", true},
		{"<a@B.Example>x", a("a", "b.example"), "x", true}, {`<"a>b"@b.example>`, a("a>b", "b.example"), "", true},
		{"<PostMaster>", a("postmaster", ""), "", true}, {"<@x.example,@y.example:a@b.example>", a("a", "b.example"), "", true},
		{"a@b.example", message.Address{}, "", false}, {"<a@b.example", message.Address{}, "", false}, {"<a>", message.Address{}, "", false},
		{"<@x.example a@b.example>", message.Address{}, "", false}, {"<@x.example,y.example:a@b.example>", message.Address{}, "", false},
		{"<@:a@b.example>", message.Address{}, "", false}, {`<"a@b.example>`, message.Address{}, "", false}, {`<"a\`, message.Address{}, "", false}, {"", message.Address{}, "", false},
	} {
		got, rest, err := ParsePath([]byte(c.in))
		if got != c.want || string(rest) != c.rest || (err == nil) != c.ok {
			t.Errorf("%q: %+v %q %v", c.in, got, rest, err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.example> X", `<"a>\"b"@b.example>`, "<postmaster>", "<@x.example:a@b.example>", "<a@[IPv6:::1]>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, rest, err := ParsePath(b)
		if err != nil {
			return
		}
		again, _, err := ParsePath(AppendPath(nil, a))
		if err != nil || again != a || !bytes.HasSuffix(b, rest) {
			t.Errorf("%q: %+v became %+v (%v)", b, a, again, err)
		}
	})
}

func FuzzDecodeXtext(f *testing.F) {
	f.Add("QQ+2B314159")
	f.Add("+ZZ")
	f.Fuzz(func(t *testing.T, s string) {
		text := string(AppendXtext(nil, s))
		if got, ok := DecodeXtext(text); !ok || got != s {
			t.Errorf("%q became %q, and that %q %v", s, text, got, ok)
		}
		plain, ok := DecodeXtext(s)
		if _, err := parseXtext([]byte(s), len(s)); s != "" && ok != (err == nil) {
			t.Errorf("%q: decoded %v, checked %v (%q)", s, ok, err, plain)
		}
	})
}

func FuzzDecodeDialogue(f *testing.F) {
	m := stateMachine()
	for _, prefix := range states() {
		s := play(f, m, prefix, []byte("part"), nil, false)
		f.Add(s.d.AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDialogue(b)
		if err != nil {
			return
		}
		again, err := DecodeDialogue(d.AppendBinary(nil))
		if err != nil || !bytes.Equal(again.AppendBinary(nil), d.AppendBinary(nil)) {
			t.Fatalf("%+v became %+v (%v)", d, again, err)
		}
		// Whatever it says, a step with it must do no harm.
		s := newShell(t, m)
		s.d = d
		s.body = new(bytes.Buffer)
		_, s.out = m.Step(&s.d, Event{Kind: EventResume}, s.now, nil)
		for _, ev := range []Event{{Kind: EventProceed}, {Kind: EventInput, Data: []byte("x\r\n.\r\nNOOP\r\n")}, {Kind: EventRefuse}, {Kind: EventTimeout}} {
			_, s.out = m.Step(&s.d, ev, s.now, s.out)
		}
	})
}
