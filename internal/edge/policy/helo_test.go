package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func testOwn() own {
	return newOwn(&Options{Hostname: "MX.here.test", Names: []string{"here.test.", "localhost", ""}, Addresses: []netip.Addr{addr("203.0.113.1"), addr("2001:db8::1")}})
}

func TestJudgeHelo(t *testing.T) {
	own, remote := testOwn(), addr("192.0.2.7")
	for arg, want := range map[string]heloFault{
		"mail.example.org":         heloFine,
		"mail.example.org.":        heloFine,
		"under_score.example.org":  heloFine,
		"xn--bcher-kva.example":    heloFine,
		"4.example.org":            heloFine,
		"mx.HERE.test":             heloOwnName,
		"here.test":                heloOwnName,
		"not.here.test":            heloFine,
		"localhost":                heloNotFQDN,
		"friend":                   heloNotFQDN,
		"pc.local":                 heloNotFQDN,
		"pc.localdomain":           heloNotFQDN,
		"host.123":                 heloNotFQDN,
		"192.0.2.7":                heloBareAddress,
		"2001:db8::7":              heloBareAddress,
		"203.0.113.1":              heloOwnAddress,
		"[203.0.113.1]":            heloOwnAddress,
		"[IPv6:2001:db8::1]":       heloOwnAddress,
		"[192.0.2.7]":              heloFine,
		"[192.0.2.8]":              heloOtherAddress,
		"[10.0.0.1]":               heloOtherAddress,
		"[2001:db8::7]":            heloCharacters,
		"[192.0.2.7":               heloCharacters,
		"[]":                       heloCharacters,
		"a..b":                     heloCharacters,
		"-a.example.org":           heloCharacters,
		"a/b.example.org":          heloCharacters,
		"\x00":                     heloCharacters,
		".":                        heloCharacters,
		strings.Repeat("a.", 5000): heloCharacters,
	} {
		if got := judgeHelo(arg, remote, &own); got != want {
			t.Errorf("HELO %.40q: got %d, want %d", arg, got, want)
		}
	}
	if got := judgeHelo("[203.0.113.1]", addr("203.0.113.1"), &own); got != heloFine {
		t.Errorf("our own address from there: got %d, want none", got)
	}
}

func TestHeloDomain(t *testing.T) {
	for helo, want := range map[string]string{
		"mta7.example.org": "example.org", "example.org": "example.org", "A.B.Example.CO.uk.": "b.example.co.uk",
		"[192.0.2.7]": "[192.0.2.7]", "192.0.2.7": "192.0.2.7", "box": "box", "": "",
	} {
		if got := heloDomain(helo); got != want {
			t.Errorf("%q: got %q, want %q", helo, got, want)
		}
	}
}

func FuzzHelo(f *testing.F) {
	for _, s := range []string{"mail.example.org", "[192.0.2.7]", "[IPv6:::ffff:192.0.2.7]", "192.0.2.7%1", "xn--", "here.test."} {
		f.Add(s)
	}
	own := testOwn()
	f.Fuzz(func(t *testing.T, arg string) {
		got := judgeHelo(arg, addr("192.0.2.7"), &own)
		if upper := judgeHelo(strings.ToUpper(strings.ToLower(arg)), addr("192.0.2.7"), &own); isASCII(arg) && got != upper {
			t.Errorf("%q: got %d, in capitals %d", arg, got, upper)
		}
		heloDomain(arg)
		w := defaultWeights()
		if check, _, detail, say := heloCheck(got, &w); got != heloFine && (check == CheckHelo || detail == "" || say == "") {
			t.Errorf("%q: fault %d has no words", arg, got)
		}
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
