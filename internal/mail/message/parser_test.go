package message

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestParse runs testdata/tree: each archive is one message (\r\n line ends are
// made from LF unless the comment says "as is"; "\0" and "\r" are escapes) and
// the tree it gives.
func TestParse(t *testing.T) {
	files, err := filepath.Glob("testdata/tree/*.txtar")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d trees: %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil || len(a.Files) != 2 {
				t.Fatalf("want a message and a tree: %v", err)
			}
			raw := treeMessage(a)
			m := Parse(raw)
			checkMessage(t, raw, m)
			for n := 1; n <= 5; n++ {
				if got := parsePieces(raw, n); !reflect.DeepEqual(got, m) {
					t.Fatalf("in pieces of %d:\n%s\nwhole:\n%s", n, describe(got), describe(m))
				}
			}
			got := describe(m)
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func treeMessage(a *txtar.Archive) []byte {
	s := string(a.Files[0].Data)
	if !strings.Contains(string(a.Comment), "as is") {
		s = strings.ReplaceAll(s, "\n", "\r\n")
	}
	if strings.Contains(string(a.Comment), "no end") {
		s = strings.TrimRight(s, "\r\n")
	}
	return []byte(strings.NewReplacer(`\0`, "\x00", `\r`, "\r").Replace(s))
}

// nestedMultiparts is a message of multiparts within multiparts, none of which
// is ever closed, of about size bytes.
func nestedMultiparts(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "Content-Type:multipart/a;boundary=%d\n\n--%d\n", i, i)
	}
	return b.Bytes()
}

// TestParse_WorkIsLinear counts boundary look-ups and closed parts, the only
// things that nesting could multiply.
func TestParse_WorkIsLinear(t *testing.T) {
	nested := nestedMultiparts(3000)
	deep := nestedMultiparts(1 << 20)
	lines := append(bytes.Clone(nested), bytes.Repeat([]byte("--x y\n"), 100_000)...)
	outer := append(bytes.Clone(nested), []byte(strings.Repeat("--0\n\n", 50_000))...)
	same := bytes.Repeat([]byte("Content-Type:multipart/a;boundary=b\n\n--b\n"), 5000)
	for name, raw := range map[string][]byte{
		"3 KB": nested, "1 MB": deep, "delimiters of nobody": lines, "outer delimiters": outer, "one boundary": same,
	} {
		p := NewParser(Limits{})
		p.Write(raw)
		m := p.Close()
		checkMessage(t, raw, m)
		candidates := int64(bytes.Count(raw, []byte("\n--")))
		if limit := 4*candidates + int64(p.count) + 1; p.work > limit {
			t.Errorf("%s: work %d for %d possible delimiters and %d parts", name, p.work, candidates, p.count)
		}
	}
}

func depth(p *Part) int {
	n := 0
	for _, c := range p.Children {
		n = max(n, depth(c))
	}
	return n + 1
}

func count(p *Part) int {
	n := 1
	for _, c := range p.Children {
		n += count(c)
	}
	return n
}

func kinds(m *Message) map[DefectKind]bool {
	out := map[DefectKind]bool{}
	for _, d := range m.Defects {
		out[d.Kind] = true
	}
	return out
}

func parseLimited(raw []byte, l Limits) *Message {
	p := NewParser(l)
	p.Write(raw)
	return p.Close()
}

func TestParse_DepthLimit(t *testing.T) {
	raw := nestedMultiparts(100_000)
	m := Parse(raw)
	checkMessage(t, raw, m)
	if d := depth(m.Root); d != defaultDepth+1 || !kinds(m)[DepthLimit] {
		t.Errorf("depth %d, defects %v", d, m.Defects)
	}
	leaf := m.Root
	for len(leaf.Children) > 0 {
		leaf = leaf.Children[0]
	}
	if leaf.Type != "application" || leaf.Subtype != "octet-stream" || leaf.End != m.Size {
		t.Errorf("the rest is %+v", leaf)
	}
	messages := bytes.Repeat([]byte("Content-Type: message/rfc822\n\n"), 2000)
	m = Parse(messages)
	checkMessage(t, messages, m)
	if d := depth(m.Root); d != defaultDepth+1 || !kinds(m)[DepthLimit] {
		t.Errorf("depth of messages %d, defects %v", d, m.Defects)
	}
	m = parseLimited(raw, Limits{Depth: 1 << 30})
	if d := depth(m.Root); d != maxDepth+1 {
		t.Errorf("depth %d beyond maxDepth", d)
	}
	checkMessage(t, raw, m)
}

func TestParse_PartsLimit(t *testing.T) {
	raw := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 50) + "--b--\r\n")
	m := parseLimited(raw, Limits{Parts: 10})
	checkMessage(t, raw, m)
	last := m.Root.Children[len(m.Root.Children)-1]
	if n := count(m.Root); n != 11 || !kinds(m)[PartsLimit] {
		t.Errorf("%d parts, defects %v", n, m.Defects)
	}
	if last.Type != "application" || last.End != m.Size {
		t.Errorf("the rest is %+v", last)
	}
	if m := parseLimited(raw, Limits{Parts: 51}); count(m.Root) != 51 || kinds(m)[PartsLimit] {
		t.Errorf("limit met too early: %d parts", count(m.Root))
	}
}

