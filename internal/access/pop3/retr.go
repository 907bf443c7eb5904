package pop3

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// retr answers RETR (RFC 1939 §5).
func (s *session) retr(ctx context.Context, args string) {
	if n, ok := s.message(args); ok {
		s.send(ctx, "retr", &s.drop.messages[n-1], allLines)
	}
}

// top answers TOP (RFC 1939 §7): the header and the first lines of the body.
func (s *session) top(ctx context.Context, args string) {
	which, lines, _ := strings.Cut(args, " ")
	k, ok := number(strings.TrimSpace(lines))
	if !ok {
		s.wrong("TOP needs a message number and a count of lines")
		return
	}
	if n, ok := s.message(which); ok {
		s.send(ctx, "top", &s.drop.messages[n-1], k)
	}
}

// send sends a message's text, or its top, as a multi-line response. The
// first piece is read before +OK is said, so that most faults are a refusal;
// a fault further on ends the session without the final dot, so that no
// client takes the part for the whole.
func (s *session) send(ctx context.Context, cmd string, m *mailbox.Entry, top int) {
	text, err := s.srv.drops.body(ctx, *m)
	if err != nil {
		s.unreadable(cmd, m, err)
		return
	}
	defer text.Close()
	buf := s.srv.buffers.Get().(*[bodyBufferOctets]byte)
	defer s.srv.buffers.Put(buf)

	r := io.NewSectionReader(text, 0, text.Size())
	n, err := io.ReadFull(r, buf[:])
	if err != nil && !short(err) {
		s.unreadable(cmd, m, err)
		return
	}
	if top == allLines {
		s.ok("%d octets", m.Size)
	} else {
		s.ok("top of %d octets", m.Size)
	}
	w := wireWriter{w: s.out, top: top}
	for {
		s.srv.o.Metrics.sent.Add(float64(n))
		_, werr := w.Write(buf[:n])
		if errors.Is(werr, errEnough) || werr == nil && short(err) {
			break
		}
		if werr != nil {
			s.over = "lost"
			return
		}
		if n, err = io.ReadFull(r, buf[:]); err != nil && !short(err) {
			s.report(cmd, m, err)
			s.refused, s.over = true, "unreadable"
			return
		}
	}
	if err := w.end(); err != nil {
		s.over = "lost"
		return
	}
	s.retrieved++
}

// short says that io.ReadFull came to the text's end, which is no fault.
func short(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// unreadable refuses a message, for good where its bytes are not the ones
// that were stored. One that another session expunged, and whose body has
// been compacted away since, is nobody's fault.
func (s *session) unreadable(cmd string, m *mailbox.Entry, err error) {
	if errors.Is(err, mailbox.ErrNoSuchMessage) {
		s.refuse("", "this message was removed by another session")
		return
	}
	s.report(cmd, m, err)
	var damage *journal.DamageError
	if errors.As(err, &damage) {
		s.refuse("SYS/PERM", "this message is damaged")
	} else {
		s.refuse("SYS/TEMP", "local error, please try again later")
	}
}

// report tells the operator of a message that could not be read.
func (s *session) report(cmd string, m *mailbox.Entry, err error) {
	s.srv.o.Metrics.unreadable.Inc()
	s.log.Error("message unreadable", telemetry.Cmd, cmd, telemetry.LSN, uint64(m.Message), telemetry.Err, err)
}
