package lobby

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// still is a world without stutter.
func still(t testing.TB, o Options) *world {
	o.Hostname, o.Stutter.Off = "mx.demo.test", true
	return newWorld(t, o, newFakeGate())
}

func TestHall_neverReads(t *testing.T) {
	w := still(t, Options{})
	c := w.arrive("192.0.0.1:1")
	c.takes = 100
	w.send(c, "EHLO a.example\r\n")
	w.send(c, strings.Repeat("NOOP\r\n", 1000))
	if b := w.h.owed[c.slot]; b == nil || len(b.buf) > backlogMax {
		t.Fatalf("got backlog %v, want one of at most %d octets", b, backlogMax)
	}
	if len(c.unread) != 6000 || w.h.pool.price.Load() > 1000 {
		t.Errorf("%d octets left unread, want all 6000; price %d", len(c.unread), w.h.pool.price.Load())
	}
	w.advance(6 * time.Minute)
	if !c.closed || w.gate.lastLeft(t).Ended != policy.EndedTimeout {
		t.Errorf("closed: %v, want a timeout", c.closed)
	}
	w.empty()
}

func TestHall_backlogTooLong(t *testing.T) {
	w := still(t, Options{})
	c := w.arrive("192.0.0.1:1")
	c.takes = 0
	w.h.out = bytes.Repeat([]byte("x"), backlogMax+1)
	w.h.send(c.slot, w.h.at(c.slot))
	if !c.closed || w.gate.lastLeft(t).Ended != policy.EndedReset {
		t.Error("a guest that is owed too much stays")
	}
	w.empty()
}

// TestHall_oneOctetASecond: both ways at once, a refused guest that is slow
// but alive is told so, and is gone when its time is up.
func TestHall_oneOctetASecond(t *testing.T) {
	w := still(t, Options{Times: Times{Command: [3]time.Duration{10 * time.Minute}, Dialogue: [3]time.Duration{time.Hour}}})
	c := w.arrive("192.0.1.1:1")
	c.takes = 0
	text := "HELO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nQUIT\r\n"
	for range 1000 {
		if c.closed {
			break
		}
		if len(text) > 0 {
			w.send(c, text[:1])
			text = text[1:]
		}
		w.advance(time.Second)
		c.takes++
		if c.blocked && !c.closed {
			c.blocked = false
			w.h.writable(c.slot, c.gen)
			w.settle()
		}
		if p := w.h.pool.price.Load(); p > 2000 {
			t.Fatalf("price %d", p)
		}
	}
	if got := codes(c.take()); !strings.HasPrefix(got, "220 250 250 550") || !c.closed {
		t.Errorf("got %q, closed %v", got, c.closed)
	}
	w.empty()
}

func TestHall_longLinesAndNULs(t *testing.T) {
	w := still(t, Options{})
	c := w.arrive("192.0.0.1:1")
	for range 16 {
		w.send(c, strings.Repeat("x", 4096))
		if p := w.h.pool.price.Load(); p > 4000 {
			t.Fatalf("a line that goes on costs %d octets", p)
		}
	}
	w.send(c, "\r\n"+strings.Repeat("\x00", 65536)+"\r\nQUIT\r\n")
	w.wantSaid(c, "220 500 500 221")
	if f := w.gate.lastLeft(t).Faults; f != policy.LongLine|policy.BareNewline {
		t.Errorf("got faults %v", faultNames(f))
	}
	w.empty()
}

func TestHall_endlessOctets(t *testing.T) {
	w := still(t, Options{})
	c := w.arrive("192.0.0.1:1")
	part := strings.Repeat("x", 64<<10)
	for range guestOctetsMax/len(part) + 1 {
		w.send(c, part)
	}
	if got := c.take(); !strings.Contains(got, "421 4.7.0 Too much") || !c.half {
		t.Errorf("got %q, want the end", got)
	}
	w.advance(3 * time.Second)
	w.empty()
}

// refuse brings a guest to its refusal.
func (w *world) refuse(from string) *fakeConn {
	c := w.arrive(from)
	w.send(c, "EHLO spam.example\r\nMAIL FROM:<info@spam.example>\r\nRCPT TO:<one@demo.test>\r\n")
	return c
}

