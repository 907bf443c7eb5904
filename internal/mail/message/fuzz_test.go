package message

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
)

// FuzzParse holds any bytes, cut anywhere, to what Message promises.
func FuzzParse(f *testing.F) {
	for i, name := range corpus(f) {
		if b, err := os.ReadFile(name); err == nil && len(b) < 4000 {
			f.Add(b, uint16(i))
		}
	}
	f.Add(nestedMultiparts(3000), uint16(7))
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		m := Parse(raw)
		checkMessage(t, raw, m)
		if got := parsePieces(raw, int(cut)%97+1); !reflect.DeepEqual(got, m) {
			t.Fatalf("in pieces of %d:\n%s\nwhole:\n%s", int(cut)%97+1, describe(got), describe(m))
		}
		small := parseLimited(raw, Limits{Depth: 2, Parts: 5, HeaderBytes: 200})
		checkMessage(t, raw, small)
		if depth(small.Root) > 3 || count(small.Root) > 5+1+3 {
			t.Fatalf("limits exceeded:\n%s", describe(small))
		}
		DiagnoseMIME(raw)
	})
}

func FuzzPartText(f *testing.F) {
	f.Add("text/plain; charset=utf-8", "quoted-printable", []byte("a=3D=\r\nb \r\n"))
	f.Add("text/html; charset=iso-2022-jp", "base64", []byte("GyRCJCIbKEI="))
	f.Add("text/plain; charset=utf-7", "7bit", []byte("a+AOQ-b"))
	f.Add("text/plain; charset=gb18030", "8bit", []byte("\x81\x30\x81\x30"))
	f.Fuzz(func(t *testing.T, typ, encoding string, body []byte) {
		raw := append([]byte("Content-Type: "+typ+"\r\nContent-Transfer-Encoding: "+encoding+"\r\n\r\n"), body...)
		p := Parse(raw).Root
		decoded, err := io.ReadAll(p.Decode(bytes.NewReader(raw)))
		if err != nil || int64(len(decoded)) > p.Size() {
			t.Fatalf("%d bytes of %d, %v", len(decoded), p.Size(), err)
		}
		text, err := io.ReadAll(p.Text(bytes.NewReader(raw)))
		if err != nil || len(text) > 8*len(decoded)+16 {
			t.Fatalf("%d bytes of text of %d, %v", len(text), len(decoded), err)
		}
	})
}

func FuzzFields(f *testing.F) {
	f.Add([]byte("a: b\r\n c\r\nd:e\n\nrest"))
	f.Fuzz(func(t *testing.T, header []byte) {
		n := 0
		for field := range Fields(header) {
			n += len(field.Raw)
			if field.Name == "" || !bytes.HasPrefix(field.Raw, []byte(field.Name)) {
				t.Fatalf("%q is not the name of %q", field.Name, field.Raw)
			}
			checkStrings(t, []string{field.Value()})
		}
		if n > len(header) {
			t.Fatalf("%d bytes of fields in %d", n, len(header))
		}
	})
}

func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"example.com", "bücher.example", "xn--bcher-kva.example", "a..b", "日本語。jp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDomain(s)
		if err != nil {
			if !errors.Is(err, ErrDomain) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseDomain(string(d)); err != nil || again != d || len(d) > maxDomainLen || !isASCII(string(d)) {
			t.Fatalf("%q: %q, then %q, %v", s, d, again, err)
		}
		d.Unicode()
	})
}

func FuzzParseLiteral(f *testing.F) {
	f.Add("[192.0.2.1]")
	f.Add("[IPv6:2001:db8::1]")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseLiteral(s)
		if err != nil {
			return
		}
		again, err := ParseLiteral(string(d))
		if _, ok := d.Literal(); err != nil || again != d || !ok {
			t.Fatalf("%q: %q, then %q, %v", s, d, again, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a \" b"@x.example`, "a@[192.0.2.1]", "jürgen@bücher.example", ".a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if r := DiagnoseAddress(s); r.Valid != (err == nil) || r.Valid == (r.Error != "") {
			t.Fatalf("%+v, %v", r, err)
		}
		if err != nil {
			return
		}
		out := a.String()
		if again, err := ParseAddress(out); err != nil || again != a {
			t.Fatalf("%q: %+v, %q, then %+v, %v", s, a, out, again, err)
		}
		if strings.ContainsAny(out, "\r\n\x00") || a.IsZero() {
			t.Fatalf("%q: %q", s, out)
		}
	})
}

func FuzzParseAddressList(f *testing.F) {
	for _, s := range []string{`"Doe, Joe" <joe@example.com>, g: a@x, b@y;`, "<@a,@b:c@d> (e)", "a@b@c <d", "=?utf-8?q?a,b?= <x@y>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := ParseAddressList(s)
		checkAddresses(t, list)
		n := 0
		for _, a := range list {
			n += len(a.Route) + len(strings.ReplaceAll(a.Mailbox, MissingMailbox, "")) + len(strings.ReplaceAll(a.Host, MissingHost, ""))
		}
		if n > 2*len(s) || len(list) > maxAddresses {
			t.Fatalf("%d bytes, %d addresses out of %d", n, len(list), len(s))
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(everything().AppendBinary(nil))
	f.Add(Parse(mixedMail(1000)).AppendBinary(nil))
	f.Add(Parse(nestedMultiparts(1000)).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) { checkDecoded(t, b) })
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add(everything().AppendBinary(nil))
	f.Add(Parse(mixedMail(1000)).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _ := DecodeMessage(b)
		checkEnvelopeAlone(t, b, m)
	})
}

func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a=C3=BC?= =?utf-8?b?w7w=?= x", "=?iso-2022-jp?b?GyRCJCIbKEI=?=", "=?utf-7?q?+AOQ-?=", "=?=?a?q?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeHeader(s)
		checkText(t, got)
		if len(got) > 8*len(s)+16 {
			t.Fatalf("%d bytes out of %d", len(got), len(s))
		}
	})
}

func FuzzDecodeParam(f *testing.F) {
	f.Add(`x; name*0*=utf-8''%C3; name*1*=%BC; name="=?utf-8?q?a?="`)
	f.Fuzz(func(t *testing.T, s string) {
		s = unfold([]byte(s))
		_, params, _ := parseDisposition(s)
		got := DecodeParam(params, "name")
		checkText(t, got)
		if len(params) > maxParams || len(got) > 8*len(s)+16 {
			t.Fatalf("%d parameters, %d bytes out of %d", len(params), len(got), len(s))
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("Fri, 21 Nov 1997 09:55:06 -0600")
	f.Add("Fri Nov 21 09:55:06 1997")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDate(s)
		if err != nil {
			if !errors.Is(err, ErrDate) {
				t.Fatal(err)
			}
			return
		}
		const layout = "Mon, 02 Jan 2006 15:04:05 -0700"
		if again, err := ParseDate(d.Format(layout)); d.Year() >= 1000 && (err != nil || !again.Equal(d)) {
			t.Fatalf("%q: %v, then %v, %v", s, d, again, err)
		}
	})
}
