package imap

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/base/sim"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fulltext"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
	"github.com/breakwater-mail/breakwater/internal/store/mailbox"
)

// The scan and the text index fold alike, every rune.
func TestFold_isTheTextIndexs(t *testing.T) {
	f := newFolder()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := string(r)
		f.text = f.text[:0]
		f.fold([]byte(s), true)
		want := fulltext.Fold(s)
		if string(f.text) != want || foldString(s) != want || want != string(fulltext.FoldRune([]rune(s)[0])) {
			t.Fatalf("%U: the scan folds to %q, a string to %q, the text index to %q", r, f.text, foldString(s), want)
		}
	}
}

// oddMessages have their text where a search may overlook it.
var oddMessages = []string{
	"",
	"Subject: only\r\n",
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus?= =?iso-8859-7?q?_=D3=DF=F3=F5=F6=EF=F2?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nstra\xdfe und \xe4hnliches\r\n",
	"Content-Type: text/plain; charset=utf-16be\r\nContent-Transfer-Encoding: base64\r\n\r\nAHcAbwByAGQAIABXANYAUgBE\r\n",
	"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nbroken =\r\nup =C3=A4=E2=82\r\n",
	"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: text/html; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4 cut \xe2\x82" +
		"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nX-Long: a\r\n folded field\r\n\r\ninner text \xac\r\n" +
		"\r\n--b\r\nContent-Type: image/png; name=\"picture.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nbm90IHRleHQ=\r\n--b--\r\nepilogue\r\n",
	"Subject: raw \xff octets\r\n\r\n" + strings.Repeat("a long text \xe2\x82\xac ", 3_000),
}

// texts are the odd messages and the parser's corpus.
func texts(tb testing.TB) []string {
	tb.Helper()
	all := oddMessages
	root := filepath.Join("..", "..", "mail", "message", "testdata", "corpus")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "SOURCE.txt" {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all[:len(all):len(all)], string(text))
		return err
	})
	if err != nil || len(all) < len(oddMessages)+10 {
		tb.Fatalf("%d messages, %v", len(all), err)
	}
	return all
}

// haystacks are a message's octets as they are and decoded: what a search may
// or may not look through.
func haystacks(t rapid.TB, text string, m *message.Message) []string {
	t.Helper()
	out := []string{text, message.DecodeHeader(m.Envelope.Subject)}
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		decoded, err := io.ReadAll(p.Text(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(decoded))
		for f := range message.Fields([]byte(text[p.HeaderStart:p.BodyStart])) {
			out = append(out, f.Name+": "+message.DecodeHeader(f.Value()))
		}
		for _, child := range p.Children {
			walk(child)
		}
	}
	walk(m.Root)
	return out
}

// cut draws a piece of a text, folded.
func cut(t *rapid.T, text string) string {
	at := rapid.IntRange(0, len(text)).Draw(t, "at")
	n := rapid.IntRange(0, 40).Draw(t, "length")
	return foldString(strings.ToValidUTF8(text[at:min(at+n, len(text))], ""))
}

// What the scan finds stands in the text that is indexed; the text index leaves
// out messages by that.
func TestSearchText_hasAllThatIsFound(t *testing.T) {
	all := texts(t)
	scratch := newFolder()
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(all).Draw(t, "message")
		m := message.Parse([]byte(text))
		r := newSearchText(m, strings.NewReader(text))
		defer r.stop()
		indexed, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		folded := foldString(string(indexed))
		stacks := haystacks(t, text, m)
		for range 20 {
			needle := cut(t, rapid.SampledFrom(stacks).Draw(t, "haystack"))
			has, err := scratch.partHas(strings.NewReader(text), m.Root, needle, true)
			if err != nil {
				t.Fatal(err)
			}
			has = has || strings.Contains(foldString(message.DecodeHeader(m.Envelope.Subject)), needle)
			if has && !strings.Contains(folded, needle) {
				t.Fatalf("%q is found, and is not in the text that is indexed", needle)
			}
			if has && needle != "" {
				found++
			}
		}
	})
	if found == 0 && !t.Failed() {
		t.Error("nothing was found at all")
	}
}

// counted is a text index that counts what had to be scanned.
type counted struct {
	*fulltext.Index
	scanned atomic.Int64
}

