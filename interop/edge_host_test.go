//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
)

// The addresses of the edge's tests. Nobody of 127.0.0.0/8 is trusted but ally;
// 127.16.0.0/12 is on the black list, 127.40.0.0/16 on the dull one.
const (
	ally = "127.0.0.2"
	// goneWait bounds how long a source that is banned in the kernel is
	// listened for: on loopback the first packet arrives or never does.
	goneWait = time.Second
	// strangerWait is policy.wait.
	strangerWait = time.Second
)

// wall is a whole host with its edge, and the lists that it asks.
type wall struct {
	*peers.Breakwater
	t     *testing.T
	lists *rbldnsd
}

// wallConfig is what the walls differ in.
type wallConfig struct {
	wait   string // greylist.wait; "" is 2 s
	kernel string // ban.kernel; "" is off: all walls share one network
	ban    string // ban.timeout; "" is 10 minutes
	eager  bool   // refused guests are answered at once
	black  string // what the black list holds
	answer string // dnsbl.timeout; "" is a minute, so that a slow machine's lists are heard
}

func startWall(t *testing.T, c wallConfig) *wall {
	t.Helper()
	w := &wall{t: t, lists: serveLists(t)}
	for field, value := range map[*string]string{&c.wait: "2s", &c.kernel: "off", &c.ban: "10m", &c.answer: "1m"} {
		if *field == "" {
			*field = value
		}
	}
	if c.black != "" {
		w.lists.kill()
		w.lists.data("black", c.black)
		w.lists.start()
	}
	dir := folder(t)
	w.Breakwater = startBreakwater(t, dir, fmt.Sprintf(`[log]
format = "json"

[dns]
servers = [%q]

[dnsbl]
lists = [%q, "%s weight=1 url=https://dull.example/{ip} text=Seen once"]
timeout = %q

[lobby]
stutter = %t

[policy]
wait = "%s"
allow = ["%s/32"]
refuse_at = 3
suspect_at = 1

[ban]
kernel = %q
timeout = %q
table = %q
remove_at_exit = true

[greylist]
wait = %q
`, w.lists.at, blackZone, dullZone, c.answer, !c.eager, strangerWait, ally, c.kernel, c.ban, filepath.Base(dir), c.wait))
	return w
}

// with is the same wall for a subtest.
func (w *wall) with(t *testing.T) *wall {
	at := *w
	at.t = t
	return &at
}

// events gives the log's lines with a message, of one address unless it is "".
func (w *wall) events(msg, from string) []map[string]any {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Dir, "log"))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []map[string]any
	for line := range bytes.Lines(text) {
		var e map[string]any
		if json.Unmarshal(line, &e) == nil && e["msg"] == msg && (from == "" || e["remote_ip"] == from) {
			all = append(all, e)
		}
	}
	return all
}

// guestLeft waits until the guests of an address have left the lobby, and gives
// their lines in the log.
func (w *wall) guestLeft(from string, n int) []map[string]any {
	w.t.Helper()
	var all []map[string]any
	eventually(w.t, fmt.Sprintf("%d lines about guests from %s", n, from), func() bool {
		all = w.events("guest left", from)
		return len(all) >= n
	})
	if len(all) != n {
		w.t.Errorf("guests from %s: got %d, want %d: %v", from, len(all), n, all)
	}
	return all
}

