package restraint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[headLen-4:], crc32.Checksum(b[headLen:], castagnoli()))
	return b
}

func TestFile_damaged(t *testing.T) {
	h := newHouse(t, Options{})
	h.send(Sender{Account: 7}, people("friend", 0, 5))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(Options{})
	if n := h.Standing(Sender{Account: 7}).Known; n != 5 {
		t.Errorf("%d known after a restart", n)
	}
	f, err := h.disk.Open("sent", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 40); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(Options{})
	if n := len(h.books); n != 0 {
		t.Errorf("%d books from a damaged file", n)
	}
	if f, err := h.disk.Open("sent.aside", os.O_RDONLY, 0); err != nil {
		t.Errorf("not set aside: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	h.send(Sender{Account: 7}, people("friend", 0, 5))
	h.disk.Full(0)
	if err := h.Close(); err == nil {
		t.Error("saved on a full disk")
	}
	h.disk.Full(-1)
	if err := h.Close(); err != nil {
		t.Errorf("when there was room again: %v", err)
	}
}

func TestRun_saves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		synctest.Wait()
		h.send(Sender{Account: 7}, people("friend", 0, 5))
		if _, err := h.disk.Open("sent", os.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written at once: %v", err)
		}
		h.clock.Advance(saveEvery)
		synctest.Wait()
		var s snapshot
		if _, err := h.file.Load(func(b []byte) (err error) { s, err = decode(b); return err }); err != nil || len(s.books) != 1 {
			t.Errorf("%v, %v", s, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// fakeAccounts are some, held or not.
type fakeAccounts struct {
	all  map[account.ID]account.Account
	err  error
	told []string
}

func (f *fakeAccounts) ByID(_ context.Context, id account.ID) (account.Account, error) {
	a, ok := f.all[id]
	if !ok {
		return a, errors.Join(f.err, account.ErrNoSuchUser)
	}
	return a, f.err
}

func (f *fakeAccounts) Resolve(_ context.Context, a message.Address) ([]account.Recipient, error) {
	if a.Domain == "demo.test" {
		return nil, nil
	}
	return nil, account.ErrNotLocal
}

func (f *fakeAccounts) Hold(_ context.Context, id account.ID, reason string) error {
	if f.err != nil {
		return f.err
	}
	a := f.all[id]
	a.Hold = account.Hold{Since: time.Unix(1, 0), Reason: reason}
	f.all[id] = a
	f.told = append(f.told, reason)
	return nil
}

// by is a transaction of a user.
func by(id account.ID, to ...message.Address) *smtp.Envelope {
	e := &smtp.Envelope{Account: uint64(id), RemoteIP: netip.MustParseAddr("192.0.2.1")}
	for _, a := range to {
		e.Recipients = append(e.Recipients, smtp.Recipient{To: a})
	}
	return e
}

// submit sends a message to one recipient.
func submit(g *Guard, id account.ID, to message.Address) *smtp.Reply {
	e := by(id, to)
	if r := g.Recipient(e, to); r != nil {
		return r
	}
	return g.Message(e)
}

func TestGuard(t *testing.T) {
	h := newHouse(t, Options{})
	f := &fakeAccounts{all: map[account.ID]account.Account{7: {ID: 7}, 8: {ID: 8, SendHour: 3}}}
	g := NewGuard(h.Restraint, f, nil)
	left := 0
	for n := range 5000 {
		if submit(g, 7, person("victim", n)) != nil {
			break
		}
		left++
	}
	if left != strangersBase || len(f.told) != 1 {
		t.Errorf("%d have left, holds %q", left, f.told)
	}
	if r := g.Message(by(7)); r == nil || r.Code != 450 {
		t.Errorf("a message of a held account: %v", r)
	}
	for range 3 {
		if r := g.Recipient(by(8), message.Address{Local: "one", Domain: "demo.test"}); r != nil {
			t.Error(r)
		}
	}
	if r := g.Recipient(by(8), person("friend", 1)); r == nil || r.Code != 450 {
		t.Errorf("beyond its own limit: %v", r)
	}
	if r := g.Recipient(by(9), person("friend", 1)); r == nil || r.Code != 550 {
		t.Errorf("nobody: %v", r)
	}
	for range 20 {
		g.Relayed(8)
		g.Bounced(8)
	}
	if !f.all[8].Hold.On() {
		t.Error("not held for its bounces")
	}
}

// A hold that cannot be noted is a verdict all the same, and noted later.
func TestGuard_faults(t *testing.T) {
	h := newHouse(t, Options{})
	f := &fakeAccounts{all: map[account.ID]account.Account{7: {ID: 7}}}
	g := NewGuard(h.Restraint, f, nil)
	for n := range strangersBase {
		if r := g.Recipient(by(7), person("victim", n)); r != nil {
			t.Fatal(r)
		}
	}
	broken := &brokenHold{f}
	g = NewGuard(h.Restraint, broken, nil)
	for range 3 {
		if r := g.Recipient(by(7), person("victim", 1000)); r == nil {
			t.Error("let through because the hold could not be noted")
		}
	}
	g = NewGuard(h.Restraint, f, nil)
	if r := g.Recipient(by(7), person("victim", 1000)); r == nil || len(f.told) != 1 {
		t.Errorf("when it could be noted: %v, %q", r, f.told)
	}
	f.err = errors.New("no answer")
	if r := g.Recipient(by(7), person("victim", 1000)); r == nil || r.Code != 451 {
		t.Errorf("a fault: %v", r)
	}
}

type brokenHold struct{ *fakeAccounts }

func (*brokenHold) Hold(context.Context, account.ID, string) error { return errors.New("disk is full") }

var update = flag.Bool("update", false, "rewrite golden files")

// TestFile_frozen: a file of today is read by the programs of tomorrow.
func TestFile_frozen(t *testing.T) {
	h := newHouse(t, Options{})
	s := Sender{Account: 7}
	h.live(s, 20)
	h.seen(7, "192.0.2.1")
	for id := range account.ID(crowdAccounts) {
		h.send(Sender{Account: 300 + id, IP: netip.MustParseAddr("2001:db8::1")}, people("stranger", 0, int(id)))
	}
	h.Relayed(7)
	h.Bounced(7)
	h.Heard(7, person("asker", 1))
	h.send(s, people("asker", 1, 1))
	h.mu.Lock()
	got := h.encode()
	h.mu.Unlock()
	name := filepath.Join("testdata", "restraint.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what is written now is not what was frozen: a change of the format needs another version")
	}
	if s, err := decode(want); err != nil || len(s.books) != 1+crowdAccounts || len(s.sites) != 2 {
		t.Errorf("the frozen file: %v, %v", s, err)
	}
}

// Many sessions at once get out no more than one.
func TestGuard_concurrent(t *testing.T) {
	h := newHouse(t, Options{})
	f := &lockedAccounts{fakeAccounts: fakeAccounts{all: map[account.ID]account.Account{7: {ID: 7}}}}
	g := NewGuard(h.Restraint, f, nil)
	var left atomic.Int64
	var wg sync.WaitGroup
	for k := range 16 {
		wg.Go(func() {
			for n := range 300 {
				if submit(g, 7, person("victim", k*300+n)) == nil {
					left.Add(1)
				}
				g.Withdrawn(by(7), 1)
				h.Networks()
				g.Relayed(7)
				g.Heard(7, person("friend", n))
			}
		})
	}
	wg.Wait()
	if n := left.Load(); n > strangersBase || !f.all[7].Hold.On() {
		t.Errorf("%d have left", n)
	}
}

// lockedAccounts are fakeAccounts for many at once.
type lockedAccounts struct {
	mu sync.Mutex
	fakeAccounts
}

func (l *lockedAccounts) ByID(ctx context.Context, id account.ID) (account.Account, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fakeAccounts.ByID(ctx, id)
}

func (l *lockedAccounts) Hold(ctx context.Context, id account.ID, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fakeAccounts.Hold(ctx, id, reason)
}
