package lobby

import (
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// backlog is what a guest is still owed of its replies: because it does not
// take them, or because they stutter. While there is one, nothing is read.
type backlog struct {
	buf    []byte
	beat   uint32 // when the next piece goes out, in the guest's milliseconds; 0: when the socket takes it
	pieces int    // still to go out before the rest
	price  int64
}

const (
	// backlogPrice is what a backlog costs besides its octets: the struct, and
	// its place in the map.
	backlogPrice = 128
	// backlogMax is how much a guest may be owed, in octets. The kernel takes
	// as much before: only who does not read at all gets here.
	backlogMax = 16 << 10
	// stutterMax is the longest reply that stutters, in octets: more than the
	// answer to EHLO is the answer to a hundred commands.
	stutterMax = 1 << 10
)

// send sends the replies of the event at hand. It reports false if the guest
// has gone.
func (h *hall) send(slot uint32, g *guest) bool {
	if len(h.out) == 0 {
		return true
	}
	h.counted(g, len(h.out))
	if b := h.owed[slot]; b != nil { // not while it is read from
		h.end(slot, g, endReset, nil)
		return false
	}
	if wait, pieces := h.stutter(g, len(h.out)); wait > 0 {
		return h.owe(slot, g, h.out, g.ms(h.now)+wait, pieces)
	}
	n := h.sh.write(g.fd, slot, g.gen, h.out)
	switch {
	case n < 0:
		h.end(slot, g, endReset, nil)
		return false
	case n < len(h.out):
		return h.owe(slot, g, h.out[n:], 0, 0)
	}
	return true
}

func (h *hall) counted(g *guest, n int) {
	g.octets += int64(n)
	h.tally.octets += uint64(n)
}

// stutter says how long the first piece of a reply has to wait, in
// milliseconds, and how many pieces there are before the last.
func (h *hall) stutter(g *guest, n int) (wait uint32, pieces int) {
	s := &h.o.Stutter
	switch {
	case s.Off, h.level == policy.Stormy, n > stutterMax, g.flags&(flagListed|flagRefused) == 0,
		int64(g.stuttered) >= s.Total.Milliseconds():
		return 0, 0
	case h.level == policy.Busy:
		return 2 * uint32(s.Every.Milliseconds()), 0
	}
	return uint32(s.Every.Milliseconds()), s.Pieces - 1
}

// owe keeps octets for later. It reports false if the guest has gone.
func (h *hall) owe(slot uint32, g *guest, rest []byte, beat uint32, pieces int) bool {
	price := int64(backlogPrice + sizeClass(len(rest)))
	if len(rest) > backlogMax {
		h.end(slot, g, endReset, nil)
		return false
	}
	if !h.pay(slot, price) {
		h.end(slot, g, endEvicted, nil)
		return false
	}
	h.owed[slot] = &backlog{buf: append([]byte(nil), rest...), beat: beat, pieces: pieces, price: price}
	return true
}

// settle forgets a backlog.
func (h *hall) settle(slot uint32) {
	if b := h.owed[slot]; b != nil {
		h.pool.price.Add(-b.price)
		delete(h.owed, slot)
	}
}

// beat lets the next piece of a stuttered reply go.
func (h *hall) beat(slot uint32, g *guest, b *backlog) {
	every := uint32(h.o.Stutter.Every.Milliseconds())
	g.stuttered = uint16(min(int(g.stuttered)+int(every), 1<<16-1))
	n := len(b.buf)
	if b.pieces > 0 && h.level == policy.Calm {
		b.pieces--
		n = min(n, h.o.Stutter.Octets)
	}
	if h.payOff(slot, g, b, n) && h.owed[slot] != nil {
		if b.beat != 0 {
			b.beat = g.ms(h.now) + every
		}
		h.schedule(slot, g)
	}
}

// payOff writes n octets of what is owed. It reports false if the guest has
// gone.
func (h *hall) payOff(slot uint32, g *guest, b *backlog, n int) bool {
	took := h.sh.write(g.fd, slot, g.gen, b.buf[:n])
	if took < 0 {
		how := endReset
		if g.ending != endNone {
			how = g.ending
		}
		h.end(slot, g, how, nil)
		return false
	}
	if took < n {
		b.beat = 0
	}
	if b.buf = b.buf[took:]; len(b.buf) > 0 {
		return true
	}
	h.settle(slot)
	if g.stage == stageFlush {
		h.finish(slot, g, nil)
		return false
	}
	g.spoke = g.ms(h.now) // the time for the next command begins with the reply
	h.schedule(slot, g)
	h.resume(slot, g)
	return true
}

// writable says that a connection that did not take all may take more.
func (h *hall) writable(slot, gen uint32) {
	g := h.live(slot, gen)
	if g == nil {
		return
	}
	if b := h.owed[slot]; b != nil && b.beat == 0 {
		h.payOff(slot, g, b, len(b.buf))
	}
}

// leave ends the dialogue with the replies of the event at hand, which no
// longer stutter.
func (h *hall) leave(slot uint32, g *guest, c *conversation, how ending) {
	g.ending = how
	h.counted(g, len(h.out))
	if b := h.owed[slot]; b != nil {
		h.out = append(append([]byte(nil), b.buf...), h.out...)
		h.settle(slot)
	}
	h.setStage(slot, g, stageFlush)
	n := h.sh.write(g.fd, slot, g.gen, h.out)
	switch {
	case n < 0:
		h.end(slot, g, how, c)
	case n == len(h.out):
		h.finish(slot, g, c)
	case !h.keep(slot, g, c):
		h.end(slot, g, how, c)
	case h.owe(slot, g, h.out[n:], 0, 0):
		h.schedule(slot, g)
	}
}

// finish closes a connection whose last reply was taken. A client that may
// still be sending is given time to read it.
func (h *hall) finish(slot uint32, g *guest, c *conversation) {
	if g.ending != endClosed && g.flags&flagReadable == 0 || g.flags&flagHup != 0 {
		h.end(slot, g, g.ending, c)
		return
	}
	if c != nil && !h.keep(slot, g, c) {
		h.end(slot, g, g.ending, c)
		return
	}
	h.sh.shutdown(g.fd)
	h.setStage(slot, g, stageLinger)
	h.schedule(slot, g)
	h.resume(slot, g)
}

// end closes a connection and tells the Gate. c is the guest's conversation,
// nil if it is as it was packed.
func (h *hall) end(slot uint32, g *guest, how ending, c *conversation) {
	if g.ending != endNone {
		how = g.ending
	}
	if how == endEvicted {
		h.tally.evicted++
		h.o.Metrics.evicted[g.rank].Inc()
	}
	h.tally.endings[how]++
	h.o.Metrics.endings[how].Inc()
	if g.flags&flagEntered != 0 {
		if c == nil {
			opened := h.open(g)
			c = &opened
		}
		pg := h.policyGuest(g, c)
		pg.Ended = how.String()
		h.gate.Left(pg)
		h.logEnd(g, c, how, nil)
	}
	h.sh.close(g.fd)
	h.remove(slot, g)
}

// remove forgets a guest.
func (h *hall) remove(slot uint32, g *guest) {
	h.wheelRemove(g)
	h.unrank(g)
	h.settle(slot)
	h.unrule(g)
	h.pool.price.Add(-int64(cap(g.state)))
	h.pool.leave()
	h.stages[g.stage]--
	h.stages[stageFree]++
	h.giveSlot(slot, g)
}
