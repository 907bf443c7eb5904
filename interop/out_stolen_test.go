//go:build interop

package interop

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	stolenMessages = 5000
	stolenConns    = 8
	stolenLeft     = 200 // fewer than this many may have left when the account is held
	stolenTaken    = 40  // what the world takes during the raid; it is slower than a thief
)

// startSlowSink starts a sink that takes stolenTaken messages at once and makes
// the rest wait until open is called. So what a host does with what has not yet
// left is seen on machines of any speed.
func startSlowSink(t *testing.T) (s *sink, open func()) {
	t.Helper()
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	var n atomic.Int64
	s = startSink(t, "127.0.0.1:0", nil, sinkRules{end: func(*taken) (string, bool) {
		if n.Add(1) > stolenTaken {
			<-gate
		}
		return "", false
	}})
	t.Cleanup(open) // before the sink waits for its connections
	return s, open
}

// TestOut_Stolen sends 5,000 messages with a stolen password, as fast as it can.
// The account is held before the 200th has left, everybody who has to is told
// why, and what was held goes on waiting when the owner has a new
// password, until it is let go.
func TestOut_Stolen(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	alarms := ""
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		mu.Lock()
		defer mu.Unlock()
		alarms += string(text) + "\n"
	}))
	t.Cleanup(hook.Close)
	s, open := startSlowSink(t)
	h := startOut(t, "[ledger]\naudit = \"1s\"\n[alarm]\nwebhook = \""+hook.URL+"\"\n[delivery]\nroutes = [\".test smtp://"+s.addr+"\"]\n")
	h.admin("boss@bench.test")

	accepted, refused := h.raid(stolenMessages)
	t.Logf("%d messages were taken in, %d left, then: %v", accepted, len(s.all()), refused)
	if accepted >= stolenLeft { // each of them may leave where the world is quick
		t.Errorf("%d messages were taken in before the account was held", accepted)
	}
	open()
	<-patienceOver()
	if now := len(s.all()); now == accepted {
		t.Errorf("all %d messages have left by now", now)
	}

	rows := h.cli("queue", "list", "--account", h.User(0), "--limit", "10000")
	if !strings.Contains(rows, "held") || !strings.Contains(rows, "outgoing mail of "+h.User(0)+" is held: ") {
		t.Errorf("queue list does not say why:\n%s", rows[:min(len(rows), 500)])
	}
	show := h.cli("account", "show", h.User(0))
	if !strings.Contains(strings.ToLower(show), "held") {
		t.Errorf("account show does not say so:\n%s", show)
	}
	eventually(t, "an alarm by webhook", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(alarms, "outgoing mail of "+h.User(0)+" is held: ")
	})
	notice := string(h.inboxOf("boss@bench.test", 1)[0])
	if !strings.Contains(notice, "Outgoing mail of "+h.User(0)+" is held") {
		t.Errorf("the notice: %s", notice)
	}
	t.Logf("the reason: %s", reasonIn(notice))

	h.release(s, accepted)
}

// release gives the account a new password, and then lets go what was held: that
// goes on waiting until somebody has looked at it.
func (h *outHost) release(s *sink, accepted int) {
	h.t.Helper()
	write(h.t, filepath.Join(h.Dir, "new-password"), "bench-Password-2\n")
	h.cli("account", "password", h.User(0), "--password-file", filepath.Join(h.Dir, "new-password"))
	if rows := h.cli("queue", "list", "--account", h.User(0), "--limit", "10000"); !strings.Contains(rows, "got a new password") {
		h.t.Errorf("the new password has let go what was held:\n%s", rows[:min(len(rows), 500)])
	}
	h.cli("queue", "release", "--account", h.User(0))
	eventually(h.t, "what was held has left", func() bool { return len(s.all()) == accepted })
	b := h.closed()
	if b.Relayed != int64(accepted) {
		h.t.Errorf("%d were taken in, the books say %+v", accepted, b)
	}
	if out := h.cli("alarm", "list"); strings.Contains(out, "held") {
		h.t.Errorf("the alarm is still up: %s", out)
	}
}

// TestOut_StolenFailed ends what was held by a hold with reports instead.
func TestOut_StolenFailed(t *testing.T) {
	t.Parallel()
	s, open := startSlowSink(t)
	h := startOut(t, "[ledger]\naudit = \"1s\"\n[delivery]\nroutes = [\".test smtp://"+s.addr+"\"]\n")
	accepted, _ := h.raid(1000)
	open()
	eventually(t, "all that is left is held", func() bool {
		return strings.Count(h.cli("queue", "list", "--limit", "10000"), " held ")+len(s.all()) == accepted
	})
	h.cli("queue", "fail", "--account", h.User(0), "--reason", "The password was stolen.")
	b := h.closed()
	if b.Relayed != int64(len(s.all())) || b.Relayed+b.Bounced != int64(accepted) || b.Bounced == 0 {
		t.Errorf("%d were taken in, %d left, the books say %+v", accepted, len(s.all()), b)
	}
}

// admin makes an account that gets the mail for postmaster.
func (h *outHost) admin(address string) {
	h.t.Helper()
	h.cli("account", "add", address, "--admin", "--password-file", filepath.Join(h.Dir, "bench-password"))
}

// inboxOf waits until the INBOX of any account has n messages.
func (h *outHost) inboxOf(address string, n int) [][]byte {
	h.t.Helper()
	conf, err := h.TLS()
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := wire.DialIMAP(h.IMAPS, conf)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Login(address, h.Password); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, fmt.Sprintf("%d messages for %s", n, address), func() bool {
		have, err := c.Messages("INBOX")
		if err != nil {
			h.t.Fatal(err)
		}
		return have >= n
	})
	if err := c.Do("EXAMINE INBOX", nil); err != nil {
		h.t.Fatal(err)
	}
	var all [][]byte
	if err := c.Do("FETCH 1:* BODY.PEEK[]", func(r wire.Response) {
		for _, l := range r.Literals {
			all = append(all, append([]byte(nil), l...))
		}
	}); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// raid sends n messages of user 0 to as many strangers over several
// connections, and tells how many were taken in and how the others were refused.
func (h *outHost) raid(n int) (accepted int, refused map[string]int) {
	h.t.Helper()
	var next, taken atomic.Int64
	var mu sync.Mutex
	refused = map[string]int{}
	var wg sync.WaitGroup
	for range stolenConns {
		wg.Go(func() {
			var c *wire.SMTP
			for {
				i := next.Add(1)
				if i > int64(n) {
					break
				}
				var err error
				if c == nil {
					if c, err = h.login(0); err != nil {
						mu.Lock()
						refused[err.Error()]++
						mu.Unlock()
						c = nil
						continue
					}
				}
				err = c.Send(h.User(0), []string{fmt.Sprintf("victim%d@d%d.test", i, i%40)},
					fmt.Appendf(nil, "From: <%s>\r\nSubject: offer %d\r\n\r\nBuy.\r\n", h.User(0), i))
				if err == nil {
					taken.Add(1)
					continue
				}
				var reply *wire.ReplyError
				if !errors.As(err, &reply) || reply.Code == 421 {
					c.Conn.Close()
					c = nil
				}
				mu.Lock()
				refused[err.Error()]++
				mu.Unlock()
			}
			if c != nil {
				c.Quit()
			}
		})
	}
	wg.Wait()
	return int(taken.Load()), refused
}

// reasonIn gives the paragraph of a notice that says why.
func reasonIn(notice string) string {
	for line := range strings.Lines(notice) {
		if strings.HasPrefix(line, "  ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