func TestHall_theWorstLeaveFirst(t *testing.T) {
	w := still(t, Options{Strangers: 6})
	var scores []func()
	fine := w.arrive("192.0.0.1:1")
	w.gate.late = func(done func()) { scores = append(scores, done) }
	unscored := w.arrive("192.0.0.2:1")
	w.gate.late = nil
	deferred := w.arrive("192.0.0.3:1")
	w.send(deferred, "EHLO a.example\r\n")
	w.send(deferred, "MAIL FROM:<>\r\nRCPT TO:<grey@demo.test>\r\n")
	faulty := w.arrive("192.0.0.4:1")
	w.send(faulty, "NOOP\n")
	listed := w.arrive("192.0.1.5:1")
	refused := w.refuse("192.0.1.6:1")
	for i, c := range []*fakeConn{refused, listed, faulty, deferred, unscored} {
		newcomer := w.arrive(fmt.Sprintf("192.0.0.%d:1", 100+i))
		if !c.closed || !strings.HasSuffix(c.take(), replyFull) || newcomer.slot == 0 {
			t.Errorf("guest %d did not leave for a newcomer", i)
		}
	}
	late := w.arrive("192.0.0.200:1")
	if !late.closed || late.take() != replyFull || fine.closed {
		t.Error("with none but good guests the newcomer is not the one that goes")
	}
	known := w.arrive("192.0.2.1:1")
	if known.over == nil || !known.over.Fresh {
		t.Error("a known one is not let in")
	}
	if got := w.gate.inside(); got != 6 {
		t.Errorf("%d guests at the gate, want 6", got)
	}
	w.h.stop()
	w.empty()
}

func TestHall_budget(t *testing.T) {
	w := still(t, Options{Budget: 100 * guestPrice})
	first := w.refuse("192.0.1.1:1")
	second := w.arrive("192.0.0.1:1")
	w.send(second, strings.Repeat("x", 2000)) // part of a line
	for i := range 99 {
		w.arrive(fmt.Sprintf("192.0.0.%d:2", i))
		if used := w.h.pool.price.Load(); used > w.o.Budget {
			t.Fatalf("price %d of %d", used, w.o.Budget)
		}
	}
	if !first.closed || second.closed {
		t.Errorf("closed: refused %v, good %v; want the refused one only", first.closed, second.closed)
	}
	w.h.stop()
	w.empty()
}

func TestHall_handOverNeedsADescriptor(t *testing.T) {
	w := still(t, Options{})
	worst := w.refuse("192.0.1.1:1")
	good := w.arrive("192.0.0.1:1")
	w.sh.full = 1
	w.send(good, "EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<one@demo.test>\r\n")
	if good.over == nil || !worst.closed {
		t.Errorf("handed over: %v, worst closed: %v", good.over != nil, worst.closed)
	}
	w.empty()
}

func TestHall_tlsGuests(t *testing.T) {
	w := still(t, Options{TLS: true, TLSGuests: 1})
	starttls := func(from string) *fakeConn {
		c := w.arrive(from)
		w.send(c, "EHLO a.example\r\n")
		if !strings.Contains(c.take(), "STARTTLS") {
			t.Error("STARTTLS is not offered")
		}
		w.send(c, "STARTTLS\r\n\x16\x03 and more in the clear")
		return c
	}
	first := starttls("192.0.0.1:1")
	if first.over == nil || len(first.over.Unread) > 0 || first.over.Guest.TLS {
		t.Fatalf("got %+v", first.over)
	}
	w.wantSaid(first, "220")
	second := starttls("192.0.0.2:1")
	if got := second.take(); !strings.HasPrefix(got, "454 4.7.0 ") || second.over != nil {
		t.Errorf("got %q, want 454", got)
	}
	first.over.Ended()
	third := starttls("192.0.0.3:1")
	if third.over == nil {
		t.Errorf("got %q, want a hand-over", third.take())
	}
	w.h.stop()
	w.empty()
}

func TestHall_reset(t *testing.T) {
	text := "EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<one@demo.test>\r\nQU"
	for n := range len(text) + 1 {
		w := newWorld(t, Options{Hostname: "mx.demo.test"}, newFakeGate())
		c := w.arrive("192.0.1.1:1") // its replies stutter
		for i := range n {
			w.send(c, text[i:i+1])
			w.advance(time.Second)
		}
		c.broken = true
		w.h.broken(c.slot, c.gen)
		w.advance(time.Second)
		if got := w.gate.lastLeft(t); got.Ended != policy.EndedReset {
			t.Fatalf("after %d octets: got %q, want reset", n, got.Ended)
		}
		w.empty()
	}
}

