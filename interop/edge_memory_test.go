//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEdge_SilentLists stops the list server: strangers pass, late by no more
// than the lists' timeout, and the lists are shown as silent.
func TestEdge_SilentLists(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true, answer: "1s"})
	n := 0
	eventually(t, "a listed stranger is refused", func() bool { // a late answer lets one pass
		n++
		out, err := w.hand(fmt.Sprintf("127.16.1.%d", n), "mx.sender.example", "a@sender.example")
		return err != nil && strings.Contains(out, "is listed by "+blackZone)
	})
	if err := w.lists.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.until(blackZone, "silent", "127.18.%d.2")
	w.until(dullZone, "silent", "127.17.%d.2")
	e := askJSON[explanation](w, "explain", "--ip", "127.16.9.9")
	if e.Verdict != "pass" || len(e.Lists) == 0 || !strings.HasPrefix(e.Lists[0].Ignored, "the list is silent") {
		t.Errorf("got %+v, want the list ignored because it is silent", e)
	}
	if lines := w.events("DNS list is ignored", ""); len(lines) != 2 {
		t.Errorf("got the lines %v, want one for each list", lines)
	}
	if err := w.lists.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestEdge_PoisonedList has a list that names 127.0.0.1, that is everybody, as
// lists do that were given up: nobody is refused for it.
func TestEdge_PoisonedList(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){"from the start": poisonedFirst, "on the way": poisonedLater} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func poisonedFirst(t *testing.T) {
	w := startWall(t, wallConfig{eager: true, black: everybody})
	w.until(blackZone, "poisoned", "127.6.%d.2")
	w.handed("127.16.1.1", "mx.sender.example", "a@sender.example") // it says the truth of this one, but who believes it?
	if top := w.top(); top.Total.Refused+top.Total.Deferred != 0 || !strings.Contains(top.Lists[0].Detail, "127.0.0.1") {
		t.Errorf("got %+v, want nobody refused, and why the list is ignored", top)
	}
}

// poisonedLater has a list add 127.0.0.1 to what it had: it is noticed within
// ten seconds, and until then what it says of others is right.
func poisonedLater(t *testing.T) {
	w := startWall(t, wallConfig{eager: true})
	w.refuse("127.16.1.1", blackZone)
	w.lists.data("black", blackSane+"127.0.0.1\n")
	n := 0
	eventually(t, "the list is poisoned", func() bool {
		n++
		out, err := w.hand(fmt.Sprintf("127.16.2.%d", n), "mx.sender.example", "a@sender.example")
		if err != nil && !strings.Contains(out, "is listed by "+blackZone) {
			t.Fatalf("%v\n%s", err, out)
		}
		return w.top().Lists[0].State == "poisoned"
	})
	w.handed("127.16.3.1", "mx.sender.example", "a@sender.example")
	w.handed("127.6.3.1", "mx.sender.example", "a@sender.example")
}

// until sends good mail from strangers until a list is in a state.
func (w *wall) until(zone, state, from string) {
	w.t.Helper()
	sent := 0
	eventually(w.t, zone+" is "+state, func() bool {
		sent++
		w.handed(fmt.Sprintf(from, sent), "mx.sender.example", "a@sender.example")
		for _, l := range w.top().Lists {
			if l.Zone == zone && l.State == state {
				return true
			}
		}
		return w.t.Failed()
	})
}

// refuse has a stranger come that is refused, and quits.
func (w *wall) refuse(from, says string) {
	w.t.Helper()
	c := w.call(from)
	c.greeted()
	c.want("EHLO bot.example", "250")
	c.want("MAIL FROM:<spam@bot.example>", "250")
	c.want("RCPT TO:<"+w.User(0)+">", "554 5.7.1 ", says)
	c.want("QUIT", "221")
	c.ended()
}

// greylistView is what these tests read of `breakwater greylist report --json`.
type greylistView struct {
	Waiting  int `json:"waiting"`
	Delayed  int `json:"delayed"`
	Returned int `json:"returned"`
	Accepted int `json:"accepted"`
	Lost     int `json:"never_returned"`
	Hurt     []struct {
		Addr string `json:"address"`
		Helo string `json:"helo"`
	} `json:"accepted_senders"`
}

// TestEdge_Greylist is incidents greylist-delay and greylist-header: a suspect
// waits once, comes back from a neighbour's address, and its mail says how long
// it waited; its pool is never asked to wait again.
func TestEdge_Greylist(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"plain", "starttls"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := startWall(t, wallConfig{eager: true})
			var args []string
			if way == "starttls" {
				args = w.overTLS(w.SMTP, "--tls")
			}
			w.greylists(args)
		})
	}
}

