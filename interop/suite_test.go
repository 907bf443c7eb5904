//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/proc"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

const (
	// Bounds for what hangs: a slow machine that runs six tests at once may take
	// many times what a quick one does, and must not fail for it.
	toolWait = 5 * time.Minute // for one run of a client
	seenWait = 4 * time.Minute // until a message or a change is seen
	// Looks begin with the lesser gap and come to the greater one: many of them
	// are runs of a program, which would keep the machine busy.
	lookGap    = 20 * time.Millisecond
	lookGapMax = 300 * time.Millisecond
)

// The flags of the suite.
var (
	against  = flag.String("against", "breakwater", "host of the delivery and reading tests: breakwater, maildir or mdbox")
	kills    = flag.Int("kills", 8, "SIGKILLs of the kill suite")
	messages = flag.Int("messages", 3000, "messages of the kill suite")
	seed     = flag.Uint64("seed", 0, "of the kill suite (default: the time)")
)

// binKey carries the program's path into the namespaces.
const binKey = "BREAKWATER_INTEROP_BIN"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv(binKey) == "" {
		dir, err := os.MkdirTemp("", "interop-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin, err := peers.Build(context.Background(), dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv(binKey, string(bin))
	}
	status, ran, err := proc.Isolate()
	if ran {
		return status
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT IN NAMESPACES OF ITS OWN:", err)
	}
	if err == nil { // never on the system itself
		err = addUsers("Debian-exim", "opensmtpd", "opensmtpq")
		if err != nil {
			fmt.Fprintln(os.Stderr, "USERS MISSING:", err)
		}
	}
	// Parallel tests wait for hosts and clients much more than they compute.
	// The command line still has the last word.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// addUsers adds users to the system's list, as it is seen in these namespaces:
// servers that are unpacked and not installed want those that their packages
// would have made.
func addUsers(names ...string) error {
	like, err := user.Lookup("mail")
	if err != nil {
		return err
	}
	users, groups := "", ""
	for _, name := range names {
		if _, err := user.Lookup(name); err != nil {
			users += fmt.Sprintf("%s:x:%s:%s::/:/usr/sbin/nologin\n", name, like.Uid, like.Gid)
			groups += fmt.Sprintf("%s:x:%s:\n", name, like.Gid)
		}
	}
	if users == "" {
		return nil
	}
	return errors.Join(lengthen("/etc/passwd", users), lengthen("/etc/group", groups))
}

// lengthen lays a copy of a file with more lines over it, once. The copy has no
// name any more when it is there: nothing is left over.
func lengthen(path, lines string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "interop-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(append(old, lines...)); err == nil {
		err = f.Chmod(0o644)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := unix.Mount(f.Name(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("lay a list of users over %s: %w", path, err)
	}
	return nil
}

func bin() peers.Bin { return peers.Bin(os.Getenv(binKey)) }

// folder makes a short-named folder that other users may enter, unlike
// t.TempDir: sockets lie in it, and Postfix and Dovecot have users of their own.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startServer starts the host that -against names, with three users.
func startServer(t *testing.T) *peers.Server {
	t.Helper()
	if *against == "breakwater" {
		return &startBreakwater(t, folder(t), "").Server
	}
	s, err := peers.StartPostfix(t.Context(), folder(t), peers.Format(*against))
	if errors.Is(err, peers.ErrMissing) {
		t.Skipf("PEER MISSING: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// startBreakwater starts a host of ours in dir with three users. At the end of
// the test it must stop by itself.
func startBreakwater(t *testing.T, dir, config string) *peers.Breakwater {
	t.Helper()
	b := made(t, dir, config)
	started(t, b)
	return b
}

// made makes a host that is not started yet, so that others can be told where
// it will be.
func made(t *testing.T, dir, config string) *peers.Breakwater {
	t.Helper()
	b, err := peers.NewBreakwater(t.Context(), bin(), filepath.Join(dir, "host"), config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// started starts a host that was made, with three users.
func started(t *testing.T, b *peers.Breakwater) {
	t.Helper()
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Errorf("stop: %v\n%s", err, b.LogTail())
		}
		if t.Failed() {
			t.Logf("the host's log ends:\n%s", b.LogTail())
		}
	})
	if err := errors.Join(b.Start(t.Context()), b.Provision(t.Context(), 3)); err != nil {
		t.Fatal(err)
	}
}

// loopback is where servers are.
const loopback = "127.0.0.1"

// reserve keeps a TCP port of an address for a server of the test.
func reserve(t *testing.T, ip string) (addr string) {
	t.Helper()
	addr, hold, err := peers.Reserve(ip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	return addr
}

// dnsPort finds a port of an address that is free for UDP and TCP. It lies below
// those that the kernel gives to clients, so that it stays free.
func dnsPort(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	var at netip.AddrPort
	eventually(t, "a port that is free", func() bool {
		pc, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", ip, 11_000+rand.IntN(20_000)))
		if err != nil {
			return false
		}
		at = netip.MustParseAddrPort(pc.LocalAddr().String())
		l, err := net.Listen("tcp", at.String())
		if err == nil {
			l.Close()
		}
		return errors.Join(err, pc.Close()) == nil
	})
	return at
}

// tool finds a program or skips, loudly and by name.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			return path
		}
	}
	t.Skipf("CLIENT MISSING: %s (interop/install clients)", name)
	return ""
}

// system is tool for what must be Debian's own, not one from elsewhere in PATH.
func system(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("CLIENT MISSING: %s (interop/install clients)", path)
	}
	return path
}

// run runs a client with a home of its own and gives what it printed. It fails
// the test if the client fails.
func run(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	out, err := try(t, home, nil, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for a client that may fail, or wants input.
func try(t *testing.T, home string, input []byte, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "LANG=C.UTF-8", "TERM=xterm", "XDG_CONFIG_HOME="+home+"/.config")
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("ended after %s: %w", toolWait, err)
	}
	return string(out), err
}

// write makes a file, with its folders.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// imap opens a session of a user that is closed with the test.
func imap(t *testing.T, s *peers.Server, user int) *wire.IMAP {
	t.Helper()
	c, err := s.IMAP(user)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return c
}

// eventually waits until ok says yes, or fails with what.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(seenWait)
	for gap := lookGap; !ok(); gap = min(gap*3/2, lookGapMax) {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s", what, seenWait)
		case <-time.After(gap):
		}
	}
}

// bodies waits until a mailbox has n messages and gives them whole.
func bodies(t *testing.T, s *peers.Server, user int, mailbox string, n int) [][]byte {
	t.Helper()
	c := imap(t, s, user)
	have := 0
	eventually(t, fmt.Sprintf("%d messages in %s", n, mailbox), func() bool {
		var err error
		if have, err = c.Messages(mailbox); err != nil {
			t.Fatal(err)
		}
		return have >= n
	})
	if have != n {
		t.Fatalf("%s has %d messages, not %d", mailbox, have, n)
	}
	if err := c.Do("EXAMINE "+wire.Quote(mailbox), nil); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	err := c.Do("FETCH 1:* BODY.PEEK[]", func(r wire.Response) {
		for _, l := range r.Literals {
			all = append(all, bytes.Clone(l))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != n {
		t.Fatalf("FETCH gave %d bodies of %d", len(all), n)
	}
	return all
}