func TestHall_halfOpen(t *testing.T) {
	w := newWorld(t, Options{Hostname: "mx.demo.test"}, newFakeGate())
	c := w.arrive("192.0.1.1:1")
	w.advance(3 * time.Second)
	w.send(c, "EHLO a.example\r\n")
	c.eof = true
	w.h.at(c.slot).flags |= flagHup | flagReadable
	w.advance(3 * time.Second) // the reply stutters out to who still listens
	if got := codes(c.take()); got != "220 250" || !c.closed {
		t.Errorf("got %q, closed %v", got, c.closed)
	}
	w.empty()
}

// TestHall_logsOnce: one line for each guest, whatever becomes of it.
func TestHall_logsOnce(t *testing.T) {
	var log bytes.Buffer
	w := still(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := w.refuse("192.0.1.9:1")
	w.advance(2 * time.Second)
	w.send(c, "QUIT\r\n")
	good := w.arrive("192.0.0.9:1")
	w.send(good, "EHLO good.example\r\nMAIL FROM:<>\r\nRCPT TO:<one@demo.test>\r\n")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want 2:\n%s", len(lines), log.String())
	}
	for _, part := range []string{
		"remote_ip=192.0.1.9", "helo=spam.example", "from=info@spam.example", "rcpt=one@demo.test", "count=1", "verdict=refuse", "check=dnsbl", "score=3",
		"reason=quit", "dur=2s", "size=", "conn=",
	} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("the line lacks %q: %s", part, lines[0])
		}
	}
	if !strings.Contains(lines[1], "verdict=pass") || !strings.Contains(lines[1], "reason=passed") {
		t.Errorf("got %s", lines[1])
	}
}

func TestHall_metrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := still(t, Options{Metrics: NewMetrics(reg)})
	w.refuse("192.0.1.9:1")
	w.arrive("192.0.2.9:1")
	w.advance(time.Second)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetValue()
			}
			got[strings.TrimPrefix(name, "breakwater_lobby_")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"guests,talking": 1, "ranks,refused": 1, "verdicts_total,refuse": 1, "entries_total,admitted": 1, "arrived_total": 2,
		"sessions": 1, "price_bytes": float64(w.h.pool.price.Load()),
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if w.gate.load[0] == 0 || w.gate.load[1] == 0 {
		t.Errorf("the gate was told a load of %v", w.gate.load)
	}
}

// silentShell keeps nothing of what is written.
type silentShell struct{}

func (silentShell) write(_ int32, _, _ uint32, b []byte) int { return len(b) }
func (silentShell) shutdown(int32)                           {}
func (silentShell) close(int32)                              {}
func (silentShell) pass(int32, []byte, Handover) bool        { return true }
func (silentShell) answer(uint32, uint32, dnsbl.Score)       {}

// quietGate refuses listed guests and remembers nothing.
type quietGate struct{ *fakeGate }

func (g quietGate) Arrive(netip.Addr, time.Time) policy.Entry { return policy.Entry{} }
func (g quietGate) Left(*policy.Guest)                        {}
func (g quietGate) Decide(p *policy.Guest) policy.Verdict {
	g.asked = nil
	return g.fakeGate.Decide(p)
}

func quietHall(n int) (*hall, *Options) {
	w := newWorld(nil, Options{Hostname: "mx.demo.test", Strangers: n, Stutter: Stutter{Off: true}, Budget: 1 << 40}, newFakeGate())
	w.h.gate = quietGate{w.gate}
	w.h.sh = silentShell{}
	return w.h, &w.o
}

// wave brings n refused guests, each from a /24 of its own.
func wave(h *hall, n int) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{127, byte(16 + i>>16), octetListed, byte(i)})
		slot, gen := h.arrive(int32(i), netip.AddrPortFrom(a, uint16(i)))
		h.octets(slot, gen, []byte("EHLO mail.spam.example\r\n"))
		h.octets(slot, gen, []byte("MAIL FROM:<newsletter@spam.example>\r\n"))
		h.octets(slot, gen, []byte("RCPT TO:<somebody@demo.test>\r\n"))
	}
}

