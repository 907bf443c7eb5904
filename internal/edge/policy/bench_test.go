package policy

import (
	"strconv"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
)

// BenchmarkGuest is what a refused guest of a wave costs, from a network of its
// own, with its history.
func BenchmarkGuest(b *testing.B) {
	h := newHouse(b, func(o *Options) { o.History = HistoryOptions{FS: newDisk(), Dir: "/h"} })
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		now := start().Add(time.Duration(i) * 300 * time.Microsecond)
		a := distinct(i & 0xffff)
		h.Arrive(a, now)
		g := h.guest(func(g *Guest) {
			g.ID, g.Addr, g.Now, g.Arrived, g.Score = strconv.Itoa(i), a, now, now, dnsbl.Score{Hits: hitHeavy, Weight: 3}
		})
		h.Decide(g)
		g.Refused, g.Ended = true, EndedQuit
		h.Left(g)
		if len(h.history.buffer) > historyFlushMax {
			h.history.buffer = h.history.buffer[:0]
		}
	}
}

func BenchmarkArrive(b *testing.B) {
	h := newHouse(b, nil)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		a := distinct(i & 0xffff)
		h.Arrive(a, start().Add(time.Duration(i)*300*time.Microsecond))
	}
}

func BenchmarkHistory(b *testing.B) {
	h := newHouse(b, func(o *Options) { o.History = HistoryOptions{FS: newDisk(), Dir: "/h"} })
	g := h.guest(func(g *Guest) { g.Score.Hits = hitHeavy })
	v := h.judge(g, false).v
	b.ReportAllocs()
	for b.Loop() {
		h.history.verdict(g, &v, Calm, g.Now)
		if len(h.history.buffer) > historyFlushMax {
			h.history.buffer = h.history.buffer[:0]
		}
	}
}
