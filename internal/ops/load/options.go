package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Options say what is done to whom. The zero value of a field is its default.
type Options struct {
	To       string        // host:port of the SMTP server; must be on this machine
	Factor   float64       // times the connections of 2009; default 60
	Speed    float64       // times as fast; default 1: 323 s
	Rcpt     string        // recipient of good mail and what strangers ask for; default one@demo.test
	PIDs     []int         // roots of the server's process trees; none: it is not measured
	Duration time.Duration // the wave ends at the latest after this; 0: the whole curve
	Hold     time.Duration // how long the last level stays when the curve has ended
	Quit     float64       // share of strangers that QUIT after their 5xx; default 0: all fall silent
	Rate     int           // connections opened in a second at most; default 3,000
	GoodRate float64       // deliveries a second of the known good senders; default 4
	Patience time.Duration // how long strangers and good senders wait for a reply; default 60 s

	// Progress is called a few times a second from one goroutine; nil: nobody
	// looks on.
	Progress func(Progress)

	quietGap time.Duration // between deliveries of the quiet phase; tests hurry
}

// Check says what is wrong with the options, before anything is done.
func (o Options) Check() error { return o.fill() }

// The phases of a run.
const (
	PhaseQuiet = "quiet"
	PhaseWave  = "wave"
	PhaseEnd   = "end" // those who still wait are waited for
)

// Progress is how it is going.
type Progress struct {
	Phase   string        // PhaseQuiet, PhaseWave, PhaseEnd
	At      time.Duration // since the phase began
	Of      time.Duration // how long the phase takes
	Offered int           // connections that the curve asks for now
	Held    int           // that are open
	Refused int           // strangers that had their 5xx at RCPT so far
	Lost    int
	Sent    int // good deliveries begun in this phase
	OK      int
	P99     time.Duration // of good deliveries
	PSS     int64         // bytes, of the server; 0: not measured
}

const (
	factorDefault   = 60.0
	rateDefault     = 3000
	goodRateDefault = 4.0
	patienceDefault = time.Minute
	quietGapDefault = 100 * time.Millisecond

	factorMax   = 1000.0           // 301,000 connections: more than there are descriptors
	speedMax    = 1000.0           // the wave in a third of a second
	rateMax     = 100_000          // connections a second: more than a loopback takes
	goodRateMax = 200.0            // deliveries a second: good senders are few
	patienceMax = 10 * time.Minute // beyond what RFC 5321 §4.5.3.2 lets a client wait for a reply
	waveMax     = 24 * time.Hour   // Duration and Hold: a day of it is a soak, longer a mistake
)

// fill puts in the defaults and says what is wrong.
func (o *Options) fill() error {
	if o.To == "" {
		o.To = "127.0.0.1:2525"
	}
	if o.Rcpt == "" {
		o.Rcpt = "one@demo.test"
	}
	setFloat(&o.Factor, factorDefault)
	setFloat(&o.Speed, 1)
	setFloat(&o.GoodRate, goodRateDefault)
	if o.Rate == 0 {
		o.Rate = rateDefault
	}
	if o.quietGap == 0 {
		o.quietGap = quietGapDefault
	}
	if o.Patience == 0 {
		o.Patience = patienceDefault
	}
	return o.check()
}

func setFloat(v *float64, to float64) {
	if *v == 0 {
		*v = to
	}
}

func (o *Options) check() error {
	for _, c := range []struct {
		name     string
		v        float64
		min, max float64
	}{
		{"factor", o.Factor, 0.01, factorMax},
		{"speed", o.Speed, 0.01, speedMax},
		{"rate", float64(o.Rate), 1, rateMax},
		{"good senders' rate", o.GoodRate, 0.1, goodRateMax},
		{"share of strangers that quit", o.Quit, 0, 1},
		{"patience in seconds", o.Patience.Seconds(), 0.1, patienceMax.Seconds()},
		{"duration in seconds", o.Duration.Seconds(), 0, waveMax.Seconds()},
		{"hold in seconds", o.Hold.Seconds(), 0, waveMax.Seconds()},
	} {
		// Written so that a NaN fails.
		if !(c.v >= c.min && c.v <= c.max) {
			return fmt.Errorf("the %s is %v; it must be from %v to %v", c.name, c.v, c.min, c.max)
		}
	}
	local, domain, ok := strings.Cut(o.Rcpt, "@")
	if !ok || local == "" || domain == "" || len(o.Rcpt) > rcptMax || strings.ContainsFunc(o.Rcpt, notInAddress) {
		return fmt.Errorf("%q is no address that mail can be sent to", o.Rcpt)
	}
	for _, pid := range o.PIDs {
		if pid <= 0 {
			return fmt.Errorf("%d is no process id", pid)
		}
	}
	return nil
}

// rcptMax bounds the recipient's address: RFC 5321 §4.5.3.1.3, a path.
const rcptMax = 254

func notInAddress(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' }

// target resolves host:port to an IPv4 address of this machine. A load
// generator that can be pointed at others would be a weapon.
func target(to string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no HOST:PORT: %w", to, err)
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil || number == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no port of %q", port, to)
	}
	found, err := net.LookupIP(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find the server: %w", err)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("list this machine's addresses: %w", err)
	}
	refused := errors.New("it has no IPv4 address, and the strangers' are of IPv4")
	for _, ip := range found {
		a, ok := netip.AddrFromSlice(ip)
		if a = a.Unmap(); !ok || !a.Is4() {
			continue
		}
		if !a.IsLoopback() && !isOwn(a, own) {
			refused = fmt.Errorf("%s is not an address of this machine: a wave is only ever run against one's own", a)
			continue
		}
		return netip.AddrPortFrom(a, uint16(number)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("%s: %w", to, refused)
}

func isOwn(a netip.Addr, own []net.Addr) bool {
	for _, o := range own {
		if n, ok := o.(*net.IPNet); ok {
			if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a {
				return true
			}
		}
	}
	return false
}
