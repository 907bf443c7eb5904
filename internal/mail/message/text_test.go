package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeHeader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain text", "plain text"},
		{"=?utf-8?Q?J=C3=BCrgen?=", "Jürgen"},
		{"=?UTF-8?b?SsO8cmdlbg==?=", "Jürgen"},
		{"=?iso-8859-1*de?q?J=FCrgen?=", "Jürgen"},
		{"=?utf-8?q?a_b?= c", "a b c"},
		{"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?=  \t =?iso-8859-1?q?=FC?=", "aü"},
		{"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"},
		{"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"},                 // a character in two words
		{"=?utf-8?b?w7z=?= =?utf-8?b?w7w=?=", "üü"},              // base64 with a bad end
		{"=?iso-2022-jp?B?GyRCJCIbKEI=?=", "あ"},                  // RFC 1468
		{"=?gb2312?B?xOPB+Q==?=", "你六"},                          // GBK in fact
		{"=?koi8-r?q?=D4=C5=D3=D4?=", "тест"},                    //
		{"=?utf-7?q?+APw-?=", "ü"},                               // RFC 2152
		{"=?cp437?q?=81?=", "ü"},                                 // not in the HTML list
		{"=?x-nobody?q?J=FCrgen?=", "Jürgen"},                    // unknown charset
		{"=?us-ascii?q?J=C3=BCrgen?=", "Jürgen"},                 // mislabelled
		{"x=?utf-8?q?=C3=BC?=y", "xüy"},                          // not apart
		{"=?utf-8?q?hello world?=", "hello world"},               // white space in a word
		{"=?utf-8?q?=41?=", "A"},                                 // "?=" right after the encoding's "?"
		{"=?utf-8?q?100%=?=", "100%="},                           // bad escape
		{"=?utf-8?q??=", ""},                                     // empty word
		{"=?utf-8?x?abc?=", "=?utf-8?x?abc?="},                   // unknown encoding
		{"=?utf-8?q?abc", "=?utf-8?q?abc"},                       // no end
		{"=??q?abc?=", "=??q?abc?="},                             // no charset
		{"=?=?utf-8?q?a?=", "=?a"},                               // a false start
		{"Jürgen", "Jürgen"},                                     // RFC 6532
		{"J\xfcrgen", "Jürgen"},                                  // 8 bit
		{"=?utf-8?q?a=0D=0AInjected:_x=00?=", "a  Injected: x "}, // no line ends get through
		{"a\x1b[31mb", "a [31mb"},
		{"=?utf-8?q?=FF?=", "\ufffd"},
	} {
		got := DecodeHeader(c.in)
		checkText(t, got)
		if got != c.want {
			t.Errorf("DecodeHeader(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestDecodeParam(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{`attachment; filename=plain.txt`, "plain.txt"},
		{`attachment; filename="with \"quotes\".txt"`, `with "quotes".txt`},
		{`attachment; FileName=Plain.txt`, "Plain.txt"},
		{`attachment; filename=with space (1).txt; x=y`, "with space (1).txt"},
		{`attachment; filename=two words size=3`, "two words"},
		{`attachment filename=x.txt`, "x.txt"},
		{`attachment; filename="no end`, "no end"},
		{`attachment; filename*=utf-8'de'J%C3%BCrgen.txt`, "Jürgen.txt"},
		{`attachment; filename*=iso-8859-1''J%FCrgen.txt`, "Jürgen.txt"},
		{`attachment; filename*=%41.txt`, "A.txt"},
		{`attachment; filename*0=a; filename*1=b; filename*2=.txt`, "ab.txt"},
		{`attachment; filename*1=b; filename*0=a`, "ab"},
		{`attachment; filename*0*=utf-8''%C3; filename*1*=%BC; filename*2=%41`, "ü%41"},
		{`attachment; filename*0=a; filename*2=c`, "a"},
		{`attachment; filename*1=b`, ""},
		{`attachment; filename=old.txt; filename*=utf-8''new.txt`, "new.txt"},
		{`attachment; filename="=?utf-8?q?J=C3=BCrgen.txt?="`, "Jürgen.txt"},
		{"attachment; filename=\"J\xfcrgen.txt\"", "Jürgen.txt"},
		{`attachment; filename*=utf-8''a%0D%0Ab`, "a  b"},
		{`attachment; filename*=utf-8''100%; x=y`, "100%"},
		{`attachment; filenames=x; filename**=y; filename*x=z; filename*99999=w`, ""},
		{`attachment`, ""},
	} {
		_, params, _ := parseDisposition(c.header)
		if got := DecodeParam(params, "filename"); got != c.want {
			t.Errorf("%s: %q, want %q", c.header, got, c.want)
		}
	}
}

func TestParseContentType(t *testing.T) {
	for _, c := range []struct {
		in, typ string
		params  []Param
	}{
		{"text/plain", "text/plain", nil},
		{"TEXT/HTML; Charset=UTF-8", "text/html", []Param{{"charset", "UTF-8"}}},
		{"text/plain; charset=us-ascii (Plain text)", "text/plain", []Param{{"charset", "us-ascii"}}},
		{"(c) text (c) / (c) plain (c) ; (c) a (c) = (c) b", "text/plain", []Param{{"a", "b"}}},
		{"text/plain charset=utf-8", "text/plain", []Param{{"charset", "utf-8"}}},
		{"text/plain; charset=utf-8 format=flowed", "text/plain", []Param{{"charset", "utf-8"}, {"format", "flowed"}}},
		{"text/plain;;; ;charset = utf-8;", "text/plain", []Param{{"charset", "utf-8"}}},
		{`text/plain; a="b;c=d"; e=`, "text/plain", []Param{{"a", "b;c=d"}, {"e", ""}}},
		{"text/plain; junk; a=b; =c; more junk", "text/plain", []Param{{"a", "b"}}},
		{"text/plain; a=b (open", "text/plain", []Param{{"a", "b"}}},
		{"image/png", "image/png", nil},
		{"text", "text/plain", nil},
		{"multipart; boundary=x", "multipart/mixed", []Param{{"boundary", "x"}}},
		{"image; a=b", "text/plain", nil},
		{"/png", "text/plain", nil},
		{"téxt/plain", "text/plain", nil},
		{"", "text/plain", nil},
	} {
		typ, sub, params, _, _ := parseContentType(c.in)
		if diff := cmp.Diff(c.params, params); typ+"/"+sub != c.typ || diff != "" {
			t.Errorf("%q: %s/%s (-want +got)\n%s", c.in, typ, sub, diff)
		}
	}
}

func TestParseEncodingAndLanguage(t *testing.T) {
	for in, want := range map[string]string{
		"BASE64": "base64", "base64;": "base64", "quoted-printable (c)": "quoted-printable", "quoted printable": "quoted-printable",
		"7-bit": "7bit", "8bits": "8bit", "x-uuencode": "x-uuencode", "": "", "binary": "binary", "7bit junk": "7bit",
	} {
		if got := parseEncoding(in); got != want {
			t.Errorf("parseEncoding(%q) = %q, want %q", in, got, want)
		}
	}
	if diff := cmp.Diff([]string{"en", "de-AT", "x"}, parseLanguages("en, de-AT (Austria),, x )(")[:3]); diff != "" {
		t.Error(diff)
	}
	if n := len(parseLanguages(strings.Repeat("a,", 1000))); n != maxLanguages {
		t.Errorf("%d languages", n)
	}
}

func leaf(headers, body string) (*Part, []byte) {
	raw := []byte(strings.ReplaceAll(headers, "\n", "\r\n") + "\r\n" + body)
	return Parse(raw).Root, raw
}

func TestPart_Text(t *testing.T) {
	const b64 = "Content-Transfer-Encoding: base64\n"
	const qp = "Content-Transfer-Encoding: quoted-printable\n"
	const utf8 = "Content-Type: text/plain; charset=utf-8\n"
	for _, c := range []struct{ name, headers, body, want string }{
		{"identity", "", "a\r\nb", "a\r\nb"},
		{"base64", b64, "SGVs\r\nbG8=\r\n", "Hello"},
		{"base64 without padding", b64, "SGVsbG8", "Hello"},
		{"base64 with junk", b64, "SG!Vs\x00 bG\r\n8=", "Hello"},
		{"base64 joined", b64, "SGVsbG8=SGVsbG8=", "HelloHello"},
		{"base64 one digit too many", b64, "SGVsbG8=S", "Hello"},
		{"base64 padding only", b64, "====", ""},
		{"qp", qp, "a=3Db=\r\nc", "a=bc"},
		{"qp lower case", qp, "=3d=e4", "=ä"},
		{"qp soft break with blanks", qp, "a= \t\r\nb", "ab"},
		{"qp soft break LF", qp, "a=\nb", "ab"},
		{"qp blanks before the line end", qp, "a \t\r\nb", "a\r\nb"},
		{"qp blanks before a soft break", qp, "a =\r\nb", "a b"},
		{"qp blanks at the end", qp, "a \t", "a"},
		{"qp bad escapes", qp, "=x =4 =4x =\x00 ==41", "=x =4 =4x =\x00 =A"},
		{"qp escape at the end", qp, "a=4", "a=4"},
		{"qp equals at the end", qp, "a=", "a"},
		{"qp bare CR", qp, "a\rb\r", "a\rb\r"},
		{"qp escape at a line end", qp, "a=4\r\nb", "a=4\r\nb"},
		{"qp long blanks", qp, "a" + strings.Repeat(" ", 3*maxBlanks) + "b", "a" + strings.Repeat(" ", 3*maxBlanks) + "b"},
		{"latin 1", "Content-Type: text/plain; charset=iso-8859-1\n", "J\xfcrgen \x80", "Jürgen €"},
		{"utf-8 wrong", utf8, "J\xfcrgen", "J\ufffdrgen"},
		{"none", "", "Jürgen J\xfcrgen", "Jürgen Jürgen"},
		{"unknown", "Content-Type: text/plain; charset=klingon\n", "J\xfcrgen", "Jürgen"},
		{"shift_jis", "Content-Type: text/plain; charset=Shift_JIS\n", "\x82\xa0", "あ"},
		{"utf-16", "Content-Type: text/plain; charset=utf-16\n" + b64, "AGEAYg==", "ab"},
		{"utf-16 with mark", "Content-Type: text/plain; charset=utf-16\n" + b64, "//5hAGIA", "ab"},
		{"utf-7", "Content-Type: text/plain; charset=utf-7\n", "a+AOQ-b+-c+2D3eAA-+2D0-!+AOQ", "aäb+c\U0001f600\ufffd!ä"},
		{"hz", "Content-Type: text/plain; charset=hz-gb-2312\n", "~{<:Ky~}", "己所"},
		{"not text", "Content-Type: image/png; charset=utf-16\n", "ab", "ab"},
	} {
		p, raw := leaf(c.headers, c.body)
		for _, wrap := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader,
		} {
			got, err := io.ReadAll(wrap(p.Text(bytes.NewReader(raw))))
			if err != nil || string(got) != c.want {
				t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
			}
		}
	}
}

