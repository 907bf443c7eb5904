package delivery

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/spool/queue"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// world is a network with hosts and a DNS. Its addresses are those of the
// documentation, which a Delivery here is allowed to talk to.
type world struct {
	mu        sync.Mutex
	hosts     map[netip.AddrPort]*host
	dials     []string
	locals    []netip.Addr
	zone      map[dns.Question]dns.Answer
	asked     []dns.Question
	authentic bool // all answers are
	wg        sync.WaitGroup
	roots     *x509.CertPool // made by certificate
	ca        *x509.Certificate
	caKey     *ecdsa.PrivateKey
}

func newWorld() *world {
	return &world{hosts: map[netip.AddrPort]*host{}, zone: map[dns.Question]dns.Answer{}}
}

// Lookup implements Resolver. What the zone does not have does not exist.
func (w *world) Lookup(ctx context.Context, q dns.Question) dns.Answer {
	w.mu.Lock()
	w.asked = append(w.asked, q)
	a, ok := w.zone[q]
	if !ok {
		a.RCode = dns.NXDomain
		for other := range w.zone {
			if other.Name == q.Name {
				a.RCode = dns.NoError
			}
		}
	}
	a.Authentic = w.authentic
	w.mu.Unlock()
	a.Question = q
	if errors.Is(a.Err, errHang) {
		<-ctx.Done()
		a.Err = ctx.Err()
	}
	return a
}

var errHang = errors.New("no answer")

func (w *world) mx(domain string, hosts ...string) {
	var a dns.Answer
	for i, h := range hosts {
		pref := uint16(10 * (i + 1))
		if p, name, ok := strings.Cut(h, " "); ok {
			n, _ := strconv.Atoi(p)
			pref, h = uint16(n), name
		}
		a.MX = append(a.MX, dns.MXRecord{Preference: pref, Host: h})
	}
	w.zone[dns.Question{Name: domain, Type: dns.MX}] = a
}

func (w *world) addr(name string, addrs ...string) {
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		q := dns.Question{Name: name, Type: dns.A}
		if a.Is6() {
			q.Type = dns.AAAA
		}
		z := w.zone[q]
		z.Addrs = append(z.Addrs, a)
		w.zone[q] = z
	}
}

// host makes a mail host with MX record, address and server.
func (w *world) host(domain, name, addr string) *host {
	w.mx(domain, name)
	return w.server(name, addr, 25)
}

func (w *world) server(name, addr string, port uint16) *host {
	w.addr(name, addr)
	h := &host{name: name, say: map[string]string{}, offers: []string{"PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"}}
	w.hosts[netip.AddrPortFrom(netip.MustParseAddr(addr), port)] = h
	return h
}

// dial implements Options.Dial.
func (w *world) dial(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, to.String())
	w.locals = append(w.locals, local)
	h := w.hosts[to]
	w.mu.Unlock()
	switch {
	case h == nil:
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	case h.away:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	near, far := net.Pipe()
	w.wg.Go(func() { h.serve(far) })
	return near, nil
}

// taken is a message that a host has taken.
type taken struct {
	mail string
	rcpt []string
	body string
}

// host is a scripted SMTP or LMTP server.
type host struct {
	name     string
	offers   []string
	lmtp     bool
	away     bool          // takes no connections
	slow     time.Duration // reads 1000 octets in this time
	tls      *tls.Config
	implicit bool
	// say has answers by the beginning of a command ("." is the end of a
	// message, "banner" the first line); more than one go by turns, separated
	// by "|", and the last stays. "drop" closes, "hang" says nothing more.
	say map[string]string

	mu       sync.Mutex
	lines    []string
	messages []taken
	sessions int
	turns    map[string]int
}

func (h *host) answer(key, usual string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for prefix, all := range h.say {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if h.turns == nil {
			h.turns = map[string]int{}
		}
		turns := strings.Split(all, "|")
		n := min(h.turns[prefix], len(turns)-1)
		h.turns[prefix]++
		if turns[n] != "" {
			return turns[n]
		}
	}
	return usual
}

func (h *host) got() []taken {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages
}

func (h *host) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

// pumped gathers what comes in, so that a client can write while the server
// does.
type pumped struct {
	net.Conn
	mu   sync.Mutex
	cond sync.Cond
	buf  bytes.Buffer
	err  error
}

