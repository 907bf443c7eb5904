package host

import (
	"errors"
	"net/textproto"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/ops/admin"
)

// strangers makes everybody a stranger, for a moment.
func strangers(c *Config) {
	c.Policy.Allow, c.Policy.Wait = nil, Duration(50e6)
}

// TestHost_strangers: who is new waits in the lobby, passes in mid-dialogue, and
// is let in at once the next time.
func TestHost_strangers(t *testing.T) {
	h := newTestHost(t, strangers)
	for range 2 {
		if err := h.send("a@sender.test", "one@demo.test", "Subject: x\r\n\r\nhello\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(h.bodies("one@demo.test")); got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
	a, err := admin.Client{Dir: h.dir}.Do(t.Context(), admin.Request{Op: admin.TopNow})
	if err != nil || a.Top == nil {
		t.Fatalf("top: %v, %+v", err, a)
	}
	if c := a.Top.Total; c.Passed != 2 || c.Accepted != 2 || c.Arrived != 2 || c.Admitted != 1 {
		t.Errorf("totals %+v; want 2 arrived, 1 admitted at once, 2 passed, 2 accepted", c)
	}
	h.stop()
	h.start() // what the edge remembers survives
	if err := h.send("a@sender.test", "one@demo.test", "Subject: y\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	a, err = admin.Client{Dir: h.dir}.Do(t.Context(), admin.Request{Op: admin.TopNow})
	if err != nil || a.Top == nil || a.Top.Total.Admitted != 1 {
		t.Errorf("after a restart: %v, %+v; want it admitted at once", err, a.Top)
	}
}

// TestHost_deniedIsRefusedAtRCPT: with its reason, and never handed on.
func TestHost_deniedIsRefusedAtRCPT(t *testing.T) {
	h := newTestHost(t, strangers, func(c *Config) { c.Policy.Deny = []string{"127.0.0.0/8"} })
	var reply *textproto.Error
	err := h.send("a@sender.test", "one@demo.test", "Subject: x\r\n\r\nhello\r\n")
	if !errors.As(err, &reply) || reply.Code != 554 || !strings.Contains(reply.Msg, "127.0.0.1") {
		t.Errorf("got %v, want 554 with the address", err)
	}
}

// TestHost_edgeMode: a host in front of another takes what that takes, and says
// what that says.
func TestHost_edgeMode(t *testing.T) {
	inner := newTestHost(t)
	outer := newTestHost(t, func(c *Config) { c.Relay.To, c.Relay.Facts = inner.bound.Addr("smtp"), "none" })
	if err := outer.send("a@sender.test", "one@demo.test", "Subject: x\r\n\r\nthrough\r\n"); err != nil {
		t.Fatal(err)
	}
	for uid, text := range inner.bodies("one@demo.test") {
		if !strings.HasSuffix(text, "Subject: x\r\n\r\nthrough\r\n") || strings.Count(text, "Received: ") != 2 {
			t.Errorf("message %d: %q", uid, text)
		}
	}
	if got := len(outer.bodies("one@demo.test")); got != 0 {
		t.Errorf("the outer host kept %d messages", got)
	}
	var reply *textproto.Error
	if err := outer.send("a@sender.test", "nobody@demo.test", "x"); !errors.As(err, &reply) || reply.Code != 550 {
		t.Errorf("got %v for an unknown recipient, want the inner host's 550", err)
	}
	inner.stop()
	if err := outer.send("a@sender.test", "one@demo.test", "x"); !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("got %v while the inner host is down, want 4yz", err)
	}
}
