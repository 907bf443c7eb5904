package intake

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// subject is a small message that can be told from others.
func subject(s string) string { return "Subject: " + s + "\r\n\r\n" + s + "\r\n" }

// count says how often a message is in an INBOX, whole.
func (r *room) count(local, text string) (n int) {
	r.t.Helper()
	for _, m := range r.inboxOf(local) {
		if strings.HasSuffix(m, "\r\n"+text) {
			n++
		}
	}
	return n
}

// TestCommit_atEveryCrash cuts the power at every call to the disk while a
// message for two is taken in (I1, I2, I7).
func TestCommit_atEveryCrash(t *testing.T) {
	for _, mode := range []sim.Mode{sim.Lose, sim.Tear, sim.Keep} {
		r := newRoom(t, Options{}, "one", "two")
		first := subject("first")
		if err := r.deliver(r.envelope("", "one@demo.test", "two@demo.test"), first); err != nil {
			t.Fatal(err)
		}
		crashes := 0
		for at := 1; ; at++ {
			name := fmt.Sprintf("mode %d, call %d", mode, at)
			text := subject(name)
			r.disk.CrashAt(at)
			err := r.deliver(r.envelope("", "one@demo.test", "two@demo.test"), text)
			crashed := r.disk.Crashed()
			if err != nil && !crashed {
				t.Fatalf("%s: %v", name, err)
			}
			r.stop() // its errors are those of the crash
			r.disk.Crash(mode)
			r.start()
			one, two := r.count("one", text), r.count("two", text)
			if one > 1 || one != two || err == nil && one != 1 {
				t.Errorf("%s: answered %v; one has it %d times, two %d times", name, err, one, two)
			}
			if n := r.count("one", first); n != 1 {
				t.Errorf("%s: the message before is there %d times", name, n)
			}
			if !crashed {
				break
			}
			crashes++
		}
		if crashes < 2 { // a write and a sync at least
			t.Errorf("mode %d: only %d crashes", mode, crashes)
		}
	}
}

func TestCommit_fullDisk(t *testing.T) {
	r := newRoom(t, Options{}, "one")
	e := r.envelope("", "one@demo.test")
	if err := r.deliver(e, subject("first")); err != nil { // makes the INBOX
		t.Fatal(err)
	}
	large := subject("large") + strings.Repeat("0123456789abcde\n", 3<<16)
	for name, text := range map[string]string{"small": subject("second"), "large": large} {
		r.disk.Full(0)
		wantReply(t, r.deliver(e, text), 452, "4.3.1")
		if n := r.count("one", text); n != 0 {
			t.Errorf("%s: filed though refused", name)
		}
		r.disk.Full(-1)
		if err := r.deliver(e, text); err != nil {
			t.Errorf("%s: with room again: %v", name, err)
		}
		if n := r.count("one", text); n != 1 {
			t.Errorf("%s: there %d times", name, n)
		}
	}
}

// TestCommit_failedSync: the message is not acknowledged, nothing is accepted
// any more, and the client is told no detail.
func TestCommit_failedSync(t *testing.T) {
	r := newRoom(t, Options{}, "one")
	e := r.envelope("", "one@demo.test")
	first := subject("first")
	if err := r.deliver(e, first); err != nil {
		t.Fatal(err)
	}
	r.disk.FailNth("sync", 1, syscall.EIO)
	for _, s := range []string{"second", "third"} {
		err := r.deliver(e, subject(s))
		var reply *smtp.Reply
		if err == nil || errors.As(err, &reply) {
			t.Errorf("%s: %v", s, err)
		}
	}
	r.stop() // its error is the failure
	r.disk.Crash(sim.Lose)
	r.start()
	if got := r.inboxOf("one"); len(got) != 1 || r.count("one", first) != 1 {
		t.Errorf("INBOX after the restart: %q", got)
	}
}

// TestRecipientGoneMeanwhile: who is removed between RCPT and the end of the
// body takes nobody else's mail along.
func TestRecipientGoneMeanwhile(t *testing.T) {
	r := newRoom(t, Options{}, "one", "two")
	b, err := r.Begin(t.Context(), r.envelope("", "one@demo.test", "two@demo.test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.accounts.RemoveAccount(t.Context(), addr(t, "two@demo.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte(subject("x"))); err != nil {
		t.Fatal(err)
	}
	_, err = b.Commit(t.Context())
	wantReply(t, err, 451, "4.2.0")
	if n := len(r.inboxOf("one")); n != 0 {
		t.Errorf("one has %d messages", n)
	}
	_, err = r.Begin(t.Context(), r.envelope("", "one@demo.test", "two@demo.test"))
	wantReply(t, err, 451, "4.2.0")
	_, err = r.Begin(t.Context(), r.envelope("", "two@demo.test"))
	wantReply(t, err, 550, "5.1.1")
}