// pump gathers; slow is what it waits after each 1000 octets.
func pump(c net.Conn, slow time.Duration) *pumped {
	p := &pumped{Conn: c}
	p.cond.L = &p.mu
	go func() {
		b := make([]byte, 64<<10)
		if slow > 0 {
			b = b[:1000]
		}
		for {
			n, err := c.Read(b)
			p.mu.Lock()
			p.buf.Write(b[:n])
			p.err = err
			p.cond.Broadcast()
			p.mu.Unlock()
			if err != nil {
				return
			}
			if slow > 0 {
				<-time.After(slow)
			}
		}
	}()
	return p
}

func (p *pumped) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.buf.Len() == 0 && p.err == nil {
		p.cond.Wait()
	}
	if p.buf.Len() > 0 {
		return p.buf.Read(b)
	}
	return 0, p.err
}

// session is one connection to a host.
type session struct {
	h    *host
	c    net.Conn
	r    *bufio.Reader
	now  taken
	body bytes.Buffer
}

var errEnd = errors.New("the session is over")

func (h *host) serve(far net.Conn) {
	defer far.Close()
	h.mu.Lock()
	h.sessions++
	h.mu.Unlock()
	s := &session{h: h, c: pump(far, h.slow)}
	if h.implicit {
		s.c = tls.Server(s.c, h.tls)
	}
	s.r = bufio.NewReader(s.c)
	if s.reply("banner", "220 "+h.name+" ESMTP") != nil {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		h.mu.Lock()
		h.lines = append(h.lines, line)
		h.mu.Unlock()
		if s.command(line) != nil {
			return
		}
	}
}

// reply says what the script has for a command.
func (s *session) reply(key, usual string) error {
	a := s.h.answer(key, usual)
	switch {
	case a == "drop":
		return errEnd
	case a == "hang":
		_, _ = io.Copy(io.Discard, s.c)
		return errEnd
	case strings.HasPrefix(a, "drip "):
		for _, o := range []byte(a[5:] + strings.Repeat("x", 4000)) {
			<-time.After(time.Minute)
			if _, err := s.c.Write([]byte{o}); err != nil {
				return err
			}
		}
	}
	end := strings.HasSuffix(a, " drop")
	if _, err := io.WriteString(s.c, strings.ReplaceAll(strings.TrimSuffix(a, " drop"), `\n`, "\r\n")+"\r\n"); err != nil {
		return err
	}
	if end || strings.HasPrefix(a, "221") || strings.HasPrefix(a, "421") {
		return errEnd
	}
	return nil
}

func (s *session) command(line string) error {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "EHLO", "LHLO":
		lines := append([]string{s.h.name}, s.h.offers...)
		if _, secure := s.c.(*tls.Conn); s.h.tls != nil && !secure {
			lines = append(lines, "STARTTLS")
		}
		for i := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			lines[i] = "250" + sep + lines[i]
		}
		return s.reply(line, strings.Join(lines, `\n`))
	case "STARTTLS":
		if err := s.reply(line, "220 2.0.0 go"); err != nil {
			return err
		}
		if a := s.h.say["STARTTLS"]; a != "" && !strings.HasPrefix(a, "220") {
			return nil
		}
		s.c = tls.Server(s.c, s.h.tls)
		s.r = bufio.NewReader(s.c)
	case "MAIL":
		s.now = taken{mail: line}
		s.body.Reset()
		return s.reply(line, "250 2.1.0 ok")
	case "RCPT":
		a := s.h.answer(line, "250 2.1.5 ok")
		if a[0] == '2' {
			s.now.rcpt = append(s.now.rcpt, line)
		}
		return s.reply("", a)
	case "DATA":
		if err := s.reply(line, "354 go"); err != nil || s.h.say["DATA"] != "" {
			return err
		}
		return s.data()
	case "BDAT":
		return s.bdat(line)
	case "QUIT":
		return s.reply(line, "221 bye")
	case "AUTH":
		return s.reply(line, "235 ok")
	default:
		return s.reply(line, "250 ok")
	}
	return nil
}

func (s *session) data() error {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			return s.end()
		}
		s.body.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (s *session) bdat(line string) error {
	f := strings.Fields(line)
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(&s.body, s.r, n); err != nil {
		return err
	}
	switch {
	case s.now.rcpt == nil:
		return s.reply("", "503 5.5.1 no recipients")
	case len(f) == 3:
		return s.end()
	}
	return s.reply("CHUNK", "250 go on")
}

func (s *session) end() error {
	s.now.body = s.body.String()
	answers := 1
	if s.h.lmtp {
		answers = len(s.now.rcpt)
	}
	for i := range answers {
		a := s.h.answer(".", "250 2.0.0 taken "+strconv.Itoa(i))
		if a[0] == '2' || a == "drop" || a == "hang" {
			s.h.mu.Lock()
			s.h.messages = append(s.h.messages, s.now)
			s.h.mu.Unlock()
		}
		if err := s.reply("", a); err != nil {
			return err
		}
	}
	return nil
}

