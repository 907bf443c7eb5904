package ban

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attr makes an attribute of netlink.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// elem makes an element of a set.
func elem(key string, left time.Duration, end bool) []byte {
	a := netip.MustParseAddr(key)
	v := attr(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, attr(unix.NFTA_DATA_VALUE, a.AsSlice()...)...)
	if left > 0 {
		v = append(v, attr(unix.NFTA_SET_ELEM_EXPIRATION, binary.BigEndian.AppendUint64(nil, uint64(left.Milliseconds()))...)...)
	}
	if end {
		v = append(v, attr(unix.NFTA_SET_ELEM_FLAGS, 0, 0, 0, unix.NFT_SET_ELEM_INTERVAL_END)...)
	}
	return attr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, v...)
}

// answer makes a datagram of an answer, with its end.
func answer(elems ...[]byte) []byte {
	body := append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attr(unix.NFTA_SET_ELEM_LIST_TABLE, 't', 0)...)
	body = append(body, attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, slices.Concat(elems...)...)...)
	return append(nlmsg(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM, body), nlmsg(unix.NLMSG_DONE, make([]byte, 4))...)
}

func nlmsg(kind uint16, body []byte) []byte {
	b := make([]byte, nlHeader)
	binary.NativeEndian.PutUint32(b, uint32(nlHeader+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return append(b, body...)
}

func TestDump_sources(t *testing.T) {
	d := newDecoder(setV4)
	done, err := messages(answer(elem("192.0.2.1", time.Minute, false), elem("2001:db8::1", time.Minute, false),
		elem("192.0.2.2", 0, false), elem("192.0.2.3", 100000*24*time.Hour, false)), d.elements)
	if !done || err != nil {
		t.Fatalf("got %v, %v, want the end and no error", done, err)
	}
	want := []element{{netip.MustParsePrefix("192.0.2.1/32"), time.Minute}, {netip.MustParsePrefix("192.0.2.3/32"), fixedDurationMax}}
	if got := d.sources(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := d.sources(); len(got) != 0 {
		t.Errorf("read once more: got %v, want nothing", got)
	}
}

func TestDump_homes(t *testing.T) {
	in := answer(elem("2001:db8:0:1::", time.Minute, false), elem("2001:db8:0:2::5", time.Minute, false))
	for set, want := range map[string][]string{
		setHome: {"2001:db8:0:1::/64"}, // no packet can match the other
		setV6:   {"2001:db8:0:1::/128", "2001:db8:0:2::5/128"},
	} {
		d := newDecoder(set)
		if _, err := messages(in, d.elements); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range d.sources() {
			got = append(got, e.source.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", set, got, want)
		}
	}
}

func TestDump_networks(t *testing.T) {
	elems := [][]byte{
		elem("0.0.0.0", time.Hour, false), elem("1.0.0.0", 0, true),
		elem("192.0.2.0", time.Hour, false), elem("192.0.2.64", 0, true),
		elem("192.0.2.64", time.Minute, false), elem("192.0.2.65", 0, true),
		elem("198.51.100.1", time.Hour, false), elem("198.51.100.7", 0, true), // no network
		elem("255.255.255.0", time.Hour, false),
	}
	want := []network{
		{netip.MustParsePrefix("0.0.0.0/8"), time.Hour},
		{netip.MustParsePrefix("192.0.2.0/26"), time.Hour},
		{netip.MustParsePrefix("192.0.2.64/32"), time.Minute},
		{netip.MustParsePrefix("255.255.255.0/24"), time.Hour},
	}
	for range 2 { // kernels give them in either order
		d := decoder{octets: 4}
		if _, err := messages(answer(elems...), d.elements); err != nil {
			t.Fatal(err)
		}
		if got := d.networks(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		slices.Reverse(elems)
	}
}

func TestDump_errors(t *testing.T) {
	refused := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EPERM)+1)
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"refused":      {nlmsg(unix.NLMSG_ERROR, refused), unix.EPERM},
		"cut short":    {answer(elem("192.0.2.1", time.Minute, false))[:56], errMalformed},
		"length zero":  {make([]byte, 20), errMalformed},
		"no nfgenmsg":  {nlmsg(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM, nil), errMalformed},
		"bad attr len": {nlmsg(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM, []byte{0, 0, 0, 0, 1, 0, 1, 0}), errMalformed},
	} {
		d := decoder{octets: 4}
		if _, err := messages(c.in, d.elements); !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
	}
}

// FuzzMessages: what a kernel says never panics, takes bounded memory, and
// networks are networks.
func FuzzMessages(f *testing.F) {
	f.Add(answer(elem("192.0.2.1", time.Minute, false)), true)
	f.Add(answer(elem("192.0.2.0", time.Minute, false), elem("192.0.2.64", 0, true)), true)
	f.Add(answer(elem("2001:db8::", time.Minute, false), elem("2001:db9::", 0, true)), false)
	f.Fuzz(func(t *testing.T, b []byte, v4 bool) {
		d := decoder{octets: 16}
		if v4 {
			d.octets = 4
		}
		_, err := messages(b, d.elements)
		if len(d.raws) > len(b) {
			t.Fatalf("%d elements of %d octets", len(d.raws), len(b))
		}
		if err != nil {
			return
		}
		nets := d.networks()
		for i, n := range nets {
			if n.prefix.Masked() != n.prefix || n.prefix.Addr().Is4() != v4 {
				t.Fatalf("no network: %s", n.prefix)
			}
			if i > 0 && nets[i-1].prefix.Addr().Compare(n.prefix.Addr()) > 0 {
				t.Fatalf("not sorted: %v", nets)
			}
		}
	})
}
