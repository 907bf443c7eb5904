package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

type place struct {
	lsn  journal.LSN
	rcpt int
}

// host is the stores of a host with a ledger, and the memory of a queue.
type host struct {
	t     *testing.T
	dir   string
	clock *sim.Clock

	j     *journal.Journal
	x     *index.Index
	m     *mailbox.Store
	f     *fate.Store
	l     *ledger.Ledger
	audit *ledger.Audit
	given int64

	mu   sync.Mutex
	open map[place]bool // guarded by mu
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), clock: sim.NewClock(time.Unix(1.8e9, 0))}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *host) start() {
	h.t.Helper()
	var err error
	h.j, err = journal.Open(journal.Options{Dir: filepath.Join(h.dir, "journal"), Clock: h.clock})
	h.must(err)
	h.f = fate.New(fate.Options{Clock: h.clock})
	h.f.OnUpdate(h.update)
	h.m = mailbox.New(mailbox.Options{Clock: h.clock, Others: []mailbox.Other{h.f}}, h.j)
	h.x, err = index.Open(h.t.Context(), index.Options{Path: filepath.Join(h.dir, "index.db")}, h.j, h.m, h.f)
	h.must(err)
	h.must(errors.Join(h.m.Attach(h.x), h.f.Attach(h.x)))
	h.l = ledger.New(ledger.Options{Asides: h.x}, h.f)
	h.given = 0
	h.audit, err = ledger.NewAudit(h.t.Context(), ledger.AuditOptions{Pause: time.Millisecond, Reads: 1 << 20}, ledger.Witnesses{
		Table: h.f, Queue: h, Bodies: h.m, Asides: h.x, Given: func() int64 { return h.given },
	})
	h.must(err)
	h.mu.Lock()
	h.open = map[place]bool{}
	h.mu.Unlock()
	h.must(h.f.Open(h.t.Context(), func(o fate.Open) error {
		h.update([]fate.Update{{Open: o}})
		return nil
	}))
}

func (h *host) stop() {
	if err := errors.Join(h.x.Close(), h.j.Close()); err != nil {
		h.t.Error(err)
	}
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) update(us []fate.Update) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range us {
		if p := (place{u.LSN, u.Rcpt}); u.State.Ended() {
			delete(h.open, p)
		} else if h.open != nil {
			h.open[p] = true
		}
	}
}

// Contains and Each make the host a ledger.Queue.
func (h *host) Contains(lsn journal.LSN, rcpt int) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open[place{lsn, rcpt}], nil
}

func (h *host) Each(fn func(journal.LSN, int)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.open {
		fn(p.lsn, p.rcpt)
	}
	return nil
}

// accept takes a message for recipients in these states.
func (h *host) accept(id string, source fate.Source, states ...fate.State) *fate.Message {
	h.t.Helper()
	m := &fate.Message{
		ID: id, Source: source, Received: h.clock.Now(), MessageID: "<" + id + "@demo.test>",
		From: message.Address{Local: "one", Domain: "demo.test"}, Session: "s-" + id,
		Headers: "DKIM-Signature: v=1; d=demo.test; s=k1; b=x\r\n",
	}
	if source == fate.Submitted {
		m.Account = 7
	}
	for i, s := range states {
		m.Recipients = append(m.Recipients, fate.Recipient{
			Address: message.Address{Local: fmt.Sprint("r", i), Domain: "example.org"}, Standing: fate.Standing{State: s},
		})
	}
	b, err := h.m.NewBody(h.t.Context(), nil)
	h.must(err)
	_, err = io.WriteString(b, "Subject: "+id+"\r\n\r\nThe body of "+id+".\r\n")
	h.must(err)
	m.LSN, _, err = h.m.Deliver(h.t.Context(), b, mailbox.Delivery{ID: id, From: m.From, Received: m.Received, Also: fate.AppendAccepted(nil, m)})
	h.must(err)
	h.given++
	return m
}

