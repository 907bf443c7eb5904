package queue

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/fate"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// start is when the tests' clocks begin.
func start() time.Time { return time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC) }

// testMachine is a machine with the default options but for what set changes.
func testMachine(set func(*Options)) *machine {
	o := Options{}
	if set != nil {
		set(&o)
	}
	return newMachine(o.defaults(), 1)
}

// walk calls fn for all entries of a heap, and checks its links and order.
func (t *table) walk(tb fatal, p place, root slot, fn func(s slot)) {
	type item struct{ s, parent, before slot }
	if root == 0 {
		return
	}
	for list := []item{{s: root}}; len(list) > 0; {
		at := list[len(list)-1]
		list = list[:len(list)-1]
		e := t.at(at.s)
		if e.place != p {
			tb.Fatalf("slot %d: place %d in heap %d", at.s, e.place, p)
		}
		if want := at.before | at.parent; at.before == 0 && e.prev != want || at.before != 0 && e.prev != at.before {
			tb.Fatalf("slot %d: prev is %d, parent %d, sibling before %d", at.s, e.prev, at.parent, at.before)
		}
		if at.parent != 0 && t.before(p, e, t.at(at.parent)) {
			tb.Fatalf("slot %d comes before its parent %d", at.s, at.parent)
		}
		fn(at.s)
		before := slot(0)
		for c := e.child; c != 0; c = t.at(c).next {
			list = append(list, item{s: c, parent: at.s, before: before})
			before = c
		}
	}
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// verify checks everything that has to hold between two calls.
func (m *machine) verify(tb fatal, now int64) {
	tb.Helper()
	count, jobs, downs := 0, 0, 0
	in := map[slot]bool{}
	for id, d := range m.dests {
		if d == nil {
			continue
		}
		if m.byName[d.name] != uint32(id) {
			tb.Fatalf("%s: id %d, by name %d", d.name, id, m.byName[d.name])
		}
		for _, h := range []struct {
			p    place
			root slot
		}{{ready, d.ready}, {waiting, d.waiting}, {parked, d.parked}} {
			m.t.walk(tb, h.p, h.root, func(s slot) {
				if in[s] || m.t.at(s).dest != uint32(id) {
					tb.Fatalf("slot %d is in two heaps, or of another destination", s)
				}
				in[s] = true
			})
		}
		if d.parked != 0 && !d.down {
			tb.Fatalf("%s: entries are parked, and it is not down", d.name)
		}
		if d.mayGo(now) && !d.inRing && (d.timer == 0 || d.timer > now) {
			tb.Fatalf("%s may go and is not in the ring", d.name)
		}
		if d.waiting != 0 && (d.timer == 0 || d.timer > nanos(m.t.at(d.waiting).due)) {
			tb.Fatalf("%s: no timer for what waits", d.name)
		}
		if d.untried() && !d.probing && d.until > now && (d.timer == 0 || d.timer > d.until) {
			tb.Fatalf("%s: no timer for the end of its pause", d.name)
		}
		if d.down {
			downs++
		}
		if d.entries() > 0 || d.addressed > 0 {
			if d.emptyAt != 0 {
				tb.Fatalf("%s is to be dropped", d.name)
			}
		}
		jobs += int(d.jobs)
		count += int(d.entries())
	}
	m.verifyCounts(tb, in, count, jobs, downs)
}

func (m *machine) verifyCounts(tb fatal, in map[slot]bool, count, jobs, downs int) {
	tb.Helper()
	n := 0
	type counts struct{ queued, deferred, held, busy uint32 }
	of, addressed := map[uint32]*counts{}, map[uint32]uint32{}
	m.t.each(0, m.t.used, func(s slot, e *entry) {
		n++
		if of[e.dest] == nil {
			of[e.dest] = &counts{}
		}
		addressed[e.domain]++
		c := of[e.dest]
		switch {
		case e.place == busy:
			c.busy++
		case e.place == held:
			c.held++
		case !in[s]:
			tb.Fatalf("slot %d is in place %d, and in no heap", s, e.place)
		case e.state == fate.Deferred:
			c.deferred++
		default:
			c.queued++
		}
		if m.t.find(e.lsn, e.rcpt) != s {
			tb.Fatalf("slot %d is not found", s)
		}
	})
	for id, c := range of {
		d := m.dests[id]
		if *c != (counts{d.queued, d.deferred, d.held, d.busy}) {
			tb.Fatalf("%s counts %+v, has %+v", d.name, counts{d.queued, d.deferred, d.held, d.busy}, *c)
		}
	}
	for id, d := range m.dests {
		if d != nil && d.addressed != addressed[uint32(id)] {
			tb.Fatalf("%s is the domain of %d, counts %d", d.name, addressed[uint32(id)], d.addressed)
		}
	}
	if n != count || n != m.t.count || jobs != m.active || downs != m.downs {
		tb.Fatalf("entries %d, counted %d and %d; jobs %d, counted %d; down %d, counted %d", n, count, m.t.count, jobs, m.active, downs, m.downs)
	}
	for i := 2; i < len(m.timers.ids); i++ {
		if m.timers.less(m.dests, i, i/2) {
			tb.Fatalf("timers are out of order at %d", i)
		}
	}
}

// play is a machine with the model that it is compared to.
type play struct {
	m     *machine
	now   int64
	lsn   journal.LSN
	open  map[ref]bool // the model: what has not ended
	under []*task
}

// TestMachine_keepsItsBooks does random things and checks the structures after
// each, and that nothing is lost or done twice: the recipients of the model are
// those of the machine, and an attempt is only made for one that is open, free
// and due.
func TestMachine_keepsItsBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &play{
			m:   testMachine(func(o *Options) { o.Workers, o.PerDestination = 7, 3 }),
			now: start().UnixNano(), open: map[ref]bool{},
		}
		id := func(rt *rapid.T) account.ID { return account.ID(rapid.IntRange(0, 2).Draw(rt, "account")) }
		rt.Repeat(map[string]func(*rapid.T){
			"accept":  p.accept,
			"step":    p.step,
			"settle":  p.settle,
			"reroute": p.reroute,
			"hold":    func(rt *rapid.T) { p.m.holdAccount(p.now, id(rt), "x") },
			"release": func(rt *rapid.T) { p.m.releaseAccount(p.now, id(rt)) },
			"allow":   func(rt *rapid.T) { p.m.allow(allowance(rapid.IntRange(0, 2).Draw(rt, "allowance"))) },
			"pass": func(rt *rapid.T) {
				p.now += int64(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, 30 * time.Hour}).Draw(rt, "time"))
			},
			"": func(rt *rapid.T) {
				p.m.verify(rt, p.now)
				if len(p.open) != p.m.t.count {
					rt.Fatalf("%d are open, the machine has %d", len(p.open), p.m.t.count)
				}
			},
		})
	})
}

