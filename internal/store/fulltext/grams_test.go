package fulltext

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

func TestFoldRune(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		f := FoldRune(r)
		if want := unicode.ToLower(unicode.ToUpper(r)); f != want {
			t.Fatalf("%U becomes %U, want %U", r, f, want)
		}
		if again := FoldRune(f); again != f {
			t.Errorf("%U becomes %U and then %U", r, f, again)
		}
	}
}

func TestGrammar_isEmptyAgain(t *testing.T) {
	g := new(grammar)
	for range 2 {
		if _, err := g.read(strings.NewReader("abcabcd")); err != nil || len(g.found) != 4 {
			t.Fatalf("%d grams, error %v, want abc, bca, cab, bcd", len(g.found), err)
		}
	}
	if n := len(g.appendTerms(nil)); n != 4*(termLen+1) {
		t.Fatalf("%d octets of terms", n)
	}
	if n, err := g.read(strings.NewReader(strings.Repeat("a", textMax))); err != nil || n != textMax {
		t.Fatalf("read %d, error %v", n, err)
	}
	if _, err := g.read(strings.NewReader(strings.Repeat("a", textMax+1))); !errors.Is(err, errLong) {
		t.Fatalf("error %v", err)
	}
	if _, err := g.read(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v", err)
	}
}

func TestNeedleGrams(t *testing.T) {
	for needle, want := range map[string]int{"": 0, "ab": 0, "日本": 0, "日本語": 1, "aaaaaaaa": 1, "abcd": 2} {
		if n := len(needleGrams(needle)); n != want {
			t.Errorf("%q: %d, want %d", needle, n, want)
		}
	}
	long := needleGrams(strings.Repeat("the quick brown fox jumps over the lazy dog ", 1500))
	if len(long) > gramsMax || len(long) < 2 {
		t.Errorf("a long needle has %d", len(long))
	}
}

func TestKnown(t *testing.T) {
	k := known{}
	for _, lsn := range []journal.LSN{0, 63, 64, 511, 512, 1<<41 + 5} {
		if k.settled(lsn) {
			t.Errorf("%d is settled", lsn)
		}
		if k[lsn/blockLSNs] == nil {
			k[lsn/blockLSNs] = &block{}
		}
		k[lsn/blockLSNs].indexed.add(lsn)
		if !k.indexed(lsn) || k.indexed(lsn+1) {
			t.Errorf("after %d: %v %v", lsn, k.indexed(lsn), k.indexed(lsn+1))
		}
	}
	var again bits
	again.load(k[0].indexed.octets())
	b := block{indexed: again}
	if got := b.lsns(nil, 0); !slices.Equal(got, []journal.LSN{0, 63, 64, 511}) {
		t.Errorf("read back: %v", got)
	}
}

// FuzzGrams checks that a text, however it arrives, has the grams of every
// needle that the folded text holds.
func FuzzGrams(f *testing.F) {
	f.Add("Hello, Wörld", 2, 5)
	f.Add("\xf0\x9f\x98 cut \xff\xff", 0, 4)
	f.Add("KKkſ\x00s", 0, 6)
	f.Fuzz(func(t *testing.T, text string, lo, n int) {
		folded := Fold(text)
		lo = min(max(lo, 0), len(folded))
		needle := folded[lo:min(len(folded), lo+min(max(n, 0), len(folded)))]
		whole, pieces := new(grammar), new(grammar)
		if _, err := whole.read(strings.NewReader(text)); err != nil {
			t.Skip(err)
		}
		if _, err := pieces.read(iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(text)))); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(whole.found, pieces.found) {
			t.Fatalf("%q: %v in one go, %v by octets", text, whole.found, pieces.found)
		}
		if !utf8.ValidString(needle) {
			return // cut inside a rune
		}
		for _, x := range needleGrams(needle) {
			if !slices.Contains(whole.found, x) {
				t.Fatalf("%q holds %q and lacks gram %x", text, needle, x)
			}
		}
	})
}
