package dns

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdns "github.com/miekg/dns"
)

// equalAnswers is how answers are compared.
func equalAnswers() cmp.Options {
	return cmp.Options{
		cmpopts.EquateEmpty(), cmpopts.EquateErrors(),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.IgnoreFields(Answer{}, "Took"),
	}
}

// packed is the answer of a server to a question, with records in
// presentation form; those that begin with "!" go into the authority section.
func packed(t testing.TB, q Question, rcode int, records ...string) []byte {
	t.Helper()
	m := new(mdns.Msg).SetRcode(new(mdns.Msg).SetQuestion(q.Name+".", uint16(q.Type)), rcode)
	for _, text := range records {
		text, authority := strings.CutPrefix(text, "!")
		rr, err := mdns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if authority {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	m.Compress = true
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestDecode(t *testing.T) {
	q := func(name string, typ Type) Question { return Question{Name: name, Type: typ} }
	long := strings.Repeat("x", 255)
	cases := []struct {
		name    string
		rcode   int
		records []string
		want    Answer
	}{
		{"address", 0, []string{"Example.ORG. 60 IN A 192.0.2.1", "example.org. 30 IN A 192.0.2.2"},
			Answer{Question: q("example.org", A), Addrs: addrs("192.0.2.1", "192.0.2.2"), TTL: 30 * time.Second}},
		{"IPv6 address", 0, []string{"example.org. 60 IN AAAA 2001:db8::1"},
			Answer{Question: q("example.org", AAAA), Addrs: addrs("2001:db8::1"), TTL: time.Minute}},
		{"text of several strings", 0, []string{`example.org. 60 IN TXT "v=spf1 " "-all"`, `example.org. 60 IN TXT "` + long + `" "y"`},
			Answer{Question: q("example.org", TXT), Texts: []string{"v=spf1 -all", long + "y"}, TTL: time.Minute}},
		{"mail exchangers", 0, []string{"example.org. 60 IN MX 10 Mx.example.org.", "example.org. 60 IN MX 0 ."},
			Answer{Question: q("example.org", MX), MX: []MXRecord{{10, "mx.example.org"}, {0, ""}}, TTL: time.Minute}},
		{"mail exchangers of no use", 0, []string{`example.org. 60 IN MX 10 a\010b.example.org.`},
			Answer{Question: q("example.org", MX), Unfit: true, TTL: time.Minute}},
		{"name of an address", 0, []string{"1.2.0.192.in-addr.arpa. 60 IN PTR Host.example.org."},
			Answer{Question: q("1.2.0.192.in-addr.arpa", PTR), Names: []string{"host.example.org"}, TTL: time.Minute}},
		{"name with odd octets is left out", 0, []string{`1.2.0.192.in-addr.arpa. 60 IN PTR a\010b.example.org.`, `1.2.0.192.in-addr.arpa. 60 IN PTR ok.example.org.`},
			Answer{Question: q("1.2.0.192.in-addr.arpa", PTR), Names: []string{"ok.example.org"}, TTL: time.Minute}},
		{"servers", 0, []string{"example.org. 60 IN NS ns.example.org."},
			Answer{Question: q("example.org", NS), Names: []string{"ns.example.org"}, TTL: time.Minute}},
		{"a CNAME that was asked for", 0, []string{"www.example.org. 60 IN CNAME web.example.org."},
			Answer{Question: q("www.example.org", CNAME), Names: []string{"web.example.org"}, TTL: time.Minute}},
		{"chain, out of order", 0, []string{"c.example. 5 IN A 192.0.2.9", "b.example. 60 IN CNAME c.example.", "a.example. 20 IN CNAME b.example.", "d.example. 1 IN A 192.0.2.66"},
			Answer{Question: q("a.example", A), Addrs: addrs("192.0.2.9"), Target: "c.example", TTL: 5 * time.Second}},
		{"chain to a name in capitals", 0, []string{"a.example. 20 IN CNAME B.Example.", "b.example. 20 IN MX 1 c.example."},
			Answer{Question: q("a.example", MX), MX: []MXRecord{{1, "c.example"}}, Target: "b.example", TTL: 20 * time.Second}},
		{"chain to odd octets", 0, []string{`a.example. 20 IN CNAME b\010.example.`},
			Answer{Question: q("a.example", A), TTL: 20 * time.Second}},
		{"certificates", 0, []string{"_25._tcp.mx.example. 60 IN TLSA 3 1 1 00ff", "_25._tcp.mx.example. 60 IN TLSA 255 7 9 01"},
			Answer{Question: q("_25._tcp.mx.example", TLSA), TLSA: []TLSARecord{{3, 1, 1, "\x00\xff"}, {255, 7, 9, "\x01"}}, TTL: time.Minute}},
		{"chain that leads nowhere", 0, []string{"a.example. 20 IN CNAME b.example."},
			Answer{Question: q("a.example", A), Target: "b.example", TTL: 20 * time.Second}},
		{"others' records do not count", 0, []string{"evil.example. 60 IN A 192.0.2.66"}, Answer{Question: q("a.example", A)}},
		{"no such name", mdns.RcodeNameError, []string{"!example. 300 IN SOA ns.example. hostmaster.example. 1 2 3 4 60"},
			Answer{Question: q("a.example", A), RCode: NXDomain, TTL: time.Minute}},
		{"no such type", 0, []string{"!example. 30 IN SOA ns.example. hostmaster.example. 1 2 3 4 60"},
			Answer{Question: q("a.example", A), TTL: 30 * time.Second}},
		{"endless TTL", 0, []string{"a.example. 2147483647 IN A 192.0.2.1"}, Answer{Question: q("a.example", A), Addrs: addrs("192.0.2.1"), TTL: ttlMax}},
		{"negative TTL", 0, []string{"a.example. 4294967295 IN A 192.0.2.1"}, Answer{Question: q("a.example", A), Addrs: addrs("192.0.2.1")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode(packed(t, c.want.Question, c.rcode, c.records...), c.want.Question)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, equalAnswers()); d != "" {
				t.Fatalf("got (+), want (-):\n%s", d)
			}
		})
	}
}

func TestDecode_bounded(t *testing.T) {
	q := Question{Name: "a.example", Type: A}
	circle := packed(t, q, 0, "a.example. 1 IN CNAME b.example.", "b.example. 1 IN CNAME a.example.")
	if _, err := decode(circle, q); err != ErrMalformed {
		t.Errorf("circle of CNAMEs: got %v, want %v", err, ErrMalformed)
	}
	var records []string
	for i := range cnamesMax + 1 {
		records = append(records, strings.Repeat("a", i)+"a.example. 1 IN CNAME "+strings.Repeat("a", i+1)+"a.example.")
	}
	if a, err := decode(packed(t, q, 0, records[:cnamesMax]...), q); err != nil {
		t.Errorf("chain of %d CNAMEs: got %v %v, want an answer", cnamesMax, a, err)
	}
	if _, err := decode(packed(t, q, 0, records...), q); err != ErrMalformed {
		t.Errorf("chain of %d CNAMEs: got %v, want %v", cnamesMax+1, err, ErrMalformed)
	}
	many := make([]string, recordsMax+10)
	for i := range many {
		many[i] = "a.example. 1 IN A " + netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
	}
	if a, err := decode(packed(t, q, 0, many...), q); err != nil || len(a.Addrs) != recordsMax {
		t.Errorf("got %d addresses and %v, want %d", len(a.Addrs), err, recordsMax)
	}
}

func TestQuery_isReadByOthers(t *testing.T) {
	for _, plain := range []bool{false, true} {
		q := Question{Name: "_dmarc." + strings.Repeat("a", 63) + ".example.org", Type: TXT}
		p, end := appendQuery(nil, q, plain)
		var m mdns.Msg
		if err := m.Unpack(p); err != nil {
			t.Fatal(err)
		}
		if len(m.Question) != 1 || m.Question[0] != (mdns.Question{Name: q.Name + ".", Qtype: mdns.TypeTXT, Qclass: mdns.ClassINET}) {
			t.Errorf("got question %v, want %v", m.Question, q)
		}
		if !m.RecursionDesired || !m.AuthenticatedData || m.Response || m.Opcode != 0 {
			t.Errorf("got header %v, want a query with RD and AD", m.MsgHdr)
		}
		if opt := m.IsEdns0(); (opt == nil) != plain || opt != nil && opt.UDPSize() != payloadOctetsMax {
			t.Errorf("got OPT %v, want %d octets unless plain (%t)", opt, payloadOctetsMax, plain)
		}
		if plain && end != len(p) {
			t.Errorf("got the end of the question at %d, want %d", end, len(p))
		}
	}
}

func TestNormal(t *testing.T) {
	label := strings.Repeat("a", 63)
	cases := []struct{ in, want string }{
		{"example.org", "example.org"}, {"Example.ORG.", "example.org"}, {"_dmarc.x", "_dmarc.x"}, {"x", "x"},
		{"", ""}, {".", ""}, {"a..b", ""}, {".a", ""}, {"a..", ""}, {"a b", ""}, {"a\x00b", ""}, {"bücher.example", ""},
		{label + ".x", label + ".x"}, {label + "a.x", ""},
		{strings.Repeat(label+".", 3) + label[:61], strings.Repeat(label+".", 3) + label[:61]}, {strings.Repeat(label+".", 3) + label[:62], ""},
	}
	for _, c := range cases {
		if got, ok := Normal(c.in); got != c.want || ok != (c.want != "") {
			t.Errorf("Normal(%q): got %q %t, want %q", c.in, got, ok, c.want)
		}
	}
}

func TestReverseName(t *testing.T) {
	cases := []struct{ in, want string }{
		{"192.0.2.1", "1.2.0.192"}, {"127.0.0.255", "255.0.0.127"}, {"::ffff:192.0.2.1", "1.2.0.192"},
		{"2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"},
	}
	for _, c := range cases {
		if got := ReverseName(netip.MustParseAddr(c.in)); got != c.want {
			t.Errorf("ReverseName(%s): got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseResolvConf(t *testing.T) {
	text := "# none\nsearch x\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \noptions edns0\nnameserver bad\nnameserver fe80::1%eth0\nnameserver 192.0.2.54\n"
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53")}
	if got := parseResolvConf(text); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// FuzzDecode compares with another implementation: what it reads, we read the
// same way or refuse; nothing makes us panic.
func FuzzDecode(f *testing.F) {
	for i, typ := range []Type{A, AAAA, TXT, MX, PTR, CNAME, NS, TLSA} {
		q := Question{Name: "a.example", Type: typ}
		f.Add(packed(f, q, i%4, "a.example. 60 IN A 192.0.2.1", "a.example. 60 IN AAAA 2001:db8::1", `a.example. 60 IN TXT "x" "y"`,
			"a.example. 60 IN MX 1 b.example.", "a.example. 60 IN TLSA 3 1 1 00ff", "a.example. 60 IN PTR b.example.", "a.example. 60 IN NS b.example.",
			"!example. 30 IN SOA ns.example. hostmaster.example. 1 2 3 4 60"), uint16(typ))
		f.Add(packed(f, q, 0, "a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.1"), uint16(typ))
	}
	f.Fuzz(func(t *testing.T, p []byte, typ uint16) {
		q := Question{Name: "a.example", Type: Type(typ)}
		a, err := decode(p, q)
		query, end := appendQuery(nil, q, false)
		h, ok := decodeHeader(p)
		if !ok || !h.repeats(p, query, end) {
			return
		}
		if n := a.records(); n > recordsMax*(cnamesMax+1) {
			t.Fatalf("got %d records, want at most %d", n, recordsMax)
		}
		if err != nil || h.questions != 1 {
			return
		}
		var m mdns.Msg
		if m.Unpack(p) != nil {
			return // it is stricter with what we skip
		}
		compareDirect(t, &m, a)
	})
}

// compareDirect compares where no CNAME is in the way.
func compareDirect(t *testing.T, m *mdns.Msg, got Answer) {
	want := Answer{Question: got.Question, RCode: RCode(m.Rcode & maskRCode), Authentic: m.AuthenticatedData, TTL: got.TTL}
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Rrtype == mdns.TypeCNAME && got.Type != CNAME {
			return
		}
		if h.Class != mdns.ClassINET || !strings.EqualFold(h.Name, got.Name+".") || h.Rrtype != uint16(got.Type) {
			continue
		}
		switch rr := rr.(type) {
		case *mdns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			want.Addrs = append(want.Addrs, a)
		case *mdns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA.To16())
			want.Addrs = append(want.Addrs, a)
		case *mdns.TXT:
			want.Texts = append(want.Texts, strings.Join(rr.Txt, ""))
		case *mdns.PTR:
			want.Names = append(want.Names, plainName(rr.Ptr))
		case *mdns.NS:
			want.Names = append(want.Names, plainName(rr.Ns))
		case *mdns.CNAME:
			want.Names = append(want.Names, plainName(rr.Target))
		case *mdns.MX:
			want.MX = append(want.MX, MXRecord{rr.Preference, plainName(rr.Mx)})
		case *mdns.TLSA:
			data, _ := hex.DecodeString(rr.Certificate)
			want.TLSA = append(want.TLSA, TLSARecord{rr.Usage, rr.Selector, rr.MatchingType, string(data)})
		}
	}
	if len(m.Answer) > recordsMax || strings.Contains(fmt.Sprint(want), `\\`) {
		return // cut off, or escaped by the other
	}
	if d := cmp.Diff(want, got, equalAnswers()); d != "" {
		t.Fatalf("got (+), want (-):\n%s", d)
	}
}

func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.53\nnameserver ::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseResolvConf(text)
		if len(got) > serversMax {
			t.Fatalf("got %d servers, want at most %d", len(got), serversMax)
		}
		for _, s := range got {
			if !s.IsValid() {
				t.Fatalf("got %v, want valid ones", got)
			}
		}
	})
}

func FuzzNormal(f *testing.F) {
	f.Add("Example.org.")
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := Normal(name)
		if !ok {
			return
		}
		if again, ok := Normal(n); !ok || again != n {
			t.Fatalf("Normal(%q): got %q %t, want it unchanged", n, again, ok)
		}
		p, end := appendQuery(nil, Question{Name: n, Type: A}, true)
		var m mdns.Msg
		if err := m.Unpack(p); err != nil || end != len(p) {
			t.Fatalf("query for %q: %v", n, err)
		}
	})
}
