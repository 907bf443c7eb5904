package restraint

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// secret keys the names of people and networks, so that a file does not tell
// who writes to whom. It lives as long as the file.
type secret [16]byte

// name is a person whom an account writes to: 48 bits of a hash, so that of
// 4,096 names and a stranger two fall together once in sixty thousand million.
type name uint64

const (
	nameBits = 48
	dayBits  = 16 // days since 1970, good until 2149
)

// name hashes an address. The case of letters does not matter.
func (k *secret) name(a message.Address) name {
	var room [16 + 1 + 320]byte
	b := append(room[:0], k[:]...)
	b = append(b, 'p')
	b = append(b, strings.ToLower(a.Local)...)
	b = append(b, '@')
	b = append(b, a.Domain...)
	sum := sha256.Sum256(b)
	return name(binary.BigEndian.Uint64(sum[:]) >> (64 - nameBits))
}

// network hashes a network.
func (k *secret) network(p netip.Prefix) uint32 {
	raw := p.Addr().As16()
	b := append(append(append([]byte{}, k[:]...), 'n'), raw[:]...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint32(sum[:])
}

// known are the people whom one account writes to, the one written to last at
// the end. Each has the day of the first time in its low bits.
type known []uint64

// find returns the place of a name, or -1.
func (k known) find(n name) int {
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]>>dayBits == uint64(n) {
			return i
		}
	}
	return -1
}

// settled tells whether the account wrote to a name before today. A day that
// is ahead of a clock that was set back is not.
func (k known) settled(n name, day int64) bool {
	i := k.find(n)
	return i >= 0 && int64(k[i]&(1<<dayBits-1)) < day
}

// hasPast tells whether the account wrote to anybody before today.
func (k known) hasPast(day int64) bool {
	return slices.ContainsFunc(k, func(v uint64) bool { return int64(v&(1<<dayBits-1)) < day })
}

// meet notes that a name was written to, and tells whether there was one more.
func (k *known) meet(n name, day int64, most int) (grown bool) {
	list := *k
	if i := list.find(n); i >= 0 {
		v := list[i]
		copy(list[i:], list[i+1:])
		list[len(list)-1] = v
		return false
	}
	v := uint64(n)<<dayBits | uint64(min(day, 1<<dayBits-1))
	if len(list) >= most {
		copy(list, list[1:])
		list[len(list)-1] = v
		return false
	}
	*k = append(list, v)
	return true
}

// settle makes all names ones of an earlier day.
func (k known) settle() {
	for i := range k {
		k[i] &^= 1<<dayBits - 1
	}
}

// list keeps the books by their last use.
type list struct{ oldest, newest *book }

func (l *list) push(b *book) {
	b.prev, b.next = l.newest, nil
	if l.newest != nil {
		l.newest.next = b
	} else {
		l.oldest = b
	}
	l.newest = b
}

func (l *list) remove(b *book) {
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		l.oldest = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		l.newest = b.prev
	}
	b.prev, b.next = nil, nil
}
