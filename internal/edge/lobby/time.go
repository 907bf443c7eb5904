package lobby

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/listen"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// setStage moves a guest on.
func (h *hall) setStage(slot uint32, g *guest, s stage) {
	h.stages[g.stage]--
	h.stages[s]++
	g.stage = s
	g.since = g.ms(h.now)
	g.spoke = g.since
	h.setRank(slot, g, g.judgeRank())
}

// limit is when a guest's time is up, in its own milliseconds. It depends on
// the level, so it is computed anew whenever it matters.
func (h *hall) limit(g *guest) uint32 {
	ms := func(d time.Duration) uint32 { return uint32(d / time.Millisecond) }
	t := &h.o.Times
	switch g.stage {
	case stageProxy:
		return g.since + ms(listen.ProxyTimeout)
	case stageWait:
		if g.flags&flagScored == 0 {
			return g.waits + scoreWaitMs
		}
		return g.waits
	case stageFlush:
		return g.since + flushWaitMs
	case stageLinger:
		return g.since + lingerWaitMs
	}
	command, whole := t.Command[h.level], g.since+ms(t.Dialogue[h.level])
	switch {
	case g.flags&(flagRefused|flagDeferred) != 0:
		whole = g.refusedAt + ms(t.Refused[h.level])
	case g.rank == rankFine: // it may be a good one that is slow
		command = min(fineFactor*command, t.Command[policy.Calm])
		whole = g.since + ms(min(fineFactor*t.Dialogue[h.level], t.Dialogue[policy.Calm]))
	}
	return min(whole, g.spoke+ms(command))
}

// fineFactor is how much longer, at load, a guest may take of which nothing bad
// is known.
const fineFactor = 4

// schedule puts a guest where the wheel finds it in time.
func (h *hall) schedule(slot uint32, g *guest) {
	due := h.limit(g)
	if b := h.owed[slot]; b != nil && b.beat != 0 {
		due = min(due, b.beat)
	}
	h.wheelRemove(g)
	h.wheelAdd(slot, g, (g.nanos(due)+tickNanos-1)/tickNanos)
}

// tick works off what is due at the time that was set.
func (h *hall) tick() {
	to := h.now / tickNanos
	for h.wheel.at < to {
		skip := h.wheel.next() // an empty stretch costs nothing
		h.wheel.at = min(h.wheel.at+skip, to)
		i := h.wheel.at % wheelSlots
		for slot := h.wheel.heads[i]; slot != 0; slot = h.wheel.heads[i] {
			g := h.at(slot)
			h.wheelRemove(g)
			h.fire(slot, g)
		}
	}
	if h.now-h.asked >= int64(levelWait) {
		h.asked = h.now
		h.askLevel()
	}
}

// askLevel asks the Gate how much is going on. At another level the limits are
// others.
func (h *hall) askLevel() {
	if l, ok := h.gate.(loader); ok && h.lead {
		l.SetLoad(h.pool.load())
	}
	level := h.gate.Level()
	h.observe()
	if level == h.level {
		return
	}
	h.level = level
	for i := range h.slabs {
		for j := range h.slabs[i] {
			if g := &h.slabs[i][j]; g.stage != stageFree {
				h.schedule(uint32(i*slabGuests+j), g)
			}
		}
	}
}

// wait returns how long nothing will be due.
func (h *hall) wait() time.Duration {
	due := (h.wheel.at+h.wheel.next())*tickNanos - h.now
	return min(max(time.Duration(due), 0), levelWait)
}

// fire does what is due for a guest that was just taken out of the wheel.
func (h *hall) fire(slot uint32, g *guest) {
	now, gen := g.ms(h.now), g.gen
	if b := h.owed[slot]; b != nil && b.beat != 0 && now >= b.beat {
		h.beat(slot, g, b)
		if h.live(slot, gen) == nil || g.flags&flagTimed != 0 {
			return
		}
	}
	if now < h.limit(g) {
		h.schedule(slot, g)
		return
	}
	switch g.stage {
	case stageWait:
		h.banner(slot, g)
	case stageProxy:
		h.end(slot, g, endTimeout, nil)
	case stageFlush, stageLinger:
		h.end(slot, g, g.ending, nil)
	default:
		h.timeout(slot, g)
	}
}

// timeout ends the dialogue of a guest that was too slow or stayed too long.
func (h *hall) timeout(slot uint32, g *guest) {
	c := h.open(g)
	h.out = h.out[:0]
	_, h.out = h.machine(g).Step(&c.d, smtp.Event{Kind: smtp.EventTimeout}, time.Unix(0, h.now), h.out)
	if b := h.owed[slot]; b != nil && b.beat == 0 {
		h.end(slot, g, endTimeout, &c) // it does not read: it need not be told
		return
	}
	h.leave(slot, g, &c, endTimeout)
}

// stop lets all guests leave because the host is stopping.
func (h *hall) stop() {
	h.stopped = true
	for i := range h.slabs {
		for j := range h.slabs[i] {
			slot, g := uint32(i*slabGuests+j), &h.slabs[i][j]
			if g.stage == stageTalk || g.stage == stageWait {
				h.sh.write(g.fd, slot, g.gen, []byte("421 4.3.2 Service shutting down, try again later\r\n"))
			}
			if g.stage != stageFree {
				h.end(slot, g, endStopped, nil)
			}
			if h.count == 0 {
				return // the slabs have gone
			}
		}
	}
}
