package mailbox_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox/mailboxtest"
)

var background = context.Background()

// text makes a message that can be found in a file.
func text(word string) string {
	return "Subject: " + word + "\r\n\r\n" + strings.Repeat(word+"\r\n", 50)
}

// find returns the journal file that has a text, and where.
func (w *world) find(t *testing.T, text string) (name string, off int64) {
	t.Helper()
	names, err := w.disk.ReadDir("/journal")
	must(t, err)
	for _, n := range names {
		name := "/journal/" + n
		f, err := w.disk.Open(name, 0, 0)
		if err != nil {
			continue // a folder
		}
		size, err := f.Size()
		must(t, err)
		b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
		must(t, errors.Join(err, f.Close()))
		if i := strings.Index(string(b), text); i >= 0 {
			return name, int64(i)
		}
	}
	t.Fatalf("%q is in no file", text)
	return "", 0
}

func (w *world) flip(t *testing.T, text string) {
	t.Helper()
	name, off := w.find(t, text)
	must(t, w.disk.(*sim.Disk).FlipBit(name, off+1))
}

func (w *world) findings(t *testing.T) []mailbox.Finding {
	t.Helper()
	var all []mailbox.Finding
	must(t, w.s.Verify(background, "", func(f mailbox.Finding) { all = append(all, f) }))
	return all
}

// entries opens a mailbox and lists it.
func (w *world) entries(t *testing.T, id mailbox.ID) []mailbox.Entry {
	t.Helper()
	mb, err := w.s.OpenMailbox(background, id)
	must(t, err)
	defer mb.Close()
	es, _, err := mb.Entries(background)
	must(t, err)
	return es
}

func (w *world) read(lsn journal.LSN) (string, error) {
	b, err := w.s.OpenMessage(background, lsn)
	if err != nil {
		return "", err
	}
	defer b.Close()
	got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	return string(got), err
}

// One flipped bit in a body hurts this message and no other; verify names it
// with its mailbox and account, and so it stays when the index is rebuilt.
func TestDamage_body(t *testing.T) {
	w := newWorld(t)
	w.options.Owner = func(account.ID) string { return "one@example.org" }
	must(t, w.Restart(mailboxtest.Keep))
	inbox := w.inbox(t)
	for _, word := range []string{"alpha", "beta", "gamma"} {
		w.append(t, inbox.ID, text(word))
	}
	if all := w.findings(t); len(all) > 0 {
		t.Fatalf("before the damage verify found %v", all)
	}
	w.flip(t, "beta\r\nbeta")
	for _, rebuilt := range []bool{false, true} {
		if rebuilt {
			must(t, w.Restart(mailboxtest.Lose))
		}
		es := w.entries(t, inbox.ID)
		if len(es) != 3 {
			t.Fatalf("INBOX has %d messages", len(es))
		}
		for i, word := range []string{"alpha", "beta", "gamma"} {
			got, err := w.read(es[i].Message)
			var damage *journal.DamageError
			if word == "beta" && !errors.As(err, &damage) {
				t.Errorf("rebuilt %v: the damaged message reads as %v", rebuilt, err)
			}
			if word != "beta" && (err != nil || got != text(word)) {
				t.Errorf("rebuilt %v: %s reads as %d bytes, %v", rebuilt, word, len(got), err)
			}
		}
		all := w.findings(t)
		if len(all) != 1 || len(all[0].Owners) != 1 || all[0].Index {
			t.Fatalf("rebuilt %v: verify found %v", rebuilt, all)
		}
		if s := all[0].String(); !strings.Contains(s, "one@example.org, mailbox INBOX, message UID 2") {
			t.Errorf("finding says %q", s)
		}
	}
}

// A mailbox whose own record is damaged comes back with its messages, under a
// name that says so, when the index is rebuilt.
func TestDamage_lostMailbox(t *testing.T) {
	w := newWorld(t)
	w.inbox(t)
	info, err := w.s.Create(background, 1, "Precious", "")
	must(t, err)
	w.append(t, info.ID, text("alpha"))
	w.flip(t, "Precious")
	must(t, w.Restart(mailboxtest.Lose))
	list, err := w.s.List(background, 1)
	must(t, err)
	i := slices.IndexFunc(list, func(i mailbox.Info) bool { return i.ID == info.ID })
	if i < 0 || !strings.HasPrefix(list[i].Name, "Recovered/") || list[i].UIDValidity <= info.UIDValidity {
		t.Fatalf("mailboxes are %+v", list)
	}
	if es := w.entries(t, info.ID); len(es) != 1 {
		t.Errorf("it has %d messages", len(es))
	}
	must(t, w.Restart(mailboxtest.Lose))
	again, err := w.s.Lookup(background, 1, list[i].Name)
	if err != nil || again.UIDValidity != list[i].UIDValidity {
		t.Errorf("after another rebuild it is %+v, %v", again, err)
	}
}

