package mailauth

import (
	"context"
	"net/netip"
	"strings"
	"testing"
)

// TestMacros_Examples has the examples of RFC 7208 §7.4.
func TestMacros_Examples(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("2001:db8::cb01")
	for _, c := range []struct {
		ip       netip.Addr
		in, want string
	}{
		{v4, "%{s}", "strong-bad@email.example.com"},
		{v4, "%{o}", "email.example.com"},
		{v4, "%{d}", "email.example.com"},
		{v4, "%{d4}", "email.example.com"},
		{v4, "%{d3}", "email.example.com"},
		{v4, "%{d2}", "example.com"},
		{v4, "%{d1}", "com"},
		{v4, "%{d127}", "email.example.com"},
		{v4, "%{d99999999999999999999}", "email.example.com"},
		{v4, "%{dr}", "com.example.email"},
		{v4, "%{d2r}", "example.email"},
		{v4, "%{l}", "strong-bad"},
		{v4, "%{l-}", "strong.bad"},
		{v4, "%{lr}", "strong-bad"},
		{v4, "%{lR-}", "bad.strong"},
		{v4, "%{l1r-}", "strong"},
		{v4, "%{S}", "strong-bad%40email.example.com"},
		{v4, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{v4, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{v4, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{v6, "%{ir}.%{v}._spf.%{d2}", "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com"},
		{v4, "a%%b%_c%-d", "a%b c%20d"},
		{v4, "%{h}", "helo.example.org"},
	} {
		checker, domain := newChecker(zone{}, SPFInput{IP: c.ip, Helo: "helo.example.org", From: sender("strong-bad@email.example.com")})
		m, err := parseMacros(c.in, false)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		got, err := m.expand(func(letter byte) string {
			v, _ := checker.value(context.Background(), letter, domain)
			return v
		})
		if got != c.want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestParseMacros_Errors(t *testing.T) {
	for in, want := range map[string]string{
		"%":         "% at the end",
		"a%":        "% at the end",
		"%{":        "%{ without }",
		"%{d":       "%{ without }",
		"%{}":       "%{} has no letter",
		"%{x}":      "'x' is no macro letter",
		"%{1}":      "'1' is no macro letter",
		"%{d0}":     "%{d0} keeps no parts",
		"%{drr}":    `"r" in a macro`,
		"%{d1x}":    `"x" in a macro`,
		"%{d-1}":    `"1" in a macro`,
		"%(d)":      "'(' behind %",
		"%\x00":     "octet 0x00 behind %",
		"a b":       "' ' in a macro",
		"a\x7f":     "octet 0x7f in",
		"\u00fc":    "octet 0xc3 in",
		"%{\u00fc}": "octet 0xc3 is no macro letter",
	} {
		if _, err := parseMacros(in, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
}

func TestParseRecord_Errors(t *testing.T) {
	for in, want := range map[string]string{
		"a:192.0.2.1":      "ip4: or ip6: is meant",
		"a:2001:db8::1":    "ip4: or ip6: is meant",
		"include":          "a colon and a domain must follow",
		"ip4":              "a colon and an address must follow",
		"ip4:2001:db8::":   "is no address of this kind",
		"ip6:192.0.2.1":    "is no address of this kind",
		"ip6:fe80::1%eth0": "is no address of this kind",
		"ip4:192.0.2.0/":   "a slash without a length",
		"ip4:192.0.2.0/+1": "is no length",
		"a/33":             "is no length",
		"a//129":           "is no length",
		"mx/":              "a colon and a domain must follow",
		"all/0":            "all takes nothing behind it",
		"moo":              "there is no such mechanism",
		"-":                "there is no such mechanism",
		"+-all":            "there is no such mechanism",
		"-exp=x.test":      "a modifier's name begins with a letter",
		"exp=%{c}.test":    "for explanations only",
		"a:x.test\ta":      "octet 0x09 in",
		"a:%{d}.":          "ends neither",
	} {
		if _, err := parseRecord("v=spf1 " + in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
}
