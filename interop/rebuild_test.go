//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/bench/peers"
	"github.com/breakwater-mail/breakwater/bench/wire"
)

// TestIndex_DeletedComesBackTheSame makes every kind of change, deletes the index
// and compares what the owners see.
func TestIndex_DeletedComesBackTheSame(t *testing.T) {
	t.Parallel()
	if *against != "breakwater" {
		t.Skip("about our own index")
	}
	b := startBreakwater(t, folder(t), "")
	post(t, &b.Server, 0, corpus())
	bodies(t, &b.Server, 0, "INBOX", len(corpus()))
	c := imap(t, &b.Server, 0)
	for _, cmd := range []string{
		"CREATE Projects", "CREATE Projects/2026", "CREATE Gone", "CREATE Old", "SUBSCRIBE Projects",
		"SELECT INBOX",
		`STORE 1 FLAGS (\Seen \Flagged first-keyword)`, `STORE 2:3 +FLAGS (second-keyword \Answered)`, `STORE 2 -FLAGS (\Answered)`,
		"COPY 1:4 Projects/2026", "MOVE 4 Projects", "COPY 2 Gone", "COPY 2:3 Old",
		`STORE 5 +FLAGS (\Deleted)`, "EXPUNGE", "RENAME Old New/Name", "DELETE Gone",
		"SELECT Projects/2026", `STORE 1 +FLAGS (\Deleted)`, "CLOSE", "UNSUBSCRIBE Projects", "RENAME Projects Archive/Projects",
	} {
		if err := c.Do(cmd, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Append("Archive/Projects", corpus()[7].data, corpus()[8].data); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context(), "alias", "add", "sales@bench.test", b.User(1), "--dir", b.Dir); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, b)
	s, err := wire.DialSMTP(b.SMTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Quit()
	if err := s.Send("", []string{"sales@bench.test"}, corpus()[0].data); err != nil {
		t.Errorf("the alias did not come back: %v", err)
	}
}

// rebuilt deletes the index of a host in every way and checks that its owners
// see no difference. It leaves the host running.
func rebuilt(t *testing.T, b *peers.Breakwater) {
	t.Helper()
	before := view(t, b)
	stop := func(how func()) {
		how()
		silent(t, b)
	}
	ways := []struct {
		name string
		do   func()
	}{
		{"stopped, deleted", func() {
			stop(func() { stopHost(t, b) })
			remove(t, indexFiles(t, b)...)
		}},
		{"killed, deleted", func() {
			stop(b.Kill)
			remove(t, indexFiles(t, b)...)
		}},
		{"rebuild-index", func() {
			stopHost(t, b)
			if _, err := b.Run(t.Context(), "rebuild-index", "--dir", b.Dir); err != nil {
				t.Fatal(err)
			}
			silent(t, b)
		}},
		{"killed", func() { stop(b.Kill) }},
	}
	for _, w := range ways {
		w.do()
		if err := b.Start(t.Context()); err != nil {
			t.Fatalf("start after the index was %s: %v", w.name, err)
		}
		after := view(t, b)
		if d := difference(before, after); d != "" {
			t.Fatalf("after the index was %s, owners see a difference:\n%s", w.name, d)
		}
	}
	t.Logf("%d lines of what owners see compared, %d times", len(before), len(ways))
}

func stopHost(t *testing.T, b *peers.Breakwater) {
	t.Helper()
	if err := b.Stop(); err != nil {
		t.Fatalf("%v\n%s", err, b.LogTail())
	}
}

func remove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

var flagList = regexp.MustCompile(`FLAGS \([^)]*\)`)

// view gives everything that owners and operator see, but for bodies, line by
// line.
func view(t *testing.T, b *peers.Breakwater) []string {
	t.Helper()
	var lines []string
	for _, args := range [][]string{{"account", "list"}, {"alias", "list"}, {"domain", "list"}} {
		out, err := b.Run(t.Context(), append(args, "--json", "--dir", b.Dir)...)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(out, "\n")...)
	}
	for user := range stormUsers {
		c := imap(t, &b.Server, user)
		var names []string
		ask := func(prefix, cmd string, each func(wire.Response)) {
			var got []string
			err := c.Do(cmd, func(r wire.Response) {
				got = append(got, fmt.Sprintf("%s: %s", prefix, sortedFlags(r)))
				if each != nil {
					each(r)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, got...)
		}
		ask(b.User(user), `LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE)`, func(r wire.Response) {
			if name, ok := listed(r); ok {
				names = append(names, name)
			}
		})
		for _, name := range names {
			prefix := b.User(user) + " " + name
			ask(prefix, "STATUS "+name+" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)", nil)
			ask(prefix, "EXAMINE "+name+" (CONDSTORE)", nil)
			ask(prefix, "UID FETCH 1:* (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE ENVELOPE)", nil)
		}
	}
	return lines
}

// listed gives the name of a LIST response as it can be used in a command.
func listed(r wire.Response) (string, bool) {
	text, ok := strings.CutPrefix(string(r.Text), "* LIST ")
	if !ok {
		return "", false
	}
	_, rest, _ := strings.Cut(text, ") ")
	_, name, _ := strings.Cut(rest, " ")
	if i := strings.Index(name, `" (`); i > 0 { // extended data after a quoted name
		name = name[:i+1]
	}
	return name, name != ""
}

// sortedFlags gives a response with its flags in one order: flags are a set.
func sortedFlags(r wire.Response) string {
	text := flagList.ReplaceAllFunc(r.Text, func(m []byte) []byte {
		words := bytes.Fields(bytes.TrimSuffix(bytes.TrimPrefix(m, []byte("FLAGS (")), []byte(")")))
		slices.SortFunc(words, bytes.Compare)
		return fmt.Appendf(nil, "FLAGS (%s)", bytes.Join(words, []byte(" ")))
	})
	return fmt.Sprintf("%s %q", text, r.Literals)
}

// difference gives the first lines that differ.
func difference(before, after []string) string {
	var out []string
	for i := range max(len(before), len(after)) {
		was, is := "(nothing)", "(nothing)"
		if i < len(before) {
			was = before[i]
		}
		if i < len(after) {
			is = after[i]
		}
		if was != is {
			out = append(out, "was "+was, "is  "+is)
		}
		if len(out) >= 10 {
			break
		}
	}
	return strings.Join(out, "\n")
}
