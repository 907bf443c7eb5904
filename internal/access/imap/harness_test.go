package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// people are the accounts of the tests: "one" and "two" with the password
// "secret", and "broken", whose credentials cannot be checked.
type people struct {
	verifier sasl.Verifier
}

func newPeople(tb testing.TB) *people {
	tb.Helper()
	v, err := sasl.NewVerifier("secret", []byte("0123456789abcdef"), sasl.MinIterations)
	if err != nil {
		tb.Fatal(err)
	}
	return &people{v}
}

var errBackend = errors.New("the backend is broken")

func (p *people) identity(user string) (sasl.Identity, error) {
	id := sasl.Identity{Address: message.Address{Local: user, Domain: "demo.test"}}
	switch user {
	case "one":
		id.Account = 1
	case "two":
		id.Account = 2
	case "broken":
		return sasl.Identity{}, errBackend
	default:
		return sasl.Identity{}, sasl.ErrCredentials
	}
	return id, nil
}

func (p *people) Password(_ context.Context, user, password string) (sasl.Identity, error) {
	id, err := p.identity(user)
	if err == nil && password != "secret" {
		err = sasl.ErrCredentials
	}
	return id, err
}

func (p *people) Scram(_ context.Context, user string) (sasl.Verifier, error) {
	v := p.verifier
	id, err := p.identity(user)
	if errors.Is(err, errBackend) {
		return v, err
	}
	v.Identity = id
	return v, nil
}

// house is a server over a store on a simulated disk.
type house struct {
	tb     testing.TB
	disk   *sim.Disk
	j      *journal.Journal
	x      *index.Index
	boxes  *mailbox.Store
	server *Server
	ctx    context.Context
	stop   context.CancelFunc
	open   atomic.Int64 // sessions
	idle   chan struct{}
	config *tls.Config // of the last listen
}

// newHouse starts a store and a server over it. close ends both.
func newHouse(tb testing.TB, o Options) *house {
	tb.Helper()
	h := &house{tb: tb, disk: sim.NewDisk(1), idle: make(chan struct{}, 1)}
	h.openOn(h.disk, "journal", "")
	h.serve(o)
	return h
}

func (h *house) openOn(fs sys.FS, dir, path string) {
	h.tb.Helper()
	var err error
	h.j, err = journal.Open(journal.Options{Dir: dir, FS: fs, Clock: sys.RealClock(), Rand: sys.Rand(), SegmentBytes: 64 << 20, ReserveBytes: 64 << 10})
	h.must(err)
	h.boxes = mailbox.New(mailbox.Options{}, h.j)
	h.x, err = index.Open(context.Background(), index.Options{Path: path}, h.j, h.boxes)
	h.must(err)
	h.must(h.boxes.Attach(h.x))
	for id := account.ID(1); id <= 2; id++ {
		h.must(h.boxes.Provision(context.Background(), id))
	}
}

func (h *house) serve(o Options) {
	h.ctx, h.stop = context.WithCancel(context.Background())
	if o.Log == nil && testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(h.tb.Output(), nil))
	}
	h.server = New(o, newPeople(h.tb), h.boxes)
}

func (h *house) must(err error) {
	h.tb.Helper()
	if err != nil {
		h.tb.Fatal(err)
	}
}

// close stops the server and waits for its sessions.
func (h *house) close() {
	h.stop()
	for h.open.Load() > 0 {
		<-h.idle
	}
	h.must(h.x.Close())
	h.must(h.j.Close())
}

// pipe is the server's end of a connection that says that it is under TLS.
type pipe struct {
	net.Conn
	secure atomic.Bool
}

func (p *pipe) StartTLS(context.Context) error {
	p.secure.Store(true)
	return nil
}

func (p *pipe) ConnectionState() (tls.ConnectionState, bool) {
	return tls.ConnectionState{}, p.secure.Load()
}

// dial connects to the server; its greeting is unread.
func (h *house) dial(secure bool) net.Conn {
	a, b := net.Pipe()
	p := &pipe{Conn: b}
	p.secure.Store(secure)
	h.serveConn(p)
	return a
}

func (h *house) serveConn(c Conn) {
	h.open.Add(1)
	go func() {
		defer func() {
			h.open.Add(-1)
			select {
			case h.idle <- struct{}{}:
			default:
			}
		}()
		h.server.ServeConn(h.ctx, c)
	}()
}

// append files a message.
func (h *house) append(acct account.ID, name, text string, date time.Time, flags ...string) mailbox.UID {
	h.tb.Helper()
	ctx := context.Background()
	info, err := h.boxes.Lookup(ctx, acct, name)
	if errors.Is(err, mailbox.ErrNoSuchMailbox) {
		info, err = h.boxes.Create(ctx, acct, name, "")
	}
	h.must(err)
	body, err := h.boxes.NewBody(ctx, nil)
	h.must(err)
	_, err = body.Write([]byte(text))
	h.must(err)
	uids, _, err := h.boxes.Append(ctx, info.ID, []mailbox.AppendMessage{{Body: body, Flags: flags, Date: date}})
	h.must(err)
	return uids[0]
}

// client is a test's end of a connection: it writes commands and reads lines.
type client struct {
	tb testing.TB
	c  net.Conn
	r  *bufio.Reader
	n  int
}

func newClient(tb testing.TB, c net.Conn) *client {
	return &client{tb: tb, c: c, r: bufio.NewReaderSize(c, 256<<10)}
}

// login gives a client that has logged in.
func (h *house) login(user string) *client {
	h.tb.Helper()
	c := newClient(h.tb, h.dial(true))
	c.line()
	c.do("LOGIN " + user + " secret")
	return c
}

// line reads one line without its CRLF.
func (c *client) line() string {
	c.tb.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.tb.Fatalf("read: %v after %q", err, line)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (c *client) write(text string) {
	c.tb.Helper()
	if _, err := c.c.Write([]byte(text)); err != nil {
		c.tb.Fatalf("write %.40q: %v", text, err)
	}
}

// do sends a command, which must succeed, and gives the untagged lines.
func (c *client) do(command string) []string {
	c.tb.Helper()
	lines, last := c.try(command)
	if !strings.HasPrefix(last, "OK") {
		c.tb.Fatalf("%s: %s", command, last)
	}
	return lines
}

// try sends a command and gives the untagged lines and the tagged one without
// its tag.
func (c *client) try(command string) (lines []string, last string) {
	c.tb.Helper()
	c.n++
	tag := fmt.Sprintf("t%d ", c.n)
	c.write(tag + command + "\r\n")
	for {
		line := c.line()
		if rest, ok := strings.CutPrefix(line, tag); ok {
			return lines, rest
		}
		lines = append(lines, line)
	}
}
