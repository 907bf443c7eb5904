package imap

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// follower is a client that knows the mailbox only by untagged responses.
type follower struct {
	*client
	rows []followed
}

type followed struct{ uid, flags string }

var (
	fetchLine  = regexp.MustCompile(`^\* (\d+) FETCH \(UID (\d+)(?: FLAGS \(([^)]*)\))?(?: MODSEQ \(\d+\))?\)$`)
	numberLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE)$`)
)

// follow sends a command and applies its responses.
func (f *follower) follow(t *rapid.T, command string) {
	lines, last := f.try(command)
	if strings.HasPrefix(last, "BAD") {
		t.Fatalf("%s: %s", command, last)
	}
	for _, line := range lines {
		if m := numberLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			switch {
			case m[2] == "EXISTS" && n >= len(f.rows):
				for len(f.rows) < n {
					f.rows = append(f.rows, followed{})
				}
			case m[2] == "EXPUNGE" && n <= len(f.rows):
				if strings.HasPrefix(command, "FETCH") || strings.HasPrefix(command, "STORE") {
					t.Fatalf("%s: %s", command, line)
				}
				f.rows = slices.Delete(f.rows, n-1, n)
			default:
				t.Fatalf("%s: %s of %d", command, line, len(f.rows))
			}
		}
		if uids, ok := strings.CutPrefix(line, "* VANISHED "); ok {
			f.vanish(t, uids)
		}
		if m := fetchLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n > len(f.rows) || f.rows[n-1].uid != "" && f.rows[n-1].uid != m[2] {
				t.Fatalf("%s: %s, but there are %+v", command, line, f.rows)
			}
			f.rows[n-1].uid = m[2]
			if strings.Contains(line, "FLAGS") {
				f.rows[n-1].flags = m[3]
			}
		}
	}
}

func (f *follower) vanish(t *rapid.T, uids string) {
	for part := range strings.SplitSeq(uids, ",") {
		lo, hi, found := strings.Cut(part, ":")
		if !found {
			hi = lo
		}
		a, _ := strconv.Atoi(lo)
		b, _ := strconv.Atoi(hi)
		for uid := a; uid <= b; uid++ {
			i := slices.IndexFunc(f.rows, func(r followed) bool { return r.uid == strconv.Itoa(uid) })
			if i < 0 {
				t.Fatalf("VANISHED %d of %+v", uid, f.rows)
			}
			f.rows = slices.Delete(f.rows, i, i+1)
		}
	}
}

// learn asks for the UIDs that are not known; clients with QRESYNC need them
// to understand VANISHED.
func (f *follower) learn(t *rapid.T) {
	for slices.ContainsFunc(f.rows, func(r followed) bool { return r.uid == "" }) {
		f.follow(t, "FETCH 1:* (UID FLAGS)")
		f.follow(t, "NOOP")
	}
}

// TestSessions_AgreeOnTheMailbox lets three sessions change one mailbox at
// random; each of their clients must know in the end what the store has.
func TestSessions_AgreeOnTheMailbox(t *testing.T) {
	h := newHouse(t, Options{})
	defer h.close()
	names := 0
	rapid.Check(t, func(t *rapid.T) {
		names++
		name := fmt.Sprintf("box%d", names)
		if _, err := h.boxes.Create(h.ctx, 1, name, ""); err != nil {
			t.Fatal(err)
		}
		var fs [3]follower
		for i := range fs {
			fs[i].client = h.login("one")
			defer fs[i].c.Close()
			if i == 2 {
				fs[i].do("ENABLE QRESYNC")
			}
			fs[i].follow(t, "SELECT "+name)
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			f := &fs[rapid.IntRange(0, 2).Draw(t, "who")]
			f.follow(t, randomCommand(t, name, len(f.rows)))
			f.learn(t)
		}
		for i := range fs {
			fs[i].follow(t, "NOOP")
			fs[i].learn(t)
		}
		h.compare(t, name, fs[:])
	})
}

func randomCommand(t *rapid.T, name string, n int) string {
	word := rapid.SampledFrom([]string{"APPEND", "STORE", "STORE", "SILENT", "DELETE", "EXPUNGE", "FETCH", "UID FETCH", "MOVE", "COPY"}).Draw(t, "word")
	if n == 0 {
		word = "APPEND"
	}
	seq := func() int { return rapid.IntRange(1, n).Draw(t, "seq") }
	switch word {
	case "APPEND":
		return "APPEND " + name + " (\\Draft) {4+}\r\na: b"
	case "STORE":
		return fmt.Sprintf("STORE %d %sFLAGS (\\Seen $Word)", seq(), rapid.SampledFrom([]string{"", "+", "-"}).Draw(t, "op"))
	case "SILENT":
		return fmt.Sprintf("UID STORE 1:* +FLAGS.SILENT ($Word%d)", seq()%3)
	case "DELETE":
		return fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", seq())
	case "FETCH", "UID FETCH":
		return word + " 1:* (UID FLAGS)"
	case "MOVE":
		return fmt.Sprintf("MOVE %d %s", seq(), name)
	case "COPY":
		return fmt.Sprintf("COPY %d %s", seq(), name)
	}
	return word
}

// compare compares what clients know with what the store has. A client that
// changed flags silently knows them by itself, so flags are asked for.
func (h *house) compare(t *rapid.T, name string, fs []follower) {
	info, err := h.boxes.Lookup(h.ctx, 1, name)
	if err != nil {
		t.Fatal(err)
	}
	mb, err := h.boxes.OpenMailbox(h.ctx, info.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer mb.Close()
	entries, _, err := mb.Entries(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range fs {
		if len(fs[i].rows) != len(entries) {
			t.Fatalf("client %d knows %d messages of %d", i, len(fs[i].rows), len(entries))
		}
		for j, e := range entries {
			got := fs[i].rows[j]
			if got.uid != strconv.Itoa(int(e.UID)) {
				t.Fatalf("client %d: message %d is UID %s, should be %d", i, j+1, got.uid, e.UID)
			}
			// $Word0 to $Word2 were perhaps set by this client, silently.
			want := visible(mb.FlagNames(e.Flags))
			if visible(strings.Fields(got.flags)) != want {
				t.Fatalf("client %d: UID %s has %q, should be %q", i, got.uid, got.flags, want)
			}
		}
	}
}

func visible(flags []string) string {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return strings.HasPrefix(f, "$Word") && f != "$Word" })
	return strings.Join(flags, " ")
}

func TestSession_SearchDeepBox(t *testing.T) {
	// A tree of keys over several batches: each way of deciding is used.
	h := newHouse(t, Options{})
	defer h.close()
	n := 3*fetchBatch + 7
	for i := range n {
		flags := []string{}
		if i%2 == 0 {
			flags = append(flags, `\Seen`)
		}
		h.append(1, "INBOX", fmt.Sprintf("Subject: s%d\r\nX-Mod: m%d\r\n\r\nbody b%d\r\n", i%5, i%3, i%7), time.Unix(1770000000, 0), flags...)
	}
	c := h.login("one")
	defer c.c.Close()
	c.do("SELECT INBOX")
	lines := c.do("SEARCH OR (SEEN SUBJECT s1) (HEADER X-Mod m2 NOT BODY b3)")
	want := "* SEARCH"
	for i := range n {
		if i%2 == 0 && i%5 == 1 || i%3 == 2 && i%7 != 3 {
			want += fmt.Sprintf(" %d", i+1)
		}
	}
	if len(lines) != 1 || lines[0] != want {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if got := len(c.do("FETCH 1:* (UID ENVELOPE)")); got != n {
		t.Errorf("%d envelopes of %d", got, n)
	}
}

// Who asks is told of each password, right or wrong, and of no fault.
func TestSession_tellsLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := make(chan bool, 3)
		h := newHouse(t, Options{OnLogin: func(_ netip.Addr, ok bool) { heard <- ok }})
		defer h.close()
		c := newClient(t, h.dial(true))
		c.line()
		for _, user := range []string{"broken secret", "one wrong", "one secret"} {
			c.try("LOGIN " + user)
		}
		if bad, good := <-heard, <-heard; bad || !good || len(heard) > 0 {
			t.Errorf("heard %v, then %v, then %d more; want false, true, none", bad, good, len(heard))
		}
	})
}
