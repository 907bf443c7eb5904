//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
)

// The zones that rbldnsd serves, and their lists as the checker has them.
const (
	blackZone = "bl.example"
	whiteZone = "wl.example"
	dullZone  = "dull.example" // says little by itself
	black     = 1 << 0
	white     = 1 << 1

	blackSane = ":127.0.0.2:Listed, see https://bl.example/q?ip=$\n127.0.0.2\n127.16.0.0/12\n192.0.2.1\n198.51.100.0/24\n"
	black6    = ":127.0.0.2:Listed, see https://bl.example/q?ip=$\n::ffff:7f00:2\n2001:db8:bad::/48\n"
	whiteSane = ":127.0.5.3:good\n127.0.0.2\n203.0.113.0/24\n"
	dullSane  = ":127.0.0.2:Seen once\n127.0.0.2\n127.40.0.0/16\n"
	everybody = ":127.0.0.2:everybody\n0.0.0.0/1\n128.0.0.0/1\n"
)

// rbldnsd is a running list server, and maybe a checker that asks it.
type rbldnsd struct {
	t       *testing.T
	program string
	dir     string
	at      netip.AddrPort
	cmd     *exec.Cmd
	checker *dnsbl.Checker
	log     *logText
	next    int // of the addresses that nobody lists
}

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// serveLists starts rbldnsd with sane zones.
func serveLists(t *testing.T) *rbldnsd {
	t.Helper()
	r := &rbldnsd{t: t, program: tool(t, "rbldnsd"), dir: folder(t), log: new(logText)}
	if _, err := user.Lookup("rbldns"); err != nil || os.Getuid() != 0 {
		t.Skip("CLIENT MISSING: rbldnsd needs root and its user rbldns (interop/install clients)")
	}
	r.at = dnsPort(t, "127.0.0.1")
	r.data("black", blackSane)
	r.data("black6", black6)
	r.data("white", whiteSane)
	r.data("dull", dullSane)
	r.start()
	t.Cleanup(r.kill)
	return r
}

