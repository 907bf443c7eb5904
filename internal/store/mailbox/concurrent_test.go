package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

// crowd is many goroutines at one store.
type crowd struct {
	*world
	t     *testing.T
	boxes []mailbox.Info
	acked atomic.Int64 // deliveries that were acknowledged
	wg    sync.WaitGroup
}

func (c *crowd) do(n int, fn func(i int) error) {
	c.wg.Go(func() {
		for i := range n {
			if err := fn(i); err != nil {
				c.t.Error(err)
				return
			}
		}
	})
}

func (c *crowd) deliver(i int) error {
	b, err := c.s.NewBody(background, nil)
	if err != nil {
		return err
	}
	defer b.Abort()
	if _, err := b.Write([]byte(text(fmt.Sprint("letter", i)))); err != nil {
		return err
	}
	d := mailbox.Delivery{Received: c.clock.Now()}
	for _, to := range c.boxes {
		d.Filings = append(d.Filings, mailbox.Filing{Account: to.Account, Mailbox: to.ID})
	}
	_, _, err = c.s.Deliver(background, b, d)
	if err == nil {
		c.acked.Add(1)
	}
	return err
}

// follow sees a mailbox through its changes and checks what it is told: UIDs
// and MODSEQs that only grow, and nothing less than was acknowledged before.
func (c *crowd) follow(to mailbox.Info) (*mailbox.Mailbox, func(int) error) {
	mb, err := c.s.OpenMailbox(background, to.ID)
	must(c.t, err)
	seen := make(map[mailbox.UID]bool)
	var since mailbox.ModSeq
	var last mailbox.UID
	return mb, func(int) error {
		acked := c.acked.Load()
		ch, err := mb.Changes(background, since)
		if err != nil {
			return err
		}
		if ch.ModSeq < since || ch.UIDNext <= last {
			return fmt.Errorf("went back from %d, %d to %d, %d", since, last, ch.ModSeq, ch.UIDNext)
		}
		for _, e := range ch.Changed {
			seen[e.UID] = true
			last = max(last, e.UID)
		}
		since = ch.ModSeq
		if int64(len(seen)) < acked {
			return fmt.Errorf("%d messages were seen, %d had been acknowledged", len(seen), acked)
		}
		return nil
	}
}

// TestCrowd lets deliveries, flag changes, moves, expunges, readers and
// compactions run at once, and then compares the index with the journal.
func TestCrowd(t *testing.T) {
	w := newWorld(t)
	w.segment = 128 << 10
	must(t, w.Restart(mailboxtest.Keep))
	c := &crowd{world: w, t: t}
	for acct := account.ID(1); acct <= 2; acct++ {
		must(t, w.s.Provision(background, acct))
		info, err := w.s.Lookup(background, acct, "INBOX")
		must(t, err)
		c.boxes = append(c.boxes, info)
	}
	trash, err := w.s.Lookup(background, 1, "Trash")
	must(t, err)
	for range 4 {
		c.do(50, c.deliver)
	}
	mb, follow := c.follow(c.boxes[1])
	defer mb.Close()
	c.do(100, follow)
	c.do(40, func(i int) error { // the owner of account 1
		mb, err := w.s.OpenMailbox(background, c.boxes[0].ID)
		if err != nil {
			return err
		}
		defer mb.Close()
		es, _, err := mb.Entries(background)
		if err != nil || len(es) == 0 {
			return err
		}
		u := []mailbox.UID{es[i%len(es)].UID}
		switch i % 3 {
		case 0:
			_, err = w.s.Move(background, c.boxes[0].ID, u, trash.ID)
		case 1:
			_, err = w.s.SetFlags(background, c.boxes[0].ID, mailbox.SetFlags{UIDs: u, Mode: mailbox.Add, Flags: []string{`\Deleted`, "kw"}})
		case 2:
			_, _, err = w.s.Expunge(background, c.boxes[0].ID, []mailbox.UID{es[(i-1)%len(es)].UID})
		}
		if errors.Is(err, mailbox.ErrNoSuchMessage) {
			err = nil
		}
		return err
	})
	c.do(30, func(i int) error { // an importer, who makes mailboxes as well
		info, err := w.s.Create(background, 2, fmt.Sprint("Import/", i), "")
		if err != nil {
			return err
		}
		_, _, err = w.s.Append(background, info.ID, []mailbox.AppendMessage{
			{Body: w.body(t, text("first")), Date: time.Unix(1, 0)}, {Body: w.body(t, text("second"))}})
		return err
	})
	c.do(5, func(int) error { return w.Compact() })
	c.wg.Wait()
	if err := follow(0); err != nil {
		t.Error(err)
	}
	if es := w.entries(t, c.boxes[1].ID); len(es) != 200 {
		t.Errorf("%d of 200 messages are there", len(es))
	}
	if all := w.findings(t); len(all) > 0 {
		t.Errorf("verify found %v", all)
	}
	mb.Close()
	must(t, w.Restart(mailboxtest.Lose))
	if all := w.findings(t); len(all) > 0 {
		t.Errorf("after a rebuild verify found %v", all)
	}
}