func (w *wall) greylists(args []string) {
	t := w.t
	deferred, err := w.hand("127.40.1.5", "out1.sender.example", "a@sender.example", args...)
	if err == nil || !strings.Contains(deferred, "451 4.7.1 Greylisted: client [127.40.1.5] is new here") || !strings.Contains(deferred, "https://dull.example/127.40.1.5") {
		t.Fatalf("got %v\n%s\nwant 451 with its reason", err, deferred)
	}
	if r := askJSON[greylistView](w, "greylist", "report"); r.Delayed != 1 || r.Waiting != 1 || r.Returned != 0 {
		t.Errorf("got %+v, want one that waits", r)
	}
	w.comesBack("127.40.1.9", "out2.sender.example", "a@sender.example", args...)
	header := regexp.MustCompile(`(?m)^X-Greylist: delayed ([2-9]|[1-9]\d) seconds by localhost \(first seen [-0-9T:]+Z, attempts \d+\)\r$`)
	if all := bodies(t, &w.Server, 0, "INBOX", 1); !header.Match(all[0]) {
		t.Errorf("got\n%s\nwant its wait in the header", all[0])
	}

	w.handed("127.40.1.7", "out3.sender.example", "b@sender.example", args...) // the pool, another sender
	w.handed("127.40.1.5", "out1.sender.example", "c@elsewhere.example", append(args, "--to", w.User(1))...)
	if all := bodies(t, &w.Server, 0, "INBOX", 2); bytes.Contains(all[1], []byte("X-Greylist")) {
		t.Errorf("got\n%s\nwant no wait told of where there was none", all[1])
	}
	r := askJSON[greylistView](w, "greylist", "report")
	if r.Delayed != 1 || r.Returned != 1 || r.Accepted != 1 || r.Waiting != 0 || r.Lost != 0 || len(r.Hurt) != 1 {
		t.Errorf("got %+v, want one sender that was delayed, came back and was good", r)
	}
	if text := w.ask("greylist", "report"); !strings.Contains(text, "127.40.1.5") {
		t.Errorf("got\n%s\nwant the good one that was delayed", text)
	}
}

// comesBack retries until the greylist lets a sender pass.
func (w *wall) comesBack(from, helo, sender string, args ...string) {
	w.t.Helper()
	eventually(w.t, "the greylist lets "+from+" pass", func() bool {
		out, err := w.hand(from, helo, sender, args...)
		if err != nil && !strings.Contains(out, "451 4.7.1 Greylisted") {
			w.t.Fatalf("%v\n%s", err, out)
		}
		return err == nil
	})
}

// TestEdge_Restart shows what outlives a host: who is known needs no wait, and
// who waits goes on waiting.
func TestEdge_Restart(t *testing.T) {
	t.Parallel()
	w := startWall(t, wallConfig{eager: true, wait: "4s"})
	w.handed("127.7.1.1", "mx.known.example", "a@known.example")
	deferred, err := w.hand("127.40.2.1", "mx.sender.example", "a@sender.example")
	if err == nil || !strings.Contains(deferred, "451 4.7.1 Greylisted") {
		t.Fatalf("got %v\n%s", err, deferred)
	}
	before := time.Now()
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := askJSON[explanation](w, "explain", "--ip", "127.7.1.1"); e.Arrival != "admit" {
		t.Errorf("a known sender: got %+v, want it admitted", e)
	}
	w.handed("127.7.1.2", "mx.known.example", "a@known.example") // its neighbour
	if left := w.events("guest left", "127.7.1.2"); len(left) != 0 {
		t.Errorf("a known sender was in the lobby: %v", left)
	}
	w.comesBack("127.40.2.1", "mx.sender.example", "a@sender.example")
	for _, b := range bodies(t, &w.Server, 0, "INBOX", 3) {
		m := regexp.MustCompile(`X-Greylist: delayed .* \(first seen ([-0-9T:]+Z)`).FindSubmatch(b)
		if m == nil {
			continue
		}
		if first, err := time.Parse(time.RFC3339, string(m[1])); err != nil || !first.Before(before) {
			t.Errorf("got\n%s\nwant it first seen before the restart (%v)", b, err)
		}
	}
	if r := askJSON[greylistView](w, "greylist", "report"); r.Delayed != 1 || r.Returned != 1 || r.Accepted != 1 {
		t.Errorf("got %+v, want it delayed once", r)
	}
}

