package greylist

import (
	"net/netip"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func BenchmarkKnownAddr(b *testing.B) {
	tab, a := open(b, nil, on()), netip.MustParseAddr("192.0.2.1")
	for b.Loop() {
		tab.KnownAddr(a, start())
	}
}

func BenchmarkKnown(b *testing.B) {
	tab, s := open(b, nil, on()), from("192.0.2.1", "mx.example.org", "example.org", "")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tab.Known(s, start())
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	tab, s := open(b, nil, on()), from("192.0.2.1", "mx.example.org", "example.org", "spf:example.org")
	to := message.Address{Local: "one", Domain: "demo.test"}
	for b.Loop() {
		tab.Check(s, to, start())
	}
}
