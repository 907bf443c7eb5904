package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// ProxyHeaderMax is the longest PROXY header that is taken, in octets: what the
// specification asks a receiver to take without loss.
const ProxyHeaderMax = 536

// Sizes of PROXY headers, in octets.
const (
	proxyV1Max    = 107 // a line with its CRLF
	proxyV2Fixed  = 16
	proxyV2Addrs  = 36 // two IPv6 addresses and ports
	proxyV2Max    = ProxyHeaderMax
	proxySigWord  = "PROXY "
	proxySigBytes = "\r\n\r\n\x00\r\nQUIT\n"
)

// ErrProxy is wrapped by [ParseProxy] for octets that can never become a
// header, and ErrProxyShort is returned when more are needed.
var (
	ErrProxy      = errors.New("malformed PROXY header")
	ErrProxyShort = errors.New("incomplete PROXY header")
)

// ProxyHeader is what a proxy says of a connection. Source is invalid where
// the proxy speaks for itself (LOCAL, UNKNOWN, or a family that is not IP):
// then the socket's own address holds.
type ProxyHeader struct {
	Source      netip.AddrPort
	Destination netip.AddrPort
}

// ParseProxy reads the PROXY header, of version 1 or 2, that b begins with
// and returns its length. The TLVs of version 2 are skipped.
func ParseProxy(b []byte) (ProxyHeader, int, error) {
	switch {
	case startsLike(b, proxySigWord):
		if len(b) < len(proxySigWord) {
			return ProxyHeader{}, 0, ErrProxyShort
		}
		return parseProxyV1(b)
	case startsLike(b, proxySigBytes):
		if len(b) < proxyV2Fixed {
			return ProxyHeader{}, 0, ErrProxyShort
		}
		return parseProxyV2(b)
	}
	return ProxyHeader{}, 0, fmt.Errorf("%w: no signature", ErrProxy)
}

// startsLike reports whether b begins with sig, as far as it goes.
func startsLike(b []byte, sig string) bool {
	n := min(len(b), len(sig))
	return string(b[:n]) == sig[:n]
}

func parseProxyV1(b []byte) (ProxyHeader, int, error) {
	end := bytes.IndexByte(b[:min(len(b), proxyV1Max)], '\n')
	switch {
	case end < 0 && len(b) >= proxyV1Max:
		return ProxyHeader{}, 0, fmt.Errorf("%w: line too long", ErrProxy)
	case end < 0:
		return ProxyHeader{}, 0, ErrProxyShort
	case b[end-1] != '\r':
		return ProxyHeader{}, 0, fmt.Errorf("%w: line without CR", ErrProxy)
	}
	f := bytes.Split(b[len(proxySigWord):end-1], []byte{' '})
	family := string(f[0])
	if family == "UNKNOWN" {
		return ProxyHeader{}, end + 1, nil
	}
	if len(f) != 5 || family != "TCP4" && family != "TCP6" {
		return ProxyHeader{}, 0, fmt.Errorf("%w: fields of version 1", ErrProxy)
	}
	src, err1 := proxyV1Addr(f[1], f[3], family == "TCP6")
	dst, err2 := proxyV1Addr(f[2], f[4], family == "TCP6")
	if err := errors.Join(err1, err2); err != nil {
		return ProxyHeader{}, 0, err
	}
	return ProxyHeader{Source: src, Destination: dst}, end + 1, nil
}

func proxyV1Addr(ip, port []byte, v6 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(string(ip))
	if err != nil || a.Zone() != "" || a.Is6() != v6 {
		return netip.AddrPort{}, fmt.Errorf("%w: address of version 1", ErrProxy)
	}
	n, err := strconv.ParseUint(string(port), 10, 16)
	if err != nil || port[0] == '+' || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("%w: port of version 1", ErrProxy)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

func parseProxyV2(b []byte) (ProxyHeader, int, error) {
	command, family := b[12], b[13]
	size := proxyV2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case command>>4 != 2 || command&15 > 1:
		return ProxyHeader{}, 0, fmt.Errorf("%w: version or command %#x", ErrProxy, command)
	case family>>4 > 3 || family&15 > 2:
		return ProxyHeader{}, 0, fmt.Errorf("%w: family %#x", ErrProxy, family)
	case size > proxyV2Max:
		return ProxyHeader{}, 0, fmt.Errorf("%w: %d octets", ErrProxy, size)
	case len(b) < size:
		return ProxyHeader{}, 0, ErrProxyShort
	}
	in := b[proxyV2Fixed:size]
	width := 0
	switch {
	case command&15 == 0: // LOCAL: the addresses are to be ignored
	case family == 0x11:
		width = 4
	case family == 0x21:
		width = 16
	}
	if width == 0 {
		return ProxyHeader{}, size, nil
	}
	if len(in) < 2*width+4 {
		return ProxyHeader{}, 0, fmt.Errorf("%w: addresses of %d octets", ErrProxy, len(in))
	}
	addr := func(at, port int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(in[at : at+width])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(in[port:]))
	}
	return ProxyHeader{Source: addr(0, 2*width), Destination: addr(width, 2*width+2)}, size, nil
}

// AppendProxy appends a header of version 2 for a TCP connection: what
// [ParseProxy] reads. Addresses of different families are sent as UNKNOWN.
func AppendProxy(dst []byte, h ProxyHeader) []byte {
	dst = append(dst, proxySigBytes...)
	src, to := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	switch {
	case src.Is4() && to.Is4():
		dst = append(dst, 0x21, 0x11, 0, 12)
	case src.Is6() && to.Is6():
		dst = append(dst, 0x21, 0x21, 0, proxyV2Addrs)
	default:
		return append(dst, 0x21, 0, 0, 0)
	}
	dst = append(append(dst, src.AsSlice()...), to.AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port())
}

// readProxy reads the header from a connection and not an octet more, since
// what follows belongs to TLS or the protocol.
func readProxy(nc net.Conn, deadline time.Time) (ProxyHeader, error) {
	if err := nc.SetReadDeadline(deadline); err != nil {
		return ProxyHeader{}, fmt.Errorf("read PROXY header: %w", err)
	}
	var buf [proxyV2Max]byte
	have := 0
	for {
		want := ProxyNeeds(buf[:have])
		if have+want > len(buf) {
			return ProxyHeader{}, fmt.Errorf("%w: too long", ErrProxy)
		}
		n, err := io.ReadFull(nc, buf[have:have+want])
		have += n
		if err != nil {
			return ProxyHeader{}, fmt.Errorf("read PROXY header: %w", err)
		}
		h, _, err := ParseProxy(buf[:have])
		if !errors.Is(err, ErrProxyShort) {
			return h, err
		}
	}
}

// ProxyNeeds returns how many octets may be read after b, the beginning of a
// header that is not complete, without reading beyond the header. A header is
// never longer than [ProxyHeaderMax].
func ProxyNeeds(b []byte) int {
	switch {
	case len(b) == 0:
		return len(proxySigWord)
	case b[0] == 'P':
		// The shortest rest of a line is its CRLF; then octet by octet.
		return 1
	case len(b) < proxyV2Fixed:
		return proxyV2Fixed - len(b)
	}
	return proxyV2Fixed + int(binary.BigEndian.Uint16(b[14:])) - len(b)
}
