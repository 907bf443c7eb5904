package mailauth

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// FuzzParseRecord: a record that parses gives terms that were in it, and
// their domains expand to what is bounded.
func FuzzParseRecord(f *testing.F) {
	for _, s := range readSuites(f) {
		for _, records := range s.Zone {
			for _, r := range records {
				if r.Type == "TXT" {
					f.Add(r.Value)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isRecord(s) {
			s = version + " " + s
		}
		r, err := parseRecord(s)
		if err != nil {
			if len(err.Error()) > 400 || printable(strings.ReplaceAll(err.Error(), "…", "")) != strings.ReplaceAll(err.Error(), "…", "") {
				t.Errorf("got error %q", err)
			}
			return
		}
		again := version
		for _, m := range r.mechanisms {
			again += " " + m.text
			if m.kind == kindIP && !m.prefix.IsValid() || m.bits4 > 32 || m.bits6 > 128 {
				t.Errorf("%s: got network %v, lengths %d, %d", m.text, m.prefix, m.bits4, m.bits6)
			}
		}
		if second, err := parseRecord(again); err != nil || len(second.mechanisms) != len(r.mechanisms) {
			t.Errorf("%q: got %d mechanisms, %v; want %d", again, len(second.mechanisms), err, len(r.mechanisms))
		}
	})
}

// FuzzMacros: what parses expands to bounded text, and to a name that can be
// asked for or none.
func FuzzMacros(f *testing.F) {
	f.Add("%{ir}.%{v}.%{l1r-+,/_=}.%%%_%-%{D3}", "strong-bad", "email.example.com")
	f.Add("%{S}%{H99999R}", strings.Repeat("ü", 100), "A..b.")
	f.Fuzz(func(t *testing.T, s, local, helo string) {
		c, domain := newChecker(zone{}, SPFInput{
			IP: netip.MustParseAddr("2001:db8::1"), Helo: helo,
			From: message.Address{Local: local, Domain: "example.test"},
		})
		for _, explanation := range []bool{false, true} {
			m, err := parseMacros(s, explanation)
			if err != nil {
				continue
			}
			out, err := m.expand(func(letter byte) string {
				v, _ := c.value(t.Context(), letter, domain)
				return v
			})
			if len(out) > expansionOctetsMax || err == nil && m.fixed() && strings.IndexByte(s, '%') < 0 && out != s {
				t.Errorf("%q: got %q, %v", s, out, err)
			}
			if name := fitName(out); name != fitName(name) || len(name) > nameOctetsMax {
				t.Errorf("%q: got name %q", out, name)
			}
		}
	})
}

// FuzzCheckSPF: whatever domains publish and clients say, the result keeps
// its promises.
func FuzzCheckSPF(f *testing.F) {
	f.Add("v=spf1 include:b.test exists:%{p}.%{l}.test -all exp=why.%{d}", "v=spf1 a:%{h} mx//64 redirect=%{o}", "see %{C}%{t} %{R}", "a.test", "x y", []byte{192, 0, 2, 1})
	f.Add("v=spf1 ptr -all", "v=spf1 a", "", "[a]", "", []byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, one, two, why, helo, local string, ip []byte) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			addr = netip.MustParseAddr("192.0.2.1")
		}
		c := checker{ip: addr}
		reverse := ".in-addr.arpa"
		if addr = addr.Unmap(); addr.Is6() {
			reverse = ".ip6.arpa"
		}
		c.ip = addr
		labels := strings.Split(strings.ToLower(c.dotted()), ".")
		for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
			labels[i], labels[j] = labels[j], labels[i]
		}
		z := zone{
			"a.test":                            {txt(one), mx("b.test"), mx("."), a("192.0.2.1")},
			"b.test":                            {txt(two), txt("other"), a("192.0.2.2"), aaaa("2001:db8::1"), {Type: "TIMEOUT"}},
			"why.a.test":                        {txt(why)},
			strings.Join(labels, ".") + reverse: {ptr("a.test"), ptr("b.test"), ptr(helo)},
		}
		in := SPFInput{IP: addr, Helo: helo, From: message.Address{Local: local, Domain: "a.test"}, Receiver: "mx.example.net"}
		r := &asked{Resolver: z}
		checkSPF(t, in, CheckSPF(t.Context(), r, in))
		if r.n > 1+lookupsMax*(1+mxHostsMax)+1+ptrNamesMax+1 {
			t.Errorf("got %d questions", r.n)
		}
		in.From = message.Address{}
		checkSPF(t, in, CheckSPF(t.Context(), z, in))
		if nets, err := SPFNetworks(t.Context(), z, "a.test"); len(nets) > networksMax || err != nil && nets != nil {
			t.Errorf("got %d networks, %v", len(nets), err)
		}
	})
}
