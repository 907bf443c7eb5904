package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// sent is what a wireWriter makes of a message that comes in chunks.
func sent(t *testing.T, message string, chunk, top int) string {
	t.Helper()
	var out bytes.Buffer
	w := wireWriter{w: bufio.NewWriter(&out), top: top}
	for b := []byte(message); len(b) > 0; {
		n := min(chunk, len(b))
		if _, err := w.Write(b[:n]); errors.Is(err, errEnough) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	w.w.Flush()
	return out.String()
}

func TestWireWriter(t *testing.T) {
	for _, c := range []struct {
		name, message string
		top           int
		want          string
	}{
		{"empty", "", allLines, ".\r\n"},
		{"crlf", "a\r\n\r\nb\r\n", allLines, "a\r\n\r\nb\r\n.\r\n"},
		{"no last line end", "a\r\n\r\nb", allLines, "a\r\n\r\nb\r\n.\r\n"},
		{"ends in CR", "a\r\n\r\nb\r", allLines, "a\r\n\r\nb\r\n.\r\n"},
		{"bare LF", "a\n\nb\n", allLines, "a\r\n\r\nb\r\n.\r\n"},
		{"dot behind a bare LF", "a\n.\nb", allLines, "a\r\n..\r\nb\r\n.\r\n"},
		{"bare CR stays", "a\rb\r\r\nc", allLines, "a\rb\r\r\nc\r\n.\r\n"},
		{"dots", ".\r\n..a\r\nb.\r\n.", allLines, "..\r\n...a\r\nb.\r\n..\r\n.\r\n"},
		{"top 0", "a: b\r\n\r\nbody\r\n", 0, "a: b\r\n\r\n.\r\n"},
		{"top 1", "a: b\r\n\r\n.one\r\ntwo\r\n", 1, "a: b\r\n\r\n..one\r\n.\r\n"},
		{"top past the end", "a: b\r\n\r\none", 5, "a: b\r\n\r\none\r\n.\r\n"},
		{"top of blank lines", "a: b\r\n\r\n\r\n\r\nx\r\n", 2, "a: b\r\n\r\n\r\n\r\n.\r\n"},
		{"top without body", "a: b\r\n", 1, "a: b\r\n.\r\n"},
		{"top with bare LFs", "a: b\n\none\ntwo\n", 1, "a: b\r\n\r\none\r\n.\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for chunk := 1; chunk <= len(c.message)+1; chunk++ {
				if got := sent(t, c.message, chunk, c.top); got != c.want {
					t.Fatalf("in chunks of %d: %q, want %q", chunk, got, c.want)
				}
			}
		})
	}
}

// FuzzWireWriter: whatever is stored, a client that splits at LF and undoes
// the dots gets the stored lines and sees the end at the end, wherever the
// chunks were cut.
func FuzzWireWriter(f *testing.F) {
	f.Add("a: b\r\n\r\n.\r\n..\nx", 3, 1)
	f.Add("\r", 1, 0)
	f.Fuzz(func(t *testing.T, message string, chunk, top int) {
		if chunk < 1 {
			chunk = 1
		}
		all := sent(t, message, chunk, allLines)
		if whole := sent(t, message, len(message)+1, allLines); whole != all {
			t.Fatalf("chunks of %d change the text: %q, %q", chunk, all, whole)
		}
		var want []string
		for line := range strings.Lines(message) {
			line = strings.TrimSuffix(line, "\n")
			want = append(want, strings.TrimSuffix(line, "\r"))
		}
		lines := strings.Split(all, "\n")
		if len(lines) != len(want)+2 || lines[len(want)] != ".\r" || lines[len(want)+1] != "" {
			t.Fatalf("%d lines of %q became %q", len(want), message, all)
		}
		for i, w := range want {
			got, crlf := strings.CutSuffix(lines[i], "\r")
			if !crlf || got == "." || strings.TrimPrefix(got, ".") != w && !(got == w && !strings.HasPrefix(w, ".")) {
				t.Fatalf("line %d of %q was sent as %q", i, message, lines[i])
			}
		}
		if top >= 0 {
			part := strings.TrimSuffix(sent(t, message, chunk, top), ".\r\n")
			if !strings.HasPrefix(all, part) {
				t.Fatalf("top %d of %q is %q", top, message, part)
			}
		}
	})
}

func FuzzReadLine(f *testing.F) {
	f.Add("NOOP\r\nQUIT\n", 20)
	f.Add(strings.Repeat("x", 100)+"\r\nQUIT\r\n", 10)
	f.Fuzz(func(t *testing.T, in string, max int) {
		if max < 1 || max > 1<<16 {
			return
		}
		r := bufio.NewReaderSize(strings.NewReader(in), 16)
		for want := range strings.Lines(in) {
			got, err := readLine(r, max)
			switch text, ended := strings.CutSuffix(want, "\n"); {
			case !ended:
				if err == nil {
					t.Fatalf("unfinished line %q was taken as %q", want, got)
				}
				return
			case len(want) > max:
				if !errors.Is(err, errLineTooLong) {
					t.Fatalf("%d octets were taken, %d are allowed: %v", len(want), max, err)
				}
			case err != nil || got != strings.TrimSuffix(text, "\r"):
				t.Fatalf("line %q was read as %q, %v", want, got, err)
			}
			if keyword, _ := splitCommand(got); strings.Contains(keyword, " ") {
				t.Fatalf("keyword %q", keyword)
			}
		}
	})
}

func TestNumber(t *testing.T) {
	for s, want := range map[string]int{"0": 0, "1": 1, "007": 7, "999999999": 999999999, "": -1, "-1": -1, "+1": -1, "1x": -1, "1000000000": -1, "١": -1} {
		n, ok := number(s)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("number(%q) = %d, want %d", s, n, want)
		}
	}
}