// TestHall_memory says what a guest costs that has been refused and is silent,
// and that its price is no less.
func TestHall_memory(t *testing.T) {
	const n, most = 18_000, 512
	h, _ := quietHall(n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	wave(h, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if h.count != n || h.ranked[rankRefused] != n {
		t.Fatalf("%d guests, %d refused", h.count, h.ranked[rankRefused])
	}
	got, price := (int64(after.HeapAlloc)-int64(before.HeapAlloc))/n, h.pool.price.Load()/n
	t.Logf("%d guests at %d octets each, price %d", n, got, price)
	if got > most || price > most {
		t.Errorf("got %d octets a guest at a price of %d, want at most %d", got, price, most)
	}
	if got > price*5/4 {
		t.Errorf("got %d octets a guest, and a price of %d only", got, price)
	}
	runtime.KeepAlive(h)
}

func TestHall_tenThousandSilent(t *testing.T) {
	w := still(t, Options{})
	for i := range 10_000 {
		w.arrive(fmt.Sprintf("10.%d.0.%d:1", i>>8, i&255))
	}
	if got := w.h.count; got != 10_000 {
		t.Fatalf("%d guests, want 10,000", got)
	}
	w.gate.level = policy.Stormy
	w.advance(5*time.Minute + 10*time.Second)
	if w.gate.lastLeft(t).Ended != policy.EndedTimeout {
		t.Errorf("got %v, want a timeout", w.gate.lastLeft(t).Ended)
	}
	w.empty()
}

// BenchmarkHall_refusal is a refusal's share of CPU without the system calls.
func BenchmarkHall_refusal(b *testing.B) {
	b.ReportAllocs()
	h, _ := quietHall(b.N + 1)
	b.ResetTimer()
	wave(h, b.N)
	h.stop()
}

func TestOptions_fit(t *testing.T) {
	for _, c := range []struct{ strangers, reserve, descriptors, want int }{
		{20_000, 0, 20_000, 18_750},
		{20_000, 0, 1 << 20, 20_000},
		{20_000, 0, 1024, 768},
		{20_000, 0, 256, 128},
		{20_000, 5000, 20_000, 15_000},
		{100, 0, 1024, 100},
		{100, 0, 1, 1},
	} {
		o := Options{Strangers: c.strangers, Reserve: c.reserve}
		if o.fit(c.descriptors); o.Strangers != c.want {
			t.Errorf("%+v: got %d", c, o.Strangers)
		}
	}
}

// TestPassOn: what a connection has not taken is written before it is handed
// over; if it is never taken there is no hand-over.
func TestPassOn(t *testing.T) {
	for _, taken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			o := Options{}.withDefaults()
			admitted, ended := false, false
			passOn(&o, Handover{Conn: far, Ended: func() { ended = true }}, []byte("250 OK\r\n"), func(Handover) { admitted = true })
			if taken {
				if got, err := bufio.NewReader(near).ReadString('\n'); got != "250 OK\r\n" {
					t.Errorf("got %q, %v", got, err)
				}
			} else {
				time.Sleep(writeTimeout + time.Second)
			}
			synctest.Wait()
			if admitted != taken || ended == taken {
				t.Errorf("taken %v: admitted %v, ended %v", taken, admitted, ended)
			}
		})
	}
}

// TestHall_fineGuestsHaveTime: at load silence is borne from those longer of
// whom nothing bad is known.
func TestHall_fineGuestsHaveTime(t *testing.T) {
	w := still(t, Options{})
	w.gate.level = policy.Stormy
	fine, listed := w.arrive("192.0.0.1:1"), w.arrive("192.0.1.1:1")
	w.advance(2*time.Minute + time.Second)
	if fine.closed || !listed.closed {
		t.Errorf("after two minutes closed: fine %v, listed %v; want the listed one", fine.closed, listed.closed)
	}
	w.advance(3 * time.Minute)
	if !fine.closed {
		t.Error("after five minutes the silent one is still there")
	}
	w.empty()
}

// TestHall_setMachine: what is offered changes for guests who are there.
func TestHall_setMachine(t *testing.T) {
	w := still(t, Options{})
	c := w.arrive("192.0.0.1:1")
	w.advance(time.Minute)
	w.send(c, "EHLO a.example\r\n")
	first := c.take()
	w.h.setMachine(smtp.Options{Hostname: "mx.demo.test", Without8Bit: true, SizeMax: 1000})
	w.send(c, "EHLO a.example\r\n")
	second := c.take()
	if !strings.Contains(first, "8BITMIME") || strings.Contains(second, "8BITMIME") || !strings.Contains(second, "SIZE 1000\r\n") {
		t.Errorf("first %q, then %q", first, second)
	}
	w.send(c, "QUIT\r\n")
	w.empty()
}
