//go:build interop

package interop

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// soon is a schedule that tries again at once, with books that are audited all
// the time, for accounts that may send as much as they like.
const soon = "[queue]\nretry = [\"1s\"]\n[ledger]\naudit = \"1s\"\n[submission]\nhold_sudden = false\nrecipients_per_hour = 1000000\nrecipients_per_day = 1000000\ncheck_from = false\n"

// outHost is a host of ours that carries mail away.
type outHost struct {
	*peers.Breakwater
	t *testing.T
}

// startOut starts one with three users.
func startOut(t *testing.T, config string) *outHost {
	t.Helper()
	return &outHost{startBreakwater(t, folder(t), config), t}
}

// with is the same host for a subtest.
func (h *outHost) with(t *testing.T) *outHost { return &outHost{h.Breakwater, t} }

// again restarts the host with another configuration.
func (h *outHost) again(config string) {
	h.t.Helper()
	if err := h.Stop(); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Configure(config); err != nil {
		h.t.Fatal(err)
	}
	if err := h.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// cli runs a command about this host, which must succeed.
func (h *outHost) cli(args ...string) string {
	h.t.Helper()
	out, err := h.Run(h.t.Context(), append(args, "--dir", h.Dir)...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// Run runs a command of the program.
func (h *outHost) Run(ctx context.Context, args ...string) (string, error) {
	return h.Bin.Run(ctx, args...)
}

// books are what breakwater ledger says.
type books struct {
	Accepted, Delivered, Relayed, Bounced, Discarded, Queued int64
	SetAside                                                 int64 `json:"set_aside"`
	Unaccounted                                              []string
	Balanced                                                 bool
}

// books closes the books.
func (h *outHost) books() books {
	h.t.Helper()
	var b books
	decode(h.t, h.cli("ledger", "--json"), &b)
	return b
}

// closed waits until nothing is queued and checks that the books balance and
// that the last audit has found nobody missing.
func (h *outHost) closed() books {
	h.t.Helper()
	var b books
	eventually(h.t, "an empty queue", func() bool { b = h.books(); return b.Queued == 0 })
	if !b.Balanced || len(b.Unaccounted) > 0 || b.Accepted != b.Delivered+b.Relayed+b.Bounced+b.Discarded+b.SetAside {
		h.t.Errorf("the books do not balance: %+v", b)
	}
	if n := h.metric("breakwater_ledger_unaccounted_recipients"); n != 0 {
		h.t.Errorf("the audit misses %v recipients", n)
	}
	return b
}

// metric gives one that has no labels.
func (h *outHost) metric(name string) float64 {
	h.t.Helper()
	resp, err := http.Get("http://" + h.Metrics + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				h.t.Fatal(err)
			}
			return n
		}
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}

// life is one message as breakwater trace tells of it.
type life struct {
	ID, Source, Account, From, TLS, Protocol string
	MessageID                                string `json:"message_id"`
	Signed                                   []string
	Recipients                               []struct {
		Address, Rcpt, Sender, State string
		Attempts                     int
		Events                       []struct{ State, Via, TLS, Reply, Reason, DSN string }
	}
}

// last is what happened last to the first recipient.
func (l life) last() (state, text string) {
	r := l.Recipients[0]
	if len(r.Events) == 0 {
		return r.State, ""
	}
	e := r.Events[len(r.Events)-1]
	return r.State, strings.Join([]string{e.Via, e.TLS, e.Reply, e.Reason}, " | ")
}

// lives gives those that a trace finds, newest first.
func (h *outHost) lives(what string) []life {
	h.t.Helper()
	out, err := h.Run(h.t.Context(), "trace", what, "--json", "--limit", "1000", "--dir", h.Dir)
	if err != nil {
		return nil // nothing of that name yet
	}
	var all []life
	decode(h.t, out, &all)
	return all
}

// became waits until the newest message to an address is in a state, and gives
// what happened last.
func (h *outHost) became(address, state string) string {
	h.t.Helper()
	got, text := "", ""
	defer func() {
		if h.t.Failed() {
			h.t.Logf("%s: %s: %s", address, got, text)
		}
	}()
	eventually(h.t, address+" "+state, func() bool {
		if all := h.lives(address); len(all) > 0 {
			got, text = all[0].last()
		}
		return got == state
	})
	return text
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// login opens a session of a user at the submission port.
func (h *outHost) login(user int) (*wire.SMTP, error) {
	conf, err := h.TLS()
	if err != nil {
		return nil, err
	}
	c, err := wire.DialSMTP(h.Submission, nil)
	if err != nil {
		return nil, err
	}
	if err = c.StartTLS(conf); err == nil {
		err = c.Command("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+h.User(user)+"\x00"+h.Password)), 235)
	}
	if err != nil {
		c.Conn.Close()
		return nil, err
	}
	return c, nil
}

// submit hands in one message of user 0.
func (h *outHost) submit(data []byte, to ...string) {
	h.t.Helper()
	h.submitAs(0, data, to...)
}

func (h *outHost) submitAs(user int, data []byte, to ...string) {
	h.t.Helper()
	c, err := h.login(user)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Quit()
	if err := c.Send(h.User(user), to, wire.Stuff(data)); err != nil {
		h.t.Fatalf("hand in for %v: %v", to, err)
	}
}

// note is a short message of user 0.
func (h *outHost) note(to string) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: note to %s\r\n\r\nA note.\r\n", h.User(0), to, to)
}

// send hands in a short message for each recipient by itself.
func (h *outHost) send(to ...string) {
	h.t.Helper()
	for _, addr := range to {
		h.submit(h.note(addr), addr)
	}
}

// bounce waits for the report about an address in user 0's INBOX.
func (h *outHost) bounce(address string) string {
	h.t.Helper()
	c := imap(h.t, &h.Server, 0)
	report := ""
	eventually(h.t, "a report about "+address, func() bool {
		if err := c.Do("SELECT INBOX", nil); err != nil {
			h.t.Fatal(err)
		}
		err := c.Do("FETCH 1:* BODY.PEEK[]", func(r wire.Response) {
			for _, l := range r.Literals {
				if text := string(l); strings.Contains(text, "multipart/report") && strings.Contains(text, address) {
					report = text
				}
			}
		})
		if err != nil && !strings.Contains(err.Error(), "BAD") { // BAD: none there yet
			h.t.Fatal(err)
		}
		return report != ""
	})
	return report
}

// sockets counts those of the host's process. How many files it has open is its
// index's affair, and another on every machine.
func (h *outHost) sockets() (n int) {
	h.t.Helper()
	fds, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(h.Pids()[0]), "fd", "*"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// patience is how long something is watched that must not happen.
const patience = 2500 * time.Millisecond

// patienceOver is when it has not happened.
func patienceOver() <-chan time.Time { return time.After(patience) }

// dialerTo dials one server of the DNS, whatever is asked for.
func dialerTo(addr string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}

// imapLogin tries a password of user 0 at IMAP.
func (h *outHost) imapLogin(password string) error {
	conf, err := h.TLS()
	if err != nil {
		return err
	}
	c, err := wire.DialIMAP(h.IMAPS, conf)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	return c.Login(h.User(0), password)
}

// bareKey gives the base64 of an Ed25519 key out of that of its
// SubjectPublicKeyInfo, whose last 32 octets it is (RFC 8410 §4).
func bareKey(t *testing.T, spki string) string {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(spki)
	if err != nil || len(der) != 44 {
		t.Fatalf("a key of %d octets: %v", len(der), err)
	}
	return base64.StdEncoding.EncodeToString(der[12:])
}