func (p *play) accept(rt *rapid.T) {
	p.lsn++
	for i := range rapid.IntRange(1, 6).Draw(rt, "recipients") {
		o := fate.Open{
			LSN: p.lsn, Rcpt: i, State: fate.Queued, Received: timeOf(p.now), Account: account.ID(p.lsn % 3),
			Domain: rapid.SampledFrom([]message.Domain{"a.test", "b.test", "c.test", "d.test"}).Draw(rt, "domain"),
		}
		p.open[ref{p.lsn, i}] = true
		p.m.add(p.now, o, rapid.SampledFrom([]string{string(o.Domain), "smtp://x.test:25"}).Draw(rt, "way"), "")
	}
}

func (p *play) step(rt *rapid.T) {
	for _, tk := range p.m.step(p.now) {
		for k, r := range tk.rcpts {
			e := p.m.t.at(tk.slots[k])
			if !p.open[ref{tk.lsn, r}] || e.place != busy {
				rt.Fatalf("task %d for %d/%d, which is not open or not taken", tk.kind, tk.lsn, r)
			}
			if tk.kind == attempt && !tk.probe && nanos(e.due) > p.now {
				rt.Fatalf("%d/%d is tried before it is due", tk.lsn, r)
			}
		}
		p.under = append(p.under, tk)
	}
	if next := p.m.wake(); next != 0 && next <= p.now {
		rt.Fatalf("after a step the next is at once")
	}
	if p.m.active > 7 {
		rt.Fatalf("%d attempts", p.m.active)
	}
}

