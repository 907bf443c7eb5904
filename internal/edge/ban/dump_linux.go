package ban

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The sets are read by requests of our own, message by message: the library
// gives all elements of a set at once, as values of some 200 octets each, and
// cannot ask about single ones.

const (
	// dumpOctets is the buffer of one reading; the kernel fills at most half.
	dumpOctets = 64 << 10
	// nlHeader and nfHeader are the lengths of struct nlmsghdr and of struct
	// nfgenmsg, attrHeader is that of struct nlattr.
	nlHeader   = 16
	nfHeader   = 4
	attrHeader = 4
	// dumpWait bounds the reading of one set: some 300,000 elements.
	dumpWait = 5 * time.Second
	// askBatch is how many sources are asked about at once, so that the
	// answers have room in the socket's buffer.
	askBatch = 100
	// rawsMax bounds the elements of a set of intervals, which are paired
	// when all are there; ours have two for each range at most.
	rawsMax = 4 * rangesMax
)

// errMalformed says that the kernel's answer does not hold together.
var errMalformed = errors.New("malformed netlink message")

// asker is a netlink socket for one question after the other.
type asker struct {
	fd  int
	buf []byte
}

func newAsker() (*asker, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	wait := unix.NsecToTimeval(netlinkWait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bound a netlink socket: %w", err)
	}
	return &asker{fd: fd, buf: make([]byte, dumpOctets)}, nil
}

func (a *asker) close() { _ = unix.Close(a.fd) }

