package lobby

import (
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// stage is where a guest stands.
type stage uint8

const (
	stageFree   stage = iota // the slot is nobody's
	stageProxy               // its PROXY header is awaited
	stageWait                // its banner is not due yet
	stageTalk                // the dialogue
	stageFlush               // its last reply has to be taken, then it is closed
	stageLinger              // it was told, and what it still sends is thrown away
	stageCount
)

// String returns the stage as metrics and people see it.
func (s stage) String() string {
	return [stageCount]string{"free", "proxy", "waiting", "talking", "leaving", "lingering"}[s]
}

// rank says who leaves first when room is needed: the lowest, and of those who
// came to the rank first.
type rank uint8

const (
	rankLeaving  rank = iota // has had its last reply
	rankRefused              // has had its 5xx
	rankListed               // by the lists
	rankFaulty               // did what no mail server does
	rankDeferred             // has had its 451, and has to come again anyway
	rankUnscored             // nothing is known of it
	rankFine                 // never leaves for another
	rankCount
)

// String returns the rank as metrics have it.
func (r rank) String() string {
	return [rankCount]string{"leaving", "refused", "listed", "faulty", "deferred", "unscored", "fine"}[r]
}

// Flags of a guest.
const (
	flagTimed    uint16 = 1 << iota // it is in the wheel
	flagEntered                     // Gate.Arrive let it wait: Gate.Left is owed
	flagKnown                       // Entry.Known
	flagScored                      // the score is in
	flagListed                      // and lists it
	flagRefused                     // it was refused by a verdict
	flagDeferred                    // it was put off by one
	flagReadable                    // the socket may have octets
	flagHup                         // the client has closed its side
	flagCR                          // the last octet was CR
)

// link is a place in a list; 0 is none.
type link struct{ prev, next uint32 }

// guest is one slot. Times are milliseconds after arrived, which bounds a stay
// to 49 days; none is longer than an hour.
type guest struct {
	arrived int64 // Unix nanoseconds
	id      uint64
	addr    [16]byte
	octets  int64   // both ways
	state   []byte  // the conversation, packed; nil before the banner
	ruling  *ruling // what it was refused or put off with

	fd    int32  // the shell's name for its connection
	gen   uint32 // tells its time in the slot from others'
	timer link
	order link

	since     uint32 // of the stage
	spoke     uint32 // when it last completed a line
	waits     uint32 // when its banner is due
	refusedAt uint32 // the first refusal
	cpu       uint32 // nanoseconds, at most all of them
	hits      uint32 // of the score
	silent    uint32
	weight    int16
	line      uint16 // octets of the line so far, at most all of them
	faults    policy.Faults
	flags     uint16
	rcpts     uint16
	port      uint16
	wheelSlot uint16
	stuttered uint16 // milliseconds
	stage     stage
	rank      rank
	asked     uint8
	ending    ending
}

// guestPrice is what a slot costs, in octets; a test compares it with the
// struct.
const guestPrice = 144

// ending is how a stay ends.
type ending uint8

const (
	endNone ending = iota
	endQuit
	endLeft
	endReset
	endTimeout
	endEvicted
	endClosed
	endStopped
	endPassed
	endingCount
)

// String returns the ending as policy and the log have it.
func (e ending) String() string {
	return [endingCount]string{
		"", policy.EndedQuit, policy.EndedLeft, policy.EndedReset, policy.EndedTimeout, policy.EndedEvicted,
		policy.EndedClosed, policy.EndedStopped, "passed",
	}[e]
}

func (g *guest) ip() netip.Addr { return netip.AddrFrom16(g.addr).Unmap() }

func (g *guest) score() dnsbl.Score {
	return dnsbl.Score{Weight: g.weight, Hits: g.hits, Silent: g.silent, Asked: g.asked}
}

// ms is the guest's own time.
func (g *guest) ms(now int64) uint32 { return uint32(max(0, (now-g.arrived)/int64(time.Millisecond))) }

// nanos is the other way round.
func (g *guest) nanos(ms uint32) int64 { return g.arrived + int64(ms)*int64(time.Millisecond) }

// slabGuests is how many slots are made at once: 37 KB.
const slabGuests = 256

// at returns a slot. Slot 0 is nobody's.
func (h *hall) at(slot uint32) *guest { return &h.slabs[slot/slabGuests][slot%slabGuests] }

// live returns the guest of a slot, if it is still that one.
func (h *hall) live(slot, gen uint32) *guest {
	if g := h.taken(slot); g != nil && g.gen == gen {
		return g
	}
	return nil
}

// taken returns the guest of a slot, nil if it is free.
func (h *hall) taken(slot uint32) *guest {
	if int(slot/slabGuests) >= len(h.slabs) || h.at(slot).stage == stageFree {
		return nil
	}
	return h.at(slot)
}

// takeSlot gives a slot whose price is paid.
func (h *hall) takeSlot() (uint32, *guest) {
	if h.free == 0 {
		base := uint32(len(h.slabs) * slabGuests)
		h.slabs = append(h.slabs, new([slabGuests]guest))
		for i := base + slabGuests - 1; i > base; i-- {
			h.at(i).timer.next = h.free
			h.free = i
		}
		if base > 0 {
			h.at(base).timer.next = h.free
			h.free = base
		}
	}
	slot := h.free
	g := h.at(slot)
	h.free = g.timer.next
	h.gen++
	*g = guest{gen: h.gen}
	h.count++
	return slot, g
}

// giveSlot frees a slot. When the last guest has gone the slabs go too.
func (h *hall) giveSlot(slot uint32, g *guest) {
	*g = guest{timer: link{next: h.free}}
	h.free = slot
	if h.count--; h.count == 0 && len(h.slabs) > 1 {
		h.slabs, h.free = nil, 0
	}
}

// setRank moves a guest to the end of a rank.
func (h *hall) setRank(slot uint32, g *guest, r rank) {
	if g.rank == r {
		return
	}
	h.unrank(g)
	h.enrank(slot, g, r)
}

func (h *hall) enrank(slot uint32, g *guest, r rank) {
	g.rank = r
	l := &h.ranks[r]
	g.order = link{prev: l.prev}
	if l.prev != 0 {
		h.at(l.prev).order.next = slot
	} else {
		l.next = slot
	}
	l.prev = slot
	h.ranked[r]++
}

func (h *hall) unrank(g *guest) {
	l := &h.ranks[g.rank]
	if g.order.prev != 0 {
		h.at(g.order.prev).order.next = g.order.next
	} else {
		l.next = g.order.next
	}
	if g.order.next != 0 {
		h.at(g.order.next).order.prev = g.order.prev
	} else {
		l.prev = g.order.prev
	}
	h.ranked[g.rank]--
}

// judgeRank is the rank that a guest has by what is known of it.
func (g *guest) judgeRank() rank {
	switch {
	case g.stage == stageFlush || g.stage == stageLinger:
		return rankLeaving
	case g.flags&flagKnown != 0:
		return rankFine
	case g.flags&flagRefused != 0:
		return rankRefused
	case g.flags&flagListed != 0:
		return rankListed
	case g.faults != 0:
		return rankFaulty
	case g.flags&flagDeferred != 0:
		return rankDeferred
	case g.flags&flagScored == 0:
		return rankUnscored
	}
	return rankFine
}
