package mailbox

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// uidRange is all UIDs from lo to hi.
type uidRange struct{ lo, hi UID }

// uidSet is a set of UIDs: ranges, ascending, not touching.
type uidSet []uidRange

// newUIDSet makes a set of ascending UIDs; doubles are dropped.
func newUIDSet(uids []UID) uidSet {
	var s uidSet
	for _, u := range uids {
		s = s.add(u)
	}
	return s
}

// add appends a UID that is not less than any in s.
func (s uidSet) add(u UID) uidSet {
	if n := len(s); n > 0 && u <= s[n-1].hi {
		return s
	} else if n > 0 && u == s[n-1].hi+1 {
		s[n-1].hi = u
		return s
	}
	return append(s, uidRange{u, u})
}

// all yields the UIDs, ascending.
func (s uidSet) all() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.lo; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.hi {
					break
				}
			}
		}
	}
}

// pack appends s: for each range the distance from the end of the one before
// and the number of UIDs after the first.
func (s uidSet) pack(dst []byte) []byte {
	at := UID(0)
	for _, r := range s {
		dst = binary.AppendUvarint(dst, uint64(r.lo-at))
		dst = binary.AppendUvarint(dst, uint64(r.hi-r.lo))
		at = r.hi
	}
	return dst
}

var errPacked = errors.New("malformed packed numbers")

// unpackUIDs is the inverse of pack.
func unpackUIDs(b []byte) (uidSet, error) {
	var s uidSet
	at := uint64(0)
	r := varints{b: b}
	for len(r.b) > 0 {
		first := r.next()
		more := r.next()
		if r.bad || first == 0 || first > uidMax || more > uidMax {
			return nil, errPacked
		}
		lo := at + first
		at = lo + more
		if at > uidMax {
			return nil, errPacked
		}
		s = append(s, uidRange{UID(lo), UID(at)})
	}
	return s, nil
}

// packEntries appends entries in UID order, each number as the difference from
// the entry before where that is small. MODSEQs are left out if all are the
// operation's own.
func packEntries(dst []byte, es []Entry, modSeqs bool) []byte {
	var last Entry
	for _, e := range es {
		dst = binary.AppendUvarint(dst, uint64(e.UID-last.UID))
		dst = binary.AppendVarint(dst, int64(e.Message)-int64(last.Message))
		dst = binary.AppendUvarint(dst, uint64(e.Flags))
		dst = binary.AppendUvarint(dst, uint64(e.Size))
		dst = binary.AppendVarint(dst, e.Date-last.Date)
		if modSeqs {
			dst = binary.AppendVarint(dst, int64(e.ModSeq)-int64(last.ModSeq))
		}
		last = e
	}
	return dst
}

// unpackEntries is the inverse of packEntries.
func unpackEntries(b []byte, modSeqs bool) ([]Entry, error) {
	es := make([]Entry, 0, len(b)/10)
	var last Entry
	r := varints{b: b}
	for len(r.b) > 0 {
		uid := r.next()
		e := Entry{UID: last.UID + UID(uid)}
		e.Message = journal.LSN(int64(last.Message) + r.nextSigned())
		e.Flags = Flags(r.next())
		size := r.next()
		e.Size = uint32(size)
		e.Date = last.Date + r.nextSigned()
		if modSeqs {
			e.ModSeq = ModSeq(int64(last.ModSeq) + r.nextSigned())
		}
		if r.bad || uid == 0 || uid > uidMax || e.UID <= last.UID || size > sizeMax {
			return nil, errPacked
		}
		es = append(es, e)
		last = e
	}
	return es, nil
}

// varints reads numbers one after the other; bad is set at the first that is
// none.
type varints struct {
	b   []byte
	bad bool
}

func (r *varints) next() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *varints) nextSigned() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}
