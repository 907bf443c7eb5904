package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Body is a message on its way into the store. It is parsed as it arrives and
// kept in at most 1 MB of memory; what is longer goes straight to a file of its
// own in the journal. A Body belongs to one goroutine.
type Body struct {
	s      *Store
	ctx    context.Context
	parser *message.Parser
	chunks [][]byte // the message so far, or what is not in large yet
	large  *journal.Large
	size   int64
	prefix int64

	msg     *message.Message // after Finish
	summary []byte           // after Finish
	err     error            // of the first write that failed
	closed  bool             // aborted, or taken by Deliver or Append
}

// pool keeps chunks for the next body. It holds *[chunkBytes]byte.
type pool struct{ sync.Pool }

func (p *pool) get() []byte {
	if c, ok := p.Get().(*[chunkBytes]byte); ok {
		return c[:0]
	}
	return new([chunkBytes]byte)[:0]
}

func (p *pool) put(c []byte) { p.Put((*[chunkBytes]byte)(c[:chunkBytes])) }

// NewBody begins a message. prefix holds the header fields that we put before
// it: it comes first in the stored bytes and counts in Size. ctx ends waits of
// later writes. The caller must hand the Body to Deliver or Append with success,
// or call Abort.
func (s *Store) NewBody(ctx context.Context, prefix []byte) (*Body, error) {
	b := &Body{s: s, ctx: ctx, parser: message.NewParser(s.o.Limits), prefix: int64(len(prefix))}
	if _, err := b.Write(prefix); err != nil {
		b.Abort()
		return nil, err
	}
	return b, nil
}

// Write takes the next bytes of the message, with CRLF line ends and without
// the dialogue's dots. Its errors are the journal's, and ErrLimit beyond 4 GB.
func (b *Body) Write(p []byte) (int, error) {
	switch {
	case b.closed || b.msg != nil:
		return 0, ErrBodyUnfinished
	case b.err != nil:
		return 0, b.err
	case b.size+int64(len(p)) > sizeMax:
		b.err = fmt.Errorf("message: %w", ErrLimit)
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := b.parser.Write(p); err != nil {
		b.err = fmt.Errorf("parse message: %w", err)
		return 0, b.err
	}
	b.size += int64(len(p))
	if b.err = b.keep(p); b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// keep copies p into chunks, and chunks into the large file once they are too
// many.
func (b *Body) keep(p []byte) error {
	for len(p) > 0 {
		n := len(b.chunks)
		if n == 0 || len(b.chunks[n-1]) == chunkBytes {
			if b.large != nil || n*chunkBytes >= inlineMax {
				if err := b.spill(); err != nil {
					return err
				}
			}
			b.chunks = append(b.chunks, b.s.chunks.get())
			n = len(b.chunks)
		}
		c := b.chunks[n-1]
		k := copy(c[len(c):chunkBytes], p)
		b.chunks[n-1] = c[:len(c)+k]
		p = p[k:]
	}
	return nil
}

// spill writes the chunks to the large file, which it begins if need be.
func (b *Body) spill() error {
	if b.large == nil {
		l, err := b.s.j.NewLarge(b.ctx)
		if err != nil {
			return fmt.Errorf("begin large body: %w", err)
		}
		b.large = l
	}
	for _, c := range b.chunks {
		if _, err := b.large.Write(c); err != nil {
			return fmt.Errorf("write large body: %w", err)
		}
	}
	b.release()
	return nil
}

// release gives the chunks back.
func (b *Body) release() {
	for _, c := range b.chunks {
		b.s.chunks.put(c)
	}
	b.chunks = b.chunks[:0]
}

// Finish says that the message is complete: Message is there from now on.
// Deliver and Append do it themselves. A large body is durable afterwards.
func (b *Body) Finish() error {
	switch {
	case b.closed:
		return ErrBodyUnfinished
	case b.err != nil:
		return b.err
	case b.msg != nil:
		return nil
	}
	if b.large != nil {
		if b.err = b.spill(); b.err != nil {
			return b.err
		}
		if err := b.large.Seal(); err != nil {
			b.err = fmt.Errorf("seal large body: %w", err)
			return b.err
		}
	}
	b.msg = b.parser.Close()
	b.summary = b.msg.AppendBinary(nil)
	b.parser = nil
	return nil
}

// Abort gives the message up and frees what it took. It does nothing after
// Deliver or Append have taken the message.
func (b *Body) Abort() {
	if b.closed {
		return
	}
	b.closed = true
	b.release()
	if b.large != nil {
		b.large.Abort()
	}
}

// taken marks the body as stored.
func (b *Body) taken() {
	b.closed = true
	b.release()
}

// Size is the number of bytes so far, the prefix included.
func (b *Body) Size() int64 { return b.size }

// Message is what the parser made of it: nil before Finish.
func (b *Body) Message() *message.Message { return b.msg }

// entry makes the journal entry of the body; the sequencer's callbacks come
// from base.
func (b *Body) entry(base *journal.Entry) *journal.Entry {
	base.Body, base.Large = b.chunks, b.large
	base.Hint = &hint{summary: b.summary}
	return base
}

// Prepare implements index.Preparer: it parses the body of a replayed message.
// A damaged body gives a message without a summary, which a reader will be told
// of when it is opened.
func (s *Store) Prepare(ctx context.Context, r journal.Record) any {
	if r.Type != journal.TypeMessage {
		return nil
	}
	h := new(hint)
	err := s.parseBody(r.Pos, func(m *message.Message) { h.summary = m.AppendBinary(nil) })
	var damage *journal.DamageError
	if err != nil && !errors.As(err, &damage) {
		s.o.Log.Error("body cannot be read", telemetry.LSN, uint64(r.LSN), telemetry.Err, err)
	}
	return h
}

// parseBody parses the message at p and hands it to fn.
func (s *Store) parseBody(p journal.Position, fn func(*message.Message)) error {
	body, err := s.j.Body(p)
	if err != nil {
		return err
	}
	defer body.Close()
	parser := message.NewParser(s.o.Limits)
	buf := s.chunks.get()[:chunkBytes]
	defer s.chunks.put(buf)
	for off := int64(0); off < body.Size(); {
		n := min(int64(len(buf)), body.Size()-off)
		if _, err := body.ReadAt(buf[:n], off); err != nil {
			return err
		}
		if _, err := parser.Write(buf[:n]); err != nil {
			return err
		}
		off += n
	}
	fn(parser.Close())
	return nil
}
