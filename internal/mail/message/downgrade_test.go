package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func downgrade(t testing.TB, raw []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := Downgrade(&out, bytes.NewReader(raw), int64(len(raw)))
	if err != nil && (out.Len() > 0 || !errors.Is(err, ErrDowngrade)) {
		t.Fatalf("%d octets were written, %v", out.Len(), err)
	}
	return out.Bytes(), err
}

// checkDowngraded holds a downgraded message to what Downgrade promises.
func checkDowngraded(t interface{ Fatalf(string, ...any) }, raw, out []byte) {
	if !isASCII(string(out)) {
		t.Fatalf("8-bit octets in %q\nof %q", out, raw)
	}
	was, is := Parse(raw), Parse(out)
	for _, d := range was.Defects {
		if d.Kind == MissingBlankLine { // where its body begins is anybody's guess
			return
		}
	}
	if err := sameContent(raw, out, was.Root, is.Root); err != nil {
		t.Fatalf("%v\n%q\nof\n%q", err, out, raw)
	}
}

func sameContent(raw, out []byte, was, is *Part) error {
	if was.Type != is.Type || was.Subtype != is.Subtype || len(was.Children) != len(is.Children) || fmt.Sprint(was.Params) != fmt.Sprint(is.Params) {
		return fmt.Errorf("%s/%s with %d children became %s/%s with %d", was.Type, was.Subtype, len(was.Children), is.Type, is.Subtype, len(is.Children))
	}
	if e := is.Encoding; e == "8bit" || e == "binary" {
		return fmt.Errorf("a part is labelled %s", e)
	}
	for i := range was.Children {
		if err := sameContent(raw, out, was.Children[i], is.Children[i]); err != nil {
			return err
		}
	}
	if len(was.Children) > 0 {
		return nil
	}
	want, err1 := io.ReadAll(was.Decode(bytes.NewReader(raw)))
	got, err2 := io.ReadAll(is.Decode(bytes.NewReader(out)))
	if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("content %q became %q", want, got)
	}
	s := &sevenBitScan{}
	s.Write(out[is.BodyStart:is.End])
	if s.end(); !s.good() {
		return fmt.Errorf("body %q", out[is.BodyStart:is.End])
	}
	return nil
}

