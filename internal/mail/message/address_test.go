package message

import (
	"errors"
	"strings"
	"testing"
)

func TestParseDomain(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"example.com", "example.com"},
		{"EXAMPLE.Com", "example.com"},
		{"localhost", "localhost"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"日本語。jp", "xn--wgv71a119e.jp"},
		{"straße.de", "xn--strae-oqa.de"},
		{"r3---sn-abc.example", "r3---sn-abc.example"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"1.2.3.4", "1.2.3.4"},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example"},
	} {
		got, err := ParseDomain(c.in)
		if err != nil || string(got) != c.want {
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{
		"", ".", "example.com.", ".example.com", "a..b", "-a.example", "a-.example", "a b.example",
		"[192.0.2.1]", "exa\x00mple", "\xff.example", "a@b", strings.Repeat("a", 64) + ".example",
		strings.Repeat("a.", 127) + "example", strings.Repeat("ü", 5000), "ex\nample.com", "\u202e.example",
	} {
		if got, err := ParseDomain(in); !errors.Is(err, ErrDomain) || got != "" {
			t.Errorf("ParseDomain(%.40q) = %q, %v; want an error", in, got, err)
		}
	}
}

func TestParseLiteral(t *testing.T) {
	for _, c := range []struct{ in, want, ip string }{
		{"[192.0.2.1]", "[192.0.2.1]", "192.0.2.1"},
		{"[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]", "2001:db8::1"},
		{"[ipv6:::ffff:192.0.2.1]", "[ipv6:::ffff:192.0.2.1]", "::ffff:192.0.2.1"},
	} {
		got, err := ParseLiteral(c.in)
		ip, ok := got.Literal()
		if err != nil || string(got) != c.want || !ok || ip.String() != c.ip {
			t.Errorf("ParseLiteral(%q) = %q %v, %v", c.in, got, ip, err)
		}
	}
	for _, in := range []string{"", "[", "[]", "192.0.2.1", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[192.0.2]", "[ipv6:fe80::1%eth0]", "[x:y]"} {
		if got, err := ParseLiteral(in); !errors.Is(err, ErrDomain) {
			t.Errorf("ParseLiteral(%q) = %q, %v; want an error", in, got, err)
		}
	}
	if _, ok := Domain("example.com").Literal(); ok {
		t.Error("a name is no literal")
	}
}

func TestDomain_Unicode(t *testing.T) {
	for in, want := range map[Domain]string{
		"xn--bcher-kva.example": "bücher.example", "example.com": "example.com", "xn--\x00.example": "xn--\x00.example",
	} {
		if got := in.Unicode(); got != want {
			t.Errorf("%q.Unicode() = %q, want %q", in, got, want)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, local, domain, out string }{
		{"one@demo.test", "one", "demo.test", "one@demo.test"},
		{"One+Tag@DEMO.test", "One+Tag", "demo.test", "One+Tag@demo.test"},
		{`"a b"@x.example`, "a b", "x.example", `"a b"@x.example`},
		{`"plain"@x.example`, "plain", "x.example", "plain@x.example"},
		{`"a\"b\\c"@x.example`, `a"b\c`, "x.example", `"a\"b\\c"@x.example`},
		{`"a@b"@x.example`, "a@b", "x.example", `"a@b"@x.example`},
		{`"a..b"@x.example`, "a..b", "x.example", `"a..b"@x.example`},
		{`"."@x.example`, ".", "x.example", `"."@x.example`},
		{"a.b.c@x.example", "a.b.c", "x.example", "a.b.c@x.example"},
		{"!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~", "x.example", "!#$%&'*+-/=?^_`{|}~@x.example"},
		{"user@[192.0.2.1]", "user", "[192.0.2.1]", "user@[192.0.2.1]"},
		{"user@[IPv6:2001:db8::1]", "user", "[ipv6:2001:db8::1]", "user@[ipv6:2001:db8::1]"},
		{"jürgen@bücher.example", "jürgen", "xn--bcher-kva.example", "jürgen@xn--bcher-kva.example"},
		{`"jü rgen"@x.example`, "jü rgen", "x.example", `"jü rgen"@x.example`},
		{strings.Repeat("a", 200) + "@x.example", strings.Repeat("a", 200), "x.example", strings.Repeat("a", 200) + "@x.example"},
	} {
		got, err := ParseAddress(c.in)
		if err != nil || got.Local != c.local || string(got.Domain) != c.domain || got.String() != c.out {
			t.Errorf("ParseAddress(%q) = %+v %q, %v", c.in, got, got.String(), err)
		}
		if again, err := ParseAddress(got.String()); err != nil || again != got {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", got.String(), again, err, got)
		}
	}
	for _, in := range []string{
		"", "@", "a", "a@", "@b", `""@x`, "a b@x", "a@b@c", ".a@x", "a.@x", "a..b@x", `"a@x`, `"a"b@x`, `"a`, `"a\`,
		"a@x.", "a@-x", "<a@x>", "a@x ", " a@x", "a\x00@x", "\"a\x00\"@x", "\"a\r\n\"@x", "a\xff@x", "a\u0085@x",
		"a(c)@x", "a,b@x", "a@[x]", "a@[192.0.2.1", "a@x>", strings.Repeat("a", 256) + "@x", "a@" + strings.Repeat("x", 2000),
	} {
		got, err := ParseAddress(in)
		if !errors.Is(err, ErrAddress) && !errors.Is(err, ErrDomain) || !got.IsZero() {
			t.Errorf("ParseAddress(%.60q) = %+v, %v; want an error", in, got, err)
		}
	}
}

func TestAddress_Zero(t *testing.T) {
	var null Address
	if !null.IsZero() || null.String() != "" || !null.ASCII() {
		t.Errorf("null reverse-path: %q", null.String())
	}
	if (Address{Local: "jürgen", Domain: "x.example"}).ASCII() {
		t.Error("a UTF-8 local part needs SMTPUTF8")
	}
}

func TestDiagnoseAddress(t *testing.T) {
	r := DiagnoseAddress(`"jürgen x"@bücher.example`)
	want := AddressReport{
		Input: `"jürgen x"@bücher.example`, Valid: true, Local: "jürgen x", Domain: "xn--bcher-kva.example",
		Unicode: "bücher.example", Quoted: `"jürgen x"@xn--bcher-kva.example`,
	}
	if r.Warnings != nil || r.Input != want.Input || r.Local != want.Local || r.Domain != want.Domain ||
		r.Unicode != want.Unicode || r.Quoted != want.Quoted || r.ASCII || r.Literal || !r.Valid {
		t.Errorf("%+v", r)
	}
	if r := DiagnoseAddress("a..b@x"); r.Valid || !strings.Contains(r.Error, "two in a row") {
		t.Errorf("%+v", r)
	}
	if r := DiagnoseAddress(strings.Repeat("a", 65) + "@my_host"); !r.Valid || len(r.Warnings) != 3 {
		t.Errorf("%+v", r)
	}
}
