package pop3

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/index"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// keep is a real store in a folder, with fakeAccount's mailboxes.
type keep struct {
	t     *testing.T
	dir   string
	j     *journal.Journal
	x     *index.Index
	boxes *mailbox.Store
	srv   *Server
}

func openKeep(t *testing.T, dir string) *keep {
	t.Helper()
	k := &keep{t: t, dir: dir}
	var err error
	k.j, err = journal.Open(journal.Options{Dir: filepath.Join(dir, "journal"), FS: sys.OSFS(), Clock: sys.RealClock(), Rand: sys.Rand()})
	k.must(err)
	k.boxes = mailbox.New(mailbox.Options{}, k.j)
	k.x, err = index.Open(t.Context(), index.Options{Path: filepath.Join(dir, "index.db")}, k.j, k.boxes)
	k.must(err)
	k.must(k.boxes.Attach(k.x))
	k.must(k.boxes.Provision(t.Context(), account.ID(fakeAccount)))
	k.srv = New(Options{}, &fakeHost{}, k.boxes)
	return k
}

func (k *keep) close() {
	k.t.Helper()
	k.must(k.x.Close())
	k.must(k.j.Close())
}

func (k *keep) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// inbox opens fakeAccount's INBOX as IMAP does.
func (k *keep) inbox() *mailbox.Mailbox {
	k.t.Helper()
	info, err := k.boxes.Lookup(k.t.Context(), fakeAccount, inbox)
	k.must(err)
	box, err := k.boxes.OpenMailbox(k.t.Context(), info.ID)
	k.must(err)
	return box
}

func (k *keep) deliver(text string) {
	k.t.Helper()
	info, err := k.boxes.Lookup(k.t.Context(), fakeAccount, inbox)
	k.must(err)
	b, err := k.boxes.NewBody(k.t.Context(), nil)
	k.must(err)
	_, err = b.Write([]byte(text))
	k.must(err)
	_, _, err = k.boxes.Append(k.t.Context(), info.ID, []mailbox.AppendMessage{{Body: b}})
	k.must(err)
}

// say holds a session and returns all that the server said.
func (k *keep) say(text string) string {
	k.t.Helper()
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.srv.ServeConn(context.Background(), &fakeConn{Conn: server, tls: true})
	}()
	send(client, login+text)
	said := string(drain(client))
	<-ended
	_, said, ok := strings.Cut(said, "octets)\r\n")
	if !ok {
		k.t.Fatalf("no login: %q", said)
	}
	return said
}

func TestStore_readsAndRemoves(t *testing.T) {
	dir := t.TempDir()
	k := openKeep(t, dir)
	long := "Subject: long\r\n\r\n" + strings.Repeat("a line of text\r\n", 150_000)
	for _, text := range []string{"Subject: 1\r\n\r\none\r\n", "Subject: 2\r\n\r\nbare\n.\nLF", long} {
		k.deliver(text)
	}
	box := k.inbox() // an IMAP session is in the way of nobody
	uidl := k.say("UIDL\r\nQUIT\r\n")
	if n := strings.Count(uidl, "\r\n"); n != 6 {
		t.Fatalf("UIDL said %q", uidl)
	}
	got := k.say("RETR 1\r\nRETR 2\r\nRETR 3\r\nTOP 3 1\r\nDELE 1\r\nDELE 3\r\nQUIT\r\n")
	want := "+OK 19 octets\r\nSubject: 1\r\n\r\none\r\n.\r\n" +
		"+OK 23 octets\r\nSubject: 2\r\n\r\nbare\r\n..\r\nLF\r\n.\r\n" +
		"+OK 2400017 octets\r\n" + long + ".\r\n" +
		"+OK top of 2400017 octets\r\nSubject: long\r\n\r\na line of text\r\n.\r\n" +
		"+OK message 1 will be deleted\r\n+OK message 3 will be deleted\r\n+OK goodbye, 2 messages removed\r\n"
	if got != want {
		t.Fatalf("said %d octets, want %d: %.300q … %.300q", len(got), len(want), got, got[max(0, len(got)-300):])
	}
	entries, _, err := box.Entries(t.Context())
	if err != nil || len(entries) != 1 || entries[0].UID != 2 {
		t.Fatalf("IMAP sees %v, %v", entries, err)
	}
	box.Close()

	// Unique-ids are the same behind a restart, and behind a lost index.
	second := strings.Split(uidl, "\r\n")[2]
	for _, lose := range []bool{false, true} {
		k.close()
		if lose {
			for _, name := range []string{"index.db", "index.db-wal", "index.db-shm"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
		}
		k = openKeep(t, dir)
		if got, want := k.say("UIDL\r\nQUIT\r\n"), "1 "+strings.TrimPrefix(second, "2 ")+"\r\n"; !strings.Contains(got, want) {
			t.Errorf("index lost %v: UIDL said %q, want %q", lose, got, want)
		}
	}
	k.close()
}

// What IMAP expunges during a session is removed once, and no error.
func TestStore_expungedBesides(t *testing.T) {
	k := openKeep(t, t.TempDir())
	defer k.close()
	k.deliver("Subject: 1\r\n\r\none\r\n")
	k.deliver("Subject: 2\r\n\r\ntwo\r\n")
	client, server := net.Pipe()
	go k.srv.ServeConn(context.Background(), &fakeConn{Conn: server, tls: true})
	r := &expecter{t: t, c: client}
	r.expect(login, "octets)\r\n")

	box := k.inbox()
	defer box.Close()
	id, uids := box.Info().ID, []mailbox.UID{1}
	_, err := k.boxes.SetFlags(t.Context(), id, mailbox.SetFlags{UIDs: uids, Mode: mailbox.Add, Flags: []string{`\Deleted`}})
	k.must(err)
	_, _, err = k.boxes.Expunge(t.Context(), id, uids)
	k.must(err)
	k.deliver("Subject: 3\r\n\r\nthree\r\n")

	r.expect("STAT\r\n", "+OK 2 ")
	r.expect("DELE 1\r\nDELE 2\r\nQUIT\r\n", "+OK goodbye")
	entries, _, err := box.Entries(t.Context())
	if err != nil || len(entries) != 1 || entries[0].UID != 3 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// expecter speaks one step at a time.
type expecter struct {
	t    *testing.T
	c    net.Conn
	read string
}

func (e *expecter) expect(say, want string) {
	e.t.Helper()
	send(e.c, say)
	buf := make([]byte, 512)
	for !strings.Contains(e.read, want) {
		n, err := e.c.Read(buf)
		if err != nil {
			e.t.Fatalf("said %q before %v, want %q", e.read, err, want)
		}
		e.read += string(buf[:n])
	}
	e.read = ""
}
