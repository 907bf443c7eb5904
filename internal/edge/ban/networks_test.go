package ban

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestWithout: what is left of a network holds just the addresses of it that
// no hole holds, each once.
func TestWithout_partition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := netip.MustParsePrefix("192.0.2.0/28")
		var holes []netip.Prefix
		for range rapid.IntRange(0, 4).Draw(t, "holes") {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 31).Draw(t, "host"))})
			h, _ := a.Prefix(rapid.IntRange(26, 32).Draw(t, "bits"))
			holes = append(holes, h)
		}
		left, ok := without(nil, p, holes, rangesMax)
		if !ok {
			t.Fatal("gave up")
		}
		for a := netip.MustParseAddr("192.0.2.0"); a.Compare(netip.MustParseAddr("192.0.2.32")) < 0; a = a.Next() {
			want := p.Contains(a)
			for _, h := range holes {
				want = want && !h.Contains(a)
			}
			got := 0
			for _, q := range left {
				if q.Contains(a) {
					got++
				}
			}
			if got > 1 || got == 1 != want {
				t.Fatalf("%s without %v is %v: %s is in it %d times, want %v", p, holes, left, a, got, want)
			}
		}
	})
}

func TestWithout_givesUp(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8::/32")
	hole := netip.MustParsePrefix("2001:db8::1/128")
	if left, ok := without(nil, p, []netip.Prefix{hole}, rangesMax); !ok || len(left) != 96 {
		t.Errorf("got %d pieces, %v, want 96", len(left), ok)
	}
	if left, ok := without(nil, p, []netip.Prefix{hole}, 50); ok || len(left) > 51 {
		t.Errorf("with room for 50: got %d pieces, %v", len(left), ok)
	}
}

func TestLast(t *testing.T) {
	for p, want := range map[string]string{
		"192.0.2.0/24": "192.0.2.255", "192.0.2.7/32": "192.0.2.7", "0.0.0.0/0": "255.255.255.255",
		"2001:db8::/33": "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff",
	} {
		if got := last(netip.MustParsePrefix(p)); got.String() != want {
			t.Errorf("last of %s: got %s, want %s", p, got, want)
		}
	}
}
