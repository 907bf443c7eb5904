package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
)

// seeds returns the range of seeds to run: SEEDS is how many, SEED the first;
// SEED alone is only that one.
func seeds(t *testing.T, otherwise uint64) (first, last uint64) {
	read := func(name string) uint64 {
		n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), "0"), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	first, n := read("SEED"), read("SEEDS")
	if first > 0 {
		otherwise = 1
	}
	first = cmp.Or(first, 1)
	return first, first + cmp.Or(n, otherwise) - 1
}

// simDir is the host's directory on the simulated disk.
const simDir = "/sim"

// TestSim_powerCuts runs a whole host, from SMTP dialogue to mailbox, on a
// disk whose power is cut at a random call, again and again. After each cut,
// what got its 250 is in the mailbox exactly once and intact (I1, I2, I7), and
// UIDs were only ever given once (I6). A failure names its seed.
func TestSim_powerCuts(t *testing.T) {
	base := simBase(t, simConfig(), admin.Request{Op: admin.AccountAdd, Address: "one@demo.test", Password: testPassword})
	first, last := seeds(t, 30)
	for seed := first; seed <= last; seed++ {
		w := &simWorld{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), disk: base.Fork(seed), uids: map[string]uint32{}}
		for round := range 3 {
			w.run(round)
			if t.Failed() {
				t.Fatalf("again with: SEED=%d go test ./internal/host -run Sim", seed)
			}
		}
	}
}

// simConfig is the configuration of a simulated host.
func simConfig() Config {
	c := Default()
	c.Hostname, c.Dir = "sim.test", simDir
	c.Journal.SegmentSize = 1 << 20 // so that rounds begin new segments
	return c
}

// simBase makes a host with its accounts: hashing their passwords for every
// seed would take longer than the simulation.
func simBase(t *testing.T, c Config, requests ...admin.Request) *sim.Disk {
	t.Helper()
	d := sim.NewDisk(0)
	s, err := OpenStore(t.Context(), c, StoreOptions{FS: d, MemoryIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range append([]admin.Request{{Op: admin.DomainAdd, Domain: demoDomain}}, requests...) {
		if a := s.Admin().Do(t.Context(), q); a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// simWorld is one seed: a disk, and what its host has promised so far.
type simWorld struct {
	t    *testing.T
	seed uint64
	rand *rand.Rand
	disk *sim.Disk

	mu    sync.Mutex
	sent  int
	acked []string          // bodies that got their 250; guarded by mu
	uids  map[string]uint32 // body → UID, as seen in earlier rounds
}

// run starts the host, checks what it has, and sends until the power fails.
func (w *simWorld) run(round int) {
	s, err := OpenStore(w.t.Context(), simConfig(), StoreOptions{FS: w.disk, MemoryIndex: true})
	if err != nil {
		w.t.Errorf("round %d: open: %v", round, err)
		return
	}
	w.check(round, s)
	w.disk.CrashAt(1 + w.rand.IntN(40))
	var wg sync.WaitGroup
	for range 1 + w.rand.IntN(3) {
		sizes := make([]int, 1+w.rand.IntN(8))
		for i := range sizes {
			sizes[i] = 1 << w.rand.IntN(17)
		}
		if w.rand.IntN(8) == 0 {
			sizes[0] = 1<<20 + w.rand.IntN(1<<19) // a large body: its own segment
		}
		wg.Go(func() { w.send(s, sizes) })
	}
	wg.Wait()
	_ = s.Close() // its disk may be gone; what counts is what the next start finds
	mode := sim.Any
	if w.rand.IntN(4) == 0 {
		mode = sim.Keep // kill -9 rather than a power cut
	}
	w.disk.Crash(mode)
}

// send delivers messages over one SMTP session until the host refuses one.
func (w *simWorld) send(s *Store, sizes []int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	client, server := net.Pipe()
	srv := session.New(session.Options{Hostname: "sim.test"}, mailroom{Intake: intake.New(intake.Options{}, s.Accounts, s.Mailboxes), given: new(atomic.Int64)}, s.Accounts)
	var wg sync.WaitGroup
	wg.Go(func() { srv.ServeConn(ctx, listen.NewConn(server, listen.Facts{})) })
	defer wg.Wait()
	c := smtp.NewClient(client, smtp.ClientOptions{Hostname: "client.test"})
	defer c.Close()
	if err := c.Hello(ctx); err != nil {
		return
	}
	to := []smtp.Recipient{{To: message.Address{Local: "one", Domain: demoDomain}}}
	for _, size := range sizes {
		w.mu.Lock()
		w.sent++
		body := fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", w.sent, strings.Repeat("x", size%900)+strings.Repeat("\r\n"+strings.Repeat("y", 70), size/72))
		w.mu.Unlock()
		if _, err := c.Send(ctx, &smtp.Envelope{Recipients: to}, strings.NewReader(body)); err != nil {
			return
		}
		w.mu.Lock()
		w.acked = append(w.acked, body)
		w.mu.Unlock()
	}
}

// check compares the mailbox with what was promised.
func (w *simWorld) check(round int, s *Store) {
	ctx := w.t.Context()
	counts := map[string]int{}
	a, err := s.Accounts.Get(ctx, message.Address{Local: "one", Domain: demoDomain})
	if err != nil {
		w.t.Errorf("round %d: account: %v", round, err)
		return
	}
	inbox, err := s.Mailboxes.Lookup(ctx, a.ID, "INBOX")
	if err != nil {
		w.t.Errorf("round %d: INBOX: %v", round, err)
		return
	}
	m, err := s.Mailboxes.OpenMailbox(ctx, inbox.ID)
	if err != nil {
		w.t.Errorf("round %d: open INBOX: %v", round, err)
		return
	}
	defer m.Close()
	entries, _, err := m.Entries(ctx)
	if err != nil {
		w.t.Errorf("round %d: list INBOX: %v", round, err)
	}
	for _, e := range entries {
		b, err := s.Mailboxes.OpenMessage(ctx, e.Message)
		if err != nil {
			w.t.Errorf("round %d: UID %d: %v", round, e.UID, err)
			continue
		}
		raw, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err := errors.Join(err, b.Close()); err != nil {
			w.t.Errorf("round %d: UID %d: %v", round, e.UID, err)
			continue
		}
		_, body, _ := strings.Cut(string(raw), "Subject: ")
		body = "Subject: " + body
		counts[body]++
		if uid, seen := w.uids[body]; seen && uid != uint32(e.UID) {
			w.t.Errorf("round %d: a message had UID %d and now has %d", round, uid, e.UID)
		}
		w.uids[body] = uint32(e.UID)
	}
	for body, n := range counts {
		if n > 1 {
			w.t.Errorf("round %d: a message is there %d times:\n%.40q", round, n, body)
		}
	}
	for i, body := range w.acked {
		if counts[body] != 1 {
			w.t.Errorf("round %d: message %d of %d got its 250 and is there %d times", round, i+1, len(w.acked), counts[body])
		}
	}
}
