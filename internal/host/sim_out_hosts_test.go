package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/dsn"
)

// outRef is one recipient elsewhere of one message.
type outRef struct{ id, rcpt string }

// outTally is what is known there of one.
type outTally struct {
	accepted int
	excused  int  // times that the host may send it again after it was accepted
	replied  bool // accepted in this life of the host, which has read the reply
}

// outReport is a delivery status notification that somebody has got.
type outReport struct {
	dsn.Report
	about string // the Message-ID of the message
}

// outDomains are the domains elsewhere: how the hosts of each behave is decided
// by the seed.
var outDomains = []string{"a.test", "b.test", "c.test", "d.test", "outside.test"}

// outNet is all that is elsewhere.
type outNet struct {
	w     *outWorld
	sites map[string]*outSite
	wg    sync.WaitGroup

	mu      sync.Mutex
	works   bool // whatever was wrong is mended
	orderly bool // the last life ended so
	tallies map[outRef]*outTally
	reports map[string]outReport // by Message-ID
	senders []string             // that were rewritten
	trips   []*outTrip           // the connections of this life
}

// outTrip is what a host has taken over one connection, and said so, in order.
type outTrip struct{ taken []outRef }

// outSite is a domain with two hosts that are alike.
type outSite struct {
	net    *outNet
	domain string
	offers []string
	dsn    bool
	bad    int // how bad it is, 0 to 3
	slow   int // likewise
	greets bool
	tried  map[outRef]int
	downAt time.Time // for downFor
	down   time.Duration
}

func newOutNet(w *outWorld) *outNet {
	n := &outNet{w: w, sites: map[string]*outSite{}, tallies: map[outRef]*outTally{}, reports: map[string]outReport{}}
	for _, d := range outDomains {
		s := &outSite{net: n, domain: d, bad: w.roll(4), slow: w.roll(4), greets: w.roll(3) == 0, tried: map[outRef]int{}}
		s.dsn = w.roll(2) == 0
		for _, o := range []string{"PIPELINING", "8BITMIME", "CHUNKING", "SIZE 10000000", "ENHANCEDSTATUSCODES"} {
			if w.roll(4) > 0 {
				s.offers = append(s.offers, o)
			}
		}
		if s.dsn {
			s.offers = append(s.offers, "DSN")
		}
		if w.roll(2) == 0 {
			s.downAt, s.down = time.Now().Add(w.upTo(12*time.Hour)), w.upTo(12*time.Hour)
			if w.roll(6) == 0 {
				s.down *= 12 // for days
			}
		}
		n.sites[d] = s
	}
	return n
}

// calm mends all hosts.
func (n *outNet) calm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.works = true
}

// happens tells whether something goes wrong that does so once in so many
// times, at a site as bad as that.
func (n *outNet) happens(once, bad int) bool {
	n.mu.Lock()
	works := n.works
	n.mu.Unlock()
	return !works && bad > 0 && n.w.roll(once) < bad
}

// over waits until all connections of a life have ended, and notes whether it
// ended orderly: then the host has the result of all that it was replied to.
func (n *outNet) over(orderly bool) {
	n.wg.Wait()
	n.orderly = orderly
}

// rewritten gives senders that the host has rewritten: mail to them goes back.
func (n *outNet) rewritten() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.senders[max(0, len(n.senders)-2):])
}

// trip notes that a connection begins.
func (n *outNet) trip() *outTrip {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &outTrip{}
	n.trips = append(n.trips, t)
	return t
}

// Lookup implements delivery.Resolver.
func (n *outNet) Lookup(_ context.Context, q dns.Question) dns.Answer {
	a := dns.Answer{Question: q}
	for i, d := range outDomains {
		for host := range 2 {
			name := fmt.Sprintf("mx%d.%s", host, d)
			switch {
			case q.Name == d && q.Type == dns.MX:
				a.MX = append(a.MX, dns.MXRecord{Preference: uint16(host), Host: name})
			case q.Name == name && q.Type == dns.A:
				a.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(2*i + host)})}
			}
		}
	}
	if n.happens(40, 1) {
		return dns.Answer{Question: q, RCode: dns.ServFail}
	}
	return a
}