// ask runs a command of the operator against the host.
func (w *wall) ask(args ...string) string {
	w.t.Helper()
	out, err := w.Run(w.t.Context(), append(args, "--dir", w.Dir)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// askJSON is ask for what a program would read.
func askJSON[T any](w *wall, args ...string) (v T) {
	w.t.Helper()
	out := w.ask(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		w.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return v
}

// topView is what these tests read of `breakwater top --json`.
type topView struct {
	Level  string `json:"level"`
	Guests struct {
		Now      int `json:"now"`
		Sessions int `json:"sessions"`
	} `json:"guests"`
	Total struct {
		Arrived  int `json:"arrived"`
		Admitted int `json:"admitted"`
		Passed   int `json:"passed"`
		Refused  int `json:"refused"`
		Deferred int `json:"deferred"`
		Accepted int `json:"accepted"`
	} `json:"total"`
	By      map[string]int `json:"decided_by"`
	Process struct {
		Goroutines int `json:"goroutines"`
	} `json:"process"`
	Lists []struct {
		Zone   string `json:"zone"`
		State  string `json:"state"`
		Detail string `json:"detail"`
	} `json:"lists"`
	Networks []struct {
		Network     string `json:"network"`
		Connections int    `json:"connections"`
		Refusals    int    `json:"refusals"`
	} `json:"networks"`
	Live []struct {
		ID   string `json:"id"`
		Addr string `json:"addr"`
		Helo string `json:"helo"`
		From string `json:"from"`
		To   string `json:"to"`
		Rank string `json:"rank"`
	} `json:"live"`
}

func (w *wall) top() topView { return askJSON[topView](w, "top") }

// explanation is what these tests read of `breakwater explain --json`.
type explanation struct {
	Arrival  string `json:"arrival"`
	Why      string `json:"why"`
	Verdict  string `json:"verdict"`
	By       string `json:"by"`
	Reply    string `json:"reply"`
	Outcome  string `json:"outcome"`
	Evidence []struct {
		Check   string `json:"check"`
		Detail  string `json:"detail"`
		Decided bool   `json:"decided"`
	} `json:"evidence"`
	Lists []struct {
		Zone    string
		Answer  string
		Listed  bool
		Ignored string
	} `json:"lists"`
}

// hand sends one message by swaks from an address and gives the dialogue.
func (w *wall) hand(from, helo, sender string, args ...string) (string, error) {
	w.t.Helper()
	swaks := tool(w.t, "swaks")
	return try(w.t, folder(w.t), nil, swaks, append([]string{"--server", w.SMTP, "--local-interface", from, "--ehlo", helo,
		"--from", sender, "--to", w.User(0), "--header", "Subject: " + from, "--body", "by " + helo}, args...)...)
}

// handed is hand for what must be accepted at the first connection.
func (w *wall) handed(from, helo, sender string, args ...string) {
	w.t.Helper()
	if out, err := w.hand(from, helo, sender, args...); err != nil {
		w.t.Errorf("swaks from %s: %v\n%s", from, err, out)
	}
}

// caller is a client of ours at an address of its choice.
type caller struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dialFrom connects to port 25 from an address.
func (w *wall) dialFrom(from string, wait time.Duration) (*caller, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: wait}
	conn, err := d.DialContext(w.t.Context(), "tcp", w.SMTP)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(toolWait)); err != nil {
		return nil, err
	}
	return &caller{w.t, conn, bufio.NewReader(conn)}, nil
}

// call connects from an address and waits for nothing.
func (w *wall) call(from string) *caller {
	w.t.Helper()
	c, err := w.dialFrom(from, toolWait)
	if err != nil {
		w.t.Fatalf("connect from %s: %v", from, err)
	}
	return c
}

// reply reads one reply, with its line ends as they came. At the end of the
// connection it is what there was.
func (c *caller) reply() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				all.WriteString("(" + err.Error() + ")")
			}
			return all.String()
		}
		if len(line) < 4 || line[3] != '-' {
			return all.String()
		}
	}
}

// send sends octets as they are.
func (c *caller) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Errorf("send %q: %v", text, err)
	}
}

// say sends a line and gives the reply.
func (c *caller) say(line string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.reply()
}

// want is say for a reply that is known: its beginning, and what it contains.
func (c *caller) want(line string, code string, contains ...string) string {
	c.t.Helper()
	got := c.say(line)
	c.expect(line, got, code, contains...)
	return got
}

func (c *caller) expect(what, got, code string, contains ...string) {
	c.t.Helper()
	if !strings.HasPrefix(got, code) {
		c.t.Errorf("%s: got %q, want %s", what, got, code)
	}
	for _, text := range contains {
		if !strings.Contains(got, text) {
			c.t.Errorf("%s: got %q, want it to say %q", what, got, text)
		}
	}
}

// greeted waits for the banner.
func (c *caller) greeted() {
	c.t.Helper()
	c.expect("banner", c.reply(), "220 ")
}

// ended expects the end of the connection.
func (c *caller) ended() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		c.t.Errorf("got %q (%v), want the end of the connection", rest, err)
	}
}

// secure shakes hands after STARTTLS.
func (c *caller) secure(conf *tls.Config) {
	c.t.Helper()
	s := tls.Client(c.conn, conf)
	if err := s.HandshakeContext(c.t.Context()); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.conn, c.r = s, bufio.NewReader(s)
}
