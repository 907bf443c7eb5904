package fulltext

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// texts are messages by LSN.
type texts map[journal.LSN]string

func (m texts) open(_ context.Context, lsn journal.LSN) (io.ReadCloser, error) {
	text, ok := m[lsn]
	if !ok {
		return nil, ErrGone
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (m texts) lsns() []journal.LSN {
	var out []journal.LSN
	for lsn := range m {
		out = append(out, lsn)
	}
	slices.Sort(out)
	return out
}

func options(dir string, m texts) Options {
	return Options{Path: filepath.Join(dir, "fulltext.db"), Store: "s", Last: 1 << 62, Text: m.open, Rest: -1}
}

// start opens an index whose worker is the test.
func start(t rapid.TB, o Options) *Index {
	t.Helper()
	x, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func end(t rapid.TB, x *Index) {
	t.Helper()
	if err := x.closeDatabase(); err != nil {
		t.Fatal(err)
	}
}

// fillAll does the worker's work.
func fillAll(t rapid.TB, x *Index) {
	t.Helper()
	for x.pending() {
		if err := x.fill(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func candidates(t rapid.TB, x *Index, lsns []journal.LSN, needle string) []journal.LSN {
	t.Helper()
	got, err := x.Candidates(context.Background(), lsns, needle)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCandidates(t *testing.T) {
	m := texts{
		3: "Subject: Straße und Σίσυφος", 4: "plain \x00 nul", 700: "smile 😀😁😂 there",
		9001: strings.Repeat("long ", textMax/4), 9002: "a AND b \"quoted\" NEAR(x)", 9003: "bad \xff\xfe utf",
	}
	x := start(t, options(t.TempDir(), m))
	defer end(t, x)
	all := m.lsns()
	if got := candidates(t, x, all, "nowhere"); !slices.Equal(got, all) {
		t.Fatalf("before anything is indexed: %v, want all", got)
	}
	x.Want(all)
	fillAll(t, x)
	if n := x.Indexed(all); n != len(all)-1 {
		t.Fatalf("%d indexed, want all but the long one", n)
	}
	for needle, want := range map[string][]journal.LSN{
		"nowhere": {9001}, "STRAẞE": {3, 9001}, "ςίσυφοσ": {3, 9001}, "\x00 n": {4, 9001}, "😁😂 t": {700, 9001},
		"AND B": {9001, 9002}, `"QUO`: {9001, 9002}, "near(": {9001, 9002}, "\ufffd\ufffd ": {9001, 9003}, "xy": all, "": all,
	} {
		if got := candidates(t, x, all, needle); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", needle, got, want)
		}
	}
	some := []journal.LSN{4, 4, 700, 700, 701}
	if got := candidates(t, x, some, "smile"); !slices.Equal(got, []journal.LSN{700, 700, 701}) {
		t.Errorf("of %v: %v", some, got)
	}
	x.Want(all)
	if x.pending() {
		t.Errorf("wants %v again", x.wanted)
	}
}

func TestCandidates_givesUpOnManyForeignRows(t *testing.T) {
	m := texts{}
	for lsn := range journal.LSN(rowsSpare + 100) {
		m[lsn+1] = "word"
	}
	last := journal.LSN(len(m))
	m[last-1] = "other"
	x := start(t, options(t.TempDir(), m))
	defer end(t, x)
	x.Want(m.lsns())
	fillAll(t, x)
	few := []journal.LSN{1, last - 1, last}
	if got := candidates(t, x, few, "word"); !slices.Equal(got, few) {
		t.Errorf("candidates %v: what was not come to is left out", got)
	}
	if got := candidates(t, x, few, "other"); !slices.Equal(got, few[1:2]) {
		t.Errorf("candidates %v, want %v", got, few[1:2])
	}
}

func TestCandidates_whileTheWorkerFills(t *testing.T) {
	m := texts{}
	for lsn := range journal.LSN(1500) {
		m[lsn+1] = strings.Repeat(string(rune('a'+lsn%26)), 3) + " word"
	}
	x, err := Open(options(t.TempDir(), m))
	if err != nil {
		t.Fatal(err)
	}
	lsns := m.lsns()
	x.Want(lsns)
	var searches sync.WaitGroup
	for w := range rune(3) {
		searches.Go(func() {
			needle := strings.Repeat(string('a'+w), 3)
			for round := 0; round < 1000; round++ {
				got, err := x.Candidates(context.Background(), lsns, needle)
				if err != nil {
					t.Error(err)
				}
				for i := int(w); i < len(lsns); i += 26 {
					if _, ok := slices.BinarySearch(got, lsns[i]); !ok {
						t.Errorf("message %d is left out of %q", lsns[i], needle)
						return
					}
				}
				if x.Indexed(lsns) == len(lsns) {
					return
				}
			}
		})
	}
	searches.Wait()
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCandidates_contextEnds(t *testing.T) {
	m := texts{1: "text"}
	x := start(t, options(t.TempDir(), m))
	defer end(t, x)
	x.Want(m.lsns())
	fillAll(t, x)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Candidates(ctx, m.lsns(), "text"); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if x.damaged {
		t.Fatal("an end of the context counts as damage")
	}
}

// alphabet has characters whose folding, encoding or meaning to SQL is apt to
// go wrong.
var alphabet = []rune("aAbBkKK sSſ\"'*()^:+-\x00\n\r.σςΣßẞİıiI日本😀\U0010ffff\ufffe\ufffd")

func TestCandidates_holdAllThatMatch(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := texts{}
		word := rapid.StringOfN(rapid.SampledFrom(alphabet), 0, 40, -1)
		for range rapid.IntRange(1, 12).Draw(t, "messages") {
			lsn := journal.LSN(rapid.Uint64Range(1, 2000).Draw(t, "lsn"))
			m[lsn] = word.Draw(t, "text") + rapid.SampledFrom([]string{"", "\xff", "\xe2\x82", "\xf0\x9f\x98"}).Draw(t, "tail")
		}
		o := options(dir, m)
		o.Gone = func(_ context.Context, lsns []journal.LSN) (gone []journal.LSN, err error) {
			for _, lsn := range lsns {
				if _, ok := m[lsn]; !ok {
					gone = append(gone, lsn)
				}
			}
			return gone, nil
		}
		x := start(t, o)
		defer func() {
			end(t, x)
			if err := x.moveAway(); err != nil {
				t.Fatal(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"want": func(t *rapid.T) { x.Want(rapid.SliceOf(rapid.SampledFrom(m.lsns())).Draw(t, "wanted")) },
			"fill": func(t *rapid.T) { fillAll(t, x) },
			"delete": func(t *rapid.T) {
				if len(m) > 1 {
					delete(m, rapid.SampledFrom(m.lsns()).Draw(t, "deleted"))
				}
			},
			"sweep": func(t *rapid.T) {
				if err := x.sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) { end(t, x); x = start(t, o) },
			"search": func(t *rapid.T) {
				from := []rune(m[rapid.SampledFrom(m.lsns()).Draw(t, "like")])
				lo := rapid.IntRange(0, len(from)).Draw(t, "lo")
				needle := rapid.OneOf(rapid.Just(strings.ToUpper(string(from[lo:]))), rapid.Just(Fold(string(from[lo:]))), word).Draw(t, "needle")
				lsns := m.lsns()
				got := candidates(t, x, lsns, needle)
				for _, lsn := range lsns {
					if strings.Contains(Fold(m[lsn]), Fold(needle)) && !slices.Contains(got, lsn) {
						t.Fatalf("message %d, %q, holds %q and is left out", lsn, m[lsn], needle)
					}
				}
			},
		})
	})
}

func TestIndex_sweepsWhatIsGone(t *testing.T) {
	m := texts{1: "some text", 2: "more text", 90_000: "last text"}
	o := options(t.TempDir(), m)
	o.Gone = func(_ context.Context, lsns []journal.LSN) ([]journal.LSN, error) { return lsns[1:], nil }
	x := start(t, o)
	x.Want(m.lsns())
	fillAll(t, x)
	if err := x.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	end(t, x)
	x = start(t, o)
	defer end(t, x)
	if n := x.Indexed(m.lsns()); n != 1 || len(x.known) != 1 {
		t.Fatalf("%d messages in %d blocks are left, want 1 in 1", n, len(x.known))
	}
}

func TestOpen_beginsAnew(t *testing.T) {
	for name, spoil := range map[string]func(o *Options, file []byte) []byte{
		"damaged":       func(_ *Options, b []byte) []byte { return append([]byte("nonsense"), b[8:]...) },
		"cut":           func(_ *Options, b []byte) []byte { return b[:len(b)/2] },
		"other store":   func(o *Options, b []byte) []byte { o.Store = "t"; return b },
		"ahead":         func(o *Options, b []byte) []byte { o.Last = 1; return b },
		"other version": func(_ *Options, b []byte) []byte { b[63]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			m := texts{1: "some text", 2: "more text"}
			o := options(t.TempDir(), m)
			x := start(t, o)
			x.Want(m.lsns())
			fillAll(t, x)
			end(t, x)
			b, err := os.ReadFile(o.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(o.Path, spoil(&o, b), 0o600); err != nil {
				t.Fatal(err)
			}
			x = start(t, o)
			defer end(t, x)
			if n := x.Indexed(m.lsns()); n != 0 {
				t.Fatalf("%d messages are indexed", n)
			}
			x.Want(m.lsns())
			fillAll(t, x)
			if got := candidates(t, x, m.lsns(), "more"); !slices.Equal(got, []journal.LSN{2}) {
				t.Fatalf("candidates %v, want 2", got)
			}
		})
	}
}

func TestIndex_replacesFileDamagedInUse(t *testing.T) {
	m := texts{}
	for lsn := range journal.LSN(200) {
		m[lsn+1] = strings.Repeat(string(rune('a'+lsn%26)), 5) + " needle"
	}
	o := options(t.TempDir(), m)
	x := start(t, o)
	x.Want(m.lsns())
	fillAll(t, x)
	end(t, x)
	b, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	x = start(t, o)
	defer end(t, x)
	for i := 2 * 4096; i < len(b); i++ {
		b[i] ^= 0xa5 // all but the schema's pages
	}
	if err := os.WriteFile(o.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := candidates(t, x, m.lsns(), "aaaa"); !slices.Equal(got, m.lsns()) {
		t.Fatalf("%d candidates, want all", len(got))
	}
	if !x.damaged {
		t.Fatal("damage was not noticed")
	}
	x.attempt(t.Context(), x.fill)
	x.Want(m.lsns())
	fillAll(t, x)
	if got := candidates(t, x, m.lsns(), "aaaa"); len(got) != 8 {
		t.Fatalf("%d candidates, want 8", len(got))
	}
}

func TestWorker(t *testing.T) {
	m := texts{1: "one text", 2: "panics", 3: "three text"}
	o := options(t.TempDir(), m)
	read := make(chan journal.LSN, 3)
	o.Text = func(ctx context.Context, lsn journal.LSN) (io.ReadCloser, error) {
		read <- lsn
		if lsn == 2 {
			panic("hostile")
		}
		return m.open(ctx, lsn)
	}
	x, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	x.Want([]journal.LSN{3, 1, 2, 3})
	for want := range journal.LSN(3) {
		if lsn := <-read; lsn != want+1 {
			t.Fatalf("message %d was read, want %d", lsn, want+1)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if got := candidates(t, x, m.lsns(), "nowhere"); len(got) != 3 {
		t.Fatalf("after Close: %v, want all", got)
	}
	x.Want(m.lsns())
	x = start(t, o)
	defer end(t, x)
	if got := candidates(t, x, m.lsns(), "THREE"); !slices.Equal(got, []journal.LSN{2, 3}) {
		t.Fatalf("candidates %v, want the message that made it panic, and 3", got)
	}
}

func TestWant_isBounded(t *testing.T) {
	x := start(t, options(t.TempDir(), nil))
	defer end(t, x)
	lsns := make([]journal.LSN, wantedMax+10)
	for i := range lsns {
		lsns[i] = journal.LSN(len(lsns) - i)
	}
	x.Want(lsns)
	x.Want(lsns)
	if len(x.wanted) != wantedMax || !slices.IsSorted(x.wanted) {
		t.Fatalf("%d are wanted, sorted %v", len(x.wanted), slices.IsSorted(x.wanted))
	}
}
