//go:build interop

package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// hopsMax is how often two hosts may hand a message to each other before one
// of them sees that it goes in circles.
const hopsMax = 120

// arrive brings a message from another host to port 25.
func (h *outHost) arrive(from, to string) {
	h.t.Helper()
	c, err := wire.DialSMTP(h.SMTP, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Quit()
	msg := fmt.Sprintf("From: Ann <ann@origin.test>\r\nTo: <%s>\r\nSubject: to %s\r\nMessage-ID: <%s.%s>\r\n\r\nHello.\r\n", to, to, h.Dir[len(h.Dir)-9:len(h.Dir)-5], to)
	if err := c.Send(from, []string{to}, wire.Stuff([]byte(msg))); err != nil {
		h.t.Fatalf("bring a message for %s: %v", to, err)
	}
}

// of gives the messages that a sink kept for a recipient, when there are n.
func (s *sink) of(t *testing.T, to string, n int) (all []taken) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages for %s", n, to), func() bool { return s.count(to) >= n })
	for _, m := range s.all() {
		for _, r := range m.to {
			if r == to {
				all = append(all, m)
			}
		}
	}
	if len(all) != n {
		t.Errorf("%d messages for %s, want %d", len(all), to, n)
	}
	return all
}

// TestOut_Forward forwards by accounts and aliases, with senders that pass SPF
// at the next hop, to which bounces come back and are handed on.
func TestOut_Forward(t *testing.T) {
	t.Parallel()
	away := startSink(t, "127.0.0.1:0", nil, sinkRules{rcpt: func(to string) string {
		if strings.HasPrefix(to, "refused") {
			return "550 5.1.1 nobody of that name"
		}
		return ""
	}})
	h := startMade(t, made(t, folder(t), ""), "mx.bench.test", soon+"[srs]\ndomain = \"bench.test\"\n[delivery]\nroutes = [\"away.test smtp://"+away.addr+"\", \"origin.test smtp://"+away.addr+"\"]\n")
	h.cli("account", "forward", h.User(1), "far@away.test")
	h.cli("account", "forward", h.User(2), "only@away.test", "--no-copy")
	h.cli("alias", "add", "list@bench.test", h.User(0), "member@away.test")
	h.cli("alias", "add", "dead@bench.test", "refused@away.test")

	for _, tt := range []struct{ to, target string }{
		{h.User(1), "far@away.test"}, {h.User(2), "only@away.test"}, {"list@bench.test", "member@away.test"},
	} {
		h.arrive("ann@origin.test", tt.to)
		got := away.of(t, tt.target, 1)[0]
		if !strings.HasPrefix(got.from, "SRS0=") || !strings.HasSuffix(got.from, "@bench.test") || !strings.Contains(got.from, "origin.test=ann") {
			t.Errorf("%s: forwarded with the sender %s", tt.to, got.from)
		}
		if !strings.Contains(string(got.data), "\r\nSubject: to "+tt.to+"\r\n") {
			t.Errorf("%s: forwarded\n%s", tt.to, got.data)
		}
		// A bounce from there comes to the address that the mail was sent from.
		h.arrive("", got.from)
	}
	for _, m := range away.of(t, "ann@origin.test", 3) {
		if m.from != "" {
			t.Errorf("a bounce was handed on with the sender %s", m.from)
		}
	}
	bodies(t, &h.Server, 0, "INBOX", 1) // the alias
	bodies(t, &h.Server, 1, "INBOX", 1) // a copy is kept
	bodies(t, &h.Server, 2, "INBOX", 0) // none is

	// What the next hop refuses goes back to who sent it.
	h.arrive("ann@origin.test", "dead@bench.test")
	report := away.of(t, "ann@origin.test", 4)[3]
	if report.from != "" || !strings.Contains(string(report.data), "multipart/report") || !strings.Contains(string(report.data), "nobody of that name") {
		t.Errorf("the report from <%s>: %s", report.from, report.data)
	}
	h.forgedSRS()
	h.closed()
}

// forgedSRS checks that nobody can have mail sent on by making up a sender.
func (h *outHost) forgedSRS() {
	h.t.Helper()
	c, err := wire.DialSMTP(h.SMTP, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Quit()
	for _, to := range []string{"SRS0=abcd=XY=origin.test=ann@bench.test", "SRS0=@bench.test", "SRS1=abcd=origin.test==abcd=XY=x.test=ann@bench.test"} {
		if err := c.Send("", []string{to}, []byte("Subject: x\r\n\r\n")); err == nil {
			h.t.Errorf("%s was taken for a sender of ours", to)
		} else {
			h.t.Log(err)
		}
	}
}

// TestOut_Loop has two hosts forward to each other: one report in the end, no
// storm.
func TestOut_Loop(t *testing.T) {
	t.Parallel()
	origin := startSink(t, "127.0.0.1:0", nil, sinkRules{})
	bs := []*peers.Breakwater{made(t, folder(t), ""), made(t, folder(t), "")}
	var hosts []*outHost
	for i, name := range []string{"a.test", "b.test"} {
		other := bs[1-i]
		h := startMade(t, bs[i], "mx."+name, soon+"[delivery]\nroutes = [\""+[]string{"b.test", "a.test"}[i]+" smtp://"+other.SMTP+"\", \"mx."+
			[]string{"b.test", "a.test"}[i]+" smtp://"+other.SMTP+"\", \"origin.test smtp://"+origin.addr+"\"]\n")
		h.cli("domain", "add", name)
		hosts = append(hosts, h)
	}
	a, b := hosts[0], hosts[1]
	a.cli("alias", "add", "round@a.test", "round@b.test")
	b.cli("alias", "add", "round@b.test", "round@a.test")
	a.cli("account", "add", "one@a.test", "--password-file", filepath.Join(a.Dir, "bench-password"))
	b.cli("account", "add", "two@b.test", "--password-file", filepath.Join(b.Dir, "bench-password"))
	a.cli("account", "forward", "one@a.test", "two@b.test")
	b.cli("account", "forward", "two@b.test", "one@a.test")

	a.arrive("ann@origin.test", "round@a.test")
	report := origin.of(t, "ann@origin.test", 1)[0]
	if report.from != "" || !strings.Contains(string(report.data), "multipart/report") {
		t.Errorf("ann got, from <%s>:\n%s", report.from, report.data)
	}
	t.Logf("ann is told: %s", between(string(report.data), "Diagnostic-Code:", "\r\n"))

	// Where each keeps a copy, nothing is wrong: nobody is told, nothing goes round.
	a.arrive("ann@origin.test", "one@a.test")
	if n := len(b.inboxOf("two@b.test", 1)); n != 1 {
		t.Errorf("two@b.test has %d messages", n)
	}
	if n := len(a.inboxOf("one@a.test", 2)); n != 2 {
		t.Errorf("one@a.test has %d messages, want what came and what came back", n)
	}
	for _, h := range hosts {
		got := h.closed()
		t.Logf("%+v", got)
		if got.Accepted > 3*hopsMax {
			t.Errorf("a storm: %+v", got)
		}
	}
	if n := len(origin.all()); n != 1 {
		t.Errorf("%d messages for ann, want 1", n)
	}
}

// between gives what stands between two texts.
func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
