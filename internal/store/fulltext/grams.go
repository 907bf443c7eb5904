package fulltext

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// A gram is a trigram, three folded runes in order, hashed to gramBits bits.
// Two trigrams may share a gram: then a message may be scanned in vain.
type gram uint32

const (
	gramBits = 20
	// letters are the digits in which a gram is written as a term for FTS5,
	// letterBits each, termLen a term.
	letters    = "abcdefghijklmnopqrstuvwxyz012345"
	letterBits = 5
	termLen    = gramBits / letterBits
)

// runesBits is enough for any rune.
const runesBits = 21

// window holds the last runes of a text.
type window struct {
	last uint64
	n    int
}

// push adds a rune and gives the gram that ends with it, if there are three.
func (w *window) push(r rune) (gram, bool) {
	w.last = (w.last<<runesBits | uint64(FoldRune(r))) & (1<<(3*runesBits) - 1)
	w.n++
	return gram(w.last * 0x9e3779b97f4a7c15 >> (64 - gramBits)), w.n >= 3
}

// grammar is scratch memory to find the distinct grams of a text; one
// goroutine's.
type grammar struct {
	raw   [32 << 10]byte
	seen  [1 << gramBits / 64]uint64
	found []gram
}

func (g *grammar) reset() {
	for _, x := range g.found {
		g.seen[x>>6] = 0
	}
	g.found = g.found[:0]
}

func (g *grammar) add(x gram) {
	if g.seen[x>>6]&(1<<(x&63)) == 0 {
		g.seen[x>>6] |= 1 << (x & 63)
		g.found = append(g.found, x)
	}
}

// errLong says that a text is longer than textMax.
var errLong = errors.New("text is too long to be indexed")

// read finds the grams of a text. Octets that are no UTF-8 count as U+FFFD
// each, as in Fold. It says how many octets it read.
func (g *grammar) read(r io.Reader) (total int, err error) {
	g.reset()
	var w window
	kept := 0 // octets of raw that begin a rune
	for {
		n, err := r.Read(g.raw[kept:])
		if total += n; total > textMax {
			return total, errLong
		}
		done := g.take(&w, g.raw[:kept+n], err != nil)
		kept = copy(g.raw[:], g.raw[done:kept+n])
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read text: %w", err)
		}
	}
}

// take finds the grams of b and says how many octets it took: all but an
// unfinished rune at the end, or all if it is the last of a text.
func (g *grammar) take(w *window, b []byte, last bool) int {
	i := 0
	for i < len(b) {
		r, n := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			if !last && !utf8.FullRune(b[i:]) {
				break
			}
			r, n = utf8.DecodeRune(b[i:])
		}
		i += n
		if x, ok := w.push(r); ok {
			g.add(x)
		}
	}
	return i
}

// appendTerms writes the grams found as a text for FTS5's ascii tokenizer.
func (g *grammar) appendTerms(dst []byte) []byte {
	for _, x := range g.found {
		dst = append(appendTerm(dst, x), ' ')
	}
	return dst
}

func appendTerm(dst []byte, x gram) []byte {
	for shift := gramBits - letterBits; shift >= 0; shift -= letterBits {
		dst = append(dst, letters[x>>shift&(1<<letterBits-1)])
	}
	return dst
}

// needleGrams gives the distinct grams of a needle, at most gramsMax, spread
// over it; none if it is shorter than three runes.
func needleGrams(needle string) []gram {
	var w window
	var all []gram
	for _, r := range needle {
		if x, ok := w.push(r); ok {
			all = append(all, x)
		}
	}
	if len(all) <= gramsMax {
		return distinct(all)
	}
	some := make([]gram, gramsMax)
	for i := range some {
		some[i] = all[i*(len(all)-1)/(gramsMax-1)]
	}
	return distinct(some)
}

func distinct(list []gram) []gram {
	out := list[:0]
next:
	for _, x := range list {
		for _, y := range out {
			if x == y {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}

// match writes the FTS5 expression that finds the messages with all grams.
func match(grams []gram) string {
	var b []byte
	for i, x := range grams {
		if i > 0 {
			b = append(b, " AND "...)
		}
		b = append(appendTerm(append(b, '"'), x), '"')
	}
	return string(b)
}