// TestEdge_Bans is incident kernel-ban from the outside: who is refused twice
// is kept out, by the kernel where that can be had, but for whoever has logged
// in; and the operator sees why and has the last word.
func TestEdge_Bans(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"auto", "off"} {
		t.Run("kernel "+kernel, func(t *testing.T) {
			t.Parallel()
			w := startWall(t, wallConfig{eager: true, kernel: kernel})
			if kernel == "auto" && !askJSON[banView](w, "ban", "list").Kernel {
				t.Skipf("NO BANS IN THE KERNEL: %s", askJSON[banView](w, "ban", "list").Detail)
			}
			t.Run("refused", func(t *testing.T) { t.Parallel(); w.with(t).banRefused(kernel == "auto") })
			t.Run("by hand", func(t *testing.T) { t.Parallel(); w.with(t).banByHand(kernel == "auto") })
			t.Run("logged in", func(t *testing.T) { t.Parallel(); w.with(t).banNever() })
			t.Run("guesser", func(t *testing.T) { t.Parallel(); w.with(t).banGuesser(kernel == "auto") })
		})
	}
}

// banView is what these tests read of `breakwater ban list --json`.
type banView struct {
	Kernel bool   `json:"kernel"`
	Detail string `json:"detail"`
	Bans   []struct {
		Network string `json:"network"`
		Kernel  bool   `json:"kernel"`
		Reason  string `json:"reason"`
	} `json:"bans"`
}

// banned waits until a source is kept out, where it shall be, and tries.
func (w *wall) banned(network, from, reason string, kernel bool) {
	w.t.Helper()
	eventually(w.t, network+" is banned", func() bool {
		for _, b := range askJSON[banView](w, "ban", "list").Bans {
			if b.Network == network && b.Kernel == kernel && strings.Contains(b.Reason, reason) {
				return true
			}
		}
		return false
	})
	if text := w.ask("ban", "why", from); !strings.Contains(text, from+" is banned") || !strings.Contains(text, reason) {
		w.t.Errorf("ban why %s: got %q, want %q", from, text, reason)
	}
	c, err := w.dialFrom(from, goneWait)
	var timeout net.Error
	switch {
	case kernel && (!errors.As(err, &timeout) || !timeout.Timeout()):
		w.t.Errorf("connect from %s: got %v, want no answer at all", from, err)
	case !kernel && err != nil:
		w.t.Errorf("connect from %s: %v", from, err)
	case !kernel:
		if got := c.reply(); got != "" && !strings.Contains(got, "reset by peer") {
			w.t.Errorf("from %s: got %q, want to be closed without a word", from, got)
		}
	}
}

func (w *wall) banRefused(kernel bool) {
	const from = "127.20.1.1"
	w.refuse(from, blackZone)
	if text := w.ask("ban", "why", from); text != from+" is not banned\n" {
		w.t.Errorf("after one refusal: got %q", text)
	}
	w.refuse(from, blackZone)
	w.banned(from, from, "refused in 2 sessions", kernel)
	if e := askJSON[explanation](w, "explain", "--ip", from); e.Arrival != "refuse" || !strings.Contains(e.Why, "refused in 2 sessions") {
		w.t.Errorf("explain: got %+v, want it refused at arrival, and why", e)
	}
	w.ask("ban", "remove", from)
	w.call(from).greeted()
}

func (w *wall) banByHand(kernel bool) {
	const network, from = "127.21.1.0/24", "127.21.1.77"
	w.ask("ban", "add", network, "--for", "1h", "--reason", "wave of Sunday")
	w.banned(network, from, "wave of Sunday", kernel)
	w.ask("ban", "remove", network)
	w.call(from).greeted()
	if out, err := w.Run(w.t.Context(), "ban", "add", "127.0.0.0/24", "--dir", w.Dir); err == nil || !strings.Contains(out, ally) {
		w.t.Errorf("ban add with a trusted address in it: got %v, %q", err, out)
	}
}

// banNever has a listed source log in by IMAP.
func (w *wall) banNever() {
	const from = "127.22.1.1"
	curl := tool(w.t, "curl")
	run(w.t, folder(w.t), curl, "-sS", "--interface", from, "--cacert", w.CA, "--user", w.User(0)+":"+w.Password, "imaps://"+w.TLSName(w.IMAPS)+"/")
	for range 3 {
		w.refuse(from, blackZone)
	}
	if text := w.ask("ban", "why", from); !strings.Contains(text, "is not banned: ") || !strings.Contains(text, "logged in") {
		w.t.Errorf("got %q, want to hear that it logged in", text)
	}
}

// banGuesser guesses passwords by IMAP. It is kept from where mail is sent.
func (w *wall) banGuesser(kernel bool) {
	const from = "127.23.1.1"
	curl := tool(w.t, "curl")
	for range 5 {
		out, err := try(w.t, folder(w.t), nil, curl, "-sS", "--interface", from, "--cacert", w.CA, "--user", w.User(0)+":wrong", "imaps://"+w.TLSName(w.IMAPS)+"/")
		if exitCode(err) != 67 {
			w.t.Errorf("curl: %v, %s", err, out)
		}
	}
	w.banned(from, from, "5 failed logins", kernel)
}