// dial implements delivery.Options.Dial.
func (n *outNet) dial(ctx context.Context, _ netip.Addr, to netip.AddrPort) (net.Conn, error) {
	s := n.sites[outDomains[to.Addr().As4()[3]/2]]
	n.mu.Lock()
	away := !n.works && time.Now().After(s.downAt) && time.Since(s.downAt) < s.down
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	switch {
	case n.w.disk.Crashed():
		return nil, refused
	case away && n.w.roll(2) == 0:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	case away, n.happens(50, s.bad):
		return nil, refused
	}
	near, far := net.Pipe()
	n.wg.Go(func() { s.serve(far) })
	return near, nil
}

// outReader reads ahead without a bound, so that who writes commands while
// replies are written does not wait for itself.
type outReader struct {
	chunks chan []byte
	rest   []byte
}

func newOutReader(c net.Conn) *outReader {
	r := &outReader{chunks: make(chan []byte, 1<<10)}
	go func() {
		defer close(r.chunks)
		for {
			b := make([]byte, 4<<10)
			n, err := c.Read(b)
			if err != nil {
				return
			}
			r.chunks <- b[:n]
		}
	}()
	return r
}

// Read implements io.Reader.
func (r *outReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		chunk, ok := <-r.chunks
		if !ok {
			return 0, io.EOF
		}
		r.rest = chunk
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// outSession is one connection to a site.
type outSession struct {
	s     *outSite
	c     net.Conn
	r     *bufio.Reader
	trip  *outTrip
	from  string
	mail  bool
	rcpts []string
	body  bytes.Buffer
}

var errOutEnd = errors.New("the session is over")

func (s *outSite) serve(c net.Conn) {
	reader := newOutReader(c)
	defer func() {
		_ = c.Close()
		for range reader.chunks { // its goroutine must end
		}
	}()
	n := &outSession{s: s, c: c, r: bufio.NewReader(reader), trip: s.net.trip()}
	if s.net.happens(60, s.bad) {
		_ = n.say("421 4.3.2 too many")
		return
	}
	for err := n.say("220 mx." + s.domain + " ESMTP"); err == nil; {
		var line string
		if line, err = n.r.ReadString('\n'); err == nil {
			err = n.command(strings.TrimRight(line, "\r\n"))
		}
	}
}

func (n *outSession) say(text string) error {
	if n.s.net.w.disk.Crashed() {
		return errOutEnd
	}
	_, err := io.WriteString(n.c, text+"\r\n")
	return err
}

func (n *outSession) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	if n.s.net.happens(300, n.s.bad) {
		return errOutEnd
	}
	if n.s.slow > 0 && n.s.net.w.roll(8) == 0 {
		<-time.After(n.s.net.w.upTo(time.Duration(n.s.slow) * 20 * time.Second))
	}
	switch strings.ToUpper(verb) {
	case "EHLO":
		return n.say(strings.Join(append([]string{"250-mx"}, n.offers()...), "\r\n"))
	case "MAIL":
		n.from, n.mail, n.rcpts = outPath(rest), !n.s.net.happens(60, n.s.bad), nil
		n.body.Reset()
		if !n.mail {
			return n.say("451 4.3.0 not now")
		}
		return n.say("250 2.1.0 ok")
	case "RCPT":
		return n.rcpt(outPath(rest))
	case "DATA":
		if len(n.rcpts) == 0 {
			return n.say("503 5.5.1 no recipients")
		}
		if err := n.say("354 go"); err != nil {
			return err
		}
		return n.data()
	case "BDAT":
		return n.bdat(strings.Fields(rest))
	case "QUIT":
		_ = n.say("221 2.0.0 bye")
		return errOutEnd
	}
	return n.say("250 2.0.0 ok")
}

// offers are the lines of the answer to EHLO but the first.
func (n *outSession) offers() []string {
	lines := append(slices.Clone(n.s.offers), "HELP")
	for i, o := range lines {
		lines[i] = "250-" + o
	}
	lines[len(lines)-1] = "250 HELP"
	return lines
}

