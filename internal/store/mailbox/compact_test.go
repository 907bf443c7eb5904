package mailbox_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// size is what the journal takes on the disk, without the active segment.
func (w *world) size() (bytes int64, large int) {
	for _, g := range w.j.Segments() {
		if g.Kind == journal.KindLarge {
			large++
		}
		if !g.Active {
			bytes += g.Size
		}
	}
	return bytes, large
}

// drop expunges messages.
func (w *world) drop(t *testing.T, id mailbox.ID, uids ...mailbox.UID) {
	t.Helper()
	_, err := w.s.SetFlags(background, id, mailbox.SetFlags{UIDs: uids, Mode: mailbox.Add, Flags: []string{`\Deleted`}})
	must(t, err)
	_, _, err = w.s.Expunge(background, id, uids)
	must(t, err)
}

// Dead bodies stay for the retention, then their segments are rewritten, large
// ones included; what lives is the same, also in a rebuilt index.
func TestCompact_afterRetention(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	long := text("long") + strings.Repeat("x", 2<<20) + "\r\n"
	var gone []mailbox.UID
	for i := range 20 {
		word := fmt.Sprintf("word%d", i)
		if i == 5 {
			gone = append(gone, w.append(t, inbox.ID, long))
		} else if uid := w.append(t, inbox.ID, strings.Repeat(text(word), 20)); i%4 != 0 {
			gone = append(gone, uid)
		}
	}
	w.drop(t, inbox.ID, gone...)
	must(t, w.Restart(mailboxtest.Keep))
	before, large := w.size()
	if large != 1 {
		t.Fatalf("%d large bodies", large)
	}
	w.clock.Advance(13 * 24 * time.Hour)
	if n, err := w.s.Compact(background); n != 0 || err != nil {
		t.Fatalf("%d segments were compacted within the retention, %v", n, err)
	}
	w.clock.Advance(2 * 24 * time.Hour)
	n, err := w.s.Compact(background)
	must(t, err)
	after, large := w.size()
	if n == 0 || after > before/2 || large != 0 {
		t.Errorf("%d segments were compacted, from %d to %d bytes, %d large bodies", n, before, after, large)
	}
	for range 3 { // and it is done with that
		must(t, w.Restart(mailboxtest.Keep))
		if n, err := w.s.Compact(background); n != 0 || err != nil {
			t.Errorf("%d segments were compacted again, %v", n, err)
		}
	}
	for _, how := range []mailboxtest.Restart{mailboxtest.Keep, mailboxtest.Lose} {
		must(t, w.Restart(how))
		es := w.entries(t, inbox.ID)
		if len(es) != 5 {
			t.Fatalf("INBOX has %d messages", len(es))
		}
		for i, e := range es {
			if got, err := w.read(e.Message); err != nil || got != strings.Repeat(text(fmt.Sprintf("word%d", i*4)), 20) {
				t.Errorf("UID %d: %d bytes, %v", e.UID, len(got), err)
			}
		}
		if all := w.findings(t); len(all) > 0 {
			t.Errorf("verify found %v", all)
		}
	}
}

// Many small segments, one for each restart, become one.
func TestCompact_mergesSmallSegments(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	for i := range 20 {
		w.append(t, inbox.ID, text(fmt.Sprint("word", i)))
		must(t, w.Restart(mailboxtest.Keep))
	}
	_, err := w.s.Compact(background)
	must(t, err)
	if n := len(w.j.Segments()); n > 4 {
		t.Errorf("%d segments are left", n)
	}
	if es := w.entries(t, inbox.ID); len(es) != 20 {
		t.Errorf("INBOX has %d messages", len(es))
	}
}

// A compaction writes little more than what lives (storage goal: 1.1), also
// where every message has been flagged often.
func TestCompact_writesLittle(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	var uids []mailbox.UID
	for i := range 200 {
		uids = append(uids, w.append(t, inbox.ID, strings.Repeat(text(fmt.Sprint("w", i)), 15)))
	}
	for i := range 20 {
		_, err := w.s.SetFlags(background, inbox.ID, mailbox.SetFlags{UIDs: uids, Mode: []mailbox.Mode{mailbox.Add, mailbox.Remove}[i%2], Flags: []string{`\Seen`}})
		must(t, err)
	}
	odd := slices.DeleteFunc(slices.Clone(uids), func(u mailbox.UID) bool { return u%2 == 0 })
	w.drop(t, inbox.ID, odd...)
	var live int64
	for _, e := range w.entries(t, inbox.ID) {
		live += int64(e.Size)
	}
	must(t, w.Restart(mailboxtest.Keep))
	w.clock.Advance(15 * 24 * time.Hour)
	n, err := w.s.CompactFully(background)
	must(t, err)
	var size int64
	for _, g := range w.j.Segments() {
		size += g.Size
	}
	if ratio := float64(size) / float64(live); n == 0 || ratio > 1.1 {
		t.Errorf("%d segments compacted: %d bytes for %d live ones, %.3f", n, size, live, ratio)
	}
}

// A body that is being read when its segment goes can be read to its end.
func TestCompact_besideReader(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	must(t, w.Restart(mailboxtest.Keep))
	lsn := w.entries(t, inbox.ID)[0].Message
	b, err := w.s.OpenMessage(background, lsn)
	must(t, err)
	defer b.Close()
	_, err = w.s.CompactFully(background)
	must(t, err)
	got := make([]byte, b.Size())
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, []byte(text("alpha"))) {
		t.Errorf("the open body: %v", err)
	}
	if got, err := w.read(lsn); err != nil || got != text("alpha") {
		t.Errorf("the moved body: %v", err)
	}
}
