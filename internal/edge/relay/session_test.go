package relay

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// converse plays a client's octets against a session in front of r, all at
// once, and returns what it hears.
func converse(t *testing.T, r *Relay, o session.Options, said string) string {
	t.Helper()
	near, far := net.Pipe()
	s := session.New(o, r, nil)
	go func() {
		s.ServeConn(t.Context(), listen.NewConn(far, listen.Facts{ID: "conn1", Remote: netip.MustParseAddrPort("198.51.100.7:4000")}))
		far.Close()
	}()
	go func() { _, _ = io.WriteString(near, said) }()
	heard, _ := io.ReadAll(near)
	return string(heard)
}

// TestSession is the whole way of a client's octets, by DATA and BDAT, good
// and bad.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo}
		f.on = func(step, line string) string {
			if strings.Contains(line, "<gone@") {
				return "550-5.1.1 <gone@demo.test>: Recipient address rejected:\r\n550 5.1.1 User unknown"
			}
			return ""
		}
		r := f.relay(t, Options{})
		got := converse(t, r, session.Options{Hostname: "mx.example"}, "EHLO client.example\r\n"+
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<gone@demo.test>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\n..dot\r\n.\r\n"+
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nBDAT 9\r\nx\r\n.\r\ny\r\nBDAT 0 LAST\r\n"+
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\nbare\nlf\r\n.\r\n"+
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nRSET\r\n"+
			"MAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nDATA\r\nz\r\n.\r\nQUIT\r\n")
		_, got, _ = strings.Cut(got, "250 HELP\r\n")
		want := "250 2.1.0 Sender OK\r\n550-5.1.1 <gone@demo.test>: Recipient address rejected:\r\n550 5.1.1 User unknown\r\n" +
			"250 2.1.5 Recipient OK\r\n354 End data with <CRLF>.<CRLF>\r\n250 2.0.0 OK queued as 4XYZ\r\n" +
			"250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n250 2.0.0 9 octets received\r\n250 2.0.0 OK queued as 4XYZ\r\n" +
			"250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n354 End data with <CRLF>.<CRLF>\r\n554 5.6.0 Message has a bare CR or LF, a line ends in CRLF\r\n" +
			"250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n250 2.0.0 OK\r\n" +
			"250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n354 End data with <CRLF>.<CRLF>\r\n250 2.0.0 OK queued as 4XYZ\r\n221 2.0.0 Bye\r\n"
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		_, taken := f.seen()
		var texts []string
		for _, text := range taken {
			_, text, _ = strings.Cut(text, " +0000\r\n")
			texts = append(texts, text)
		}
		if got, want := strings.Join(texts, "|"), ".dot\r\n|x\r\n.\r\ny\r\n|z\r\n"; got != want {
			t.Errorf("the inner server took %q, want %q", got, want)
		}
		idle(t, r)
	})
}

// TestSession_harvest: a hundred names that do not exist cost the inner server
// a hundred questions the first time and none the second.
func TestSession_harvest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ehlo: xclientEhlo, on: func(step, line string) string {
			if step == "RCPT" {
				return "550 5.1.1 User unknown"
			}
			return ""
		}}
		r := f.relay(t, Options{})
		var said strings.Builder
		said.WriteString("EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n")
		for i := range 100 {
			said.WriteString("RCPT TO:<user" + strings.Repeat("x", i) + "@demo.test>\r\n")
		}
		for _, want := range []int{102, 0} {
			got := converse(t, r, session.Options{}, said.String()+"QUIT\r\n")
			if n := strings.Count(got, "550 5.1.1 User unknown\r\n"); n != 100 {
				t.Errorf("%d refusals, want 100", n)
			}
			heard, _ := f.seen()
			if n := len(strings.FieldsFunc(heard, func(c rune) bool { return c == '|' })); n != want {
				t.Errorf("the inner server heard %d commands, want %d", n, want)
			}
		}
		idle(t, r)
	})
}

// FuzzReplies: whatever an inner server says, nothing breaks, the end comes,
// and a message counts as taken only after 354 and a 2yz.
func FuzzReplies(f *testing.F) {
	for _, said := range []string{
		"220 x\r\n250-x\r\n250-PIPELINING\r\n250 XCLIENT ADDR NAME\r\n220 x\r\n250 x\r\n250 a\r\n250 b\r\n354 c\r\n250 d\r\n",
		"220 x\r\n250 XCLIENT\r\n", "220-\r\n220-\r\n", "554 no\r\n", "220 x\n250-x\n250 XCLIENT ADDR\n220 x\n250 XCLIENT ADDR\n550 5.1.1 a\n",
		"220 x\r\n250-x\r\n250 XCLIENT ADDR\r\n220 x\r\n250 x\r\n250 a\r\n250 b\r\n354 c\r\n354 d\r\n", "\x00\xff", "220",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		r, err := New(Options{
			To: "inner.example:25", Domains: []message.Domain{"demo.test"},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				go func() {
					_, _ = far.Write(said)
					far.Close()
				}()
				return near, nil
			},
			Times: Times{Connect: time.Minute, Banner: time.Minute, Command: time.Minute, Block: time.Minute, Final: time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		codes, _ := send(t.Context(), r, envelope("one", "two"), "x\r\n.\r\n")
		if strings.Contains(codes, "354 250") && !strings.Contains(string(said), "\n354") {
			t.Errorf("got %s of %q", codes, said)
		}
		if len(r.slots) != 0 {
			t.Errorf("%d connections are still in use", len(r.slots))
		}
		r.closeIdle()
	})
}

// FuzzStuffer: what is unstuffed is what was stuffed, in whatever pieces, and
// the end is where it was put.
func FuzzStuffer(f *testing.F) {
	f.Add([]byte(".\r\n..\r\nx\r\n.\r\n"), 1)
	f.Add([]byte("a\nb"), 2)
	f.Add([]byte("a\r"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		var s stuffer
		var out []byte
		ok := true
		for rest := text; len(rest) > 0 && ok; {
			n := min(max(size, 1), len(rest))
			out, ok = s.append(out, rest[:n])
			rest = rest[n:]
		}
		if ok {
			out, ok = s.end(out)
		}
		plain := strings.ReplaceAll(string(text), "\r\n", "")
		if want := !strings.ContainsAny(plain, "\r\n"); ok != want {
			t.Fatalf("%q: got %v, want %v", text, ok, want)
		}
		if !ok {
			return
		}
		var back strings.Builder
		for line := range strings.Lines(string(out)) {
			if line == ".\r\n" {
				back.WriteString("END")
				continue
			}
			back.WriteString(strings.TrimPrefix(line, "."))
		}
		want := string(text)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		if got := back.String(); got != want+"END" {
			t.Fatalf("%q: got %q", text, got)
		}
	})
}