// startLists is serveLists with a checker of its own.
func startLists(t *testing.T) *rbldnsd {
	t.Helper()
	r := serveLists(t)
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{r.at}, Timeout: 400 * time.Millisecond, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	r.checker, err = dnsbl.New(dnsbl.Options{Timeout: time.Second, Log: slog.New(slog.NewTextHandler(r.log, nil))}, client,
		[]dnsbl.List{{Zone: blackZone, Weight: 5}, {Zone: whiteZone, Weight: -3}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.checker.Run(t.Context()) }()
	eventually(t, "an answer of rbldnsd", func() bool { return r.check("192.0.2.1").Hits == black })
	return r
}

// data writes a zone's file as a whole, so that none is read in half.
func (r *rbldnsd) data(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rbldnsd) start() {
	r.t.Helper()
	// Without its own answers' sections it says no more than it must; a TTL
	// below our least keeps what is remembered short.
	r.cmd = exec.Command(r.program, "-n", "-a", "-t", "1", "-c", "1", "-u", "rbldns", "-w", r.dir,
		"-b", fmt.Sprintf("%s/%d", r.at.Addr(), r.at.Port()),
		blackZone+":ip4set:black", blackZone+":ip6trie:black6", whiteZone+":ip4set:white", dullZone+":ip4set:dull")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rbldnsd) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

func (r *rbldnsd) check(a string) dnsbl.Score {
	r.t.Helper()
	scores := make(chan dnsbl.Score, 1)
	began := time.Now()
	s, ready := r.checker.Check(netip.MustParseAddr(a), func(s dnsbl.Score) { scores <- s })
	if ready {
		return s
	}
	select {
	case s = <-scores:
	case <-time.After(toolWait):
		r.t.Fatalf("%s: no score within %s", a, time.Since(began))
	}
	return s
}

// stranger gives an address that was not asked about, and that nobody lists.
func (r *rbldnsd) stranger() string {
	r.next++
	return netip.AddrFrom4([4]byte{100, 64, byte(r.next >> 8), byte(r.next)}).String()
}

func (r *rbldnsd) want(a string, weight int16, hits uint32) {
	r.t.Helper()
	var s dnsbl.Score
	eventually(r.t, "an answer for "+a, func() bool { s = r.check(a); return s.Silent == 0 }) // rbldnsd may be slow
	if s.Weight != weight || s.Hits != hits {
		r.t.Errorf("%s: got %+v, want weight %d and hits %b", a, s, weight, hits)
	}
}

// until checks strangers, of whom none may be refused, until a list is in a state.
func (r *rbldnsd) until(list int, state string) {
	r.t.Helper()
	eventually(r.t, "list "+state, func() bool {
		a := r.stranger()
		if s := r.check(a); s.Hits != 0 {
			r.t.Errorf("%s: got %+v, want no hit", a, s)
		}
		return r.checker.Health()[list].State == state
	})
}

func (r *rbldnsd) lines(text string, want int) {
	r.t.Helper()
	if n := r.log.count(text); n != want {
		r.t.Errorf("got %d lines %q, want %d:\n%s", n, text, want, &r.log.b)
	}
}

func TestDNSBL(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"answers":                          listsAnswer,
		"killed and restarted":             listsKilled,
		"stopped":                          listsStopped,
		"poisoned":                         listsPoisoned,
		"listing everybody from the start": listsOfEverybody,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func listsAnswer(t *testing.T) {
	r := startLists(t)
	r.want("192.0.2.2", 0, 0)
	r.want("198.51.100.77", 5, black)
	r.want("203.0.113.77", -3, white)
	r.want("2001:db8:bad::1", 5, black)
	r.want("2001:db8::1", 0, 0)
	r.want("::ffff:192.0.2.1", 5, black)
	a := netip.MustParseAddr("192.0.2.1")
	eventually(t, "the text of a listing", func() bool {
		zone, text, url := r.checker.Reason(dnsbl.Score{Hits: black}, a)
		return zone == blackZone && text == "Listed, see https://bl.example/q?ip=192.0.2.1" && url == "https://bl.example/q?ip=192.0.2.1"
	})
	for i, f := range r.checker.Findings(t.Context(), a) {
		if f.Listed != (i == 0) || f.Ignored != "" {
			t.Errorf("got %+v, want the first list alone to list %s", f, a)
		}
	}
}

func listsKilled(t *testing.T) {
	r := startLists(t)
	r.kill()
	r.until(0, dnsbl.Silent)
	r.until(1, dnsbl.Silent)
	r.start()
	r.until(0, dnsbl.OK)
	r.until(1, dnsbl.OK)
	r.want("192.0.2.1", 5, black)
	r.lines("DNS list is ignored", 2)
	r.lines("DNS list is used again", 2)
}

func listsStopped(t *testing.T) {
	r := startLists(t)
	if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.until(0, dnsbl.Silent)
	if err := r.cmd.Process.Signal(syscall.SIGCONT); err != nil { // late answers to all of it
		t.Fatal(err)
	}
	r.until(0, dnsbl.OK)
	r.want("192.0.2.1", 5, black)
}

func listsPoisoned(t *testing.T) {
	r := startLists(t)
	r.data("black", blackSane+"127.0.0.1\n")
	// Tested again because of a hit: what it says of others is still right.
	last := byte(0)
	eventually(t, "list poisoned", func() bool {
		last++
		r.check(netip.AddrFrom4([4]byte{198, 51, 100, last}).String())
		return r.checker.Health()[0].State == dnsbl.Poisoned
	})
	r.ignored("192.0.2.1")
	r.data("black", blackSane)
	r.until(0, dnsbl.OK)
	r.want("192.0.2.1", 5, black)
	r.lines("DNS list is ignored", 1)
}

func listsOfEverybody(t *testing.T) {
	r := startLists(t)
	r.kill()
	r.data("black", everybody)
	r.until(0, dnsbl.Silent)
	r.start()
	r.until(0, dnsbl.Poisoned)
	r.ignored("192.0.2.1")
	r.ignored("100.65.0.1")
}

// ignored wants the black list to be ignored.
func (r *rbldnsd) ignored(a string) {
	r.t.Helper()
	if s := r.check(a); s.Hits != 0 || s.Silent&black == 0 {
		r.t.Errorf("%s: got %+v, want the list ignored", a, s)
	}
}