func TestParse_HeaderLimit(t *testing.T) {
	field := "X-Filler: " + strings.Repeat("x", 90) + "\r\n"
	raw := []byte("Subject: one\r\nContent-Type: multipart/mixed; boundary=b\r\n" + strings.Repeat(field, 100) +
		"To: late@example.com\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
	m := parseLimited(raw, Limits{HeaderBytes: 4000})
	checkMessage(t, raw, m)
	if m.Envelope.Subject != "one" || len(m.Envelope.To) != 0 || !kinds(m)[HeaderLimit] {
		t.Errorf("%+v %v", m.Envelope, m.Defects)
	}
	if m.Root.Type != "application" || len(m.Root.Children) != 0 || !bytes.HasPrefix(raw[m.Root.BodyStart:], []byte("--b")) {
		t.Errorf("root %+v", m.Root)
	}
	for n := 1; n < 200; n += 13 {
		p := NewParser(Limits{HeaderBytes: 4000})
		for b := raw; len(b) > 0; b = b[min(n, len(b)):] {
			p.Write(b[:min(n, len(b))])
		}
		if got := p.Close(); !reflect.DeepEqual(got, m) {
			t.Fatalf("in pieces of %d:\n%s", n, describe(got))
		}
	}
	// One line beyond every limit: what is held stays within it.
	p := NewParser(Limits{HeaderBytes: 4000})
	for range 1000 {
		p.Write(bytes.Repeat([]byte("x"), 1000))
	}
	if held := cap(p.line) + cap(p.header.value); held > 4*4000 {
		t.Errorf("%d bytes held of a header limited to 4000", held)
	}
	p.Close()
}

func TestParse_AddressLimit(t *testing.T) {
	raw := []byte("To: g: " + strings.Repeat("a,", 3*maxAddresses) + ";\r\n\r\n")
	m := Parse(raw)
	checkMessage(t, raw, m)
	if n := len(m.Envelope.To); n != maxAddresses || !kinds(m)[AddressLimit] {
		t.Errorf("%d addresses, defects %v", n, m.Defects)
	}
}

func TestParse_ParamLimit(t *testing.T) {
	raw := []byte("Content-Type: text/plain" + strings.Repeat("; a=b", 2*maxParams) + "\r\n\r\n")
	m := Parse(raw)
	checkMessage(t, raw, m)
	if n := len(m.Root.Params); n != maxParams || !kinds(m)[ParamLimit] {
		t.Errorf("%d parameters, defects %v", n, m.Defects)
	}
}

func TestParse_LongLines(t *testing.T) {
	long := strings.Repeat("-", 3*maxDelimiter)
	raw := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + long + "\r\n--b" +
		strings.Repeat(" ", 2*maxDelimiter) + "\r\n--b" + strings.Repeat(" ", 50) + "\r\n\r\nx\r\n--b--\r\n")
	m := Parse(raw)
	checkMessage(t, raw, m)
	if n := len(m.Root.Children); n != 2 {
		t.Errorf("%d children:\n%s", n, describe(m))
	}
	for _, n := range []int{1, 7, 1000, maxDelimiter, maxDelimiter + 1} {
		if got := parsePieces(raw, n); !reflect.DeepEqual(got, m) {
			t.Fatalf("in pieces of %d:\n%s", n, describe(got))
		}
	}
}

func TestSection(t *testing.T) {
	raw := []byte("Content-Type: multipart/mixed; boundary=a\r\n\r\n" +
		"--a\r\n\r\none\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: two\r\n\r\nleaf\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ninner\r\n--b--\r\n" +
		"--a--\r\n")
	m := Parse(raw)
	r := m.Root
	for _, c := range []struct {
		path []int
		want *Part
	}{
		{nil, r}, {[]int{1}, r.Children[0]}, {[]int{2}, r.Children[1]}, {[]int{4}, nil}, {[]int{0}, nil}, {[]int{-1}, nil},
		{[]int{1, 1}, nil},
		{[]int{2, 1}, r.Children[1].Children[0]}, {[]int{2, 2}, nil}, {[]int{2, 1, 1}, nil},
		{[]int{3, 1}, r.Children[2].Children[0].Children[0]}, {[]int{3, 2}, nil},
	} {
		if got := m.Section(c.path...); got != c.want {
			t.Errorf("Section(%v) = %+v, want %+v", c.path, got, c.want)
		}
	}
	plain := Parse([]byte("\r\nx"))
	if plain.Section(1) != plain.Root || plain.Section(1, 1) != nil || plain.Section(2) != nil {
		t.Error("a plain message is its part 1 and has no other")
	}
	embedded := Parse([]byte("Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny"))
	if embedded.Section(1) != embedded.Root || embedded.Section(1, 1) != embedded.Root.Children[0] {
		t.Error("a message that is an embedded message")
	}
}
