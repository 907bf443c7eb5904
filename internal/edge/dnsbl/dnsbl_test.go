package dnsbl

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// fakeZone is a list as its server would have it.
type fakeZone struct {
	entries map[string][]string // reverse name to answers
	all     []string            // answers for everybody
	text    string              // of listed ones
	ttl     time.Duration
	delay   time.Duration
	silent  bool
	rcode   dns.RCode
	err     error
}

// fake answers as a resolver does, on goroutines of its own.
type fake struct {
	mu     sync.Mutex
	zones  map[string]*fakeZone
	asked  map[string]int // for addresses, by name
	flying int
	most   int // in flight at once
}

func newFake(zones map[string]*fakeZone) *fake {
	return &fake{zones: zones, asked: map[string]int{}}
}

// resolverWait is when a resolver gives up.
const resolverWait = 4 * time.Second

func (f *fake) Ask(q dns.Question, done func(dns.Answer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Type == dns.A {
		f.asked[q.Name]++
	}
	f.flying++
	f.most = max(f.most, f.flying)
	a, delay := f.answer(q)
	began := time.Now()
	time.AfterFunc(delay, func() {
		f.mu.Lock()
		f.flying--
		f.mu.Unlock()
		a.Took = time.Since(began)
		done(a)
	})
}

func (f *fake) answer(q dns.Question) (dns.Answer, time.Duration) {
	a := dns.Answer{Question: q}
	for name, z := range f.zones {
		reverse, ok := strings.CutSuffix(q.Name, "."+name)
		if !ok {
			continue
		}
		if z.silent {
			a.Err = dns.ErrTimeout
			return a, resolverWait
		}
		a.RCode, a.Err, a.TTL = z.rcode, z.err, z.ttl
		if a.RCode != dns.NoError || a.Err != nil {
			return a, z.delay
		}
		found := z.all
		if found == nil {
			found = z.entries[reverse]
		}
		switch {
		case found == nil:
			a.RCode = dns.NXDomain
		case q.Type == dns.TXT:
			a.Texts = []string{z.text}
		default:
			for _, s := range found {
				a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
			}
		}
		return a, z.delay
	}
	a.RCode = dns.NXDomain
	return a, 0
}

// change changes a zone.
func (f *fake) change(zone string, to func(*fakeZone)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to(f.zones[zone])
}

// count gives how often a zone was asked about an address.
func (f *fake) count(a, zone string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[question(netip.MustParseAddr(a), zone).Name]
}

// zoneOf makes a zone that lists addresses, and what each list has.
func zoneOf(answer string, addrs ...string) *fakeZone {
	z := &fakeZone{entries: map[string][]string{always4: {"127.0.0.2"}}, ttl: 10 * time.Minute, delay: 10 * time.Millisecond}
	for _, a := range addrs {
		z.entries[dns.ReverseName(netip.MustParseAddr(a))] = []string{answer}
	}
	return z
}

type bench struct {
	t *testing.T
	f *fake
	c *Checker
	l *logText
}

func setUp(t *testing.T, o Options, zones map[string]*fakeZone, lists ...List) *bench {
	t.Helper()
	b := &bench{t: t, f: newFake(zones), l: new(logText)}
	o.Log = slog.New(slog.NewTextHandler(b.l, nil))
	if o.CacheEntries == 0 {
		o.CacheEntries = 1024
	}
	c, err := New(o, b.f, lists)
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	return b
}

// logText keeps what is logged.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// check waits for a score, within the bubble's time.
func (b *bench) check(a string) Score {
	b.t.Helper()
	scores := make(chan Score, 2)
	began := time.Now()
	s, ready := b.c.Check(netip.MustParseAddr(a), func(s Score) { scores <- s })
	if !ready {
		s = <-scores
		if took := time.Since(began); took > b.c.o.Timeout+tickGap {
			b.t.Errorf("%s took %v, want at most %v", a, took, b.c.o.Timeout)
		}
	}
	return s
}

func (b *bench) want(a string, weight int16, hits, silent uint32) Score {
	b.t.Helper()
	s := b.check(a)
	if s.Weight != weight || s.Hits != hits || s.Silent != silent {
		b.t.Errorf("%s: got %+v, want weight %d, hits %b, silent %b", a, s, weight, hits, silent)
	}
	return s
}

func (b *bench) state(list int, want string) {
	b.t.Helper()
	if h := b.c.Health()[list]; h.State != want || want != OK && h.Why == "" {
		b.t.Errorf("got %+v, want state %s", h, want)
	}
}

func TestCheck_weightsAndCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{
			"bl.example": zoneOf("127.0.0.2", "192.0.2.1", "192.0.2.3"),
			"zen.example": {entries: map[string][]string{
				"1.2.0.192": {"127.0.0.4"}, "2.2.0.192": {"127.0.0.10", "127.0.0.4"}, "4.2.0.192": {"127.0.0.1"}, "5.2.0.192": {"127.0.0.9"},
			}},
			"wl.example": zoneOf("127.0.5.1", "192.0.2.3", "2001:db8::1"),
		}
		b := setUp(t, Options{}, zones,
			List{Zone: "bl.example", Weight: 3},
			List{Zone: "zen.example", Weight: 5, Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.4/30")}},
			List{Zone: "Zen.Example.", Weight: 2, Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.10/31")}},
			List{Zone: "wl.example", Weight: -4})
		if s := b.want("192.0.2.1", 8, 0b0011, 0); s.Asked != 3 {
			t.Errorf("got %d questions, want 3: one a zone", s.Asked)
		}
		b.want("192.0.2.2", 7, 0b0110, 0)
		b.want("192.0.2.3", -1, 0b1001, 0)
		b.want("192.0.2.4", 0, 0, 0)
		b.want("192.0.2.5", 0, 0, 0)
		b.want("192.0.2.6", 0, 0, 0)
		b.want("2001:db8::1", -4, 0b1000, 0)
		b.want("2001:db8::2", 0, 0, 0)
		b.want("::ffff:192.0.2.1", 8, 0b0011, 0)
		if n := b.f.count("192.0.2.1", "zen.example"); n != 1 {
			t.Errorf("got %d questions to a zone of two lists, want 1", n)
		}
		if s, ready := b.c.Check(netip.Addr{}, nil); !ready || s != (Score{}) {
			t.Errorf("no address: got %+v %t, want nothing", s, ready)
		}
	})
}

