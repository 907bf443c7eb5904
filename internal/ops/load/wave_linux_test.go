package load

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is an SMTP server of this process. What it does to strangers is up to
// the test; good senders are always served.
type fake struct {
	t        *testing.T
	listener net.Listener
	stranger func(c net.Conn, r *bufio.Reader)
	wait     time.Duration // before everybody's banner

	mu   sync.Mutex
	from map[netip.Addr]int // guarded by mu: connections of strangers
	mail int
}

func startFake(t *testing.T, wait time.Duration, stranger func(c net.Conn, r *bufio.Reader)) *fake {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, listener: l, stranger: stranger, wait: wait, from: map[netip.Addr]int{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	a := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr()
	if a == netip.MustParseAddr("127.0.0.1") {
		return // it only looks whether we are here
	}
	select {
	case <-time.After(f.wait):
	case <-f.t.Context().Done():
		return
	}
	if netip.MustParsePrefix("127.1.0.0/16").Contains(a) {
		f.good(c, r)
		return
	}
	f.mu.Lock()
	f.from[a]++
	f.mu.Unlock()
	f.stranger(c, r)
}

// dialogue says banner and then a reply for each line. At the end it waits for
// the client to go.
func dialogue(c net.Conn, r *bufio.Reader, banner string, replies ...string) {
	c.Write([]byte(banner))
	for _, reply := range replies {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		c.Write([]byte(reply))
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "QUIT") {
			c.Write([]byte("221 bye\r\n"))
			return
		}
	}
}

func (f *fake) good(c net.Conn, r *bufio.Reader) {
	c.Write([]byte("220 ready\r\n"))
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(line, "EHLO"):
			c.Write([]byte("250-fake\r\n250 PIPELINING\r\n"))
		case strings.HasPrefix(line, "DATA"):
			c.Write([]byte("354 go on\r\n"))
			for line != ".\r\n" && err == nil {
				line, err = r.ReadString('\n')
			}
			c.Write([]byte("250 taken\r\n"))
			f.mu.Lock()
			f.mail++
			f.mu.Unlock()
		case strings.HasPrefix(line, "QUIT"):
			c.Write([]byte("221 bye\r\n"))
			return
		default:
			c.Write([]byte("250 fine\r\n"))
		}
	}
}

