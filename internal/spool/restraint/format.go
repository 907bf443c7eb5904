package restraint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/store/account"
)

// The file's format is described in docs/formats/restraint.md.

const (
	magic         = "bw-sent\n"
	formatVersion = 2
	headLen       = len(magic) + 2 + 2 + 4 // version, nothing, checksum

	bookBytesMin = 40 // a book has more numbers than that
	siteBytesMin = 40 // and so has a network

	figureMax = 1 << 50 // of a figure: nothing counted or averaged gets there
	timeMax   = 1 << 40 // seconds
)

var errFormat = errors.New("no file of this format")

// snapshot is what a file holds.
type snapshot struct {
	secret secret
	born   int64   // when the memory was begun
	books  []*book // the one used longest ago first
	sites  []*site
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encode writes down everything. r.mu is held.
func (r *Restraint) encode() []byte {
	b := make([]byte, headLen, headLen+len(r.secret)+10+600*len(r.books)+8*r.names)
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[len(magic):], formatVersion)
	b = append(b, r.secret[:]...)
	c := coder{b: b}
	c.number(&r.born, timeMax)
	c.b = binary.AppendUvarint(c.b, uint64(len(r.books)))
	for k := r.recent.oldest; k != nil; k = k.next {
		c.book(k)
	}
	c.b = binary.AppendUvarint(c.b, uint64(len(r.sites)))
	for _, network := range slices.SortedFunc(maps.Keys(r.sites), netip.Prefix.Compare) {
		c.site(r.sites[network])
	}
	b = c.b
	binary.LittleEndian.PutUint32(b[headLen-4:], crc32.Checksum(b[headLen:], castagnoli()))
	return b
}

// decode reads what encode wrote. The error wraps errFormat.
func decode(b []byte) (snapshot, error) {
	if len(b) < headLen || string(b[:len(magic)]) != magic {
		return snapshot{}, fmt.Errorf("%w: it does not begin like one", errFormat)
	}
	if v := binary.LittleEndian.Uint16(b[len(magic):]); v != formatVersion {
		return snapshot{}, fmt.Errorf("%w: version %d, not %d", errFormat, v, formatVersion)
	}
	if binary.LittleEndian.Uint32(b[headLen-4:]) != crc32.Checksum(b[headLen:], castagnoli()) {
		return snapshot{}, fmt.Errorf("%w: the checksum differs: it is damaged", errFormat)
	}
	c := coder{b: b[headLen:], reads: true}
	var s snapshot
	copy(s.secret[:], c.octets(len(s.secret)))
	c.number(&s.born, timeMax)
	var n int64
	c.number(&n, int64(len(c.b)/bookBytesMin))
	seen := map[account.ID]bool{}
	for range n {
		k := newBook(0)
		c.book(k)
		if c.bad || k.id == 0 || seen[k.id] {
			c.bad = true
			break
		}
		seen[k.id] = true
		s.books = append(s.books, k)
	}
	c.sites(&s)
	if c.bad || len(c.b) != 0 {
		return snapshot{}, fmt.Errorf("%w: its contents make no sense", errFormat)
	}
	return s, nil
}

// coder writes values behind b, or takes them off its front. What reads and
// what writes a book is one function, so that they cannot differ. After a value
// that is malformed all are zero, and bad is true.
type coder struct {
	b     []byte
	reads bool
	bad   bool
}

