package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
)

const (
	// largeBuffer is how much of a large body is gathered before it is
	// written: big enough for whole device requests, small enough for
	// thousands of senders.
	largeBuffer = 256 << 10
)

// Large is a long body on its way into a segment of its own, written while it
// arrives, so that a slow sender holds up nobody and takes little memory. It
// is used by one goroutine: Write, Seal, then Append with Entry.Large, and in
// any case Abort at the end.
type Large struct {
	j     *Journal
	ref   largeRef
	f     sys.File // nil when sealed or aborted
	buf   *[]byte
	off   int64 // where buf goes
	sum   summer
	err   error // of a write: nothing more can be done but Abort
	state largeState
}

type largeState int

const (
	largeOpen largeState = iota
	largeSealed
	largeUsed
	largeGone
)

// NewLarge begins a large body. ErrFull means that there is no room.
func (j *Journal) NewLarge(ctx context.Context) (*Large, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := j.Err(); err != nil {
		return nil, err
	}
	if !j.started.Load() {
		return nil, ErrClosed
	}
	id := j.newSegmentID()
	f, err := j.newTemp(id)
	if err != nil {
		return nil, j.diskError(fmt.Errorf("create large segment %s: %w", id, err))
	}
	l := &Large{j: j, f: f, buf: j.buffers.Get().(*[]byte)}
	l.ref.segment = id
	head := segmentHeader{
		kind: KindLarge, store: j.store, id: id, created: j.o.Clock.Now().UnixNano(), durable: j.Durable(),
	}
	*l.buf = append((*l.buf)[:0], head.block()...)
	*l.buf = append(*l.buf, make([]byte, headSize)...) // comes with Seal
	return l, nil
}

// diskError makes ErrFull of want of room, and everything else final.
func (j *Journal) diskError(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return j.fail(err)
}

// Write takes the next bytes of the body.
func (l *Large) Write(p []byte) (int, error) {
	switch {
	case l.err != nil:
		return 0, l.err
	case l.state != largeOpen:
		return 0, ErrClosed
	case l.sum.size+int64(len(p)) > LargeMax:
		return 0, ErrTooLarge
	}
	l.sum.add(p)
	done := 0
	for done < len(p) {
		n := min(len(p)-done, largeBuffer-len(*l.buf))
		*l.buf = append(*l.buf, p[done:done+n]...)
		done += n
		if len(*l.buf) == largeBuffer {
			if l.err = l.flush(); l.err != nil {
				return done, l.err
			}
		}
	}
	return done, nil
}

// flush writes what was gathered.
func (l *Large) flush() error {
	n, err := l.f.WriteAt(*l.buf, l.off)
	l.off += int64(n)
	l.j.o.Metrics.largeBytes.Add(float64(n))
	*l.buf = (*l.buf)[:0]
	if err != nil {
		return l.j.diskError(fmt.Errorf("write large segment %s: %w", l.ref.segment, err))
	}
	return nil
}

// Size is the length of the body so far.
func (l *Large) Size() int64 { return l.sum.size }

// Segment is the segment of the body.
func (l *Large) Segment() SegmentID { return l.ref.segment }

// Seal makes the body durable. The record header is written last and the file
// gets its name after that, so a large segment is either whole or not there.
func (l *Large) Seal() error {
	switch {
	case l.err != nil:
		return l.err
	case l.state != largeOpen:
		return ErrClosed
	}
	l.err = l.seal()
	return l.err
}

func (l *Large) seal() error {
	j := l.j
	h := header{
		typ: TypeLargeBody, headLen: headSize, stored: uint64(l.sum.size), raw: uint64(l.sum.size),
		mix: mixOf(j.store, l.ref.segment), durable: j.Durable(), bodyCRC: l.sum.all,
	}
	table := l.sum.finish()
	if l.sum.size > chunkSize {
		h.flags |= flagChunked
		*l.buf = append(*l.buf, table...)
	}
	end := blockSize + h.size()
	*l.buf = append(*l.buf, make([]byte, end-l.off-int64(len(*l.buf)))...)
	var head [headSize]byte
	h.put(head[:])
	if l.off == 0 {
		copy((*l.buf)[blockSize:], head[:])
	}
	flushed := l.off > 0
	if err := l.flush(); err != nil {
		return err
	}
	var err error
	if flushed {
		_, err = l.f.WriteAt(head[:], blockSize)
	}
	if err == nil {
		err = syncFailed(l.f.Sync())
	}
	if e := l.f.Close(); err == nil {
		err = e
	}
	l.f = nil
	if err == nil {
		err = j.publish(l.ref.segment)
	}
	if err != nil {
		return j.diskError(fmt.Errorf("seal large segment %s: %w", l.ref.segment, err))
	}
	l.ref.size, l.ref.crc = l.sum.size, l.sum.all
	l.release()
	j.add(&segment{
		id: l.ref.segment, kind: KindLarge, created: j.o.Clock.Now().UnixNano(), mix: h.mix, size: end, sealed: true,
	})
	l.state = largeSealed
	return nil
}

// usable tells whether the body can go into a record.
func (l *Large) usable(j *Journal) error {
	if l.err != nil {
		return l.err
	}
	if l.j != j || l.state != largeSealed {
		return fmt.Errorf("journal: large body is not sealed, or was used")
	}
	return nil
}

// used says that a durable record refers to the body. The log's goroutine
// calls it while the owner waits in Append.
func (l *Large) used() { l.state = largeUsed }

// Abort removes the body, unless a durable record refers to it.
func (l *Large) Abort() {
	if l.state == largeUsed || l.state == largeGone {
		return
	}
	j, sealed := l.j, l.state == largeSealed
	l.state = largeGone
	l.release()
	var err error
	switch {
	case sealed && j.Err() != nil:
		// Its record may be on the disk although nobody was told so;
		// SweepLarge sorts that out after the next start.
	case sealed:
		err = j.remove(l.ref.segment)
	default:
		if l.f != nil {
			_ = l.f.Close()
			l.f = nil
		}
		err = j.o.FS.Remove(j.segmentPath(l.ref.segment) + tmpSuffix)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.o.Log.Warn("large segment not removed", telemetry.Segment, l.ref.segment.String(), telemetry.Err, err)
	}
}

// release gives the buffer back.
func (l *Large) release() {
	if l.buf != nil {
		l.j.buffers.Put(l.buf)
		l.buf = nil
	}
}
