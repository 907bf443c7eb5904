package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/fulltext"
)

// foldString folds as fulltext.Fold does, and ASCII without looking at runes.
func foldString(v string) string {
	if ascii(v) {
		return strings.ToLower(v)
	}
	return fulltext.Fold(v)
}

// folder looks for strings in streams without regard to case. It is scratch
// memory for one goroutine.
type folder struct {
	raw   [32 << 10]byte
	text  []byte // folded, not yet thrown away
	lower [utf8.RuneSelf]byte
}

func newFolder() *folder {
	f := &folder{}
	for c := range f.lower {
		f.lower[c] = byte(fulltext.FoldRune(rune(c)))
	}
	return f
}

// has says whether a stream of UTF-8 holds needle, which is folded.
func (f *folder) has(r io.Reader, needle string) (bool, error) {
	f.text = f.text[:0]
	pattern := []byte(needle)
	kept := 0 // bytes of raw that begin a rune whose rest has not come
	for {
		n, err := r.Read(f.raw[kept:])
		n += kept
		done := f.fold(f.raw[:n], err != nil)
		kept = copy(f.raw[:], f.raw[done:n])
		if bytes.Contains(f.text, pattern) {
			return true, nil
		}
		if keep := len(pattern) - 1; len(f.text) > keep {
			f.text = f.text[:copy(f.text, f.text[len(f.text)-max(keep, 0):])]
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read message: %w", err)
		}
	}
}

// fold appends the folded form of b to text and says how many bytes it took:
// all but an unfinished rune at the end, or all if it is the last of a stream.
func (f *folder) fold(b []byte, last bool) int {
	i := 0
	for i < len(b) {
		if b[i] < utf8.RuneSelf {
			i += f.foldASCII(b[i:])
			continue
		}
		if !last && !utf8.FullRune(b[i:]) {
			break
		}
		r, n := utf8.DecodeRune(b[i:])
		f.text = utf8.AppendRune(f.text, fulltext.FoldRune(r))
		i += n
	}
	return i
}

// foldASCII folds the ASCII at the start of b and says how much that was.
func (f *folder) foldASCII(b []byte) int {
	at := len(f.text)
	f.text = slices.Grow(f.text, len(b))
	out := f.text[at : at+len(b)]
	for i, c := range b {
		if c >= utf8.RuneSelf {
			f.text = f.text[:at+i]
			return i
		}
		out[i] = f.lower[c]
	}
	f.text = f.text[:at+len(b)]
	return len(b)
}

// headerHas says whether the message's header has a field of that name whose
// decoded text holds needle.
func (f *folder) headerHas(c *candidate, name, needle string) (bool, error) {
	raw, err := rawHeader(c.body, c.root)
	if err != nil {
		return false, err
	}
	for field := range message.Fields(raw) {
		if field.Is(name) && strings.Contains(foldString(message.DecodeHeader(field.Value())), needle) {
			return true, nil
		}
	}
	return false, nil
}

func rawHeader(r io.ReaderAt, p *message.Part) ([]byte, error) {
	raw := make([]byte, min(p.BodyStart-p.HeaderStart, headerMax))
	return raw, readFull(r, raw, p.HeaderStart)
}

// textHas says whether a message's decoded text parts hold needle, or, with
// headers, its own header or those of its parts.
func (f *folder) textHas(c *candidate, needle string, headers bool) (bool, error) {
	return f.partHas(c.body, c.root, needle, headers)
}

func (f *folder) partHas(r io.ReaderAt, p *message.Part, needle string, headers bool) (bool, error) {
	for st := range stretches(p, headers) {
		found, err := f.stretchHas(r, st, needle)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (f *folder) stretchHas(r io.ReaderAt, st stretch, needle string) (bool, error) {
	if !st.header {
		return f.has(bodyText(r, st.part), needle)
	}
	texts, err := fields(r, st.part)
	if err != nil {
		return false, err
	}
	for text := range texts {
		if strings.Contains(foldString(text), needle) {
			return true, nil
		}
	}
	return false, nil
}