func TestCheck_remembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1")}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3})
		steps := []struct {
			addr  string
			ttl   time.Duration
			holds time.Duration
			hits  uint32
		}{
			{"192.0.2.1", 10 * time.Minute, 10 * time.Minute, 1},
			{"192.0.2.2", 10 * time.Minute, 10 * time.Minute, 0},
			{"192.0.2.3", time.Second, cacheTTLMin, 0},
			{"192.0.2.4", 0, cacheTTLMin, 0},
			{"192.0.2.5", 24 * time.Hour, cacheTTLMax, 0},
		}
		for _, s := range steps {
			b.f.change("bl.example", func(z *fakeZone) { z.ttl = s.ttl })
			if got := b.check(s.addr); got.Hits != s.hits || got.Asked != 1 {
				t.Errorf("%s: got %+v, want hits %b of one question", s.addr, got, s.hits)
			}
			time.Sleep(s.holds - 2*time.Second)
			if got, ready := b.c.Check(netip.MustParseAddr(s.addr), nil); !ready || got.Hits != s.hits || got.Asked != 0 {
				t.Errorf("%s: got %+v %t before the end of the TTL, want it remembered", s.addr, got, ready)
			}
			time.Sleep(3 * time.Second)
			if got := b.check(s.addr); got.Asked != 1 {
				t.Errorf("%s: got %+v after the TTL, want a question", s.addr, got)
			}
		}
	})
}