func (c *coder) octets(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

// number carries a number from 0 to most.
func (c *coder) number(v *int64, most int64) {
	if !c.reads {
		c.b = binary.AppendUvarint(c.b, uint64(min(max(*v, 0), most)))
		return
	}
	n, size := binary.Uvarint(c.b)
	if c.bad || size <= 0 || n > uint64(most) {
		c.bad, c.b = true, nil
		*v = 0
		return
	}
	c.b = c.b[size:]
	*v = int64(n)
}

func (c *coder) int(v *int, most int64) {
	n := int64(*v)
	c.number(&n, most)
	*v = int(n)
}

func (c *coder) fixed64(v *uint64) {
	if !c.reads {
		c.b = binary.LittleEndian.AppendUint64(c.b, *v)
	} else if o := c.octets(8); o != nil {
		*v = binary.LittleEndian.Uint64(o)
	}
}

func (c *coder) book(k *book) {
	id := int64(k.id)
	c.number(&id, 1<<62)
	k.id = account.ID(id)
	for _, w := range []*window{&k.hours, &k.days, &k.weeks, &k.strangers, &k.answered, &k.fresh} {
		c.window(w)
	}
	k.began = true
	for _, t := range []*int64{&k.last, &k.day, &k.hour, &k.week, &k.burst.since, &k.burst.last} {
		c.number(t, timeMax)
	}
	for _, n := range []*int64{
		&k.burst.recipients, &k.burst.strangers, &k.beforeHour,
		&k.settled.known, &k.settled.day, &k.settling.known, &k.settling.day,
	} {
		c.number(n, figureMax)
	}
	for _, n := range []*counts{&k.today, &k.thisHour} {
		for _, v := range []*int64{&n.recipients, &n.strangers, &n.fresh, &n.nets} {
			c.number(v, 1<<32)
		}
	}
	for _, m := range []*mean{&k.usualDay, &k.usualHour, &k.usualFresh, &k.strangersDay, &k.usualNets} {
		c.number(&m.of, figureMax)
		c.number(&m.n, dayShare+hourShare)
	}
	c.fixed64(&k.results.ring)
	c.int(&k.results.n, resultsMax)
	c.number(&k.results.at, timeMax)
	c.lists(k)
}

// sites reads the networks.
func (c *coder) sites(s *snapshot) {
	var n int64
	c.number(&n, min(sitesMax, int64(len(c.b)/siteBytesMin)))
	seen := map[netip.Prefix]bool{}
	for range n {
		at := &site{days: window{period: daily}}
		c.site(at)
		if c.bad || seen[at.network] {
			c.bad = true
			return
		}
		seen[at.network] = true
		s.sites = append(s.sites, at)
	}
}

func (c *coder) site(at *site) {
	if !c.reads {
		raw := at.network.Addr().As16()
		c.b = append(c.b, raw[:]...)
	} else if o := c.octets(16); o != nil {
		var ok bool
		addr, _ := netip.AddrFromSlice(o)
		if at.network, ok = networkOf(addr); !ok || at.network.Addr() != addr.Unmap() {
			c.bad = true
		}
	}
	c.number(&at.last, timeMax)
	c.window(&at.hours)
	c.window(&at.days)
	n := len(at.newcomers)
	c.int(&n, newcomersMax)
	if c.reads {
		at.newcomers = make([]newcomer, n)
	}
	for i := range at.newcomers {
		k := &at.newcomers[i]
		id := int64(k.id)
		c.number(&id, 1<<62)
		k.id = account.ID(id)
		c.number(&k.since, timeMax)
		c.number(&k.strangers, figureMax)
	}
}

func (c *coder) window(w *window) {
	c.number(&w.at, timeMax)
	size, _ := w.size()
	for i := range size {
		n := int64(w.steps[i])
		c.number(&n, 1<<32-1)
		w.steps[i] = uint32(n)
	}
}

func (c *coder) lists(k *book) {
	n := len(k.nets)
	c.int(&n, networksMax)
	if c.reads {
		k.nets = make([]visit, n)
	}
	for i := range k.nets {
		network := int64(k.nets[i].network)
		c.number(&network, 1<<32-1)
		k.nets[i].network = uint32(network)
		c.number(&k.nets[i].at, timeMax)
		c.number(&k.nets[i].since, timeMax)
	}
	c.names(&k.known, knownMax)
	c.names(&k.heard, heardMax)
}

func (c *coder) names(k *known, most int64) {
	n := len(*k)
	c.int(&n, most)
	if n > 0 && c.reads {
		if n > len(c.b)/8 {
			c.bad = true
			return
		}
		*k = make(known, n)
	}
	for i := range *k {
		c.fixed64(&(*k)[i])
	}
}