func (h *host) change(m *fate.Message, rcpt int, e fate.Event) {
	h.t.Helper()
	e.At = h.clock.Now()
	h.must(h.f.Commit(h.t.Context(), fate.Change{LSN: m.LSN, Rcpt: []int{rcpt}, Event: e, Attempt: true, Due: e.At.Add(time.Hour)}))
}

func (h *host) close(p ledger.Period) ledger.Books {
	h.t.Helper()
	b, err := h.l.Close(h.t.Context(), p)
	h.must(err)
	return b
}

func TestStore_booksAndLife(t *testing.T) {
	h := newHost(t)
	a := h.accept("a", fate.Submitted, fate.Queued, fate.Queued, fate.Delivered)
	h.clock.Advance(time.Hour)
	h.accept("b", fate.Inbound, fate.Delivered, fate.Discarded)
	h.change(a, 0, fate.Event{State: fate.Deferred, Via: "mx.example.org [192.0.2.1]:25", Reply: "451 later"})
	h.clock.Advance(time.Minute)
	h.change(a, 0, fate.Event{State: fate.Relayed, Via: "mx.example.org [192.0.2.1]:25", TLS: "none offered", Reply: "250 ok"})
	b := h.close(ledger.Period{})
	if want := (ledger.Line{Messages: 2, Accepted: 5, Delivered: 2, Relayed: 1, Discarded: 1, Queued: 1}); b.Line != want || !b.Balanced {
		t.Errorf("books = %+v, want %+v", b, want)
	}
	if len(b.Sources) != 2 || b.Sources[0].Source != "inbound" || b.Sources[1].Relayed != 1 {
		t.Errorf("by source = %+v", b.Sources)
	}
	if b := h.close(ledger.Period{Account: 7}); b.Accepted != 3 || len(b.Sources) != 1 {
		t.Errorf("books of an account = %+v", b)
	}
	if b := h.close(ledger.Period{Since: time.Unix(1.8e9+60, 0)}); b.Accepted != 2 {
		t.Errorf("books since = %+v", b)
	}
	for _, what := range []string{"a", "<a@demo.test>", "a@demo.test"} {
		lives, err := h.l.Trace(t.Context(), ledger.Query{What: what})
		h.must(err)
		if len(lives.Lives) != 1 {
			t.Fatalf("trace %s = %+v", what, lives)
		}
		l := lives.Lives[0]
		if l.Session != "s-a" || len(l.Signed) != 1 || l.Account != "account 7" || len(l.To) != 3 {
			t.Errorf("life = %+v", l)
		}
		to := l.To[0]
		if to.State != "relayed" || to.Attempts != 2 || len(to.Events) != 2 || to.Events[0].Reply != "451 later" || to.Events[1].TLS != "none offered" {
			t.Errorf("recipient = %+v", to)
		}
	}
	lives, err := h.l.Trace(t.Context(), ledger.Query{What: "R1@example.ORG"})
	h.must(err)
	if len(lives.Lives) != 2 || lives.Lives[0].ID != "b" {
		t.Errorf("trace of an address = %+v", lives)
	}
	if r := h.audit.Once(t.Context()); len(r.Findings) != 0 || r.Error != "" || r.Open != 1 || r.Bodies != 1 || r.Numbers != 2 {
		t.Errorf("audit = %+v", r)
	}
}

// What was booked stays counted when its books are dropped, and when the clock
// is set back: only a 250 that was never booked is missing.
func TestStore_given(t *testing.T) {
	h := newHost(t)
	h.accept("before", fate.Submitted, fate.Delivered)
	h.stop()
	h.start()
	h.accept("old", fate.Submitted, fate.Delivered)
	notice := func(id string) { // nobody is told 250 of it
		h.accept(id, fate.System, fate.Delivered)
		h.given--
	}
	notice("old notice")
	h.clock.Advance(90 * 24 * time.Hour)
	h.accept("young", fate.Submitted, fate.Delivered)
	n, err := h.f.Purge(t.Context())
	h.must(err)
	h.clock.Advance(-365 * 24 * time.Hour)
	h.accept("set back", fate.Submitted, fate.Delivered)
	if r := h.audit.Once(t.Context()); len(r.Findings) != 0 || r.Error != "" || r.Messages != 2 || n != 3 {
		t.Errorf("%d dropped: %+v", n, r)
	}
	h.given++
	notice("young notice") // makes up for none
	if r := h.audit.Once(t.Context()); len(r.Findings) != 1 || r.Findings[0].Check != ledger.CheckGiven || r.Missing != 1 {
		t.Errorf("one that was not booked: %+v", r)
	}
}

