package message

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// writer makes a message and the tree that it should give.
type writer struct {
	bytes.Buffer
	t    *rapid.T
	eol  string
	next int // of the next boundary
}

func (w *writer) line(s string) { w.WriteString(s + w.eol) }

func (w *writer) offset() int64 { return int64(w.Len()) }

var modelLine = rapid.StringMatching(`(--|-|)[ a-z0-9:=]{0,12}`)

// text writes up to n lines of anything that is no delimiter of ours.
func (w *writer) text(n int, label string) {
	lines := rapid.SliceOfN(modelLine, 0, n).Draw(w.t, label)
	w.WriteString(strings.Join(lines, w.eol))
}

// part writes a part, without the line end that would belong to a delimiter
// after it. last says that nothing but ends of parents follow.
func (w *writer) part(depth int) *Part {
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 2).Draw(w.t, "kind")
	}
	p := &Part{HeaderStart: w.offset()}
	for _, h := range rapid.SliceOfN(rapid.SampledFrom([]string{"X-A: b", "X-B:", "X-C: d\n e", "junk"}), 0, 3).Draw(w.t, "fields") {
		w.line(strings.ReplaceAll(h, "\n", w.eol))
	}
	boundary := ""
	switch kind {
	case 0:
		p.Type, p.Subtype = "text", "html"
		w.line("Content-Type: text/html")
	case 1:
		p.Type, p.Subtype = "message", "rfc822"
		w.line("Content-Type: message/rfc822")
	case 2:
		w.next++
		boundary = rapid.SampledFrom([]string{"b%dx", "B %d", "%d--", "b%d"}).Draw(w.t, "boundary")
		boundary = "_" + fmt.Sprintf(boundary, w.next)
		p.Type, p.Subtype = "multipart", "mixed"
		w.line(`content-type: Multipart/MIXED; boundary="` + boundary + `"`)
	}
	w.line("")
	p.BodyStart = w.offset()
	switch kind {
	case 0:
		w.text(4, "body")
	case 1:
		p.Children = []*Part{w.part(depth - 1)}
	case 2:
		w.children(p, boundary, depth)
	}
	p.End = w.offset()
	return p
}

func (w *writer) children(p *Part, boundary string, depth int) {
	padding := rapid.SampledFrom([]string{"", " ", "\t "})
	if rapid.Bool().Draw(w.t, "preamble") {
		w.text(2, "preamble")
		w.line("")
	}
	for range rapid.IntRange(1, 3).Draw(w.t, "children") {
		if len(p.Children) > 0 {
			w.line("")
		}
		w.line("--" + boundary + padding.Draw(w.t, "padding"))
		p.Children = append(p.Children, w.part(depth-1))
	}
	if rapid.IntRange(0, 3).Draw(w.t, "open") == 0 {
		return // its last child takes the rest, until a delimiter of a parent
	}
	w.line("")
	w.WriteString("--" + boundary + "--" + padding.Draw(w.t, "padding"))
	if rapid.Bool().Draw(w.t, "epilogue") {
		w.line("")
		w.text(2, "epilogue")
	}
}

// fill completes what follows from the bytes.
func fill(raw []byte, p *Part) {
	p.Lines = int64(bytes.Count(raw[p.BodyStart:p.End], []byte("\n")))
	for _, c := range p.Children {
		fill(raw, c)
	}
}

func sameTree(got, want *Part) error {
	if got.Type != want.Type || got.Subtype != want.Subtype || got.HeaderStart != want.HeaderStart || got.BodyStart != want.BodyStart ||
		got.End != want.End || got.Lines != want.Lines || len(got.Children) != len(want.Children) {
		return fmt.Errorf("got %+v, want %+v", got, want)
	}
	for i := range got.Children {
		if err := sameTree(got.Children[i], want.Children[i]); err != nil {
			return err
		}
	}
	return nil
}

// TestParse_Model makes messages of which it knows the tree, and parses them
// in pieces of any sizes.
func TestParse_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{t: t, eol: rapid.SampledFrom([]string{"\r\n", "\n"}).Draw(t, "eol")}
		want := w.part(5)
		raw := w.Bytes()
		fill(raw, want)
		m := Parse(raw)
		if err := sameTree(m.Root, want); err != nil {
			t.Fatalf("%v\n%s\n%q", err, describe(m), raw)
		}
		p := NewParser(Limits{})
		for rest := raw; len(rest) > 0; {
			n := rapid.IntRange(0, len(rest)).Draw(t, "piece")
			p.Write(rest[:n])
			rest = rest[n:]
		}
		if got := p.Close(); !reflect.DeepEqual(got, m) {
			t.Fatalf("in pieces:\n%s\nwhole:\n%s\n%q", describe(got), describe(m), raw)
		}
	})
}

// TestParse_AnyPieces cuts bytes that are likely to confuse.
func TestParse_AnyPieces(t *testing.T) {
	token := rapid.SampledFrom([]string{
		"\r", "\n", "\r\n", "--", "-", "b", "--b", "--b--", "\n--b\n", ":", " ", "\x00", "\xff", "x", "a: b\n",
		"Content-Type: multipart/mixed; boundary=b\n", "Content-Type: message/rfc822\n", "Content-Type: multipart/digest; boundary=b\n",
		"To: a,", "\n\n",
	})
	rapid.Check(t, func(t *rapid.T) {
		var raw []byte
		p := NewParser(Limits{})
		for _, s := range rapid.SliceOfN(token, 0, 40).Draw(t, "tokens") {
			raw = append(raw, s...)
			p.Write([]byte(s))
		}
		m := Parse(raw)
		checkMessage(t, raw, m)
		if got := p.Close(); !reflect.DeepEqual(got, m) {
			t.Fatalf("in pieces:\n%s\nwhole:\n%s\n%q", describe(got), describe(m), raw)
		}
	})
}
