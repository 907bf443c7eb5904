package lobby

import "math/bits"

// The timer wheel: a slot for each tick, a list of guests in each. What is due
// beyond the wheel's turn stands in its last slot and is put in again.
const (
	// wheelTickMs is how late an event may be, in milliseconds: a banner that
	// is late by it costs a good sender nothing that it could notice.
	wheelTickMs = 4
	// wheelSlots makes a turn of 16 seconds: a guest that waits for minutes is
	// looked at four times a minute.
	wheelSlots = 4096
)

// wheel knows who is due when. Its lists run through guest.timer.
type wheel struct {
	heads [wheelSlots]uint32
	used  [wheelSlots / 64]uint64 // which slots have somebody
	at    int64                   // the tick that was worked off last
}

// add puts a guest in that is due at a tick.
func (h *hall) wheelAdd(slot uint32, g *guest, tick int64) {
	w := &h.wheel
	tick = min(max(tick, w.at+1), w.at+wheelSlots-1)
	i := uint32(tick % wheelSlots)
	g.timer = link{next: w.heads[i]}
	g.wheelSlot = uint16(i)
	g.flags |= flagTimed
	if next := w.heads[i]; next != 0 {
		h.at(next).timer.prev = slot
	}
	w.heads[i] = slot
	w.used[i/64] |= 1 << (i % 64)
}

// wheelRemove takes a guest out, if it is in.
func (h *hall) wheelRemove(g *guest) {
	if g.flags&flagTimed == 0 {
		return
	}
	w := &h.wheel
	g.flags &^= flagTimed
	i := g.wheelSlot
	if g.timer.next != 0 {
		h.at(g.timer.next).timer.prev = g.timer.prev
	}
	if g.timer.prev != 0 {
		h.at(g.timer.prev).timer.next = g.timer.next
		return
	}
	if w.heads[i] = g.timer.next; g.timer.next == 0 {
		w.used[i/64] &^= 1 << (i % 64)
	}
}

// next returns how many ticks there are until the next slot that has somebody,
// no more than the wheel has.
func (w *wheel) next() int64 {
	from := (w.at + 1) % wheelSlots
	for n := int64(0); n < wheelSlots; {
		i := (from + n) % wheelSlots
		rest := w.used[i/64] >> (i % 64)
		if rest != 0 {
			return n + 1 + int64(bits.TrailingZeros64(rest))
		}
		n += 64 - i%64
	}
	return wheelSlots
}
