package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/sasl"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

var errBroken = errors.New("the disk is on fire")

// fakeHost stands for the stores: one account and its drop-box. The flags
// break it; they are set between commands, when no session runs.
type fakeHost struct {
	mu       sync.Mutex
	texts    [][]byte        // by UID less one; nil once removed
	removals [][]mailbox.UID // each a durable change

	faultLogin, faultOpen, faultBody, faultRemove bool
	damaged                                       int64 // from this offset bodies are, if positive
}

const (
	fakeAccount  = 7
	fakeUser     = "one@example.org"
	fakePassword = " open  sesame "
)

func (h *fakeHost) Password(ctx context.Context, user, password string) (sasl.Identity, error) {
	switch {
	case h.faultLogin:
		return sasl.Identity{}, errBroken
	case user != fakeUser || password != fakePassword:
		return sasl.Identity{}, fmt.Errorf("log in: %w", sasl.ErrCredentials)
	}
	return sasl.Identity{Account: fakeAccount, Address: message.Address{Local: "one", Domain: "example.org"}}, nil
}

func (h *fakeHost) Scram(ctx context.Context, user string) (sasl.Verifier, error) {
	return sasl.Verifier{}, errBroken
}

func (h *fakeHost) open(ctx context.Context, account uint64) (*maildrop, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faultOpen {
		return nil, errBroken
	}
	d := &maildrop{mailbox: 1, uidValidity: 1000}
	for i, text := range h.texts {
		if text != nil {
			d.messages = append(d.messages, mailbox.Entry{UID: mailbox.UID(i + 1), Size: uint32(len(text)), Message: journal.LSN(i + 1)})
		}
	}
	return d, nil
}

func (h *fakeHost) body(ctx context.Context, m mailbox.Entry) (body, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faultBody {
		return nil, errBroken
	}
	return fakeBody{bytes.NewReader(h.texts[m.Message-1]), h.damaged}, nil
}

func (h *fakeHost) remove(ctx context.Context, d *maildrop, uids []mailbox.UID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faultRemove {
		return errBroken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h.removals = append(h.removals, slices.Clone(uids))
	for _, u := range uids {
		h.texts[u-1] = nil
	}
	return nil
}

// fakeBody is a body that is damaged from an offset on.
type fakeBody struct {
	*bytes.Reader
	damaged int64
}

func (b fakeBody) Close() error { return nil }

func (b fakeBody) ReadAt(p []byte, off int64) (int, error) {
	if b.damaged > 0 && off+int64(len(p)) > b.damaged && b.Size() > b.damaged {
		return 0, &journal.DamageError{}
	}
	return b.Reader.ReadAt(p, off)
}

// fakeConn takes TLS for granted when it is told to.
type fakeConn struct {
	net.Conn
	tls       bool
	handshake error
}

func (c *fakeConn) StartTLS(ctx context.Context) error {
	c.tls = c.handshake == nil
	return c.handshake
}

func (c *fakeConn) ConnectionState() (tls.ConnectionState, bool) {
	return tls.ConnectionState{}, c.tls
}

// drain reads all until the connection ends.
func drain(c net.Conn) []byte {
	b, _ := io.ReadAll(c)
	return b
}

// panicky panics when a body is read.
type panicky struct{ *fakeHost }

func (panicky) body(context.Context, mailbox.Entry) (body, error) { panic("no body") }