func TestCheck_cacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Options{CacheEntries: 64}, map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2")}, List{Zone: "bl.example", Weight: 3})
		for i := range 1000 {
			b.check(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
		}
		n := 0
		for i := range b.c.cache.shards {
			n += len(b.c.cache.shards[i].entries)
		}
		if n != 64 {
			t.Errorf("got %d entries, want 64", n)
		}
		if s := b.check("10.0.3.231"); s.Asked != 0 {
			t.Error("the newest is not remembered")
		}
	})
}

func TestCheck_silentList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1"), "dead.example": {silent: true}}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3}, List{Zone: "dead.example", Weight: 3})
		began := time.Now()
		b.want("192.0.2.1", 3, 0b01, 0b10)
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("took %v, want the whole time of a check", took)
		}
		if s := b.check("192.0.2.1"); s.Asked != 1 || s.Hits != 1 {
			t.Errorf("got %+v, want the silent list asked again and the other remembered", s)
		}
		for i := range missesMax {
			b.check(fmt.Sprintf("10.0.0.%d", i))
		}
		b.state(1, Silent)
		b.state(0, OK)
		began = time.Now()
		b.want("10.0.1.1", 0, 0, 0b10)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %v, want no wait for a list that is ignored", took)
		}
		asked := b.f.count("10.0.1.1", "dead.example")
		if asked != 0 {
			t.Errorf("got %d questions to a list that is ignored, want 0", asked)
		}
		b.f.change("dead.example", func(z *fakeZone) { *z = *zoneOf("127.0.0.2", "192.0.2.1", "192.0.2.9") })
		time.Sleep(retestMin)
		b.check("10.0.1.2") // tests it, too
		time.Sleep(time.Minute)
		b.state(1, OK)
		b.want("192.0.2.9", 3, 0b10, 0)
		if n := strings.Count(b.l.String(), "DNS list is ignored"); n != 1 {
			t.Errorf("got %d lines of one illness, want 1:\n%s", n, b.l)
		}
		if n := strings.Count(b.l.String(), "DNS list is used again"); n != 1 {
			t.Errorf("got %d lines of one recovery, want 1:\n%s", n, b.l)
		}
	})
}

func TestCheck_lostPacketsAreNoIllness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Options{}, map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2")}, List{Zone: "bl.example", Weight: 3})
		time.Sleep(time.Hour)
		b.f.change("bl.example", func(z *fakeZone) { z.silent = true })
		for i := range 10 * missesMax { // all at once
			b.c.Check(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), func(Score) {})
		}
		b.f.change("bl.example", func(z *fakeZone) { z.silent = false })
		time.Sleep(3 * time.Second)
		b.state(0, OK)
		b.want("10.0.1.1", 0, 0, 0)
	})
}

func TestCheck_lateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1")}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3})
		b.want("192.0.2.1", 3, 1, 0) // the zone is tested now
		b.f.change("bl.example", func(z *fakeZone) { z.delay = 3 * time.Second })
		b.want("192.0.2.2", 0, 0, 1)
		time.Sleep(2 * time.Second)
		if s := b.want("192.0.2.2", 0, 0, 0); s.Asked != 0 {
			t.Errorf("got %+v, want the late answer remembered", s)
		}
		for i := range 10 * missesMax {
			b.check(fmt.Sprintf("10.0.0.%d", i))
		}
		b.state(0, Silent) // always too late is as good as never
	})
}

