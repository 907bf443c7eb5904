package host

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/session"
	"github.com/breakwater-mail/breakwater/internal/mail/mailauth"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/ops/admin"
	"github.com/breakwater-mail/breakwater/internal/ops/ledger"
	"github.com/breakwater-mail/breakwater/internal/spool/delivery"
	"github.com/breakwater-mail/breakwater/internal/spool/intake"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// outLeadsTo is where addresses of the simulated host lead; all others lead to
// themselves.
var outLeadsTo = map[string][]string{
	"three@demo.test": {"three@demo.test", "ext@b.test"}, // forwards and keeps a copy
	"gone@demo.test":  {"far@c.test"},                    // forwards
	"team@demo.test":  {"one@demo.test", "two@demo.test", "mate@a.test", "mate@b.test"},
	"away@demo.test":  {"away@d.test"},
}

// outUsers are the accounts, outNames whom they write to. Whoever begins with
// "no" is refused for good.
var (
	outUsers = []string{"one@demo.test", "two@demo.test", "three@demo.test"}
	outNames = []string{
		"one@demo.test", "two@demo.test", "three@demo.test", "gone@demo.test", "team@demo.test", "away@demo.test",
		"u@a.test", "v@a.test", "u@b.test", "v@b.test", "u@c.test", "v@c.test", "u@d.test", "no@a.test", "nobody@c.test",
	}
)

// stranger writes from elsewhere, and wants to hear what became of it.
const stranger = "stranger@outside.test"

// TestSim_outgoing runs a whole host whose users, and strangers, write to
// people here and elsewhere, on a disk whose power is cut at a random call,
// among hosts that refuse, put off, vanish and break off. After each cut, and
// at the end, when all of it works again:
//
//   - the books balance, and an audit finds nothing;
//   - what got its 250 is filed once for each who is here (I2), and for each
//     who is elsewhere it has arrived there, or the sender has one report of it;
//   - nothing arrived more often than once, but for each time that a reply was
//     cut off or a crash forgot the result (I3);
//   - nothing waits any more.
//
// A failure names its seed.
func TestSim_outgoing(t *testing.T) {
	base := outBase(t)
	cert := outCertificate(t)
	first, last := seeds(t, 10)
	for seed := first; seed <= last; seed++ {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("again with: SEED=%d go test ./internal/host -run Sim_outgoing", seed)
				}
			}()
			time.Sleep(24 * time.Hour) // the base was made before
			w := newOutWorld(t, seed, base.Fork(seed), cert)
			w.lives(2 + w.roll(3))
		})
	}
}

// lives has a host of some lives, and then one that is left in peace.
func (w *outWorld) lives(n int) {
	for round := range n {
		w.live(round)
		if w.t.Failed() {
			return
		}
	}
	w.settle()
}

func outBase(t *testing.T) (base *sim.Disk) {
	requests := []admin.Request{
		{Op: admin.AccountAdd, Address: "gone@demo.test", Password: testPassword},
		{Op: admin.AccountForward, Address: "gone@demo.test", Targets: outLeadsTo["gone@demo.test"], Account: &admin.AccountRequest{NoCopy: true}},
		{Op: admin.AliasAdd, Address: "team@demo.test", Targets: outLeadsTo["team@demo.test"]},
		{Op: admin.AliasAdd, Address: "away@demo.test", Targets: outLeadsTo["away@demo.test"]},
	}
	for i, u := range outUsers {
		requests = slices.Insert(requests, i, admin.Request{Op: admin.AccountAdd, Address: u, Password: testPassword})
	}
	requests = append(requests, admin.Request{
		Op: admin.AccountForward, Address: "three@demo.test", Targets: []string{"ext@b.test"}, Account: &admin.AccountRequest{},
	})
	synctest.Test(t, func(t *testing.T) { base = simBase(t, outConfig(), requests...) })
	return base
}

