package greylist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"time"
)

// The file's format is described in docs/formats/greylist.md.

const (
	magic         = "bw-grey\n"
	formatVersion = 1
	headLen       = len(magic) + 2 + 2 + 4 // version, nothing, checksum

	flagReturned = 1
	flagAccepted = 2

	attemptsMax = 1 << 31 // of one sender or message: more than Window has milliseconds for
)

// errFormat says that octets are no greylist that this program can read.
var errFormat = errors.New("not a greylist of this format")

// snapshot is what a file holds.
type snapshot struct {
	secret  secret
	known   []knownRecord
	tally   tally
	waiters []waiter
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encoder writes a snapshot: secret, known, tally, then waiters until the end.
type encoder struct{ b []byte }

func newEncoder(s secret, known []knownRecord) *encoder {
	e := &encoder{make([]byte, headLen, headLen+len(s)+12*len(known)+4096)}
	e.b = append(e.b, s[:]...)
	e.uint(int64(len(known)))
	for _, k := range known {
		e.b = binary.LittleEndian.AppendUint64(e.b, k.name)
		e.b = binary.LittleEndian.AppendUint32(e.b, uint32(k.seen))
	}
	return e
}

func (e *encoder) uint(v int64) { e.b = binary.AppendUvarint(e.b, uint64(max(v, 0))) }

func (e *encoder) text(s string) {
	e.uint(int64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) addr(a netip.Addr) {
	e.text(string(a.AsSlice())) // no octets for no address
}

func (e *encoder) tally(t *tally) {
	e.uint(int64(len(t.days)))
	for _, d := range t.days {
		for _, v := range []int64{d.at, int64(d.Delayed), int64(d.Returned), int64(d.Accepted), int64(d.Lost), int64(d.Unseen), int64(d.Unasked)} {
			e.uint(v)
		}
	}
	e.uint(int64(len(t.waits)))
	for i := range t.waits { // the oldest first
		w := t.waits[(t.oldest+i)%len(t.waits)]
		e.uint(w.first)
		e.uint(w.took)
		e.b = append(e.b, bit(w.accepted, flagAccepted))
	}
	for _, list := range [][]Case{t.hurt, t.missing} {
		e.uint(int64(len(list)))
		for _, c := range list {
			e.addr(c.Addr)
			e.text(c.Helo)
			e.text(c.From)
			e.text(c.To)
			for _, v := range []int64{c.First.Unix(), c.Last.Unix(), int64(c.Attempts), int64(c.Waited)} {
				e.uint(v)
			}
		}
	}
}

func (e *encoder) waiter(w *waiter) {
	e.b = binary.LittleEndian.AppendUint64(e.b, w.bySite)
	e.b = binary.LittleEndian.AppendUint64(e.b, w.bySPF)
	e.b = append(e.b, bit(w.returned != 0, flagReturned)|bit(w.accepted, flagAccepted))
	e.uint(w.first)
	e.uint(w.last)
	if w.returned != 0 {
		e.uint(w.returned)
	}
	e.uint(int64(w.attempts))
	e.addr(w.addr)
	e.text(w.who)
	e.uint(int64(len(w.held)))
	for _, h := range w.held {
		e.b = binary.LittleEndian.AppendUint64(e.b, h.to)
		e.b = append(e.b, bit(h.passed, flagReturned))
		e.uint(h.first)
		e.uint(int64(h.attempts))
	}
}

func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}

// finish puts the head before the rest.
func (e *encoder) finish() []byte {
	copy(e.b, magic)
	binary.LittleEndian.PutUint16(e.b[len(magic):], formatVersion)
	binary.LittleEndian.PutUint32(e.b[headLen-4:], crc32.Checksum(e.b[headLen:], castagnoli()))
	return e.b
}

// decode reads what encode wrote. The error wraps errFormat.
func decode(b []byte) (snapshot, error) {
	if len(b) < headLen || string(b[:len(magic)]) != magic {
		return snapshot{}, fmt.Errorf("%w: it does not begin like one", errFormat)
	}
	if v := binary.LittleEndian.Uint16(b[len(magic):]); v != formatVersion {
		return snapshot{}, fmt.Errorf("%w: version %d, not %d", errFormat, v, formatVersion)
	}
	if binary.LittleEndian.Uint32(b[headLen-4:]) != crc32.Checksum(b[headLen:], castagnoli()) {
		return snapshot{}, fmt.Errorf("%w: the checksum differs: it is damaged", errFormat)
	}
	d := decoder{b: b[headLen:]}
	var s snapshot
	copy(s.secret[:], d.octets(len(s.secret)))
	for range d.count(12) {
		s.known = append(s.known, knownRecord{d.fixed64(), stamp(binary.LittleEndian.Uint32(d.octets(4)))})
	}
	d.tally(&s.tally)
	for len(d.b) > 0 && !d.bad {
		s.waiters = append(s.waiters, d.waiter())
	}
	if d.bad {
		return snapshot{}, fmt.Errorf("%w: its contents make no sense", errFormat)
	}
	return s, nil
}

// decoder takes values off b; after one that is malformed, or that encode does
// not write, all are zero and bad is true.
type decoder struct {
	b    []byte
	bad  bool
	zero [16]byte
}

func (d *decoder) octets(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		d.b = nil
		return d.zero[:min(n, len(d.zero))]
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) fixed64() uint64 { return binary.LittleEndian.Uint64(d.octets(8)) }

// uint reads a number up to a bound.
func (d *decoder) uint(most int64) int64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || v > uint64(most) {
		d.bad = true
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

// count reads how many things of at least size octets follow.
func (d *decoder) count(size int) int64 { return d.uint(int64(len(d.b) / size)) }

// time reads seconds since 1970.
func (d *decoder) time() int64 { return d.uint(1 << 40) }

func (d *decoder) text(most int) string {
	n := d.uint(int64(min(most, len(d.b))))
	if n == 0 {
		return ""
	}
	return string(d.octets(int(n)))
}

func (d *decoder) flags(known byte) byte {
	f := d.octets(1)[0]
	if f&^known != 0 {
		d.bad = true
	}
	return f
}

func (d *decoder) addr() netip.Addr {
	s := d.text(16)
	if s == "" {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice([]byte(s))
	if !ok || a.Is4In6() {
		d.bad = true
	}
	return a
}

func (d *decoder) tally(t *tally) {
	last := int64(-1)
	for range min(d.count(7), daysMax+1) {
		day := Day{at: d.time()}
		for _, v := range []*int{&day.Delayed, &day.Returned, &day.Accepted, &day.Lost, &day.Unseen, &day.Unasked} {
			*v = int(d.uint(1 << 40))
		}
		if day.at <= last {
			d.bad = true
		}
		last = day.at
		t.days = append(t.days, day)
	}
	for range d.count(3) {
		w := wait{first: d.time(), took: d.time()}
		w.accepted = d.flags(flagAccepted) != 0
		t.waits = append(t.waits, w)
	}
	t.hurt = d.cases()
	t.missing = d.cases()
	if len(t.days) > daysMax || len(t.waits) > waitsMax {
		d.bad = true
	}
}

func (d *decoder) cases() (out []Case) {
	n := d.uint(listMax)
	for range n {
		c := Case{Addr: d.addr()}
		c.Helo, c.From, c.To = d.text(textMax), d.text(textMax), d.text(textMax)
		c.First, c.Last = time.Unix(d.time(), 0).UTC(), time.Unix(d.time(), 0).UTC()
		c.Attempts, c.Waited = int(d.uint(attemptsMax)), seconds(d.time())
		out = append(out, c)
		if d.bad {
			break
		}
	}
	return out
}

func (d *decoder) waiter() waiter {
	w := waiter{bySite: d.fixed64(), bySPF: d.fixed64()}
	f := d.flags(flagReturned | flagAccepted)
	w.accepted = f&flagAccepted != 0
	w.first, w.last = d.time(), d.time()
	if f&flagReturned != 0 {
		w.returned = d.time()
		d.bad = d.bad || w.returned == 0
	}
	w.attempts = uint32(d.uint(attemptsMax))
	w.addr = d.addr()
	w.who = d.text(3*textMax + 2)
	if strings.Count(w.who, "\x00") != 2 {
		d.bad = true
	}
	n := d.uint(heldMax)
	for range n {
		h := held{to: d.fixed64(), passed: d.flags(flagReturned) != 0, first: d.time()}
		h.attempts = uint32(d.uint(attemptsMax))
		w.held = append(w.held, h)
		if d.bad {
			break
		}
	}
	return w
}