func (c *counted) Want(lsns []journal.LSN) {
	c.scanned.Add(int64(len(lsns)))
	c.Index.Want(lsns)
}

// textHouse is a house with a text index over messages in INBOX of "one", and
// a function that logs in to a server without it.
func textHouse(t *testing.T, all []string) (h *house, x *counted, plain func() *client) {
	t.Helper()
	h = &house{tb: t, disk: sim.NewDisk(1), idle: make(chan struct{}, 1)}
	h.openOn(h.disk, "journal", "")
	index, err := fulltext.Open(fulltext.Options{
		Path: filepath.Join(t.TempDir(), "fulltext.db"), Store: h.j.StoreID().String(), Last: 1 << 62, Rest: -1,
		Text: func(ctx context.Context, lsn journal.LSN) (io.ReadCloser, error) { return OpenText(ctx, h.boxes, lsn) },
		Gone: h.boxes.Gone,
	})
	h.must(err)
	x = &counted{Index: index}
	h.serve(Options{Text: x})
	without := New(Options{}, newPeople(t), h.boxes)
	ctx := context.Background()
	info, err := h.boxes.Lookup(ctx, 1, "INBOX")
	h.must(err)
	for part := range slices.Chunk(all, 100) {
		var msgs []mailbox.AppendMessage
		for _, text := range part {
			body, err := h.boxes.NewBody(ctx, nil)
			h.must(err)
			_, err = body.Write([]byte(text))
			h.must(err)
			msgs = append(msgs, mailbox.AppendMessage{Body: body})
		}
		_, _, err := h.boxes.Append(ctx, info.ID, msgs)
		h.must(err)
	}
	return h, x, func() *client {
		with := h.server
		h.server = without
		defer func() { h.server = with }()
		return h.login("one")
	}
}

// messages are the LSNs of INBOX.
func (h *house) messages() []journal.LSN {
	h.tb.Helper()
	info, err := h.boxes.Lookup(context.Background(), 1, "INBOX")
	h.must(err)
	mb, err := h.boxes.OpenMailbox(context.Background(), info.ID)
	h.must(err)
	defer mb.Close()
	entries, _, err := mb.Entries(context.Background())
	h.must(err)
	var lsns []journal.LSN
	for _, e := range entries {
		lsns = append(lsns, e.Message)
	}
	return lsns
}

// waitIndexed waits until the text index knows messages that it wants.
func waitIndexed(x *fulltext.Index, lsns []journal.LSN) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for x.Indexed(lsns) < len(lsns) {
		<-tick.C
	}
}

func TestSearch_againScansCandidatesOnly(t *testing.T) {
	var all []string
	n := narrowBatch + 3*fetchBatch/2
	for i := range n {
		all = append(all, fmt.Sprintf("Subject: number %d\r\n\r\nthe text of message %d.\r\n", i, i))
	}
	h, x, _ := textHouse(t, all)
	defer func() { h.close(); h.must(x.Close()) }()
	c := h.login("one")
	defer c.c.Close()
	c.do("SELECT INBOX")
	for _, turn := range []struct {
		command, want string
		scanned       int
	}{
		{"SEARCH BODY \"MESSAGE 4 \"", "* SEARCH", n},
		{"COPY 5 INBOX", fmt.Sprintf("* %d EXISTS", n+1), 0}, // two rows of one message
		{"SEARCH BODY \"MESSAGE 4.\"", fmt.Sprintf("* SEARCH 5 %d", n+1), 2},
		{"SEARCH TEXT nowhere", "* SEARCH", 0},
		{"SEARCH NOT TEXT the NOT TEXT message", "* SEARCH", n + 1},
		{"SEARCH NOT TEXT nowhere 4:5", "* SEARCH 4 5", 0},
		{"SEARCH OR BODY \"message 4279.\" TEXT \"message 17.\"", "* SEARCH 18 4280", 3}, // 1717 has the trigrams of 17,
	} {
		if lsns := h.messages(); x.scanned.Load() > 0 {
			waitIndexed(x.Index, lsns)
		}
		x.scanned.Store(0)
		if got := strings.Join(c.do(turn.command), "|"); got != turn.want {
			t.Errorf("%s: %.80s, want %s", turn.command, got, turn.want)
		}
		if got := int(x.scanned.Load()); got != turn.scanned {
			t.Errorf("%s: %d messages were scanned, want %d", turn.command, got, turn.scanned)
		}
		x.scanned.Add(1)
	}
}