func outCertificate(t *testing.T) *tls.Config {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"sim.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates:     []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		CurvePreferences: []tls.CurveID{tls.X25519}, // quicker than the default, which tests nothing of ours
	}
}

// outConfig is the configuration of the host: journals are small and mail is
// soon forgotten, so that the journal is compacted, too.
func outConfig() Config {
	c := simConfig()
	c.Journal.SegmentSize = 1 << 17
	c.Mailbox.Retention = Duration(time.Minute)
	c.Delivery.Hold, c.DKIM.Sign = false, false
	return c
}

// outWorld is one seed: a disk, the hosts elsewhere, and what was promised.
type outWorld struct {
	t    *testing.T
	seed uint64
	disk *sim.Disk
	tls  *tls.Config
	net  *outNet

	filled bool // the disk was full at some time

	mu    sync.Mutex
	rand  *rand.Rand          // guarded by mu
	sent  int                 // guarded by mu
	mails map[string]*outMail // by Message-ID; guarded by mu
}

func newOutWorld(t *testing.T, seed uint64, disk *sim.Disk, cert *tls.Config) *outWorld {
	w := &outWorld{
		t: t, seed: seed, disk: disk, tls: cert,
		rand: rand.New(rand.NewPCG(seed, 2)), mails: map[string]*outMail{},
	}
	w.net = newOutNet(w)
	return w
}

// roll gives a number below n.
func (w *outWorld) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

// upTo gives a time below d, short ones as likely as long ones.
func (w *outWorld) upTo(d time.Duration) time.Duration {
	return time.Duration(w.roll(int(d)>>w.roll(16)) + 1)
}

// outMail is a message as its sender knows it.
type outMail struct {
	id     string
	from   message.Address
	to     []string
	notify smtp.Notify
	some   bool   // perhaps only some of to were accepted
	reply  string // of its 250; "" if it got none
}

// leadsTo is where its recipients lead, with the name that led there.
func (m *outMail) leadsTo() map[string]string {
	to := map[string]string{}
	for _, name := range m.to {
		finals := outLeadsTo[name]
		switch {
		case strings.HasPrefix(name, "SRS"): // it was forwarded
			finals = []string{stranger}
		case finals == nil:
			finals = []string{name}
		}
		for _, f := range finals {
			if _, ok := to[f]; !ok {
				to[f] = name
			}
		}
	}
	return to
}

func outAddress(s string) message.Address {
	local, domain, _ := strings.Cut(s, "@")
	return message.Address{Local: local, Domain: message.Domain(domain)}
}

// outHost is a host from its start to its end.
type outHost struct {
	w     *outWorld
	store *Store
	out   *out
	given atomic.Int64
	audit *ledger.Audit
}

// open starts a host; nil if it does not.
func (w *outWorld) open() *outHost {
	c := outConfig()
	s, err := OpenStore(w.t.Context(), c, StoreOptions{FS: w.disk, MemoryIndex: true})
	if err != nil {
		w.t.Errorf("open: %v", err)
		return nil
	}
	h := &outHost{w: w, store: s, out: &out{c: c, store: s, owes: make(chan struct{}, 1)}}
	o := h.out
	o.srs, err = mailauth.NewSRS(mailauth.SRSOptions{Domain: "sim.test", Secrets: [][]byte{[]byte("0123456789abcdef")}, Clock: sys.RealClock()})
	if err != nil {
		w.t.Fatal(err)
	}
	policies, err := tlspolicy.New(tlspolicy.Options{NoSTS: true, NoDANE: true}, w.net)
	if err != nil {
		w.t.Fatal(err)
	}
	o.delivery = delivery.New(delivery.Options{
		Hostname: c.Hostname, Dial: w.net.dial, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}, w.net, policies, func(ctx context.Context, lsn journal.LSN) (delivery.Body, error) {
		return s.Mailboxes.OpenMessage(ctx, lsn)
	})
	o.queue = queue.New(queue.Options{
		Hostname: "sim.test", Bodies: s.Mailboxes, Router: o.router(),
		Workers: c.Delivery.MaxConns, PerDestination: c.Delivery.MaxPerDestination,
	}, s.Fates, o.delivery, o)
	s.Fates.OnUpdate(o.queue.Update)
	o.own = o.intake(intake.Options{}, nil)
	h.audit, err = ledger.NewAudit(w.t.Context(), ledger.AuditOptions{}, ledger.Witnesses{
		Table: s.Fates, Queue: o.queue, Bodies: s.Mailboxes, Asides: s.Index, Given: h.given.Load,
	})
	if err != nil {
		w.t.Errorf("open the audit: %v", err)
		return nil
	}
	return h
}

