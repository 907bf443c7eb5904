package queue

import "github.com/breakwater-mail/breakwater/internal/store/fate"

// slot is the place of an entry in the table. 0 is none.
type slot uint32

// Where an entry is: it is in at most one heap of its destination.
type place uint8

const (
	free    place = iota // not in use
	ready                // in the heap of those that may be tried
	waiting              // in the heap of those that are not due
	parked               // in the heap of those that were tried while the destination was down
	busy                 // being tried, warned of, given up or changed by an operator
	held                 // in no heap
)

// Flags of an entry.
const (
	flagWarned  uint8 = 1 << iota // nothing is to be said of its delay any more
	flagGone                      // it ended elsewhere while it was busy
	flagAccount                   // its account is held
	flagRoute                     // its Router knows no way
	flagFirst                     // its attempt found the destination down, which others got through to
	flagParked                    // it waits for its destination to be back, not for its time
)

// entry is an open recipient, as small as can be and without a pointer: there
// may be millions. Times are seconds since 1970; they do until 2106.
type entry struct {
	lsn      uint64
	rcpt     uint32
	dest     uint32 // where it goes
	domain   uint32 // its recipient's, as a destination, which it need not go to
	account  uint32 // place in machine.owners
	due      uint32 // not before
	received uint32
	// Links of the heap that it is in.
	child, next, prev slot
	step              uint8 // in the schedule: attempts that count for it
	place             place
	state             fate.State // Queued, Deferred or Held
	flags             uint8
}

// chunkEntries is the unit in which the table grows, so that nothing is
// copied when it does: 192 KB.
const chunkEntries = 4096

// table is a set of entries by message and place in it. Slots are reused.
type table struct {
	chunks [][]entry
	used   int  // slots that were ever in use; slot 0 never is
	unused slot // list of freed slots, linked by next
	count  int
	hash   []slot // open addressing, linear probing; a power of two
}

func (t *table) at(s slot) *entry { return &t.chunks[s/chunkEntries][s%chunkEntries] }

func hashOf(lsn uint64, rcpt uint32) uint64 { return mix(lsn<<16 ^ lsn>>48 ^ uint64(rcpt)) }

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// find gives the slot of a recipient, or 0.
func (t *table) find(lsn uint64, rcpt uint32) slot {
	if len(t.hash) == 0 {
		return 0
	}
	mask := uint64(len(t.hash) - 1)
	for i := hashOf(lsn, rcpt) & mask; t.hash[i] != 0; i = (i + 1) & mask {
		if e := t.at(t.hash[i]); e.lsn == lsn && e.rcpt == rcpt {
			return t.hash[i]
		}
	}
	return 0
}

// add makes an entry of a recipient that is not in the table.
func (t *table) add(lsn uint64, rcpt uint32) slot {
	if (t.count+1)*4 > len(t.hash)*3 {
		t.grow()
	}
	s := t.unused
	if s != 0 {
		t.unused = t.at(s).next
	} else {
		t.used = max(t.used, 1)
		if t.used/chunkEntries == len(t.chunks) {
			t.chunks = append(t.chunks, make([]entry, chunkEntries))
		}
		s = slot(t.used)
		t.used++
	}
	*t.at(s) = entry{lsn: lsn, rcpt: rcpt}
	t.insert(s)
	t.count++
	return s
}

func (t *table) insert(s slot) {
	e := t.at(s)
	mask := uint64(len(t.hash) - 1)
	i := hashOf(e.lsn, e.rcpt) & mask
	for t.hash[i] != 0 {
		i = (i + 1) & mask
	}
	t.hash[i] = s
}

func (t *table) grow() {
	old := t.hash
	t.hash = make([]slot, max(1024, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			t.insert(s)
		}
	}
}

// remove frees an entry. What follows it in the hash moves up, so that no
// marks of removed entries pile up.
func (t *table) remove(s slot) {
	e := t.at(s)
	mask := uint64(len(t.hash) - 1)
	i := hashOf(e.lsn, e.rcpt) & mask
	for t.hash[i] != s {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.hash[j] != 0; j = (j + 1) & mask {
		o := t.at(t.hash[j])
		home := hashOf(o.lsn, o.rcpt) & mask
		if (j-home)&mask >= (j-i)&mask { // it may move to i
			t.hash[i], i = t.hash[j], j
		}
	}
	t.hash[i] = 0
	*e = entry{next: t.unused}
	t.unused = s
	if t.count--; t.count == 0 && len(t.chunks) > 1 {
		*t = table{} // a queue that was long gives its memory back
	}
}

// each calls fn for the entries of the slots from to upto-1.
func (t *table) each(from, upto int, fn func(s slot, e *entry)) {
	for i := max(from, 1); i < min(upto, t.used); i++ {
		if e := t.at(slot(i)); e.place != free {
			fn(slot(i), e)
		}
	}
}