// A body whose bytes have changed on the disk is found before the queue needs
// it.
func TestStore_auditFindsDamage(t *testing.T) {
	h := newHost(t)
	h.accept("good", fate.Submitted, fate.Queued)
	h.accept("bad", fate.Submitted, fate.Queued)
	files, err := filepath.Glob(filepath.Join(h.dir, "journal", "*"))
	h.must(err)
	spoilt := false
	for _, name := range files {
		b, err := os.ReadFile(name)
		h.must(err)
		if i := bytes.Index(b, []byte("The body of bad.")); i >= 0 {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			h.must(err)
			_, err = f.WriteAt([]byte("t"), int64(i))
			h.must(errors.Join(err, f.Close()))
			spoilt = true
		}
	}
	if !spoilt {
		t.Fatalf("no body in %v", files)
	}
	r := h.audit.Once(t.Context())
	if len(r.Findings) != 1 || r.Findings[0].Check != ledger.CheckBody || r.Findings[0].ID != "bad" || r.Missing != 0 {
		t.Errorf("audit = %+v", r)
	}
}

// Whatever happens to recipients, the books balance after each step, say the
// same when the index is made anew, and the audit is content.
func TestStore_random(t *testing.T) {
	for seed := range uint64(3) {
		h := newHost(t)
		r := rand.New(rand.NewPCG(seed, 4))
		var all []*fate.Message
		states := []fate.State{fate.Queued, fate.Deferred, fate.Held, fate.Delivered, fate.Relayed, fate.Bounced, fate.Discarded, fate.SetAside}
		for step := range 60 {
			h.clock.Advance(time.Duration(r.IntN(3600)) * time.Second)
			if len(all) == 0 || r.IntN(3) == 0 {
				first := make([]fate.State, 1+r.IntN(5))
				for i := range first {
					first[i] = []fate.State{fate.Queued, fate.Delivered, fate.Held}[r.IntN(3)]
				}
				all = append(all, h.accept(fmt.Sprint("m", step), fate.Source(1+r.IntN(3)), first...))
			} else {
				m := all[r.IntN(len(all))]
				h.change(m, r.IntN(len(m.Recipients)), fate.Event{State: states[r.IntN(len(states))], Reason: "by chance"})
			}
			if b := h.close(ledger.Period{}); !b.Balanced {
				t.Fatalf("seed %d, step %d: %+v", seed, step, b)
			}
		}
		before := h.close(ledger.Period{})
		h.stop()
		h.must(index.Remove(filepath.Join(h.dir, "index.db")))
		h.start()
		if after := h.close(ledger.Period{}); !reflect.DeepEqual(before, after) {
			t.Errorf("seed %d: the books were %+v and are %+v", seed, before, after)
		}
		if r := h.audit.Once(t.Context()); len(r.Findings) != 0 || r.Error != "" {
			t.Errorf("seed %d: %+v", seed, r)
		}
		var sum ledger.Line
		for _, l := range before.Sources {
			sum.Messages += l.Messages
			sum.Accepted += l.Accepted
			sum.Queued += l.Queued
		}
		if sum.Messages != before.Messages || sum.Accepted != before.Accepted || sum.Queued != before.Queued {
			t.Errorf("seed %d: the sources add up to %+v of %+v", seed, sum, before.Line)
		}
	}
}
