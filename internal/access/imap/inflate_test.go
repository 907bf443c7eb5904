package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestInflate_PartialFlush feeds what zlib makes of a command with Z_PARTIAL_FLUSH
// and nothing behind it, as mbsync does: all of it must come out.
func TestInflate_PartialFlush(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"partial flush", "\x32\x56\xf0\x73\xf4\x75\x0d\x0e\x70\x74\x76\xe5\xe5\x02\x04", "3 NAMESPACE\r\n"},
		{"sync flush", "\x32\x56\xf0\x73\xf4\x75\x0d\x0e\x70\x74\x76\xe5\xe5\x02\x00\x00\x00\xff\xff", "3 NAMESPACE\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			starved := errors.New("nothing more to read")
			src := bufio.NewReader(io.MultiReader(bytes.NewReader([]byte(tt.in)), failing{starved}))
			f := newInflater(src)
			got := make([]byte, 100)
			n, err := f.Read(got)
			if err != nil || string(got[:n]) != tt.want {
				t.Errorf("got %q, %v", got[:n], err)
			}
			if left := src.Buffered(); left > 0 {
				t.Errorf("%d bytes of the flush are left unread", left)
			}
			if n, err := f.Read(got); n != 0 || !errors.Is(err, starved) {
				t.Errorf("then %q, %v", got[:n], err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestInflate_Everything reads back what compress/flate writes of many kinds of
// data, at all levels, with flushes in between.
func TestInflate_Everything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	kinds := map[string]func(n int) []byte{
		"zeros":  func(n int) []byte { return make([]byte, n) },
		"random": func(n int) []byte { return letters(r, n, 256) },
		"text":   func(n int) []byte { return letters(r, n, 20) },
		"repeats": func(n int) []byte {
			return bytes.Repeat([]byte("From: a@b\r\nTo: c@d\r\n"), n/20+1)[:n]
		},
	}
	for name, make := range kinds {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			for _, n := range []int{0, 1, 100, inflateWindow, 3*inflateWindow + 7} {
				want := make(n)
				var buf bytes.Buffer
				w, err := flate.NewWriter(&buf, level)
				if err != nil {
					t.Fatal(err)
				}
				half := n / 2
				writeAll(t, w, want[:half], true)
				writeAll(t, w, want[half:], false)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(newInflater(bufio.NewReader(&buf)))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, level %d, %d bytes: %d bytes back, %v", name, level, n, len(got), err)
				}
			}
		}
	}
}

func letters(r *rand.Rand, n, alphabet int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(alphabet))
	}
	return b
}

func writeAll(t *testing.T, w *flate.Writer, b []byte, flush bool) {
	t.Helper()
	_, err := w.Write(b)
	if err == nil && flush {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestInflate_RefusesWhatIsMalformed(t *testing.T) {
	tests := map[string]string{
		"block type 3":              "\x07",
		"stored length":             "\x00\x01\x00\x00\x00",
		"distance before the start": "\x4b\x04\x42\x00",
	}
	for name, in := range tests {
		got, err := io.ReadAll(newInflater(bufio.NewReader(strings.NewReader(in))))
		if err == nil {
			t.Errorf("%s: gave %q", name, got)
		}
	}
}

// FuzzInflater compares with compress/flate on any bytes: what that one can read
// to the end, ours reads the same.
func FuzzInflater(f *testing.F) {
	f.Add([]byte("\x32\x56\xf0\x73\xf4\x75\x0d\x0e\x70\x74\x76\xe5\xe5\x02\x04"))
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("1 FETCH 1:* FLAGS\r\n"), 30)); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	const most = 1 << 20 // DEFLATE grows a thousandfold
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), most))
		got, err := io.ReadAll(io.LimitReader(newInflater(bufio.NewReader(bytes.NewReader(in))), most))
		if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%d bytes, %v; compress/flate gives %d", len(got), err, len(want))
		}
	})
}