// play runs a small wave: 30 connections at most, in some 0.6 s.
func play(t *testing.T, f *fake, o Options) *Result {
	t.Helper()
	o.To, o.Factor, o.GoodRate, o.quietGap = f.listener.Addr().String(), 0.1, 20, time.Millisecond
	if o.Speed == 0 {
		o.Speed = 500
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Wave(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if sum := r.RefusedAtRcpt + r.Accepted + r.TurnedAway + r.Lost + r.Unfinished; sum != r.Attempted {
		t.Errorf("fates of %d strangers, of %d that set out", sum, r.Attempted)
	}
	if r.Good.Sent == 0 || r.Good.OK != r.Good.Sent {
		t.Errorf("good mail: got %d of %d, %v; want all", r.Good.OK, r.Good.Sent, r.Good.Failures)
	}
	return r
}

func wantStrangers(t *testing.T, f *fake, r *Result) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	total := 0
	for a, n := range f.from {
		total += n
		if n != 1 {
			t.Errorf("%s came %d times", a, n)
		}
	}
	if total != r.Attempted {
		t.Errorf("the server saw %d strangers, the result has %d", total, r.Attempted)
	}
	if quiet := r.Good.Known.Quiet.OK + r.Good.New.Quiet.OK; f.mail != r.Good.OK+quiet {
		t.Errorf("the server took %d mails, the result has %d", f.mail, r.Good.OK+quiet)
	}
}

func TestWave_HeldAndRefused(t *testing.T) {
	t.Parallel()
	f := startFake(t, 0, func(c net.Conn, r *bufio.Reader) {
		dialogue(c, r, "220-a\r\n220 b\r\n", "250-x\r\n250 y\r\n", "250 ok\r\n", "550-5.7.1 listed\r\n550 5.7.1 by list.test\r\n")
	})
	r := play(t, f, Options{PIDs: []int{os.Getpid()}})
	if r.Offered != 30 || r.HeldMax != 30 || r.GreetedMax != 30 || r.RefusedAtRcpt != r.Attempted {
		t.Errorf("got offered %d, held %d, greeted %d, refused %d of %d; want 30, 30, 30, all", r.Offered, r.HeldMax, r.GreetedMax, r.RefusedAtRcpt, r.Attempted)
	}
	if got := r.Replies["rcpt 550"]; got != r.Attempted {
		t.Errorf("got %d replies 550 to RCPT, want %d: %v", got, r.Attempted, r.Replies)
	}
	if r.Server == nil || r.Server.PSSIdle == 0 || r.Server.CPUWave == 0 {
		t.Errorf("got the server's figures %+v, want some", r.Server)
	}
	wantStrangers(t, f, r)
}

func TestWave_SomeQuit(t *testing.T) {
	t.Parallel()
	f := startFake(t, 0, func(c net.Conn, r *bufio.Reader) {
		dialogue(c, r, "220 b\r\n", "250 y\r\n", "250 ok\r\n", "550 no\r\n")
	})
	r := play(t, f, Options{Quit: 0.5})
	if r.RefusedAtRcpt != r.Attempted || r.Replies["quit 221"] < r.Attempted/2-1 {
		t.Errorf("got %d refused of %d, %v", r.RefusedAtRcpt, r.Attempted, r.Replies)
	}
}

func TestWave_LateBannersAndStutteredReplies(t *testing.T) {
	t.Parallel()
	const wait = 150 * time.Millisecond
	f := startFake(t, wait, func(c net.Conn, r *bufio.Reader) {
		for _, reply := range []string{"220 b\r\n", "250 y\r\n", "250 ok\r\n", "550 no\r\n"} {
			for i := range reply {
				c.Write([]byte(reply[i : i+1]))
			}
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
	})
	r := play(t, f, Options{})
	if r.RefusedAtRcpt != r.Attempted {
		t.Errorf("got %d refused, want %d: %v", r.RefusedAtRcpt, r.Attempted, r.LostBy)
	}
	for name, c := range map[string]Class{"known": r.Good.Known, "new": r.Good.New} {
		if c.Wait < 150 || c.P50 >= c.Wait {
			t.Errorf("%s: got a wait of %g ms and p50 %g ms beyond it, want 150 ms and less", name, c.Wait, c.P50)
		}
	}
	for _, d := range r.Good.Slowest {
		if d.Steps["banner"] < 149 || d.Steps["message"] == 0 {
			t.Errorf("got a delivery that %s", d)
		}
	}
	if len(r.Good.Slowest) == 0 {
		t.Error("got no slowest deliveries")
	}
	if r.Wait.P50 < 150 {
		t.Errorf("strangers waited %g ms for the banner, want 150", r.Wait.P50)
	}
}

func TestWave_CountsTheLost(t *testing.T) {
	t.Parallel()
	silence := func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := r.ReadByte(); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name, why string
		stranger  func(c net.Conn, r *bufio.Reader)
	}{
		{"reset", "reset at", func(c net.Conn, r *bufio.Reader) { c.(*net.TCPConn).SetLinger(0) }},
		{"closed", "closed at banner", func(c net.Conn, r *bufio.Reader) {}},
		{"silent", "no answer at banner", silence},
		{"closed at EHLO", "closed at ehlo", func(c net.Conn, r *bufio.Reader) {
			c.Write([]byte("220 b\r\n"))
			r.ReadString('\n')
		}},
		{"silent at RCPT", "no answer at rcpt", func(c net.Conn, r *bufio.Reader) {
			c.Write([]byte("220 b\r\n"))
			r.ReadString('\n')
			c.Write([]byte("250 b\r\n"))
			r.ReadString('\n')
			c.Write([]byte("250 b\r\n"))
			silence(c, r)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, 0, tt.stranger)
			r := play(t, f, Options{Patience: time.Second})
			if r.Lost != r.Attempted || r.Lost < 30 {
				t.Errorf("got %d lost of %d, want all of 30 or more", r.Lost, r.Attempted)
			}
			for why := range r.LostBy {
				if !strings.HasPrefix(why, tt.why) {
					t.Errorf("lost by %v, want %s", r.LostBy, tt.why)
				}
			}
		})
	}
}

