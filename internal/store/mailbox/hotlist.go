package mailbox

import (
	"slices"
	"sort"
)

// hotlist is the message list of an open mailbox: a compact array, read from
// the index once and then kept right by Committed. box.mu guards it.
type hotlist struct {
	ready   chan struct{} // closed when the list has been read, or err is set
	err     error         // why it could not be read
	loaded  bool
	pending []any // operations that came while it was being read

	entries []Entry // by UID; places up to len are immutable while shared
	shared  bool    // somebody has the slice: copy before changing places
	modSeq  ModSeq  // of the last operation in it
	uidNext UID     // after the last message in it

	changes   []change   // recent new messages and changed flags, by MODSEQ
	floor     ModSeq     // changes knows all after this
	gone      []expunged // recent expunges, by MODSEQ
	goneFloor ModSeq     // gone knows all after this
}

// change says that a message was new or changed with a MODSEQ.
type change struct {
	modSeq ModSeq
	uid    UID
}

// expunged is what one operation removed.
type expunged struct {
	modSeq ModSeq
	uids   uidSet
}

// expungesMax bounds the expunges that an open mailbox remembers itself; the
// index has more.
const expungesMax = 256

func newHotlist() *hotlist { return &hotlist{ready: make(chan struct{})} }

// install takes what was read from the index, and applies what came meanwhile.
func (h *hotlist) install(entries []Entry, modSeq ModSeq, uidNext UID) {
	h.uidNext = uidNext
	h.entries, h.modSeq, h.floor, h.goneFloor = entries, modSeq, modSeq, modSeq
	h.loaded = true
	for _, op := range h.pending {
		switch o := op.(type) {
		case Entry:
			h.add(o)
		case *flagsOp:
			h.flag(o)
		case *expungeOp:
			h.expunge(o)
		}
	}
	h.pending = nil
	close(h.ready)
}

// news reports whether an operation is not in the list yet. While the list is
// being read it is kept for later.
func (h *hotlist) news(op any, m ModSeq, same bool) bool {
	if !h.loaded {
		h.pending = append(h.pending, op)
		return false
	}
	return m > h.modSeq || same && m == h.modSeq
}

// add appends a new message. Its UID is above all others. Messages of one
// operation share a MODSEQ.
func (h *hotlist) add(e Entry) {
	if !h.news(e, e.ModSeq, true) {
		return
	}
	if n := len(h.entries); n > 0 && e.UID <= h.entries[n-1].UID {
		return // was in what was read
	}
	h.entries = append(h.entries, e) // beyond the len of every snapshot
	h.modSeq, h.uidNext = e.ModSeq, e.UID+1
	h.note(e.ModSeq, e.UID)
}

// flag changes flags.
func (h *hotlist) flag(o *flagsOp) {
	if !h.news(o, o.modSeq, false) {
		return
	}
	h.modSeq = o.modSeq
	h.own()
	for _, u := range o.uids {
		i := h.find(u.lo)
		for ; i < len(h.entries) && h.entries[i].UID <= u.hi; i++ {
			e := &h.entries[i]
			e.Flags, e.ModSeq = e.Flags&^o.clear|o.set, o.modSeq
			h.note(o.modSeq, e.UID)
		}
	}
}

// expunge removes messages.
func (h *hotlist) expunge(o *expungeOp) {
	if !h.news(o, o.modSeq, false) {
		return
	}
	h.modSeq = o.modSeq
	if len(o.uids) == 0 {
		return
	}
	h.own()
	from := h.find(o.uids[0].lo)
	kept := h.entries[:from]
	r := 0
	for _, e := range h.entries[from:] {
		for r < len(o.uids) && o.uids[r].hi < e.UID {
			r++
		}
		if r < len(o.uids) && o.uids[r].lo <= e.UID {
			continue
		}
		kept = append(kept, e)
	}
	h.entries = kept
	h.gone = append(h.gone, expunged{o.modSeq, o.uids})
	if len(h.gone) > 2*expungesMax {
		h.goneFloor = h.gone[expungesMax-1].modSeq
		h.gone = slices.Clone(h.gone[expungesMax:])
	}
}

// own makes the places of the list safe to change.
func (h *hotlist) own() {
	if h.shared {
		h.entries = append(make([]Entry, 0, len(h.entries)+len(h.entries)/8+16), h.entries...)
		h.shared = false
	}
}

// note remembers a change, and forgets the oldest half when there are too many.
func (h *hotlist) note(m ModSeq, u UID) {
	if len(h.changes) >= changesMax {
		half := len(h.changes) / 2
		h.floor = h.changes[half-1].modSeq
		for half < len(h.changes) && h.changes[half].modSeq == h.floor {
			half++ // an operation is known whole or not at all
		}
		h.changes = append(h.changes[:0], h.changes[half:]...)
	}
	if m > h.floor {
		h.changes = append(h.changes, change{m, u})
	}
}

// find returns the place of the first entry with a UID of u or more.
func (h *hotlist) find(u UID) int {
	return sort.Search(len(h.entries), func(i int) bool { return h.entries[i].UID >= u })
}

// get returns the entry of a UID.
func (h *hotlist) get(u UID) (Entry, bool) {
	if i := h.find(u); i < len(h.entries) && h.entries[i].UID == u {
		return h.entries[i], true
	}
	return Entry{}, false
}

// changed returns the messages that are new or changed since a MODSEQ, by UID.
func (h *hotlist) changed(since ModSeq) []Entry {
	if since >= h.modSeq {
		return nil
	}
	var es []Entry
	if since < h.floor {
		for _, e := range h.entries {
			if e.ModSeq > since {
				es = append(es, e)
			}
		}
		return es
	}
	from := sort.Search(len(h.changes), func(i int) bool { return h.changes[i].modSeq > since })
	uids := make([]UID, 0, len(h.changes)-from)
	for _, c := range h.changes[from:] {
		uids = append(uids, c.uid)
	}
	slices.Sort(uids)
	for _, u := range slices.Compact(uids) {
		if e, ok := h.get(u); ok {
			es = append(es, e)
		}
	}
	return es
}

// vanished returns the UIDs expunged since a MODSEQ, ascending, and whether the
// list knows them all.
func (h *hotlist) vanished(since ModSeq) ([]UID, bool) {
	if since < h.goneFloor {
		return nil, false
	}
	from := sort.Search(len(h.gone), func(i int) bool { return h.gone[i].modSeq > since })
	var uids []UID
	for _, g := range h.gone[from:] {
		for u := range g.uids.all() {
			uids = append(uids, u)
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), true
}

// missing returns all UIDs below UIDNEXT that are not in the list.
func (h *hotlist) missing() []UID {
	var uids []UID
	at := UID(1)
	for i := 0; i <= len(h.entries); i++ {
		end := h.uidNext
		if i < len(h.entries) {
			end = h.entries[i].UID
		}
		for ; at != end; at++ { // uidNext is 0 when the last UID has been given
			uids = append(uids, at)
		}
		at = end + 1
	}
	return uids
}