// TestDecoders_Pieces feeds the decoders in every possible pair of pieces.
func TestDecoders_Pieces(t *testing.T) {
	for body, fresh := range map[string]func() decoder{
		"SG!Vs\r\nbG8=SGVsbG8=Zg":                        func() decoder { return &base64Decoder{} },
		"a =3D=\r\n= \t\r\n \t\r\nb=4=\r\n=4x\r\r\n c =": func() decoder { return &qpDecoder{} },
	} {
		d := fresh()
		want := d.finish(d.decode(nil, []byte(body)))
		for i := range body {
			d := fresh()
			got := d.finish(d.decode(d.decode(nil, []byte(body[:i])), []byte(body[i:])))
			if !bytes.Equal(got, want) {
				t.Errorf("cut at %d: %q, whole: %q", i, got, want)
			}
		}
	}
}

func TestPart_DecodeError(t *testing.T) {
	p, raw := leaf("Content-Transfer-Encoding: base64\n", strings.Repeat("QUJD", 10000))
	r := p.Decode(iotestReaderAt{raw[:len(raw)-8000]})
	got, err := io.ReadAll(r)
	if err != iotest.ErrTimeout || len(got) == 0 || len(got)%3 != 0 {
		t.Errorf("%d bytes, %v; want what was readable and the reader's error", len(got), err)
	}
}

// iotestReaderAt fails beyond its bytes.
type iotestReaderAt struct{ b []byte }

func (r iotestReaderAt) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(r.b)) {
		return 0, iotest.ErrTimeout
	}
	n := copy(b, r.b[off:])
	if n < len(b) {
		return n, iotest.ErrTimeout
	}
	return n, nil
}

func TestFields(t *testing.T) {
	header := "junk\r\n folded junk\r\nSubject: one\r\n two\r\n\tthree\r\nEmpty:\r\nObs \t: x\ry\x00z\nno colon\nLast: \r\n\r\nBody: no\r\n"
	var got []string
	for f := range Fields([]byte(header)) {
		got = append(got, f.Name, string(f.Raw), f.Value())
	}
	want := []string{
		"Subject", "Subject: one\r\n two\r\n\tthree\r\n", "one two\tthree",
		"Empty", "Empty:\r\n", "",
		"Obs", "Obs \t: x\ry\x00z\n", "x y z",
		"Last", "Last: \r\n", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for f := range Fields([]byte("a: b\r\nc: d")) {
		if !f.Is("A") || f.Is("ab") {
			t.Error("Is")
		}
		break // must not run on
	}
}
