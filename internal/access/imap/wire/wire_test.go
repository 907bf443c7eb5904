package wire

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScanner_Elements(t *testing.T) {
	s := NewScanner([]byte("a1 LOGIN \"a\\\"b\" {3}\r\nx y ~) NIL 42 (\\Seen $Junk)\r\n"))
	if got := s.Tag(); got != "a1" {
		t.Errorf("tag %q", got)
	}
	s.SP()
	if got := s.Keyword(); got != "LOGIN" {
		t.Errorf("keyword %q", got)
	}
	s.SP()
	if got := s.AString(); got != `a"b` {
		t.Errorf("quoted %q", got)
	}
	s.SP()
	if got := s.AString(); got != "x y" {
		t.Errorf("literal %q", got)
	}
	s.SP()
	if got := s.Atom(); got != "~" {
		t.Errorf("atom %q", got)
	}
	s.Byte(')')
	s.SP()
	if _, ok := s.NString(); ok {
		t.Error("NIL read as a string")
	}
	s.SP()
	if got := s.Number(); got != 42 {
		t.Errorf("number %d", got)
	}
	s.SP()
	if got := s.FlagList(); !slices.Equal(got, []string{`\Seen`, "$Junk"}) {
		t.Errorf("flags %q", got)
	}
	s.End()
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestScanner_Refuses(t *testing.T) {
	tests := []struct {
		name, in string
		read     func(*Scanner)
	}{
		{"nul in quoted", "\"a\x00b\"", func(s *Scanner) { _ = s.String() }},
		{"line break in quoted", "\"a\r\nb\"", func(s *Scanner) { _ = s.String() }},
		{"open quote", `"abc`, func(s *Scanner) { _ = s.String() }},
		{"escaped letter", `"a\n"`, func(s *Scanner) { _ = s.String() }},
		{"escape at the end", `"a\`, func(s *Scanner) { _ = s.String() }},
		{"latin-1 in quoted", "\"a\xe9\"", func(s *Scanner) { _ = s.String() }},
		{"nul in literal", "{3}\r\na\x00b", func(s *Scanner) { _ = s.String() }},
		{"short literal", "{30}\r\nab", func(s *Scanner) { _ = s.String() }},
		{"literal8", "~{2}\r\nab", func(s *Scanner) { _ = s.String() }},
		{"number too large", "4294967296", func(s *Scanner) { s.Number() }},
		{"number64 too large", "9223372036854775808", func(s *Scanner) { s.Number64() }},
		{"zero", "0", func(s *Scanner) { s.NonZero() }},
		{"tag with plus", "+", func(s *Scanner) { s.Tag() }},
		{"empty atom", "", func(s *Scanner) { s.Atom() }},
		{"brace in atom", "{", func(s *Scanner) { s.Atom() }},
		{"flag star", `\*`, func(s *Scanner) { s.Flag() }},
		{"open list", `(\Seen`, func(s *Scanner) { s.FlagList() }},
		{"two spaces in list", `(\Seen  \Draft)`, func(s *Scanner) { s.FlagList() }},
		{"trailing", "x\r\n", func(s *Scanner) { s.End() }},
		{"after the end", "\r\nx", func(s *Scanner) { s.End() }},
	}
	for _, tt := range tests {
		s := NewScanner([]byte(tt.in))
		tt.read(s)
		if s.Err() == nil {
			t.Errorf("%s: read %q without an error", tt.name, tt.in)
		}
		pos := s.Pos()
		s.Atom()
		s.SP()
		if s.Pos() != pos {
			t.Errorf("%s: moved after its error", tt.name)
		}
	}
}

func TestParseLiteral_Forms(t *testing.T) {
	tests := []struct {
		line string
		want Literal
		ok   bool
	}{
		{"a LOGIN {5}\r\n", Literal{Start: 8, Size: 5}, true},
		{"a LOGIN {5+}\r\n", Literal{Start: 8, Size: 5, Plus: true}, true},
		{"a APPEND x ~{5}\r\n", Literal{Start: 11, Size: 5, Binary: true}, true},
		{"a APPEND x (~{5+}\n", Literal{Start: 12, Size: 5, Plus: true, Binary: true}, true},
		{"a~{5}\r\n", Literal{Start: 2, Size: 5}, true},
		{"a LOGIN {}\r\n", Literal{}, false},
		{"a LOGIN {5}", Literal{}, false},
		{"a LOGIN {5-}\r\n", Literal{}, false},
		{"a LOGIN 5}\r\n", Literal{}, false},
		{"{9999999999999999999}\r\n", Literal{}, false},
		{"", Literal{}, false},
		{"\r\n", Literal{}, false},
	}
	for _, tt := range tests {
		got, ok := ParseLiteral([]byte(tt.line))
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("ParseLiteral(%q) = %+v, %v; want %+v, %v", tt.line, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSet_Resolve(t *testing.T) {
	tests := []struct {
		in      string
		largest uint32
		want    []Range
	}{
		{"1:3,5", 10, []Range{{1, 3}, {5, 5}}},
		{"*", 10, []Range{{10, 10}}},
		{"*", 0, []Range{}},
		{"5:*", 3, []Range{{3, 5}}},
		{"*:1", 3, []Range{{1, 3}}},
		{"1:*", 0, []Range{{1, 1}}},
		{"3,1,2,2,7:6", 9, []Range{{1, 3}, {6, 7}}},
		{"4294967295,4294967294", 9, []Range{{4294967294, 4294967295}}},
		{"1:4294967295,7", 9, []Range{{1, 4294967295}}},
	}
	for _, tt := range tests {
		set, err := ParseSet([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := set.Resolve(tt.largest); !slices.Equal(got, tt.want) {
			t.Errorf("%s resolved with %d: %v, want %v", tt.in, tt.largest, got, tt.want)
		}
	}
	for _, bad := range []string{"", "0", "1:", ",", "1,,2", "a", "1:2:3", "1 ", "$,1", "4294967296"} {
		if set, err := ParseSet([]byte(bad)); err == nil {
			t.Errorf("ParseSet(%q) = %v", bad, set)
		}
	}
}

func TestAppendNumbers_Shortest(t *testing.T) {
	got := AppendNumbers(nil, []uint32{1, 2, 3, 5, 7, 8})
	if string(got) != "1:3,5,7:8" {
		t.Errorf("%s", got)
	}
}

func TestDecodeUTF7_Canonical(t *testing.T) {
	good := map[string]string{
		"INBOX":                  "INBOX",
		"a&-b":                   "a&b",
		"~peter/mail/&U,BTFw-":   "~peter/mail/台北",
		"&ZeVnLIqe-/&ZeVnLIqe-x": "日本語/日本語x",
		"&2D3eAA-":               "😀",
	}
	for in, want := range good {
		got, err := DecodeUTF7(in)
		if err != nil || got != want {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want %q", in, got, err, want)
		}
		if back := string(AppendUTF7(nil, want)); back != in {
			t.Errorf("AppendUTF7(%q) = %q, want %q", want, back, in)
		}
	}
	for _, bad := range []string{"&", "&U", "&AGE-", "&2D0-", "&3gA-", "&U,BTFw-&ZeVnLIqe-", "é", "a\x01", "&AA-", "&ZeVnLIqf-&"} {
		if got, err := DecodeUTF7(bad); err == nil {
			t.Errorf("DecodeUTF7(%q) = %q", bad, got)
		}
	}
}

func TestDates_RoundTrip(t *testing.T) {
	zone := time.FixedZone("", -(5*3600 + 30*60))
	want := time.Date(2026, 2, 1, 3, 4, 5, 0, zone)
	text := AppendDateTime(nil, want)
	if string(text) != `" 1-Feb-2026 03:04:05 -0530"` {
		t.Errorf("printed %s", text)
	}
	got, err := ParseDateTime(text)
	if err != nil || !got.Equal(want) {
		t.Errorf("read back %v, %v", got, err)
	}
	for _, bad := range []string{
		"31-Feb-2026", "0-Jan-2026", "1-Foo-2026", "1-Jan-26", "", "1-Jan-2026x", `"1-Jan-2026`,
	} {
		if d, err := ParseDate([]byte(bad)); err == nil {
			t.Errorf("ParseDate(%q) = %v", bad, d)
		}
	}
	for _, bad := range []string{
		`" 1-Feb-2026 24:00:00 +0000"`, `" 1-Feb-2026 03:04:05 0000"`, `" 1-Feb-2026"`, `" 1-Feb-2026 03:04:05 +0060"`,
	} {
		if d, err := ParseDateTime([]byte(bad)); err == nil {
			t.Errorf("ParseDateTime(%q) = %v", bad, d)
		}
	}
	a, _ := ParseDate([]byte("28-Feb-2026"))
	b, _ := ParseDate([]byte(`"1-mar-2026"`))
	if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
		t.Error("order of dates")
	}
}

func TestAString_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.ByteRange(1, 255)).Draw(t, "v")
		v := string(raw)
		line := append(AppendAString(nil, v), '\r', '\n')
		s := NewScanner(line)
		got := s.AString()
		s.End()
		if s.Err() != nil || got != v {
			t.Fatalf("%q printed as %q, read as %q, %v", v, line, got, s.Err())
		}
	})
}