// run begins to carry mail away. The function it returns ends that.
func (h *outHost) run() (end func()) {
	ctx, cancel := context.WithCancel(h.w.t.Context())
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ignoreEnd(gctx, h.out.delivery.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, h.out.queue.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, h.out.own.RunReceipts(gctx, h.store.Fates, h.out.owes)) })
	g.Go(func() error { return ignoreEnd(gctx, h.store.Fates.Run(gctx)) })
	g.Go(func() error { return ignoreEnd(gctx, h.store.Mailboxes.Run(gctx)) })
	return func() {
		cancel()
		if err := g.Wait(); err != nil && !h.w.disk.Crashed() {
			h.w.t.Errorf("the host ended: %v", err)
		}
	}
}

// live starts the host, checks what it has, and lets people write until its
// end, which may come at any time.
func (w *outWorld) live(round int) {
	h := w.open()
	if h == nil {
		return
	}
	w.check(h, fmt.Sprintf("round %d", round), false)
	if w.roll(4) > 0 {
		w.disk.CrashAt(1 + w.roll(1<<(3+w.roll(6))))
	}
	end := h.run()
	span := w.upTo(12 * time.Hour)
	ctx, cancel := context.WithTimeout(w.t.Context(), span)
	var wg sync.WaitGroup
	for range 1 + w.roll(2) {
		wg.Go(func() { w.write(ctx, h, true, span) })
	}
	if w.roll(2) == 0 {
		wg.Go(func() { w.write(ctx, h, false, span) })
	}
	wg.Go(func() { w.spoil(ctx, h, span) })
	var operator sync.WaitGroup // what it asks for may end with the host only
	operator.Go(func() { w.operate(ctx, h, span) })
	for ctx.Err() == nil && !w.disk.Crashed() {
		<-time.After(span/64 + 1)
	}
	killed := w.roll(2) == 0
	if killed && !w.disk.Crashed() {
		w.kill()
	}
	cancel()
	wg.Wait()
	end()
	operator.Wait()
	_ = h.store.Close() // its disk may be gone
	w.net.over(!w.disk.Crashed())
	mode := sim.Any
	if w.roll(3) == 0 {
		mode = sim.Keep // kill -9 rather than a power cut
	}
	w.disk.Crash(mode)
}

// kill ends the process at once.
func (w *outWorld) kill() {
	w.disk.CrashAt(1)
	for n := 0; !w.disk.Crashed(); n++ {
		f, err := w.disk.Open(fmt.Sprintf("/killed-%d", n), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			_ = f.Close()
		}
	}
}

// pause waits for some time of a life.
func (w *outWorld) pause(ctx context.Context, span time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(w.upTo(span)):
	}
}

// operate has an operator do something to what waits.
func (w *outWorld) operate(ctx context.Context, h *outHost, span time.Duration) {
	for range w.roll(4) {
		w.pause(ctx, span)
		a := []queue.Action{queue.Hold, queue.Release, queue.Retry, queue.Fail, queue.Requeue}[w.roll(5)]
		which := queue.Selection{Destination: outDomains[w.roll(len(outDomains)-1)]}
		_, err := h.out.queue.Act(ctx, a, which, queue.Args{Reason: "A whim.", By: "operator"})
		if err != nil && ctx.Err() == nil && !w.disk.Crashed() && !w.filled && !errors.Is(err, queue.ErrLoading) {
			w.t.Errorf("%s: %v", a, err)
		}
	}
}