// memory is a stored body.
type memory struct {
	*bytes.Reader
	open *atomic.Int64
	bad  int64 // octets from here on are damaged; 0: none is
}

func (m *memory) Close() error { m.open.Add(-1); return nil }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.bad > 0 && off+int64(len(p)) > m.bad {
		return 0, fmt.Errorf("read: %w", &journal.DamageError{What: "checksum of the body"})
	}
	return m.Reader.ReadAt(p, off)
}

// bench is a Delivery in a world.
type bench struct {
	*world
	t    testing.TB
	d    *Delivery
	body string
	bad  int64
	open atomic.Int64
	seen []tlspolicy.Session
}

var documentation = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}

func newBench(t testing.TB, w *world, o Options) *bench {
	b := &bench{world: w, t: t, body: "Subject: x\r\n\r\n.dot\r\nend\r\n"}
	o.Dial, o.Hostname = w.dial, "breakwater.example"
	if o.AllowNetworks == nil {
		o.AllowNetworks = documentation
	}
	o.Observe = func(s tlspolicy.Session) {
		w.mu.Lock()
		defer w.mu.Unlock()
		b.seen = append(b.seen, s)
	}
	policies, err := tlspolicy.New(tlspolicy.Options{NoSTS: true, Clock: o.Clock, Roots: w.roots}, w)
	if err != nil {
		t.Fatal(err)
	}
	b.d = New(o, w, policies, func(context.Context, journal.LSN) (Body, error) {
		b.open.Add(1)
		return &memory{Reader: bytes.NewReader([]byte(b.body)), open: &b.open, bad: b.bad}, nil
	})
	t.Cleanup(b.close)
	return b
}

// close ends what is idle, and waits until nothing is left.
func (b *bench) close() {
	b.d.pool.closeIdle()
	b.wg.Wait()
	if n := b.open.Load(); n != 0 {
		b.t.Errorf("%d bodies are open", n)
	}
	if n := len(b.d.pool.slots) + len(b.d.pool.gates); n != 0 {
		b.t.Errorf("%d slots and gates are held", n)
	}
}

func address(s string) message.Address {
	if s == "" {
		return message.Address{}
	}
	at := strings.LastIndexByte(s, '@')
	return message.Address{Local: s[:at], Domain: message.Domain(s[at+1:])}
}

func messageTo(to ...string) *fate.Message {
	m := &fate.Message{LSN: 7, ID: "id", From: address("a@sender.example")}
	for _, s := range to {
		m.Recipients = append(m.Recipients, fate.Recipient{Address: address(s)})
	}
	return m
}

func (b *bench) carry(m *fate.Message) queue.Result {
	b.t.Helper()
	j := queue.Job{Destination: "x", Message: m}
	for i := range m.Recipients {
		j.Rcpt = append(j.Rcpt, i)
	}
	r := b.d.Carry(b.t.(interface{ Context() context.Context }).Context(), j)
	r.Done()
	if len(r.Outcomes) != len(m.Recipients) {
		b.t.Fatalf("%d outcomes", len(r.Outcomes))
	}
	for i, o := range r.Outcomes {
		if o.State == 0 {
			b.t.Fatalf("recipient %d has no outcome", i)
		}
	}
	return r
}

// want checks the first outcome: its state, and what its reply and reason
// contain.
func (b *bench) want(r queue.Result, s fate.State, h queue.Health, words ...string) {
	b.t.Helper()
	b.wantAt(r, 0, s, words...)
	if r.Health != h {
		b.t.Errorf("health %v (%s), want %v", r.Health, r.Why, h)
	}
}

func (b *bench) wantAt(r queue.Result, i int, s fate.State, words ...string) {
	b.t.Helper()
	o := r.Outcomes[i]
	text := strings.Join([]string{o.Via, o.TLS, o.Reply, o.Reason}, "; ")
	if o.State != s {
		b.t.Errorf("recipient %d is %v, want %v (%s)", i, o.State, s, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			b.t.Errorf("recipient %d: %q is not in %q", i, w, text)
		}
	}
	if s != fate.Relayed && s != fate.Delivered && o.Reason == "" {
		b.t.Errorf("recipient %d: no reason (%s)", i, text)
	}
	if o.Reply == "" && o.Reason != "" && !smtp.EnhancedCode(strings.Fields(o.Reason)[0]).Valid(int(o.Reason[0]-'0')*100) {
		b.t.Errorf("recipient %d: no status in %q", i, o.Reason)
	}
}
