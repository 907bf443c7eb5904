package imap

import (
	"errors"
	"slices"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// tracker is what one client knows of a mailbox: which UID each sequence
// number stands for. The mailbox changes at any time; the client learns of it
// only at the moments that RFC 9051 §5.5 and §7.5.1 allow. take notes what
// happened, report says what may be told now. It does no I/O.
//
// Positions are sequence numbers less one.
type tracker struct {
	uids    []uint32        // by position; ascending
	told    int             // how many of them the client was told of by EXISTS
	gone    []uint32        // UIDs of told messages that are not there any more, not yet told; ascending
	changed []mailbox.Entry // told messages with flags not yet told, by UID
	modseq  mailbox.ModSeq  // changes up to here were taken

	// own is the MODSEQ of a change by the client itself, whose flags it knows;
	// 0: none. owed are the UIDs of messages that somebody else had changed
	// before that, and which are to be told all the same; ascending.
	own  mailbox.ModSeq
	owed []uint32
}

// newTracker starts with the mailbox as it is, all of it told.
func newTracker(entries []mailbox.Entry, modseq mailbox.ModSeq) tracker {
	t := tracker{uids: make([]uint32, len(entries)), told: len(entries), modseq: modseq}
	for i := range entries {
		t.uids[i] = uint32(entries[i].UID)
	}
	return t
}

// position finds a UID among those the client may know.
func (t *tracker) position(uid uint32) (int, bool) { return slices.BinarySearch(t.uids, uid) }

// take notes changes. Those that were taken before do no harm.
func (t *tracker) take(ch mailbox.Changes) {
	for _, uid := range ch.Vanished {
		t.vanish(uint32(uid))
	}
	fresh := false
	for _, e := range ch.Changed {
		uid := uint32(e.UID)
		if n := len(t.uids); n == 0 || uid > t.uids[n-1] {
			t.uids = append(t.uids, uid)
			continue
		}
		if at, known := t.position(uid); known && at < t.told {
			t.changed = append(t.changed, e)
			fresh = true
		}
	}
	if fresh {
		t.tidyChanged()
	}
	t.modseq = max(t.modseq, ch.ModSeq)
}

func (t *tracker) vanish(uid uint32) {
	at, known := t.position(uid)
	if !known {
		return
	}
	if at >= t.told {
		t.uids = slices.Delete(t.uids, at, at+1)
		return
	}
	if i, noted := slices.BinarySearch(t.gone, uid); !noted {
		t.gone = slices.Insert(t.gone, i, uid)
	}
}

// tidyChanged sorts changed by UID and keeps the last of each.
func (t *tracker) tidyChanged() {
	slices.SortStableFunc(t.changed, func(a, b mailbox.Entry) int {
		if a.UID != b.UID {
			return int(int64(a.UID) - int64(b.UID))
		}
		switch {
		case a.ModSeq > b.ModSeq:
			return -1
		case a.ModSeq < b.ModSeq:
			return 1
		}
		return 0
	})
	t.changed = slices.CompactFunc(t.changed, func(a, b mailbox.Entry) bool { return a.UID == b.UID })
}

// notices is what a client is to be told, in this order.
type notices struct {
	expunged []uint32 // sequence numbers, each as it is after the ones before
	vanished []uint32 // the same messages' UIDs
	exists   int      // number of messages; -1: did not change
	changed  []sequenced
}

// sequenced is an entry with its sequence number.
type sequenced struct {
	seq   uint32
	entry mailbox.Entry
}

// pending says whether report has something to say.
func (t *tracker) pending(expunges bool) bool {
	return len(t.uids) != t.told || len(t.changed) > 0 || expunges && len(t.gone) > 0
}

// disown notes that the change with MODSEQ m is the client's own. All that
// happened before it must have been taken: where another change came in
// between, it cannot be told apart any more and nothing is held back.
func (t *tracker) disown(m mailbox.ModSeq) {
	if m != t.modseq+1 {
		return
	}
	t.own, t.owed = m, nil
	for _, e := range t.changed {
		t.owed = append(t.owed, uint32(e.UID))
	}
}

// knows says whether the client knows of a change of flags by itself.
func (t *tracker) knows(e mailbox.Entry) bool {
	if t.own == 0 || e.ModSeq != t.own {
		return false
	}
	_, owed := slices.BinarySearch(t.owed, uint32(e.UID))
	return !owed
}

// report gives what may be told now and takes it as told; expunges says
// whether messages may be told to be gone.
func (t *tracker) report(expunges bool) notices {
	n := notices{exists: -1}
	if expunges && len(t.gone) > 0 {
		n.expunged = make([]uint32, 0, len(t.gone))
		n.vanished = t.gone
		for i, uid := range t.gone {
			at, _ := t.position(uid)
			n.expunged = append(n.expunged, uint32(at+1-i))
		}
		t.remove(t.gone)
		t.gone = nil
	}
	if len(t.uids) != t.told {
		t.told = len(t.uids)
		n.exists = t.told
	}
	for _, e := range t.changed {
		at, known := t.position(uint32(e.UID))
		if !known || t.isGone(uint32(e.UID)) || t.knows(e) {
			continue
		}
		n.changed = append(n.changed, sequenced{uint32(at + 1), e})
	}
	t.changed, t.own, t.owed = nil, 0, nil
	return n
}

func (t *tracker) isGone(uid uint32) bool {
	_, gone := slices.BinarySearch(t.gone, uid)
	return gone
}

// remove drops sorted, told UIDs.
func (t *tracker) remove(uids []uint32) {
	i := 0
	kept := t.uids[:0]
	for _, uid := range t.uids {
		if i < len(uids) && uids[i] == uid {
			i++
			continue
		}
		kept = append(kept, uid)
	}
	t.uids = kept
	t.told -= i
}

// span is a range of positions, hi not included.
type span struct{ lo, hi int }

//lint:ignore ST1005 the client gets this text as it is, behind BAD
var errNoSuchSequence = errors.New("No message has such a sequence number")

// spans gives the positions that a set names. UIDs that are not there are
// passed over, sequence numbers must be there (RFC 9051 §9 seq-number), but for
// a range with "*" in an empty mailbox, with which clients mean "all".
func (t *tracker) spans(set wire.Set, uid bool, saved []uint32) ([]span, error) {
	if set.Saved {
		return t.spansOf(saved), nil
	}
	if t.told == 0 {
		for _, r := range set.Ranges {
			if !uid && r.First != wire.Star && r.Last != wire.Star {
				return nil, errNoSuchSequence
			}
		}
		return nil, nil
	}
	if uid {
		return t.uidSpans(set.Resolve(t.uids[t.told-1])), nil
	}
	rs := set.Resolve(uint32(t.told))
	out := make([]span, len(rs))
	for i, r := range rs {
		if int64(r.Last) > int64(t.told) {
			return nil, errNoSuchSequence
		}
		out[i] = span{int(r.First) - 1, int(r.Last)}
	}
	return out, nil
}

func (t *tracker) uidSpans(rs []wire.Range) []span {
	var out []span
	known := t.uids[:t.told]
	for _, r := range rs {
		lo, _ := slices.BinarySearch(known, r.First)
		hi, found := slices.BinarySearch(known, r.Last)
		if found {
			hi++
		}
		if lo == hi {
			continue
		}
		if n := len(out); n > 0 && out[n-1].hi == lo {
			out[n-1].hi = hi
			continue
		}
		out = append(out, span{lo, hi})
	}
	return out
}

// spansOf gives the positions of those sorted UIDs that the client knows.
func (t *tracker) spansOf(uids []uint32) []span {
	var out []span
	for _, uid := range uids {
		at, known := t.position(uid)
		if !known || at >= t.told {
			continue
		}
		if n := len(out); n > 0 && out[n-1].hi == at {
			out[n-1].hi++
			continue
		}
		out = append(out, span{at, at + 1})
	}
	return out
}

// length is the number of positions in spans.
func length(spans []span) int {
	n := 0
	for _, s := range spans {
		n += s.hi - s.lo
	}
	return n
}
