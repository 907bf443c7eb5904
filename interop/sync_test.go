//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// replica is a maildir that mbsync keeps the same as the account.
type replica struct {
	t      *testing.T
	mbsync string
	dir    string
	rc     string
}

func newReplica(t *testing.T, s *peers.Server) *replica {
	t.Helper()
	r := &replica{t: t, mbsync: tool(t, "mbsync"), dir: folder(t)}
	r.rc = mbsyncConfig(t, s, 0, r.dir)
	r.sync()
	return r
}

func (r *replica) sync() {
	r.t.Helper()
	run(r.t, r.dir, r.mbsync, "-c", r.rc, "-a")
}

func (r *replica) box(name string) string { return filepath.Join(r.dir, "mail", name) }

// file gives the path of the only message of a mailbox that contains text.
func (r *replica) file(mailbox, text string) string {
	r.t.Helper()
	var found []string
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(r.box(mailbox), sub))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(r.box(mailbox), sub, e.Name())
			b, err := os.ReadFile(name)
			if err != nil {
				r.t.Fatal(err)
			}
			if bytes.Contains(b, []byte(text)) {
				found = append(found, name)
			}
		}
	}
	if len(found) != 1 {
		r.t.Fatalf("%d messages with %q in %s of %s, not 1", len(found), text, mailbox, r.dir)
	}
	return found[0]
}

// flags gives a message's maildir flags.
func (r *replica) flags(mailbox, text string) string {
	r.t.Helper()
	_, flags, _ := strings.Cut(filepath.Base(r.file(mailbox, text)), ":2,")
	return flags
}

// rename gives the message new flags, or moves it, as a mail program does.
func (r *replica) rename(from, mailbox, flags string) {
	r.t.Helper()
	base, _, _ := strings.Cut(filepath.Base(from), ":2,")
	if filepath.Dir(filepath.Dir(from)) != r.box(mailbox) {
		base, _, _ = strings.Cut(base, ",U=") // the UID of another mailbox
	}
	if err := os.Rename(from, filepath.Join(r.box(mailbox), "cur", base+":2,"+flags)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) count(mailbox string) int {
	r.t.Helper()
	return len(mail(r.t, r.box(mailbox)))
}

// TestSync_TwoReplicas lets two maildirs and the host tell each other of flags,
// moves, new mail, deletions and new mailboxes.
func TestSync_TwoReplicas(t *testing.T) {
	t.Parallel()
	s, letters := posted(t)
	if *against != "breakwater" {
		if err := imap(t, s, 0).Do("CREATE Archive", nil); err != nil {
			t.Fatal(err)
		}
	}
	a, b := newReplica(t, s), newReplica(t, s)
	t.Run("flags", func(t *testing.T) {
		a.rename(a.file("INBOX", "<plain@"), "INBOX", "FS")
		b.rename(b.file("INBOX", "<dots@"), "INBOX", "R")
		a.sync()
		b.sync()
		a.sync()
		for _, r := range []*replica{a, b} {
			if got := r.flags("INBOX", "<plain@"); got != "FS" {
				t.Errorf("flags %q, not FS", got)
			}
			if got := r.flags("INBOX", "<dots@"); got != "R" {
				t.Errorf("flags %q, not R", got)
			}
		}
	})
	t.Run("move", func(t *testing.T) {
		a.rename(a.file("INBOX", "<blanks@"), "Archive", "S")
		a.sync()
		b.sync()
		if got := b.flags("Archive", "<blanks@"); got != "S" {
			t.Errorf("flags %q after the move, not S", got)
		}
		if a.count("INBOX") != len(letters)-1 || b.count("INBOX") != len(letters)-1 {
			t.Errorf("%d and %d messages in INBOX, not %d", a.count("INBOX"), b.count("INBOX"), len(letters)-1)
		}
	})
	t.Run("new mail", func(t *testing.T) { writeAtOne(t, b, a, letters[7]) })
	t.Run("delete", func(t *testing.T) {
		before := a.count("INBOX")
		if err := os.Remove(a.file("INBOX", "<folded@")); err != nil {
			t.Fatal(err)
		}
		a.sync()
		b.sync()
		if got := b.count("INBOX"); got != before-1 {
			t.Errorf("%d messages, not %d", got, before-1)
		}
	})
	t.Run("new mailbox", func(t *testing.T) {
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(a.box("Projects"), sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		a.rename(a.file("INBOX", "<eight-bit@"), "Projects", "")
		a.sync()
		b.sync()
		b.file("Projects", "<eight-bit@")
	})
}

// writeAtOne puts a message into one replica and looks for it in the other.
func writeAtOne(t *testing.T, here, there *replica, l letter) {
	text := bytes.ReplaceAll(lf(l.data), []byte("Message-ID: <"), []byte("Message-ID: <written-"))
	write(t, filepath.Join(here.box("Archive"), "new", "1.1.written"), string(text))
	here.sync()
	there.sync()
	got, err := os.ReadFile(there.file("Archive", "<written-"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(got, []byte("\n\n"))
	if _, want, _ := bytes.Cut(text, []byte("\n\n")); !bytes.Equal(body, want) {
		t.Errorf("the body is %q, not %q", body, want)
	}
}

// TestIdle_Notice measures how soon a session in IDLE hears of a new message,
// of a flag and of an expunge made by another session.
func TestIdle_Notice(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	idler, writer := imap(t, s, 0), imap(t, s, 0)
	for _, c := range []*wire.IMAP{idler, writer} {
		if err := c.Do("SELECT INBOX", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := idler.Idle(); err != nil {
		t.Fatal(err)
	}
	const rounds = 20
	var appends, deliveries, stores, expunges []time.Duration
	n := 0
	for range rounds {
		n++
		appends = append(appends, notice(t, idler, fmt.Sprintf("* %d EXISTS", n), func() error {
			return writer.Append("INBOX", corpus()[0].data)
		}))
		n++
		deliveries = append(deliveries, notice(t, idler, fmt.Sprintf("* %d EXISTS", n), func() error {
			post(t, s, 0, corpus()[:1])
			return nil
		}))
		if err := writer.Do("NOOP", nil); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, notice(t, idler, fmt.Sprintf("* %d FETCH (", n), func() error {
			return writer.Do(fmt.Sprintf(`STORE %d +FLAGS (\Deleted)`, n), nil)
		}))
		expunges = append(expunges, notice(t, idler, fmt.Sprintf("* %d EXPUNGE", n), func() error {
			return writer.Do("EXPUNGE", nil)
		}))
		n--
	}
	for _, kind := range []struct {
		name  string
		waits []time.Duration
	}{{"APPEND", appends}, {"delivery", deliveries}, {"STORE", stores}, {"EXPUNGE", expunges}} {
		slices.Sort(kind.waits)
		t.Logf("idle notice of %s: p50 %.2f ms, worst %.2f ms of %d", kind.name,
			float64(kind.waits[rounds/2].Microseconds())/1000, float64(kind.waits[rounds-1].Microseconds())/1000, rounds)
	}
}

// notice does something and gives the time until the idler hears of it.
func notice(t *testing.T, idler *wire.IMAP, want string, do func() error) time.Duration {
	t.Helper()
	heard := make(chan error, 1)
	go func() {
		for {
			resp, err := idler.Read()
			if err != nil || bytes.HasPrefix(resp.Text, []byte(want)) {
				heard <- err
				return
			}
		}
	}()
	idler.Conn.SetReadDeadline(time.Now().Add(seenWait))
	began := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := <-heard; err != nil {
		t.Fatalf("not told %q: %v", want, err)
	}
	return time.Since(began)
}
