package dnsbl

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// instant answers at once that nobody is listed.
type instant struct{}

func (instant) Ask(q dns.Question, done func(dns.Answer)) {
	done(dns.Answer{Question: q, RCode: dns.NXDomain, TTL: time.Hour})
}

func benchChecker(b *testing.B, zones int) *Checker {
	b.Helper()
	var lists []List
	for i := range zones {
		lists = append(lists, List{Zone: string(rune('a'+i)) + ".example", Weight: 1})
	}
	c, err := New(Options{}, instant{}, lists)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func benchAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// BenchmarkCheck is a check of four zones, without the cost of their questions.
func BenchmarkCheck(b *testing.B) {
	b.Run("asked", func(b *testing.B) {
		c := benchChecker(b, 4)
		var wg sync.WaitGroup
		b.ReportAllocs()
		for i := range b.N {
			wg.Add(1)
			if _, ready := c.Check(benchAddr(i), func(Score) { wg.Done() }); ready {
				wg.Done()
			}
		}
		wg.Wait()
	})
	b.Run("remembered", func(b *testing.B) {
		c := benchChecker(b, 4)
		a := benchAddr(1)
		c.Check(a, func(Score) {})
		b.ReportAllocs()
		for range b.N {
			if _, ready := c.Check(a, nil); !ready {
				b.Fatal("not remembered")
			}
		}
	})
}
