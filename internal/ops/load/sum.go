package load

import (
	"cmp"
	"slices"
	"time"
)

// result sums the run up.
func (w *wave) result() *Result {
	t := w.loop.tally
	r := &Result{
		Offered: w.curve.offered(), HeldMax: t.heldMax, RefusedAtRcpt: t.fates[refused], Lost: t.fates[lost],
		Good:   w.good(),
		Target: w.o.To, Date: w.began.UTC().Format(time.RFC3339), Factor: w.o.Factor, Speed: w.o.Speed,
		Seconds: w.took.Seconds(), Interrupted: w.interrupted,
		GreetedMax: t.greetedMax, Attempted: t.attempted, Accepted: t.fates[accepted], TurnedAway: t.fates[turnedAway], Unfinished: t.unfinished,
		LostBy: t.lostBy, Replies: t.repliesByName(), Wait: t.wait.spread(), Refusal: t.refusal.spread(),
		Samples: w.samples, Mail: w.mail(),
	}
	rss, cpu := w.meter.own()
	r.Client = Client{CPU: millisOf(cpu), RSS: rss, LateMax: millisOf(t.lateMax)}
	if len(w.o.PIDs) > 0 {
		r.Server = w.server(r.RefusedAtRcpt, r.Good.OK)
	}
	return r
}

func millisOf(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// server sums up what the wave cost. Good mail has a price of its own, which is
// known from the quiet phase and taken off.
func (w *wave) server(refusals, good int) *Server {
	// A runtime may give memory of its start back in the midst of the wave:
	// what the guests cost is what is used above the lowest seen.
	s := &Server{PSSStart: w.idle.pss, PSSIdle: w.pssMin, PSSMax: w.pssMax}
	if w.mostHeld > 0 {
		s.PSSPerGuest = float64(w.mostPSS-w.pssMin) / float64(w.mostHeld)
	}
	if w.after.cpu == 0 {
		return s // interrupted before the wave
	}
	all := w.after.cpu - w.before.cpu
	s.CPUWave = millisOf(all)
	if w.quiet.ok > 0 {
		s.CPUPerGood = millisOf(w.before.cpu-w.idle.cpu) / float64(w.quiet.ok)
	}
	if refusals > 0 {
		s.CPUPerRefusal = max(0, s.CPUWave-s.CPUPerGood*float64(good)) / float64(refusals)
	}
	return s
}

// good sums up the good senders.
func (w *wave) good() Good {
	all, known, fresh := newTimes(), newTimes(), newTimes()
	banners := map[bool]times{true: newTimes(), false: newTimes()}
	g := Good{Known: w.quiet.known, New: w.quiet.fresh, Failures: failures(w.outcomes)}
	for _, o := range w.outcomes {
		class, in := &g.New, fresh
		if o.known {
			class, in = &g.Known, known
		}
		g.Sent++
		class.Sent++
		if o.failure == "" {
			banners[o.known].add(o.wait)
			g.OK++
			class.OK++
			in.add(w.post.beyond(o))
			all.add(w.post.beyond(o))
		}
	}
	g.P50, g.P99, g.Worst = all.ms(50), all.ms(99), all.worst()
	g.Known.P50, g.Known.P99, g.Known.Worst = known.ms(50), known.ms(99), known.worst()
	g.New.P50, g.New.P99, g.New.Worst = fresh.ms(50), fresh.ms(99), fresh.worst()
	g.Known.Banner, g.New.Banner = banners[true].spread(), banners[false].spread()
	g.Slowest = w.slowest()
	return g
}

// slowestMax is how many slow deliveries are told: enough to see a pattern.
const slowestMax = 8

// slowest gives the deliveries that took longest, with their steps.
func (w *wave) slowest() []Delivery {
	arrived := slices.DeleteFunc(slices.Clone(w.outcomes), func(o outcome) bool { return o.failure != "" })
	slices.SortFunc(arrived, func(a, b outcome) int { return cmp.Compare(w.post.beyond(b), w.post.beyond(a)) })
	out := []Delivery{}
	for _, o := range arrived[:min(len(arrived), slowestMax)] {
		d := Delivery{At: o.at.Seconds(), Class: "new", From: o.from.String(), Took: millisOf(w.post.beyond(o)), Steps: map[string]float64{}}
		if o.known {
			d.Class = "known"
		}
		for i, name := range stepNames() {
			d.Steps[name] = millisOf(o.steps[i])
		}
		out = append(out, d)
	}
	return out
}

// mail gives each good delivery of the wave, for the picture.
func (w *wave) mail() []Mail {
	var out []Mail
	for _, o := range w.outcomes {
		out = append(out, Mail{At: o.at.Seconds(), Took: millisOf(w.post.beyond(o)), Known: o.known, OK: o.failure == ""})
	}
	return out
}