// outPath is the address in a MAIL or RCPT command.
func outPath(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (n *outSession) rcpt(to string) error {
	s := n.s
	local, _, _ := strings.Cut(to, "@")
	key := outRef{n.from, to}
	s.net.mu.Lock()
	s.tried[key]++
	first := s.greets && !s.net.works && s.tried[key] == 1
	s.net.mu.Unlock()
	switch {
	case !n.mail:
		return n.say("503 5.5.1 MAIL first")
	case strings.HasPrefix(local, "no"):
		return n.say("550 5.1.1 nobody")
	case first:
		return n.say("450 4.7.1 come back later")
	case s.net.happens(40, s.bad):
		return n.say("452 4.2.2 full")
	case s.domain != "outside.test" && s.net.happens(60, s.bad):
		return n.say("550 5.7.1 I do not like you")
	}
	n.rcpts = append(n.rcpts, to)
	return n.say("250 2.1.5 ok")
}

func (n *outSession) data() error {
	for {
		line, err := n.r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			return n.end()
		}
		n.body.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (n *outSession) bdat(args []string) error {
	size, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(&n.body, n.r, size); err != nil {
		return err
	}
	switch {
	case len(n.rcpts) == 0:
		return n.say("503 5.5.1 no recipients")
	case len(args) == 2:
		return n.end()
	}
	return n.say("250 2.0.0 go on")
}

// end answers to a message.
func (n *outSession) end() error {
	s := n.s
	defer func() { n.mail, n.rcpts = false, nil }()
	switch {
	case s.net.happens(40, s.bad):
		return errOutEnd
	case s.net.happens(30, s.bad):
		return n.say("451 4.3.0 later")
	case s.domain != "outside.test" && s.net.happens(50, s.bad):
		return n.say("554 5.7.0 on second thoughts, no")
	}
	if !n.accept() {
		return errOutEnd
	}
	if s.net.happens(80, 1) {
		s.net.w.kill()
	}
	if s.net.happens(12, s.bad) {
		return n.cutOff()
	}
	if s.slow > 0 && s.net.w.roll(4) == 0 {
		<-time.After(s.net.w.upTo(time.Duration(s.slow) * 5 * time.Minute)) // some are longer than anybody waits
	}
	reply := "250 2.0.0 taken"
	if s.net.happens(30, s.bad) {
		reply += "\r\n421 4.3.2 and goodbye"
	}
	if err := n.say(reply); err != nil {
		return n.cutOff()
	}
	s.net.mu.Lock()
	for _, to := range n.rcpts {
		s.net.tallies[n.ref(to)].replied = true
		n.trip.taken = append(n.trip.taken, n.ref(to))
	}
	s.net.mu.Unlock()
	if s.net.happens(60, 1) {
		s.net.w.kill() // before the result is durable, perhaps
	}
	if s.net.happens(30, s.bad) || strings.Contains(reply, "421") {
		return errOutEnd
	}
	return nil
}

// accept takes a message over, if the host was there to send it.
func (n *outSession) accept() bool {
	net := n.s.net
	net.mu.Lock()
	defer net.mu.Unlock()
	if net.w.disk.Crashed() {
		return false
	}
	for _, to := range n.rcpts {
		ref := n.ref(to)
		if net.tallies[ref] == nil {
			net.tallies[ref] = &outTally{}
		}
		net.tallies[ref].accepted++
	}
	if strings.HasPrefix(n.from, "SRS0=") && !slices.Contains(net.senders, n.from) {
		net.senders = append(net.senders, n.from)
	}
	if n.from == "" {
		net.reported(n.body.Bytes())
	}
	return true
}

// cutOff ends the session before the reply to a message that was accepted.
func (n *outSession) cutOff() error {
	n.s.net.mu.Lock()
	defer n.s.net.mu.Unlock()
	for _, to := range n.rcpts {
		n.s.net.tallies[n.ref(to)].excused++
	}
	return errOutEnd
}

func (n *outSession) ref(to string) outRef { return outRef{outMessageID(n.body.Bytes()), to} }

// outMessageID is the first Message-ID field.
func outMessageID(b []byte) string {
	_, b, _ = bytes.Cut(b, []byte("\r\nMessage-ID: "))
	b, _, _ = bytes.Cut(b, []byte("\r\n"))
	return string(b)
}
