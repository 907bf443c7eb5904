package mailbox_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// A message is there until it is compacted away; what never was a message is
// not there.
func TestGone(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	var dropped []mailbox.UID
	for i := range 10 {
		if uid := w.append(t, inbox.ID, strings.Repeat(text("word"), 20)); i > 0 {
			dropped = append(dropped, uid)
		}
	}
	var lsns []journal.LSN
	for _, e := range w.entries(t, inbox.ID) {
		lsns = append(lsns, e.Message)
	}
	w.drop(t, inbox.ID, dropped...)
	never := journal.LSN(1 << 40)
	gone, err := w.s.Gone(background, append(slices.Clone(lsns), never))
	must(t, err)
	if !slices.Equal(gone, []journal.LSN{never}) {
		t.Fatalf("within the retention: %v are gone, want %d", gone, never)
	}
	must(t, w.Restart(mailboxtest.Keep))
	w.clock.Advance(15 * 24 * time.Hour)
	n, err := w.s.Compact(background)
	must(t, err)
	gone, err = w.s.Gone(background, lsns)
	must(t, err)
	if n == 0 || !slices.Equal(gone, lsns[1:]) {
		t.Fatalf("%d segments were compacted, %v are gone, want %v", n, gone, lsns[1:])
	}
}