func (p *play) settle(rt *rapid.T) {
	if len(p.under) == 0 {
		return
	}
	i := rapid.IntRange(0, len(p.under)-1).Draw(rt, "task")
	tk := p.under[i]
	p.under = slices.Delete(p.under, i, i+1)
	h := Health(rapid.IntRange(0, 3).Draw(rt, "health"))
	if tk.kind == attempt {
		p.m.heard(p.now, tk, h, "")
	}
	falls := make([]fall, len(tk.slots))
	for k, s := range tk.slots {
		switch {
		case tk.kind == warn:
			falls[k] = p.m.asItWas(s)
			falls[k].warned = true
		case tk.kind == expire || h == Up && rapid.Bool().Draw(rt, "ends"):
			falls[k] = fall{state: fate.Relayed}
			delete(p.open, ref{tk.lsn, tk.rcpts[k]})
		default:
			falls[k] = p.m.fallOf(p.now, tk, s, h, time.Duration(rapid.IntRange(0, 5).Draw(rt, "after"))*time.Minute)
		}
	}
	p.m.settle(p.now, tk, falls)
}

func (p *play) reroute(rt *rapid.T) {
	refs := p.m.find(matcher{}, 0, p.m.t.used, nil)
	if len(refs) == 0 {
		return
	}
	if tk := p.m.grasp(p.now, refs[:1], func(*entry) bool { return true }); tk != nil {
		to := rapid.SampledFrom([]string{"a.test", "smtp://x.test:25"}).Draw(rt, "hop")
		p.m.obey(p.now, Reroute, tk, []routed{{destination: to}})
	}
}

// TestHeap_givesInOrder pushes, plucks and pops at random.
func TestHeap_givesInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tb table
		p := rapid.SampledFrom([]place{ready, waiting}).Draw(rt, "heap")
		var root slot
		in := map[slot]bool{}
		for i := range rapid.IntRange(1, 300).Draw(rt, "operations") {
			if len(in) == 0 || rapid.IntRange(0, 2).Draw(rt, "what") > 0 {
				s := tb.add(rapid.Uint64Range(0, 50).Draw(rt, "lsn"), uint32(i))
				tb.at(s).due = uint32(rapid.IntRange(0, 5).Draw(rt, "due"))
				root = tb.push(p, root, s)
				in[s] = true
				continue
			}
			s := root
			if rapid.Bool().Draw(rt, "any") {
				s = rapid.SampledFrom(slices.Sorted(mapKeys(in))).Draw(rt, "slot")
			}
			root = tb.pluck(root, s)
			delete(in, s)
			tb.remove(s)
			n := 0
			tb.walk(rt, p, root, func(slot) { n++ })
			if n != len(in) {
				rt.Fatalf("%d in the heap, want %d", n, len(in))
			}
		}
		var last *entry
		for root != 0 {
			e := *tb.at(root)
			if last != nil && tb.before(p, &e, last) {
				rt.Fatalf("%d/%d after %d/%d", e.lsn, e.rcpt, last.lsn, last.rcpt)
			}
			last = &e
			root = tb.pluck(root, root)
		}
	})
}

func mapKeys(m map[slot]bool) func(yield func(slot) bool) {
	return func(yield func(slot) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