// OnChange tells of everything that happens, and of the mailbox's end.
func TestOnChange(t *testing.T) {
	w := newWorld(t)
	info, err := w.s.Create(background, 1, "A", "")
	must(t, err)
	mb, err := w.s.OpenMailbox(background, info.ID)
	must(t, err)
	defer mb.Close()
	calls := make(chan struct{}, 100)
	cancel := mb.OnChange(func() { calls <- struct{}{} })
	expect := func(what string) {
		t.Helper()
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not told", what)
		}
	}
	u := w.append(t, info.ID, text("alpha"))
	expect("append")
	w.drop(t, info.ID, u)
	expect("flags")
	expect("expunge")
	must(t, w.s.Rename(background, 1, "A", "B"))
	expect("rename")
	if mb.Info().Name != "B" {
		t.Errorf("it is called %s", mb.Info().Name)
	}
	must(t, w.s.Delete(background, 1, "B"))
	expect("delete")
	if _, _, err := mb.Entries(background); !errors.Is(err, mailbox.ErrNoSuchMailbox) || !mb.Deleted() {
		t.Errorf("the deleted mailbox: %v", err)
	}
	cancel()
}

// A disk without room refuses, gives nothing away, and goes on later.
func TestFull(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	disk := w.disk.(*sim.Disk)
	disk.Full(0)
	for range 2 {
		_, _, err := w.s.Append(background, inbox.ID, []mailbox.AppendMessage{{Body: w.body(t, text("beta"))}})
		if !errors.Is(err, journal.ErrFull) {
			t.Fatalf("append without room: %v", err)
		}
		_, err = w.s.Create(background, 1, "A", "")
		if !errors.Is(err, journal.ErrFull) {
			t.Fatalf("create without room: %v", err)
		}
	}
	if _, err := w.s.Lookup(background, 1, "A"); !errors.Is(err, mailbox.ErrNoSuchMailbox) {
		t.Errorf("what was refused is there: %v", err)
	}
	disk.Full(-1)
	if u := w.append(t, inbox.ID, text("gamma")); u != 2 {
		t.Errorf("the next UID is %d", u)
	}
	_, err := w.s.Create(background, 1, "A", "")
	must(t, err)
	if all := w.findings(t); len(all) > 0 {
		t.Errorf("verify found %v", all)
	}
}

// A body may be given up at any point, and nothing is left of it.
func TestBody_abort(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int{0, 100, 3 << 20} {
		b := w.body(t, string(make([]byte, size)))
		if size == 3<<20 {
			must(t, b.Finish())
		}
		b.Abort()
		b.Abort()
		if _, err := b.Write([]byte("x")); !errors.Is(err, mailbox.ErrBodyUnfinished) {
			t.Errorf("write after abort: %v", err)
		}
	}
	if _, large := w.size(); large != 0 {
		t.Errorf("%d large bodies are left", large)
	}
}

// After Deliver failed since a mailbox had gone, the body can be delivered
// elsewhere.
func TestDeliver_toAnother(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	gone, err := w.s.Create(background, 1, "A", "")
	must(t, err)
	must(t, w.s.Delete(background, 1, "A"))
	b := w.body(t, text("alpha"))
	d := mailbox.Delivery{Received: w.clock.Now(), Filings: []mailbox.Filing{{Account: 1, Mailbox: gone.ID}}}
	if _, _, err := w.s.Deliver(background, b, d); !errors.Is(err, mailbox.ErrNoSuchMailbox) {
		t.Fatalf("deliver to a mailbox that is gone: %v", err)
	}
	d.Filings[0].Mailbox = inbox.ID
	lsn, filed, err := w.s.Deliver(background, b, d)
	must(t, err)
	if got, err := w.read(lsn); err != nil || got != text("alpha") || filed[0].UID != 1 {
		t.Errorf("delivered %v, %v", filed, err)
	}
}

// QRESYNC from before what is remembered names all UIDs that are not there.
func TestChanges_beyondHistory(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	var gone []mailbox.UID
	for range 3 {
		gone = append(gone, w.append(t, inbox.ID, text("alpha")))
	}
	w.append(t, inbox.ID, text("stays"))
	w.drop(t, inbox.ID, gone[0])
	w.drop(t, inbox.ID, gone[1], gone[2])
	must(t, w.Restart(mailboxtest.Keep)) // the list in memory knows nothing any more
	changes := func(since mailbox.ModSeq) mailbox.Changes {
		mb, err := w.s.OpenMailbox(context.Background(), inbox.ID)
		must(t, err)
		defer mb.Close()
		c, err := mb.Changes(background, since)
		must(t, err)
		return c
	}
	now := changes(0).ModSeq
	if c := changes(now - 1); !slices.Equal(c.Vanished, gone[1:]) {
		t.Errorf("from the index: vanished %v", c.Vanished)
	}
	must(t, w.x.Update(background, false, func(conn *sqliteConn) error {
		return execute(conn, fmt.Sprintf("UPDATE mailboxes SET history_floor = %d WHERE id = %d", now, inbox.ID))
	}))
	must(t, w.Restart(mailboxtest.Keep))
	if c := changes(now - 1); !slices.Equal(c.Vanished, gone) {
		t.Errorf("beyond the history: vanished %v", c.Vanished)
	}
}