func TestDowngrade(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, c := range []struct{ name, in, want string }{
		{"ASCII", "A: b\n\nc\n", "A: b\n\nc\n"},
		{"text", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nMIME-Version: 1.0\n\nGrüße =) \n-- \nan alle\n",
			"Content-Type: text/plain; charset=utf-8\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe =3D)=20\n=2D-=20\nan alle\n"},
		{"label only", "Content-Transfer-Encoding:\n 8bit\nA: b\n\nc\n", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n\nc\n"},
		{"no MIME", "A: b\n\nwörter, mehr als nur eines\n", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nw=C3=B6rter, mehr als nur eines\n"},
		{"no header", "\nwörter, mehr als nur eines\n", "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nw=C3=B6rter, mehr als nur eines\n"},
		{"mostly 8-bit", "A: b\n\näöü\n", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nw6TDtsO8DQo=\n"},
		{"data", "Content-Type: image/png\n\n\x89PNG and so on and on\n", "Content-Type: image/png\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\niVBORyBhbmQgc28gb24gYW5kIG9uDQo=\n"},
		{"no end of line", "A: b\n\nwörter, mehr als nur eines", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nw=C3=B6rter, mehr als nur eines=\n"},
		{"parts", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\nvör\n--b\n\nwörter, mehr als nur eines\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8BIT\n\nFrom: x\n\nwörter, mehr als nur eines\n--b--\nnäch\n",
			"Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n\nv**r\n--b\nContent-Transfer-Encoding: quoted-printable\n\nw=C3=B6rter, mehr als nur eines\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nFrom: x\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nw=C3=B6rter, mehr als nur eines\n--b--\nn**ch\n"},
		{"broken quoted-printable", "Content-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\nw=C3=B6rter und wörter\n", "Content-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\nw=C3=B6rter und w=C3=B6rter\n"},
		{"long lines", "A: b\n\n" + strings.Repeat("x", 999) + "\n", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat(strings.Repeat("x", 75)+"=\n", 13) + strings.Repeat("x", 24) + "\n"},
	} {
		in := []byte(crlf(c.in))
		out, err := downgrade(t, in)
		if err != nil || string(out) != crlf(c.want) {
			t.Errorf("%s: got %q, %v\nwant %q", c.name, out, err, crlf(c.want))
			continue
		}
		checkDowngraded(t, in, out)
		if again, err := downgrade(t, out); err != nil || !bytes.Equal(again, out) {
			t.Errorf("%s: once more %q, %v", c.name, again, err)
		}
	}
}

func TestDowngrade_Refuses(t *testing.T) {
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", defaultDepth+10)
	for name, raw := range map[string]string{
		"header":               "Subject: ü\r\n\r\nx\r\n",
		"header of a part":     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: ü\r\n\r\n--b--\r\n",
		"boundary":             "Content-Type: multipart/mixed; boundary*=utf-8''%C3%BC\r\n\r\n--ü\r\n\r\nx\r\n--ü--\r\n",
		"unknown encoding":     "Content-Transfer-Encoding: x-uuencode\r\n\r\nü\r\n",
		"multipart of no part": "Content-Type: multipart/mixed; boundary=b\r\n\r\nü\r\n",
		"a piece of a message": "Content-Type: message/partial\r\n\r\nü\r\n",
		"too deep":             deep + "ü\r\n",
		"header too long":      strings.Repeat("X: y\r\n", defaultHeaderBytes/6+10) + "\r\nü\r\n",
	} {
		if out, err := downgrade(t, []byte(raw)); !errors.Is(err, ErrDowngrade) {
			t.Errorf("%s: got %d octets, %v", name, len(out), err)
		}
	}
	if err := Downgrade(io.Discard, strings.NewReader("short"), 10); err == nil || errors.Is(err, ErrDowngrade) {
		t.Errorf("shorter than said: got %v", err)
	}
}

func TestDowngrade_Corpus(t *testing.T) {
	done := 0
	for _, name := range corpus(t) {
		raw := read(t, name)
		out, err := downgrade(t, raw)
		if err == nil {
			checkDowngraded(t, raw, out)
			done++
		}
	}
	if done < 250 {
		t.Errorf("only %d messages have a 7-bit form", done)
	}
}

// TestDowngrade_Model makes messages of parts with any content.
func TestDowngrade_Model(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"\r\n", "\r\n", "\r\n", " ", "\t", "\r", "\n", "ü", "\xff", "\x00", "=", "=3D", "--b1", "-", "--b2--", ".", "From ", "word", strings.Repeat("x", 400), " \r\n",
	})
	content := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(piece, 0, 25).Draw(t, "content"), "")
	})
	types := rapid.SampledFrom([]string{"text/plain", "text/html; charset=utf-8", "image/png", "application/pdf", "message/delivery-status"})
	labels := rapid.SampledFrom([]string{"", "7bit", "8bit", "binary", "base64", "quoted-printable", "8Bit (really)"})
	var part func(t *rapid.T, depth int) string
	part = func(t *rapid.T, depth int) string {
		head := ""
		if l := labels.Draw(t, "label"); l != "" {
			head = "Content-Transfer-Encoding: " + l + "\r\n"
		}
		kind := 0
		if depth > 0 {
			kind = rapid.IntRange(0, 2).Draw(t, "kind")
		}
		switch kind {
		case 1:
			b := fmt.Sprintf("b%d", depth)
			out := head + "Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n" + content.Draw(t, "preamble")
			for range rapid.IntRange(1, 3).Draw(t, "parts") {
				out += "\r\n--" + b + "\r\n" + part(t, depth-1)
			}
			return out + "\r\n--" + b + "--" + content.Draw(t, "epilogue")
		case 2:
			return head + "Content-Type: message/rfc822\r\n\r\nFrom: a@b.test\r\n" + part(t, depth-1)
		}
		return head + "Content-Type: " + types.Draw(t, "type") + "\r\n\r\n" + content.Draw(t, "body")
	}
	done := 0
	rapid.Check(t, func(t *rapid.T) {
		raw := []byte("Subject: x\r\n" + part(t, 3))
		var out bytes.Buffer
		if err := Downgrade(&out, bytes.NewReader(raw), int64(len(raw))); err != nil {
			if !errors.Is(err, ErrDowngrade) || out.Len() > 0 {
				t.Fatal(err)
			}
			return
		}
		done++
		checkDowngraded(t, raw, out.Bytes())
	})
	if done == 0 {
		t.Error("nothing could be downgraded")
	}
}

// TestQPEncoder_Pieces: the text does not depend on how it was cut, and its
// lines are of a length that readers take.
func TestQPEncoder_Pieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.SampledFrom([]byte("\r\n\r\n \t-=xyü\x00")), 0, 300).Draw(t, "in")
		var out bytes.Buffer
		e := &qpEncoder{w: &out}
		for rest := in; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			e.Write(rest[:n])
			rest = rest[n:]
		}
		e.finish(true)
		d := &qpDecoder{}
		got := d.finish(d.decode(nil, out.Bytes()))
		if !bytes.Equal(got, in) {
			t.Fatalf("%q became %q, by %q", in, got, out.Bytes())
		}
		for line := range bytes.SplitSeq(out.Bytes(), []byte("\r\n")) {
			if len(line) > maxEncodedLine || bytes.HasPrefix(line, []byte("-")) || bytes.HasSuffix(line, []byte(" ")) || bytes.ContainsAny(line, "\r\n") {
				t.Fatalf("line %q", line)
			}
		}
	})
}

// counting counts what is read of a large message that is not in memory.
type large struct{ size int64 }

func (l large) ReadAt(b []byte, off int64) (int, error) {
	const head = "Content-Type: image/png\r\n\r\n"
	n := 0
	for ; n < len(b) && off+int64(n) < l.size; n++ {
		if at := off + int64(n); at < int64(len(head)) {
			b[n] = head[at]
		} else {
			b[n] = 0xfc
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// TestDowngrade_Memory: a large message is not held in memory.
func TestDowngrade_Memory(t *testing.T) {
	const size = 16 << 20
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if err := Downgrade(io.Discard, large{size}, size); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("got %d octets for a message of %d", allocated, size)
	}
}

func FuzzDowngrade(f *testing.F) {
	for _, name := range corpus(f) {
		if b, err := os.ReadFile(name); err == nil && len(b) < 4000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if out, err := downgrade(t, raw); err == nil {
			checkDowngraded(t, raw, out)
		}
	})
}
