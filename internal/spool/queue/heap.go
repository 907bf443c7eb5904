package queue

// The heaps of a destination are pairing heaps, linked through the entries:
// they cost no memory of their own, take in what is younger than all others
// (a new message) at once, and give up any entry.
//
// An entry's prev is its parent if it is the first child, else the sibling
// before it; the root has none.

// older orders by age: the LSN is given in the order of acceptance.
func (t *table) older(a, b *entry) bool {
	return a.lsn < b.lsn || a.lsn == b.lsn && a.rcpt < b.rcpt
}

// sooner orders by due time, then by age.
func (t *table) sooner(a, b *entry) bool {
	return a.due < b.due || a.due == b.due && t.older(a, b)
}

// before is the order of a place's heap.
func (t *table) before(p place, a, b *entry) bool {
	if p == ready {
		return t.older(a, b)
	}
	return t.sooner(a, b)
}

// meld makes one heap of two, of which each may be empty.
func (t *table) meld(p place, a, b slot) slot {
	if a == 0 || b == 0 {
		return a | b
	}
	x, y := t.at(a), t.at(b)
	if t.before(p, y, x) {
		a, b, x, y = b, a, y, x
	}
	y.prev, y.next = a, x.child
	if x.child != 0 {
		t.at(x.child).prev = b
	}
	x.child = b
	return a
}

// push adds an entry to a heap and gives its new root.
func (t *table) push(p place, root, s slot) slot {
	e := t.at(s)
	e.child, e.next, e.prev, e.place = 0, 0, 0, p
	return t.meld(p, root, s)
}

// pluck takes an entry out of a heap and gives its new root. The entry is busy
// from then on.
func (t *table) pluck(root, s slot) slot {
	e := t.at(s)
	p := e.place
	rest := t.pairs(p, e.child)
	if s == root {
		root = rest
	} else {
		if before := t.at(e.prev); before.child == s {
			before.child = e.next
		} else {
			before.next = e.next
		}
		if e.next != 0 {
			t.at(e.next).prev = e.prev
		}
		root = t.meld(p, root, rest)
	}
	e.child, e.next, e.prev, e.place = 0, 0, 0, busy
	return root
}

// scatter takes a heap apart and calls fn with all of its entries, which are
// busy then, in no order: that is many times as quick as to pluck them.
func (t *table) scatter(root slot, fn func(s slot, e *entry)) {
	for left := []slot{root}; len(left) > 0; {
		s := left[len(left)-1]
		left = left[:len(left)-1]
		if s == 0 {
			continue
		}
		e := t.at(s)
		left = append(left, e.next, e.child)
		e.child, e.next, e.prev, e.place = 0, 0, 0, busy
		fn(s, e)
	}
}

// pairs makes one heap of a list of siblings: it melds them two by two, then
// all of those from the last to the first. Without recursion: a list may be as
// long as the queue.
func (t *table) pairs(p place, first slot) slot {
	var done slot // melded pairs, last first, linked by next
	for first != 0 {
		a := first
		x := t.at(a)
		b := x.next
		first = 0
		x.next, x.prev = 0, 0
		if b != 0 {
			y := t.at(b)
			first = y.next
			y.next, y.prev = 0, 0
		}
		a = t.meld(p, a, b)
		t.at(a).next = done
		done = a
	}
	var root slot
	for done != 0 {
		a := done
		x := t.at(a)
		done = x.next
		x.next, x.prev = 0, 0
		root = t.meld(p, root, a)
	}
	return root
}