func TestCheck_badAnswers(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*fakeZone)
		state string
		soon  bool // at the first answer
	}{
		{"lists 127.0.0.1", func(z *fakeZone) { z.all = []string{"127.0.0.2"} }, Poisoned, true},
		{"parked domain", func(z *fakeZone) { z.all = []string{"203.0.113.9"} }, Poisoned, true},
		{"parked domain beside an answer", func(z *fakeZone) { z.all = []string{"127.0.0.2", "203.0.113.9"} }, Poisoned, true},
		{"error code", func(z *fakeZone) { z.all = []string{"127.255.255.254"} }, Refusing, true},
		{"error code beside an answer", func(z *fakeZone) { z.all = []string{"127.0.0.2", "127.255.255.255"} }, Refusing, true},
		{"REFUSED", func(z *fakeZone) { z.rcode = dns.Refused }, Refusing, false},
		{"SERVFAIL", func(z *fakeZone) { z.rcode = dns.ServFail }, Silent, false},
		{"malformed", func(z *fakeZone) { z.err = dns.ErrMalformed }, Silent, false},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1")}
				b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3, Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
				b.f.change("bl.example", k.spoil)
				b.want("192.0.2.1", 0, 0, 1)
				if k.soon {
					b.state(0, k.state)
				}
				for i := range 2 * missesMax {
					time.Sleep(time.Second)
					b.want(fmt.Sprintf("10.0.0.%d", i), 0, 0, 1)
				}
				b.state(0, k.state)
				if n := strings.Count(b.l.String(), "DNS list is ignored"); n != 1 {
					t.Errorf("got %d lines, want 1:\n%s", n, b.l)
				}
				b.f.change("bl.example", func(z *fakeZone) { *z = *zoneOf("127.0.0.2", "192.0.2.1") })
				time.Sleep(retestMax)
				b.check("10.0.1.1")
				time.Sleep(time.Second)
				b.state(0, OK)
				b.want("192.0.2.1", 3, 1, 0)
				b.want("10.0.0.1", 0, 0, 0)
			})
		})
	}
}

func TestCheck_busyResolverIsNoIllness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Options{}, map[string]*fakeZone{"bl.example": {err: dns.ErrBusy}}, List{Zone: "bl.example", Weight: 3})
		for i := range 100 {
			time.Sleep(time.Second)
			b.want(fmt.Sprintf("10.0.0.%d", i), 0, 0, 1)
		}
		b.state(0, OK)
	})
}

// TestCheck_poisonedLater shows for how long a list that begins to list
// everybody can do harm, and that what it said then is forgotten.
func TestCheck_poisonedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{"bl.example": zoneOf("127.0.0.2", "192.0.2.1", "2001:db8::1")}
		b := setUp(t, Options{}, zones, List{Zone: "bl.example", Weight: 3})
		b.want("192.0.2.1", 3, 1, 0)
		b.want("2001:db8::1", 3, 1, 0)
		b.f.change("bl.example", func(z *fakeZone) { z.all = []string{"127.0.0.2"} })
		b.want("10.0.0.1", 3, 1, 0) // the harm
		time.Sleep(freshMax)
		b.want("10.0.0.2", 0, 0, 1)
		b.want("2001:db8::2", 0, 0, 1)
		b.state(0, Poisoned)
		b.want("10.0.0.1", 0, 0, 1)
		b.want("192.0.2.1", 0, 0, 1)
		b.f.change("bl.example", func(z *fakeZone) { z.all = nil })
		time.Sleep(retestMin)
		b.check("10.0.0.3")
		time.Sleep(time.Second)
		b.state(0, OK)
		b.want("10.0.0.1", 0, 0, 0)
		b.want("192.0.2.1", 3, 1, 0)
	})
}

// TestCheck_poisonedForOneFamily has a list that lists all of IPv6.
func TestCheck_poisonedForOneFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zoneOf("127.0.0.2", "192.0.2.1", "2001:db8::1")
		z.entries[never6] = []string{"127.0.0.2"}
		b := setUp(t, Options{}, map[string]*fakeZone{"bl.example": z}, List{Zone: "bl.example", Weight: 3})
		b.want("2001:db8::1", 0, 0, 1)
		b.state(0, Poisoned)
		time.Sleep(time.Hour)
		b.check("192.0.2.1")
		time.Sleep(time.Second)
		b.state(0, Poisoned)
		b.f.change("bl.example", func(z *fakeZone) { delete(z.entries, never6) })
		time.Sleep(time.Hour)
		b.check("192.0.2.1")
		time.Sleep(time.Second)
		b.state(0, OK)
		b.want("2001:db8::1", 3, 1, 0)
	})
}

