package listen

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const sig = proxySigBytes

func TestParseProxy(t *testing.T) {
	v4 := ProxyHeader{netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.2:25")}
	v6 := ProxyHeader{netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:25")}
	for _, c := range []struct {
		name, in string
		want     ProxyHeader
		rest     string
		err      error
	}{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\nEHLO", v4, "EHLO", nil},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", v6, "", nil},
		{"v1 unknown", "PROXY UNKNOWN\r\nx", ProxyHeader{}, "x", nil},
		{"v1 unknown with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ProxyHeader{}, "", nil},
		{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", ProxyHeader{}, "", nil},
		{"v2 IPv4", sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19EHLO", v4, "EHLO", nil},
		{"v2 IPv4 with TLV", sig + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19\x04\x00\x01xEHLO", v4, "EHLO", nil},
		{"v2 local", sig + "\x20\x00\x00\x00x", ProxyHeader{}, "x", nil},
		{"v2 local with addresses", sig + "\x20\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19", ProxyHeader{}, "", nil},
		{"v2 unix", sig + "\x21\x31\x00\x02ab", ProxyHeader{}, "", nil},
		{"v2 datagram", sig + "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19", ProxyHeader{}, "", nil},
		{"empty", "", ProxyHeader{}, "", ErrProxyShort},
		{"v1 beginning", "PROX", ProxyHeader{}, "", ErrProxyShort},
		{"v1 no end", "PROXY TCP4 192.0.2.1", ProxyHeader{}, "", ErrProxyShort},
		{"v2 beginning", sig[:5], ProxyHeader{}, "", ErrProxyShort},
		{"v2 no addresses yet", sig + "\x21\x11\x00\x0c\xc0", ProxyHeader{}, "", ErrProxyShort},
		{"none", "EHLO x\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 bare LF", "PROXY UNKNOWN\n", ProxyHeader{}, "", ErrProxy},
		{"v1 family", "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 port zero first", "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 no port", "PROXY TCP4 192.0.2.1 198.51.100.2  2\r\n", ProxyHeader{}, "", ErrProxy},
		{"v1 fields", "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", ProxyHeader{}, "", ErrProxy},
		{"v2 version", sig + "\x11\x11\x00\x00", ProxyHeader{}, "", ErrProxy},
		{"v2 command", sig + "\x22\x11\x00\x00", ProxyHeader{}, "", ErrProxy},
		{"v2 family", sig + "\x21\x41\x00\x00", ProxyHeader{}, "", ErrProxy},
		{"v2 short addresses", sig + "\x21\x11\x00\x02ab", ProxyHeader{}, "", ErrProxy},
		{"v2 too long", sig + "\x21\x11\xff\xff", ProxyHeader{}, "", ErrProxy},
	} {
		h, n, err := ParseProxy([]byte(c.in))
		if h != c.want || !errors.Is(err, c.err) || err == nil && c.in[n:] != c.rest {
			t.Errorf("%s: %v, rest %q, err %v", c.name, h, c.in[n:], err)
		}
	}
}

// TestReadProxy_noOctetMore: what follows the header is left to be read.
func TestReadProxy_noOctetMore(t *testing.T) {
	for _, header := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n", "PROXY UNKNOWN\r\n", sig + "\x20\x00\x00\x00",
		sig + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19\x04\x00\x01x",
	} {
		near, far := net.Pipe()
		go func() {
			near.Write([]byte(header + "EHLO"))
			near.Close()
		}()
		if _, err := readProxy(far, time.Time{}); err != nil {
			t.Errorf("%q: %v", header, err)
		}
		if rest, err := io.ReadAll(far); err != nil || string(rest) != "EHLO" {
			t.Errorf("%q: left %q, %v", header, rest, err)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\nEHLO"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19"))
	f.Add([]byte(sig + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxy(b)
		if err != nil {
			if errors.Is(err, ErrProxyShort) && len(b) > proxyV2Max {
				t.Errorf("%d octets are too few", len(b))
			}
			return
		}
		if n == 0 || n > len(b) {
			t.Fatalf("%d of %d octets", n, len(b))
		}
		for i := range n {
			if _, _, err := ParseProxy(b[:i]); !errors.Is(err, ErrProxyShort) {
				t.Fatalf("the first %d of %d octets: %v", i, n, err)
			}
		}
		if h.Source.Addr().BitLen() != h.Destination.Addr().BitLen() {
			h = ProxyHeader{} // mapped and plain addresses: not written
		}
		again, _, err := ParseProxy(AppendProxy(nil, h))
		if err != nil || again != h {
			t.Errorf("%v became %v (%v)", h, again, err)
		}
	})
}
