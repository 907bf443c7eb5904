package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// quietRounds is how often each known sender delivers once it is known.
const quietRounds = 4

// quiet is what the good senders felt before the wave.
type quiet struct {
	known, fresh Class // Wait and Quiet are filled in
	senders      []delivery
	ok           int
}

// quietPhase has the known senders deliver once, as strangers who are good, and
// then again and again, known. The first time measures what new senders are
// used to.
func (w *wave) quietPhase(ctx context.Context) error {
	began := time.Now()
	w.phase(PhaseQuiet, began, time.Duration(knownSenders*(1+quietRounds))*w.o.quietGap)
	w.post.timetable(ctx, ctx, began, knownSenders, w.o.quietGap, knownSender)
	first := w.post.collect()
	w.post.timetable(ctx, ctx, time.Now(), knownSenders*quietRounds, w.o.quietGap, knownSender)
	again := w.post.collect()
	if ctx.Err() != nil {
		return nil
	}
	known := map[int]bool{} // senders that have delivered
	for _, o := range first {
		if o.failure == "" {
			known[o.who] = true
		}
	}
	w.quiet.fresh = quietClass(first)
	var usual []outcome
	slices.SortFunc(again, func(a, b outcome) int { return a.id - b.id })
	for _, o := range again {
		if known[o.who] {
			usual = append(usual, o)
		}
		if o.failure == "" {
			known[o.who] = true
		}
	}
	w.quiet.known = quietClass(usual)
	for _, who := range slices.Sorted(maps.Keys(known)) {
		w.quiet.senders = append(w.quiet.senders, knownSender(who))
	}
	w.quiet.ok = w.quiet.fresh.Quiet.OK + w.quiet.known.Quiet.OK
	if len(w.quiet.senders) == 0 {
		return fmt.Errorf("no good sender could deliver before the wave: %s; is %s an address of the server at %s?",
			list(failures(append(first, again...))), w.o.Rcpt, w.o.To)
	}
	w.post.expectWaits(fromMillis(w.quiet.known.Wait), fromMillis(w.quiet.fresh.Wait))
	return nil
}

// quietClass sums a class up before the wave.
func quietClass(all []outcome) Class {
	var c Class
	waits, took := newTimes(), newTimes()
	for _, o := range all {
		c.Quiet.Sent++
		if o.failure == "" {
			c.Quiet.OK++
			waits.add(o.wait)
		}
	}
	c.Wait = waits.ms(50)
	for _, o := range all {
		if o.failure == "" {
			took.add(max(0, o.took-fromMillis(c.Wait)))
		}
	}
	c.Quiet.P50, c.Quiet.P99 = took.ms(50), took.ms(99)
	return c
}

func fromMillis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// failures counts what went wrong.
func failures(all []outcome) map[string]int {
	out := map[string]int{}
	for _, o := range all {
		if o.failure != "" {
			out[o.failure]++
		}
	}
	return out
}

// list prints counts, the most frequent first.
func list(counts map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s (%d times)", k, counts[k]))
	}
	return strings.Join(parts, ", ")
}