// spoil may have the journal compacted, audits the books, and may fill the disk
// for a while.
func (w *outWorld) spoil(ctx context.Context, h *outHost, span time.Duration) {
	w.pause(ctx, span)
	if w.roll(2) == 0 {
		_, err := h.store.Mailboxes.CompactFully(ctx)
		if err != nil && ctx.Err() == nil && !w.disk.Crashed() {
			w.t.Errorf("compact: %v", err)
		}
		w.pause(ctx, span)
	}
	r := h.audit.Once(ctx)
	early := strings.Contains(r.Error, queue.ErrLoading.Error())
	if ctx.Err() == nil && !w.disk.Crashed() && (r.Error != "" && !early || len(r.Findings) > 0) {
		w.t.Errorf("an audit found %+v %s", r.Findings, r.Error)
	}
	if w.roll(6) > 0 {
		return
	}
	w.filled = true
	w.disk.Full(int64(w.roll(1 << 14)))
	w.pause(ctx, span)
	w.disk.Full(-1)
}

// write has somebody send messages over one connection after another: one of
// our users, or a stranger.
func (w *outWorld) write(ctx context.Context, h *outHost, user bool, span time.Duration) {
	for n := 0; n < 4 && ctx.Err() == nil && !w.disk.Crashed(); n++ {
		w.session(ctx, h, user)
		w.pause(ctx, span)
	}
}

// session sends a few messages over one connection.
func (w *outWorld) session(ctx context.Context, h *outHost, user bool) {
	from, kind := stranger, session.MX
	if user {
		from, kind = outUsers[w.roll(len(outUsers))], session.Submission
	}
	near, far := net.Pipe()
	room := mailroom{Intake: h.out.intake(intake.Options{Submission: user}, nil), given: &h.given}
	srv := session.New(session.Options{Hostname: "sim.test", Kind: kind}, room, outLogin{h.store})
	sctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		srv.ServeConn(sctx, listen.NewConn(far, listen.Facts{TLS: w.tls}))
		_ = far.Close()
	})
	defer wg.Wait()
	defer cancel()
	c := smtp.NewClient(near, smtp.ClientOptions{Hostname: "client.test", Chunking: w.roll(2) == 0})
	defer c.Close()
	if c.Hello(ctx) != nil {
		return
	}
	if user {
		if c.StartTLS(ctx, &tls.Config{InsecureSkipVerify: true}) != nil || c.AuthPlain(ctx, from, testPassword) != nil {
			return
		}
	}
	for range 1 + w.roll(3) {
		if !w.send(ctx, c, from, user) {
			return
		}
	}
}

// send sends one message. It returns false when the host has had enough.
func (w *outWorld) send(ctx context.Context, c *smtp.Client, from string, user bool) bool {
	m, e, body := w.message(from, user)
	rc, err := c.Send(ctx, e, strings.NewReader(body))
	w.mu.Lock()
	defer w.mu.Unlock()
	m.to, m.some = nil, len(rc.Recipients) < len(e.Recipients)
	for i := range e.Recipients {
		if m.some || rc.Recipients[i].Code/100 == 2 {
			m.to = append(m.to, e.Recipients[i].To.String())
		}
	}
	if err == nil {
		m.reply = rc.Final.String()
		return true
	}
	if !rc.Ended {
		delete(w.mails, m.id)
	}
	var refused *smtp.Reply
	return errors.As(err, &refused) && c.Usable()
}

