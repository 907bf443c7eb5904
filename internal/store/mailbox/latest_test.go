package mailbox_test

import (
	"strings"
	"testing"
	"time"
)

// The latest messages are opened without a look into the index.
func TestOpenMessage_ofTheLatestAsksNoIndex(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	lsn := w.entries(t, inbox.ID)[0].Message
	must(t, w.x.Update(background, true, func(conn *sqliteConn) error { return execute(conn, "UPDATE messages SET offset = 1") }))
	if got, err := w.read(lsn); err != nil || got != text("alpha") {
		t.Errorf("%q, %v", got, err)
	}
}

// A compaction moves messages of which it is remembered where they lay.
func TestOpenMessage_ofTheLatestMoved(t *testing.T) {
	w := newWorld(t)
	must(t, w.close())
	w.segment = 8 << 10
	must(t, w.open())
	inbox := w.inbox(t)
	for range 20 {
		w.append(t, inbox.ID, text(strings.Repeat("long ", 300)))
	}
	es := w.entries(t, inbox.ID)
	w.drop(t, inbox.ID, 1, 3, 5, 7, 9)
	w.clock.Advance(15 * 24 * time.Hour)
	if n, err := w.s.CompactFully(background); n == 0 || err != nil {
		t.Fatalf("%d segments compacted, %v", n, err)
	}
	for _, e := range es {
		if e.UID > 9 || e.UID%2 == 0 {
			if got, err := w.read(e.Message); err != nil || got != text(strings.Repeat("long ", 300)) {
				t.Errorf("message %d: %d octets, %v", e.UID, len(got), err)
			}
		}
	}
}