// literal writes a string as a literal that is not asked for.
func literal(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }

// searchKey draws a search key whose strings are mostly in some message.
func searchKey(t *rapid.T, stacks []string, depth int) string {
	kinds := []string{"TEXT", "BODY", "TEXT", "BODY", "SUBJECT", "SEEN", "HEADER"}
	if depth > 0 {
		kinds = append(kinds, "NOT", "OR", "AND", "NOT", "OR")
	}
	needle := func() string {
		s := cut(t, rapid.SampledFrom(stacks).Draw(t, "haystack"))
		return literal(strings.ReplaceAll(s, "\x00", ""))
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "key"); kind {
	case "SEEN":
		return "UNSEEN"
	case "HEADER":
		return "HEADER Content-Type " + needle()
	case "NOT":
		return "NOT " + searchKey(t, stacks, depth-1)
	case "OR":
		return "OR " + searchKey(t, stacks, depth-1) + " " + searchKey(t, stacks, depth-1)
	case "AND":
		return "(" + searchKey(t, stacks, depth-1) + " " + searchKey(t, stacks, depth-1) + ")"
	default:
		return kind + " " + needle()
	}
}

// The text index changes no answer, whatever of the mailbox it knows.
func TestSearch_isTheSameNarrowed(t *testing.T) {
	all := slices.DeleteFunc(texts(t), func(text string) bool { return len(text) > 16<<10 })
	h, x, plain := textHouse(t, all)
	defer func() { h.close(); h.must(x.Close()) }()
	var stacks []string
	for _, text := range all {
		stacks = append(stacks, haystacks(t, text, message.Parse([]byte(text)))...)
	}
	narrowed, scanning := h.login("one"), plain()
	defer narrowed.c.Close()
	defer scanning.c.Close()
	narrowed.do("SELECT INBOX")
	scanning.do("SELECT INBOX")
	lsns := h.messages()
	x.Index.Want(lsns[:len(lsns)/2])
	waitIndexed(x.Index, lsns[:len(lsns)/2])
	rapid.Check(t, func(t *rapid.T) {
		command := "SEARCH CHARSET UTF-8 " + searchKey(t, stacks, 2)
		want, wantLast := scanning.try(command)
		got, last := narrowed.try(command)
		if strings.Join(got, "|") != strings.Join(want, "|") || last != wantLast {
			t.Fatalf("%q: %q %s, without the text index %q %s", command, got, last, want, wantLast)
		}
	})
	if x.Indexed(lsns) == 0 {
		t.Error("nothing is indexed")
	}
}

// A message that a compaction took is gone for the text index too.
func TestOpenText_gone(t *testing.T) {
	h := newHouse(t, Options{})
	defer h.close()
	if _, err := OpenText(t.Context(), h.boxes, 1<<40); err != fulltext.ErrGone {
		t.Fatalf("error %v", err)
	}
}

func BenchmarkSearch_text(b *testing.B) {
	h := newDiskHouse(b, Options{})
	defer h.close()
	h.crowd(10_000)
	x, err := fulltext.Open(fulltext.Options{
		Path: filepath.Join(b.TempDir(), "fulltext.db"), Store: h.j.StoreID().String(), Last: 1 << 62, Rest: -1,
		Text: func(ctx context.Context, lsn journal.LSN) (io.ReadCloser, error) { return OpenText(ctx, h.boxes, lsn) },
	})
	h.must(err)
	defer func() { h.must(x.Close()) }()
	search := func(command string) func(*testing.B) {
		return func(b *testing.B) {
			c := h.login("one")
			defer c.c.Close()
			c.do("SELECT INBOX")
			for b.Loop() {
				c.exchange(command)
			}
		}
	}
	b.Run("scan", search("SEARCH TEXT nothing-like-that"))
	h.server = New(Options{Text: x}, newPeople(b), h.boxes)
	lsns := h.messages()
	x.Want(lsns)
	waitIndexed(x, lsns)
	b.Run("narrowed", search("SEARCH TEXT nothing-like-that"))
	b.Run("narrowed_BODY", search("SEARCH NOT BODY nothing-like-that UNSEEN"))
	b.Run("useless", search("SEARCH BODY fox"))
}