func TestCheck_whiteListOverItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Options{}, map[string]*fakeZone{"wl.example": zoneOf("127.0.0.255", "192.0.2.1")}, List{Zone: "wl.example", Weight: -3})
		b.want("192.0.2.1", 0, 0, 1)
		b.state(0, Refusing)
	})
}

func TestCheck_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Options{Checks: 10}, map[string]*fakeZone{"bl.example": {silent: true}}, List{Zone: "bl.example", Weight: 3})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Add(1)
			s, ready := b.c.Check(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), func(Score) { wg.Done() })
			if ready != (i >= 10) || ready && s.Silent != 1 {
				t.Errorf("check %d: got %+v %t, want no wait beyond 10", i, s, ready)
			}
			if ready {
				wg.Done()
			}
		}
		wg.Wait()
		if b.f.most > 10 {
			t.Errorf("got %d questions in flight, want at most 10", b.f.most)
		}
		synctest.Wait()
	})
}

func TestCheck_manyLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{}
		var lists []List
		for i := range listsMax {
			name := fmt.Sprintf("l%d.example", i)
			zones[name] = zoneOf("127.0.0.2", "192.0.2.1")
			lists = append(lists, List{Zone: name, Weight: weightMax})
		}
		b := setUp(t, Options{}, zones, lists...)
		if s := b.want("192.0.2.1", listsMax*weightMax, 1<<32-1, 0); s.Asked != listsMax {
			t.Errorf("got %d questions, want %d", s.Asked, listsMax)
		}
		if _, err := New(Options{}, b.f, append(lists, List{Zone: "one.more.example"})); err == nil {
			t.Error("33 lists: got no error")
		}
	})
}

func TestNew_refuses(t *testing.T) {
	bad := []List{
		{}, {Zone: "a..b"}, {Zone: strings.Repeat("a.", 100) + "b"}, {Zone: "x", Weight: weightMax + 1}, {Zone: "x", Weight: -weightMax - 1},
		{Zone: "x", Codes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, {Zone: "x", Codes: []netip.Prefix{{}}},
		{Zone: "x", Codes: []netip.Prefix{netip.MustParsePrefix("126.0.0.0/7")}},
	}
	for _, l := range bad {
		if _, err := New(Options{}, nil, []List{l}); err == nil {
			t.Errorf("%+v: got no error", l)
		}
	}
	c, err := New(Options{Metrics: NewMetrics(prometheus.NewRegistry())}, nil, []List{{Zone: "X.example."}})
	if err != nil || c.Lists()[0].Zone != "x.example" {
		t.Errorf("got %v, want the zone in lower case", err)
	}
}

// TestCheck_storm is for the race detector: checks, health and reasons from
// many goroutines while lists come and go.
func TestCheck_storm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zones := map[string]*fakeZone{
			"a.example": zoneOf("127.0.0.2", "10.0.0.1", "10.0.0.2"), "b.example": zoneOf("127.0.0.3", "10.0.0.2"), "c.example": {silent: true},
		}
		b := setUp(t, Options{CacheEntries: 64}, zones, List{Zone: "a.example", Weight: 1}, List{Zone: "b.example", Weight: 1}, List{Zone: "c.example", Weight: 1})
		ctx := t.Context()
		go b.c.Run(ctx)
		var wg, calls sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := range 200 {
					a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i * (g + 1))})
					calls.Add(1)
					s, ready := b.c.Check(a, func(s Score) {
						b.c.Reason(s, a)
						calls.Done()
					})
					if ready {
						b.c.Reason(s, a)
						calls.Done()
					}
					if i%50 == 0 {
						b.c.Health()
						b.c.Findings(ctx, a)
						b.f.change("a.example", func(z *fakeZone) { z.silent = i%100 == 0 })
					}
				}
			})
		}
		wg.Wait()
		calls.Wait()
		b.c.mu.Lock()
		defer b.c.mu.Unlock()
		if b.c.waiting != 0 || b.c.first != nil || b.c.last != nil {
			t.Errorf("got %d waiting after the storm, want 0", b.c.waiting)
		}
	})
}