// An index that does not say what the journal says is found out, row by row.
func TestVerify_indexAgainstJournal(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{"DELETE FROM filings WHERE uid = 2", "message is in the journal and not in the index"},
		{"UPDATE filings SET flags = 1 WHERE uid = 1", "message is {UID:1"},
		{"INSERT INTO filings VALUES (1, 9, 9, 0, 77, 5, 0)", "message is in the index and not in the journal"},
		{"UPDATE mailboxes SET messages = 7 WHERE id = 1", "7 messages"},
		{"DELETE FROM mailboxes WHERE id = 2", "mailbox is in the journal and not in the index"},
		{"INSERT INTO mailboxes SELECT 99, account, 'x', use, present, 1, 1, 1, '', 0, 0, 0, 0, 0, 0 FROM mailboxes WHERE id = 1",
			"mailbox is in the index and not in the journal"},
		{"DELETE FROM subscriptions WHERE name = 'Sent'", "subscription is in the journal and not in the index"},
		{"INSERT INTO subscriptions VALUES (1, 'nowhere')", "subscription is in the index and not in the journal"},
		{"UPDATE messages SET offset = offset + 8", "message is lost"},
	} {
		t.Run(c.change, func(t *testing.T) {
			w := newWorld(t)
			inbox := w.inbox(t)
			w.append(t, inbox.ID, text("alpha"))
			w.append(t, inbox.ID, text("beta"))
			must(t, w.x.Update(background, false, func(conn *sqliteConn) error { return execute(conn, c.change) }))
			all := w.findings(t)
			if !slices.ContainsFunc(all, func(f mailbox.Finding) bool { return strings.Contains(f.String(), c.want) && len(f.Owners) > 0 }) {
				t.Fatalf("verify found %v", all)
			}
			must(t, w.close())
			must(t, index.Remove(w.path))
			must(t, w.open())
			if all := w.findings(t); len(all) > 0 {
				t.Errorf("after a rebuild verify found %v", all)
			}
		})
	}
}

// A lost segment file loses its messages, and verify says whose.
func TestDamage_lostSegment(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	must(t, w.Restart(mailboxtest.Keep))
	w.append(t, inbox.ID, text("beta"))
	must(t, w.close())
	name, _ := w.find(t, "alpha\r\nalpha")
	must(t, w.disk.Remove(name))
	must(t, w.open())
	es := w.entries(t, inbox.ID)
	if len(es) != 2 {
		t.Fatalf("INBOX has %d messages", len(es))
	}
	if _, err := w.read(es[0].Message); err == nil {
		t.Error("a lost message was read")
	}
	if got, err := w.read(es[1].Message); err != nil || got != text("beta") {
		t.Errorf("the other message: %v", err)
	}
	if all := w.findings(t); !slices.ContainsFunc(all, func(f mailbox.Finding) bool {
		return strings.Contains(f.String(), "lost") && len(f.Owners) == 1 && f.Owners[0].UID == 1
	}) {
		t.Errorf("verify found %v", all)
	}
}

func TestScrub_reportsDamage(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	must(t, w.s.Scrub(background))
	w.flip(t, "alpha\r\nalpha")
	var log strings.Builder
	w.options.Log = logTo(&log)
	must(t, w.Restart(mailboxtest.Keep))
	must(t, w.s.Scrub(background))
	if !strings.Contains(log.String(), "mailbox INBOX, message UID 1") {
		t.Errorf("the scrub said:\n%s", log.String())
	}
}

// A damaged body has no summary once the index is rebuilt; the others do.
func TestSummaries_ofDamaged(t *testing.T) {
	w := newWorld(t)
	inbox := w.inbox(t)
	w.append(t, inbox.ID, text("alpha"))
	w.append(t, inbox.ID, text("beta"))
	w.flip(t, "alpha\r\nalpha")
	must(t, w.Restart(mailboxtest.Lose))
	got := make(map[mailbox.UID]bool)
	must(t, w.s.Summaries(background, inbox.ID, []mailbox.UID{1, 2}, func(u mailbox.UID, m *message.Message) error {
		got[u] = m != nil
		return nil
	}))
	if len(got) != 2 || got[1] || !got[2] {
		t.Errorf("summaries of %v", got)
	}
}
