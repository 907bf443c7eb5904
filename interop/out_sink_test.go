//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/wire"
)

// taken is one message that a sink was given whole.
type taken struct {
	conn, nth int // of which connection, and which of its transactions
	from      string
	to        []string
	data      []byte // as sent, without dots stuffed in
	tls       bool
	at        time.Time // when it was answered
	cut       bool      // kept, but the connection was closed before the reply
}

// sink is a mail server of the test that counts and, as its rules say, behaves
// badly. Rules are called from many goroutines.
type sink struct {
	addr string
	cert *tls.Certificate // for STARTTLS; nil: not offered
	rule sinkRules

	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns int                   // guarded by mu, as what follows
	mails map[int]int           // transactions that were begun on each
	bye   map[int]bool          // connections that ended with QUIT
	open  map[net.Conn]struct{} // to be closed with it
	got   []taken
}

// sinkRules say what is answered; a nil rule or an empty answer is the usual.
type sinkRules struct {
	connection func(c net.Conn) bool // takes the connection over if it says true
	command    func()                // comes before each answer to a command
	rcpt       func(to string) string
	end        func(m *taken) (reply string, cut bool) // kept if the reply begins with 2, or is empty
}

// startSink listens on addr.
func startSink(t *testing.T, addr string, cert *tls.Certificate, rules sinkRules) *sink {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String(), cert: cert, rule: rules, l: l, open: map[net.Conn]struct{}{}, mails: map[int]int{}, bye: map[int]bool{}}
	s.wg.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *sink) close() {
	s.l.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *sink) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		n := s.conns
		s.open[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				c.Close()
				s.mu.Lock()
				delete(s.open, c)
				s.mu.Unlock()
			}()
			if s.rule.connection == nil || !s.rule.connection(c) {
				(&sinkConn{sink: s, c: c, n: n}).serve()
			}
		})
	}
}

// all gives what has been kept so far.
func (s *sink) all() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.got...)
}

// count counts the messages kept for a recipient.
func (s *sink) count(to string) (n int) {
	for _, m := range s.all() {
		for _, r := range m.to {
			if r == to {
				n++
			}
		}
	}
	return n
}

// quiet waits until whoever was connected is gone, and gives the number of the
// last connection. Nobody else may come meanwhile.
func (s *sink) quiet(t *testing.T) int {
	t.Helper()
	c, err := wire.DialSMTP(s.addr, nil) // it is accepted behind all that came before
	if err != nil {
		t.Fatal(err)
	}
	c.Quit()
	eventually(t, "all have gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 0
	})
	return s.connections()
}

// last tells whether nothing came on a message's connection after it, not even
// QUIT.
func (s *sink) last(m taken) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.bye[m.conn] && s.mails[m.conn] == m.nth
}

// connections counts those that there were.
func (s *sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// sinkConn is one connection.
type sinkConn struct {
	*sink
	c    net.Conn
	n    int
	r    *bufio.Reader
	tls  bool
	from string
	to   []string
}

func (c *sinkConn) say(format string, args ...any) bool {
	_, err := fmt.Fprintf(c.c, format+"\r\n", args...)
	return err == nil
}

func (c *sinkConn) serve() {
	c.r = bufio.NewReader(c.c)
	ok := c.say("220 sink ESMTP")
	for ok {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		ok = c.command(strings.TrimRight(line, "\r\n"))
	}
}

func (c *sinkConn) command(line string) bool {
	if c.rule.command != nil {
		c.rule.command()
	}
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "EHLO":
		more := ""
		if c.cert != nil && !c.tls {
			more = "250-STARTTLS\r\n"
		}
		return c.say("250-sink\r\n%s250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 100000000", more)
	case "STARTTLS":
		return c.starttls()
	case "MAIL":
		c.from, c.to = angle(line), nil
		c.mu.Lock()
		c.mails[c.n]++
		c.mu.Unlock()
		return c.say("250 2.1.0 ok")
	case "RCPT":
		to := angle(line)
		if reply := c.rule.rcpt; reply != nil {
			if text := reply(to); text != "" {
				return c.say("%s", text)
			}
		}
		c.to = append(c.to, to)
		return c.say("250 2.1.5 ok")
	case "DATA":
		if len(c.to) == 0 {
			return c.say("554 5.5.1 no valid recipients")
		}
		return c.say("354 go on") && c.data()
	case "QUIT":
		c.mu.Lock()
		c.bye[c.n] = true
		c.mu.Unlock()
		c.say("221 2.0.0 bye")
		return false
	case "RSET", "NOOP", "HELO":
		return c.say("250 2.0.0 ok")
	}
	return c.say("502 5.5.1 what")
}

// angle gives what stands between < and >.
func angle(line string) string {
	_, line, _ = strings.Cut(line, "<")
	line, _, _ = strings.Cut(line, ">")
	return line
}

func (c *sinkConn) starttls() bool {
	if c.cert == nil || !c.say("220 2.0.0 go ahead") {
		return false
	}
	t := tls.Server(c.c, &tls.Config{Certificates: []tls.Certificate{*c.cert}})
	if err := t.Handshake(); err != nil {
		return false
	}
	c.c, c.tls = t, true
	c.r = bufio.NewReader(t)
	return true
}

// data reads a message and does with it what the rule says.
func (c *sinkConn) data() bool {
	var b bytes.Buffer
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		b.Write(bytes.TrimPrefix(line, []byte(".")))
	}
	c.mu.Lock()
	m := &taken{conn: c.n, nth: c.mails[c.n], from: c.from, to: c.to, data: b.Bytes(), tls: c.tls}
	c.mu.Unlock()
	reply := ""
	if c.rule.end != nil {
		reply, m.cut = c.rule.end(m)
	}
	if reply == "" {
		reply = "250 2.0.0 kept"
	}
	m.at = time.Now()
	if reply[0] == '2' {
		c.mu.Lock()
		c.got = append(c.got, *m)
		c.mu.Unlock()
	}
	return !m.cut && c.say("%s", reply)
}

// drain reads what somebody says until he goes.
func drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