// message makes up a message.
func (w *outWorld) message(from string, user bool) (*outMail, *smtp.Envelope, string) {
	names := outNames
	if !user {
		names = append(w.net.rewritten(), names[:6]...) // no relay, but back to where it came from
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent++
	m := &outMail{id: fmt.Sprintf("<%d@sim.test>", w.sent), from: outAddress(from)}
	w.mails[m.id] = m
	m.notify = []smtp.Notify{0, 0, smtp.NotifyNever, smtp.NotifyFailure, smtp.NotifySuccess | smtp.NotifyFailure, smtp.NotifyDelay}[w.rand.IntN(6)]
	e := &smtp.Envelope{From: m.from}
	for _, i := range w.rand.Perm(len(names))[:1+w.rand.IntN(5)] {
		e.Recipients = append(e.Recipients, smtp.Recipient{To: outAddress(names[i]), Notify: m.notify})
		m.to = append(m.to, names[i])
	}
	if !user && w.rand.IntN(4) == 0 {
		m.from, e.From = message.Address{}, message.Address{}
	}
	size := 1 << w.rand.IntN(14)
	if w.rand.IntN(100) == 0 {
		size = 1<<20 + w.rand.IntN(1<<18) // a large body: its own segment
	}
	text := strings.Repeat("x", size%900) + strings.Repeat("\r\n"+strings.Repeat("y", 70), size/72)
	if w.rand.IntN(4) == 0 {
		text += "\r\nd\u00e9j\u00e0 vu"
		e.Body = smtp.Body8BitMIME
	}
	return m, e, "From: " + from + "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n" +
		"Message-ID: " + m.id + "\r\nSubject: test\r\n\r\n" + text + "\r\n"
}

// outLogin believes everybody with the right password: hashing it takes longer
// than all the rest.
type outLogin struct{ s *Store }

// Password implements sasl.Backend.
func (l outLogin) Password(ctx context.Context, user, password string) (sasl.Identity, error) {
	a, err := l.s.Accounts.Get(ctx, outAddress(user))
	if err != nil || password != testPassword {
		return sasl.Identity{}, errors.Join(sasl.ErrCredentials, err)
	}
	return sasl.Identity{Account: uint64(a.ID), Address: a.Address}, nil
}

// Scram implements sasl.Backend.
func (outLogin) Scram(context.Context, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, errors.ErrUnsupported
}

// settle starts the host a last time, among hosts that work, waits until
// nothing is queued, and checks everything, also after one more start.
func (w *outWorld) settle() {
	w.net.calm()
	h := w.open()
	if h == nil {
		return
	}
	w.check(h, "after the last crash", false)
	end := h.run()
	for range 2 * 24 * 8 {
		<-time.After(30 * time.Minute)
		if _, err := h.out.queue.Act(w.t.Context(), queue.Release, queue.Selection{All: true}, queue.Args{By: "operator"}); err != nil {
			w.t.Errorf("release: %v", err)
		}
		if b := h.out.queue.Backlog(); !b.Loading && b.Total.Queued+b.Total.Deferred+b.Total.Active+b.Total.Held == 0 {
			break
		}
	}
	if r := h.audit.Once(w.t.Context()); r.Error != "" || len(r.Findings) > 0 {
		w.t.Errorf("the last audit found %+v %s", r.Findings, r.Error)
	}
	<-time.After(time.Hour)
	if _, err := h.store.Mailboxes.CompactFully(w.t.Context()); err != nil {
		w.t.Errorf("compact: %v", err)
	}
	end()
	w.net.over(true)
	w.check(h, "at the end", true)
	if err := h.store.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
	w.disk.Crash(sim.Any)
	if h = w.open(); h != nil {
		w.check(h, "at the last start", true)
		if err := h.store.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	}
}

// read reads a stored message.
func (h *outHost) read(lsn journal.LSN) ([]byte, error) {
	b, err := h.store.Mailboxes.OpenMessage(h.w.t.Context(), lsn)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	return raw, errors.Join(err, b.Close())
}