func TestAppendString_LongBecomesLiteral(t *testing.T) {
	v := strings.Repeat("x", quotedMax+1)
	if got := AppendString(nil, v, true); !bytes.HasPrefix(got, []byte("{1001}\r\nx")) {
		t.Errorf("%.20q", got)
	}
	if got := AppendString(nil, "é", false); string(got) != "{2}\r\né" {
		t.Errorf("%q", got)
	}
	if got := AppendString(nil, "a\x00b\r", false); string(got) != "{4}\r\na b\r" {
		t.Errorf("%q", got)
	}
}

func FuzzParseLiteral(f *testing.F) {
	for _, seed := range []string{"a {5}\r\n", "~{5+}\n", "{}\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lit, ok := ParseLiteral(b)
		if ok && (lit.Start < 0 || lit.Start >= len(b) || lit.Size < 0) {
			t.Fatalf("%q: %+v", b, lit)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	for _, seed := range []string{"1:*", "1,2,3:7", "$", "*:4294967295"} {
		f.Add([]byte(seed), uint32(10))
	}
	f.Fuzz(func(t *testing.T, b []byte, largest uint32) {
		set, err := ParseSet(b)
		if err != nil {
			return
		}
		again, err := ParseSet(AppendSet(nil, set))
		if err != nil || again.Saved != set.Saved || !slices.Equal(again.Ranges, set.Ranges) {
			t.Fatalf("%q: %v, then %v, %v", b, set, again, err)
		}
		rs := set.Resolve(largest)
		for i, r := range rs {
			if r.First == 0 || r.First > r.Last || i > 0 && r.First <= rs[i-1].Last {
				t.Fatalf("%q resolved to %v", b, rs)
			}
			if !Contains(rs, r.First) || !Contains(rs, r.Last) {
				t.Fatalf("%v lacks its own ends", rs)
			}
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add([]byte("1-Feb-2026"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDate(b)
		if err != nil {
			return
		}
		again, err := ParseDate(AppendDate(nil, d))
		if err != nil || again != d {
			t.Fatalf("%q: %v, then %v, %v", b, d, again, err)
		}
	})
}

func FuzzParseDateTime(f *testing.F) {
	f.Add([]byte(`" 1-Feb-2026 03:04:05 -0530"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDateTime(b)
		if err != nil {
			return
		}
		again, err := ParseDateTime(AppendDateTime(nil, d))
		if err != nil || !again.Equal(d) {
			t.Fatalf("%q: %v, then %v, %v", b, d, again, err)
		}
	})
}

func FuzzDecodeUTF7(f *testing.F) {
	for _, seed := range []string{"a&-b", "&ZeVnLIqe-", "&2D3eAA-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b string) {
		name, err := DecodeUTF7(b)
		if err != nil {
			return
		}
		if back := string(AppendUTF7(nil, name)); back != b {
			t.Fatalf("%q is %q, printed %q", b, name, back)
		}
	})
}