func (a *asker) send(request []byte) error {
	return unix.Sendto(a.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive gives the next datagram of the kernel, valid until the next call.
func (a *asker) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(a.fd, a.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if k, ok := from.(*unix.SockaddrNetlink); ok && k.Pid == 0 {
			return a.buf[:n], nil
		}
	}
}

// dumpSet asks for the elements of a set and gives each message of the answer
// from its nfgenmsg on. It gives up with errPartial when more says no.
func dumpSet(table, set string, more func() bool, each func([]byte) error) error {
	a, err := newAsker()
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.send(dumpRequest(table, set)); err != nil {
		return fmt.Errorf("ask for the set %s: %w", set, err)
	}
	for {
		b, err := a.receive()
		if err != nil {
			return fmt.Errorf("read the set %s: %w", set, err)
		}
		done, err := messages(b, each)
		if done || err != nil {
			return err
		}
		if !more() {
			return errPartial
		}
	}
}

// askSet asks about sources of one set, up to askBatch of them, and fills in
// how long each will stay.
func askSet(a *asker, table, set string, all []*element) error {
	var request []byte
	for i, e := range all {
		request = append(request, getRequest(table, set, uint32(i), e.source.Addr())...)
	}
	if err := a.send(request); err != nil {
		return fmt.Errorf("ask about elements of the set %s: %w", set, err)
	}
	for answers := 0; answers < len(all); {
		b, err := a.receive()
		if err != nil {
			return fmt.Errorf("read about elements of the set %s: %w", set, err)
		}
		// Each is answered by its element, if there, and an error or none.
		for len(b) >= nlHeader {
			i := binary.NativeEndian.Uint32(b[8:])
			size := (int(binary.NativeEndian.Uint32(b)) + 3) &^ 3
			if size < nlHeader || size > len(b) || int(i) >= len(all) {
				return errMalformed
			}
			d := newDecoder(set)
			done, err := messages(b[:size], d.elements)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			if done {
				answers++
			}
			if s := d.sources(); len(s) == 1 && s[0].source == all[i].source {
				all[i].left = s[0].left
			}
			b = b[size:]
		}
	}
	return nil
}

func getRequest(table, set string, seq uint32, a netip.Addr) []byte {
	b := request(unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq, table, set)
	v := appendAttr(nil, unix.NFTA_DATA_VALUE, a.AsSlice())
	v = appendAttr(nil, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, v)
	v = appendAttr(nil, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, v)
	b = appendAttr(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, v)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func dumpRequest(table, set string) []byte {
	b := request(unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, table, set)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// request is the beginning of a question about a set; its length is to be put
// in.
func request(flags uint16, seq uint32, table, set string) []byte {
	ne := binary.NativeEndian
	b := make([]byte, nlHeader, 128)
	ne.PutUint16(b[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM)
	ne.PutUint16(b[6:], flags)
	ne.PutUint32(b[8:], seq)
	b = append(b, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
	b = appendAttr(b, unix.NFTA_SET_ELEM_LIST_TABLE, append([]byte(table), 0))
	return appendAttr(b, unix.NFTA_SET_ELEM_LIST_SET, append([]byte(set), 0))
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// messages walks through one datagram of an answer and tells whether it was
// the last.
func messages(b []byte, each func([]byte) error) (done bool, err error) {
	ne := binary.NativeEndian
	for len(b) >= nlHeader {
		size := int(ne.Uint32(b))
		if size < nlHeader || size > len(b) {
			return false, errMalformed
		}
		body := b[nlHeader:size]
		switch ne.Uint16(b[4:]) {
		case unix.NLMSG_NOOP:
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(body) < 4 {
				return true, nil
			}
			if errno := int32(ne.Uint32(body)); errno != 0 {
				return true, unix.Errno(-errno)
			}
			return true, nil
		case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM:
			if err := each(body); err != nil {
				return false, err
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false, nil
}

// attributes calls f for each attribute in b.
func attributes(b []byte, f func(kind uint16, value []byte) error) error {
	for len(b) >= attrHeader {
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeader || size > len(b) {
			return errMalformed
		}
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if err := f(kind, b[attrHeader:size]); err != nil {
			return err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// raw is an element as it is in a set.
type raw struct {
	key  netip.Addr
	left time.Duration
	end  bool // of an interval: the first address that is not in it
}

// decoder reads the elements of one set.
type decoder struct {
	octets int // of a key
	bits   int // of a source
	raws   []raw
	srcs   []element
}

// newDecoder makes one for a set of sources.
func newDecoder(set string) decoder {
	switch set {
	case setV4:
		return decoder{octets: 4, bits: 32}
	case setV6:
		return decoder{octets: 16, bits: 128}
	}
	return decoder{octets: 16, bits: homeBits}
}

// elements reads one message, from its nfgenmsg on, and adds to raws.
func (d *decoder) elements(b []byte) error {
	if len(b) < nfHeader {
		return errMalformed
	}
	return attributes(b[nfHeader:], func(kind uint16, list []byte) error {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return attributes(list, func(kind uint16, elem []byte) error {
			if kind != unix.NFTA_LIST_ELEM {
				return nil
			}
			return d.element(elem)
		})
	})
}

func (d *decoder) element(b []byte) error {
	var r raw
	err := attributes(b, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			return attributes(v, func(kind uint16, v []byte) error {
				if kind == unix.NFTA_DATA_VALUE && len(v) == d.octets {
					r.key, _ = netip.AddrFromSlice(v)
				}
				return nil
			})
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(v) == 8 {
				// A year is more than we ever set; another program may
				// have set what does not fit into a Duration.
				ms := min(binary.BigEndian.Uint64(v), uint64(fixedDurationMax/time.Millisecond))
				r.left = time.Duration(ms) * time.Millisecond
			}
		case unix.NFTA_SET_ELEM_FLAGS:
			r.end = len(v) == 4 && binary.BigEndian.Uint32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}
		return nil
	})
	if err == nil && r.key.IsValid() && len(d.raws) < rawsMax {
		d.raws = append(d.raws, r)
	}
	return err
}

// sources gives the sources read since the last call, of a set without
// intervals. They are valid until the next. What no packet can match, which
// another program put there, is passed over.
func (d *decoder) sources() []element {
	d.srcs = d.srcs[:0]
	for _, r := range d.raws {
		if p := netip.PrefixFrom(r.key, d.bits); r.left > 0 && p.Masked() == p {
			d.srcs = append(d.srcs, element{p, r.left})
		}
	}
	d.raws = d.raws[:0]
	return d.srcs
}

// networks gives the intervals of a set that are networks. An interval is a
// beginning and, as an element of its own, the first address past it, unless
// it goes to the end of all addresses. Kernels give them in either order.
func (d *decoder) networks() []network {
	slices.SortFunc(d.raws, func(a, b raw) int {
		if c := a.key.Compare(b.key); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	var all []network
	for i, r := range d.raws {
		if r.end {
			continue
		}
		var next netip.Addr // none: to the end
		if i+1 < len(d.raws) {
			next = d.raws[i+1].key
		}
		// Of the networks that begin here one may end right before next.
		for bits := r.key.BitLen(); bits >= 0; bits-- {
			p := netip.PrefixFrom(r.key, bits)
			if p.Masked() != p {
				break
			}
			if last(p).Next() == next {
				all = append(all, network{p, r.left})
				break
			}
		}
	}
	return all
}