func TestWave_CountsTheTurnedAwayAndTheAccepted(t *testing.T) {
	t.Parallel()
	f := startFake(t, 0, func(c net.Conn, r *bufio.Reader) { c.Write([]byte("421 too many\r\n")) })
	if r := play(t, f, Options{}); r.TurnedAway != r.Attempted || r.Lost != 0 {
		t.Errorf("got %d turned away, %d lost of %d; want all, none", r.TurnedAway, r.Lost, r.Attempted)
	}
	f = startFake(t, 0, f.good)
	if r := play(t, f, Options{}); r.Accepted != r.Attempted {
		t.Errorf("got %d accepted of %d, want all", r.Accepted, r.Attempted)
	}
}

func TestWave_InterruptedGivesWhatThereIs(t *testing.T) {
	t.Parallel()
	f := startFake(t, 0, func(c net.Conn, r *bufio.Reader) {
		dialogue(c, r, "220 b\r\n", "250 y\r\n", "250 ok\r\n", "550 no\r\n")
	})
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{To: f.listener.Addr().String(), Factor: 0.1, Speed: 20, quietGap: time.Millisecond}
	o.Progress = func(p Progress) {
		if p.Phase == PhaseWave && p.Refused > 0 {
			cancel()
		}
	}
	r, err := Wave(ctx, o)
	if err != nil || !r.Interrupted || r.RefusedAtRcpt == 0 || len(r.Good.Failures) > 0 {
		t.Fatalf("got %+v, %v; want an interrupted result with refusals and no failures", r, err)
	}
}

func TestWave_RefusesToStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"elsewhere", Options{To: "192.0.2.1:25"}, "not an address of this machine"},
		{"IPv6", Options{To: "[::1]:25"}, "no IPv4 address"},
		{"no port", Options{To: "127.0.0.1"}, "no HOST:PORT"},
		{"port 0", Options{To: "127.0.0.1:0"}, "no port"},
		{"nobody there", Options{To: closed}, "no server takes connections"},
		{"no process", Options{To: closed, PIDs: []int{1 << 30}}, "process 1073741824"},
		{"factor", Options{Factor: -1}, "the factor is -1"},
		{"share", Options{Quit: 1.5}, "share of strangers"},
		{"recipient", Options{Rcpt: "a b@c"}, "no address"},
	} {
		if _, err := Wave(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want …%s…", tt.name, err, tt.want)
		}
	}
}

func TestWave_NeedsGoodMailToArrive(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				dialogue(c, bufio.NewReader(c), "220 b\r\n", "250 y\r\n", "250 ok\r\n", "550 who?\r\n")
				c.Close()
			}()
		}
	}()
	_, err = Wave(t.Context(), Options{To: l.Addr().String(), quietGap: time.Millisecond})
	if want := "550 at rcpt (80 times)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want …%s…", err, want)
	}
}

// TestMeter_SumsTheTree reads a /proc of files.
func TestMeter_SumsTheTree(t *testing.T) {
	dir := t.TempDir()
	put := func(pid, stat, pss string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"stat": stat, "smaps_rollup": "Rss: 9 kB\nPss:  " + pss + " kB\n"} {
			if err := os.WriteFile(filepath.Join(dir, pid, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const rest = " 0 0 0 0 0 0 0 0"
	put("10", "10 (a (b) c) S 1 0 0 0 0 0 0 0 0 0 1 2 3 4"+rest, "100")
	put("11", "11 (child) S 10 0 0 0 0 0 0 0 0 0 10 0 0 0"+rest, "20")
	put("12", "12 (grandchild) S 11 0 0 0 0 0 0 0 0 0 0 20 0 0"+rest, "3")
	put("13", "13 (stranger) S 1 0 0 0 0 0 0 0 0 0 500 500 0 0"+rest, "900")
	m := meter{proc: dir, pids: []int{10, 11}}
	if got := m.read(); got.pss != 123<<10 || got.cpu != 400*time.Millisecond {
		t.Errorf("got %d bytes, %s; want %d, 400ms", got.pss, got.cpu, 123<<10)
	}
	if err := (&meter{proc: dir, pids: []int{99}}).check(); err == nil {
		t.Error("a process that is not there passes")
	}
}
