package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

func txt(s string) rr  { return rr{Type: "TXT", Value: s} }
func a(s string) rr    { return rr{Type: "A", Value: s} }
func aaaa(s string) rr { return rr{Type: "AAAA", Value: s} }
func mx(s string) rr   { return rr{Type: "MX", Value: s, Preference: 10} }
func ptr(s string) rr  { return rr{Type: "PTR", Value: s} }

func input(ip, from string) SPFInput {
	return SPFInput{IP: netip.MustParseAddr(ip), Helo: "mail.example.org", From: sender(from), Receiver: "mx.example.net"}
}

func check(t *testing.T, r Resolver, in SPFInput) SPF {
	t.Helper()
	got := CheckSPF(t.Context(), r, in)
	checkSPF(t, in, got)
	return got
}

// TestCheckSPF_Policy: what the suite does not ask.
func TestCheckSPF_Policy(t *testing.T) {
	many := strings.Repeat("ip4:192.0.2.1 ", 700)
	z := zone{
		"v6.test":       {txt("v=spf1 a:4a.test a:4b.test a:4c.test a:4d.test ip6:2001:db8::/32 -all")},
		"void.test":     {txt("v=spf1 a:no1.test a:no2.test a:no3.test ip6:2001:db8::/32 -all")},
		"4a.test":       {a("192.0.2.1")},
		"4b.test":       {a("192.0.2.1")},
		"4c.test":       {a("192.0.2.1")},
		"4d.test":       {a("192.0.2.1")},
		"long.test":     {txt("v=spf1 " + many + "-all")},
		"tall.test":     {txt("v=spf1 " + many[:7000] + "-all")},
		"servfail.test": {txt("v=spf1 exists:loop.test -all")},
		"loop.test":     {{Type: "CNAME", Value: "loop.test"}},
		"p.test":        {txt("v=spf1 exists:%{p}.ok.test a a a a a a a a a a -all")},
		"blank.test":    {txt("v=spf1 a: -all")},
		"utf8.test":     {txt("v=spf1 exists:%{l}.utf8.test -all exp=why.utf8.test")},
		"why.utf8.test": {txt("not %{l}")},
	}
	for _, c := range []struct {
		ip, from string
		want     SPFResult
		problem  string
	}{
		{"2001:db8::1", "a@v6.test", Pass, ""},
		{"192.0.2.9", "a@v6.test", Fail, ""},
		{"2001:db8::1", "a@void.test", PermError, "more than 2 questions to the DNS have no answer"},
		{"192.0.2.1", "a@long.test", PermError, "long.test: the record is longer than 8192 octets"},
		{"192.0.2.2", "a@tall.test", Fail, ""},
		{"192.0.2.1", "a@servfail.test", TempError, "loop.test A: SERVFAIL"},
		{"192.0.2.1", "a@p.test", PermError, "have no answer"},
		{"192.0.2.1", "a@blank.test", PermError, "blank.test: a:: the domain is empty"},
		{"192.0.2.1", "ü@utf8.test", Fail, "no explanation: it is not visible ASCII"},
		{"192.0.2.1", "a@nowhere.test", None, "nowhere.test has no SPF record"},
		{"192.0.2.1", "a@[192.0.2.1]", None, "the domain of mailfrom is no name of the DNS with a dot in it"},
		{"192.0.2.1", "a@localhost", None, "the domain of mailfrom is no name of the DNS with a dot in it"},
	} {
		got := check(t, z, input(c.ip, c.from))
		if got.Result != c.want || !strings.Contains(got.Problem, c.problem) || (c.problem == "") != (got.Problem == "") {
			t.Errorf("%s from %s: got %s (%s), want %s (%s)", c.from, c.ip, got.Result, got.Problem, c.want, c.problem)
		}
	}
	if got := CheckSPF(t.Context(), z, SPFInput{From: sender("a@v6.test")}); got.Result != None || got.Problem == "" {
		t.Errorf("without an address: got %s (%s), want none with a problem", got.Result, got.Problem)
	}
}

func TestCheckSPF_Open(t *testing.T) {
	z := zone{
		"all.test":      {txt("v=spf1 +all")},
		"include.test":  {txt("v=spf1 include:all.test -all")},
		"half.test":     {txt("v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 ip6:2000::/3 -all")},
		"a0.test":       {txt("v=spf1 a/0 -all"), a("192.0.2.1")},
		"exists.test":   {txt("v=spf1 exists:a0.test -all")},
		"exact.test":    {txt("v=spf1 exists:%{i}.exact.test ip4:10.0.0.0/8 -all")},
		"redirect.test": {txt("v=spf1 redirect=all.test")},
	}
	for _, c := range []struct {
		ip, domain string
		want       bool
	}{
		{"10.1.2.3", "all.test", true},
		{"10.1.2.3", "include.test", true},
		{"10.1.2.3", "half.test", true},
		{"2001:db8::1", "half.test", true},
		{"10.1.2.3", "a0.test", true},
		{"10.1.2.3", "exists.test", true},
		{"10.1.2.3", "redirect.test", true},
		{"10.1.2.3", "exact.test", false},
	} {
		got := check(t, z, input(c.ip, "a@"+c.domain))
		if got.Result != Pass || got.Open != c.want {
			t.Errorf("%s for %s: got %s, open %t; want pass, open %t", c.domain, c.ip, got.Result, got.Open, c.want)
		}
	}
}

func TestCheckSPF_Trace(t *testing.T) {
	z := zone{
		"example.test": {txt("unrelated"), txt("v=spf1 ip4:192.0.2.7 include:b.test mx redirect=c.test"), mx("m.test")},
		"b.test":       {txt("v=spf1 a:gone.test ?all")},
		"m.test":       {a("192.0.2.8"), a("192.0.2.9")},
		"c.test":       {txt("v=spf1 -all exp=why.c.test")},
		"why.c.test":   {txt("%{i} may not, says %{d}")},
	}
	got := check(t, z, input("192.0.2.1", "one@example.test"))
	want := SPF{
		Result: Fail, Domain: "example.test", Identity: "mailfrom", Mechanism: "-all",
		Explanation: "192.0.2.1 may not, says c.test", Lookups: 4, VoidLookups: 1,
		Trace: []SPFStep{
			{Domain: "example.test", Record: "v=spf1 ip4:192.0.2.7 include:b.test mx redirect=c.test", Outcome: "found",
				Questions: []SPFQuestion{{Name: "example.test", Type: "TXT", Answers: []string{"unrelated", "v=spf1 ip4:192.0.2.7 include:b.test mx redirect=c.test"}}}},
			{Domain: "example.test", Term: "ip4:192.0.2.7", Outcome: "no match"},
			{Domain: "example.test", Term: "include:b.test", Outcome: "no match"},
			{Depth: 1, Domain: "b.test", Record: "v=spf1 a:gone.test ?all", Outcome: "found",
				Questions: []SPFQuestion{{Name: "b.test", Type: "TXT", Answers: []string{"v=spf1 a:gone.test ?all"}}}},
			{Depth: 1, Domain: "b.test", Term: "a:gone.test", Outcome: "no match",
				Questions: []SPFQuestion{{Name: "gone.test", Type: "A", Problem: "NXDOMAIN"}}},
			{Depth: 1, Domain: "b.test", Term: "?all", Outcome: "match"},
			{Domain: "example.test", Term: "mx", Outcome: "no match", Questions: []SPFQuestion{
				{Name: "example.test", Type: "MX", Answers: []string{"10 m.test."}},
				{Name: "m.test", Type: "A", Answers: []string{"192.0.2.8", "192.0.2.9"}}}},
			{Domain: "example.test", Term: "redirect=c.test", Outcome: "fail"},
			{Depth: 1, Domain: "c.test", Record: "v=spf1 -all exp=why.c.test", Outcome: "found",
				Questions: []SPFQuestion{{Name: "c.test", Type: "TXT", Answers: []string{"v=spf1 -all exp=why.c.test"}}}},
			{Depth: 1, Domain: "c.test", Term: "-all", Outcome: "match"},
			{Domain: "c.test", Term: "exp=why.c.test", Outcome: "found",
				Questions: []SPFQuestion{{Name: "why.c.test", Type: "TXT", Answers: []string{"%{i} may not, says %{d}"}}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// silent is a resolver that answers when the context ends.
type silent struct{}

func (silent) Lookup(ctx context.Context, q dns.Question) dns.Answer {
	<-ctx.Done()
	return dns.Answer{Question: q, Err: ctx.Err()}
}

// slow takes a while for each answer.
type slow struct{ zone }

func (s slow) Lookup(ctx context.Context, q dns.Question) dns.Answer {
	select {
	case <-time.After(3 * time.Second):
		return s.zone.Lookup(ctx, q)
	case <-ctx.Done():
		return dns.Answer{Question: q, Err: ctx.Err()}
	}
}

func TestCheckSPF_Time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		got := check(t, silent{}, input("192.0.2.1", "a@example.test"))
		if took := time.Since(begin); got.Result != TempError || took != spfTimeout {
			t.Errorf("silent DNS: got %s after %v, want temperror after %v", got.Result, took, spfTimeout)
		}
		begin = time.Now()
		z := zone{"example.test": {txt("v=spf1 mx -all")}}
		for i := range mxHostsMax {
			host := fmt.Sprintf("m%d.test", i)
			z["example.test"] = append(z["example.test"], mx(host))
			z[host] = []rr{a("192.0.2.2")}
		}
		got = check(t, slow{z}, input("192.0.2.1", "a@example.test"))
		if took := time.Since(begin); got.Result != TempError || took != spfTimeout {
			t.Errorf("slow DNS: got %s after %v, want temperror after %v", got.Result, took, spfTimeout)
		}
	})
}

// asked counts questions.
type asked struct {
	Resolver
	n int
}

func (r *asked) Lookup(ctx context.Context, q dns.Question) dns.Answer {
	r.n++
	return r.Resolver.Lookup(ctx, q)
}

// TestCheckSPF_Bound: however hostile, a domain cannot make us ask more than
// ten terms with ten names each, their records, PTR, and its explanation.
func TestCheckSPF_Bound(t *testing.T) {
	z := zone{"1.2.0.192.in-addr.arpa": nil}
	record := "v=spf1"
	for i := range mxHostsMax {
		host := fmt.Sprintf("m%d.test", i)
		z["mx.test"] = append(z["mx.test"], mx(host))
		z[host] = []rr{a("192.0.2.2")}
		record += " mx:mx.test"
	}
	for i := range 50 {
		z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"], ptr(fmt.Sprintf("p%d.test", i)))
	}
	z["wide.test"] = []rr{txt(record + " -all exp=%{p}.test")}
	r := &asked{Resolver: z}
	got := check(t, r, input("192.0.2.1", "a@wide.test"))
	if want := 1 + 10*(1+10) + 1 + 10 + 1; got.Result != Fail || r.n != want {
		t.Errorf("got %s with %d questions, want fail with %d", got.Result, r.n, want)
	}
	z["deep.test"] = []rr{txt("v=spf1 include:deep.test include:deep.test -all")}
	r = &asked{Resolver: z}
	got = check(t, r, input("192.0.2.1", "a@deep.test"))
	if got.Result != PermError || r.n != 11 {
		t.Errorf("got %s with %d questions, want permerror with 11", got.Result, r.n)
	}
}

func TestSPF_ReceivedSPF(t *testing.T) {
	z := zone{
		"example.test":     {txt("v=spf1 ip6:2001:db8::/32 -all")},
		"mail.example.org": {txt("v=spf1 a -all")},
	}
	for _, c := range []struct {
		in   SPFInput
		want []string
	}{
		{input("2001:db8::1", `"a \"b"@example.test`), []string{
			"Received-SPF: pass (mx.example.net: example.test lets 2001:db8::1 send)",
			`	client-ip="2001:db8::1";`,
			`	envelope-from="\"\\\"a \\\\\\\"b\\\"\"@example.test";`,
			"	helo=mail.example.org;",
			"	receiver=mx.example.net;",
			"	identity=mailfrom;",
			`	mechanism="ip6:2001:db8::/32"`,
		}},
		{SPFInput{IP: netip.MustParseAddr("::ffff:192.0.2.1"), Helo: "a (b)\r\nX: \\\"ü"}, []string{
			"Received-SPF: none (unknown: a ?b???X: ?\"? has no record)",
			"	client-ip=192.0.2.1;",
			`	helo="a (b)??X: \\\"?";`,
			"	receiver=unknown;",
			"	identity=helo;",
			`	problem="the domain of helo is no name of the DNS with a dot in it"`,
		}},
	} {
		got := check(t, z, c.in).ReceivedSPF(c.in)
		if diff := cmp.Diff(strings.Join(c.want, "\r\n")+"\r\n", got); diff != "" {
			t.Errorf("want -, got +\n%s", diff)
		}
	}
}

func TestSPFNetworks(t *testing.T) {
	z := zone{
		"example.test": {txt("v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.7 -ip4:198.51.100.1 a mx/28 include:b.test ?include:c.test" +
			" exists:%{i}.example.test ptr a:%{h} ip4:0.0.0.0/0 redirect=r.test"),
			a("203.0.113.1"), aaaa("2001:db8::1"), mx("m.test"), mx("n.test")},
		"m.test":        {a("203.0.113.77"), aaaa("2001:db8::2")},
		"n.test":        {a("203.0.113.70")},
		"b.test":        {txt("v=spf1 ip6:2001:db8:b::/48 -all ip4:10.1.0.0/16")},
		"r.test":        {txt("v=spf1 a:%{d1r}.%{d1}.r.test ~all")},
		"r.test.r.test": {a("198.51.100.9")},
		"loop.test":     {txt("v=spf1 ip4:192.0.2.1 include:loop.test -all")},
		"gone.test":     {txt("v=spf1 ip4:192.0.2.1 include:nowhere.test -all")},
		"slow.test":     {txt("v=spf1 ip4:192.0.2.1 a:time.test -all")},
		"time.test":     {{Type: "TIMEOUT"}},
		"open.test":     {txt("v=spf1 +all")},
	}
	big := []string{"v=spf1"}
	for i := range 9 {
		name := fmt.Sprintf("big%d.test", i)
		for j := range 120 {
			z[name] = append(z[name], a(fmt.Sprintf("10.%d.0.%d", i, j)))
		}
		big = append(big, "a:"+name)
	}
	z["big.test"] = []rr{txt(strings.Join(big, " "))}
	for _, c := range []struct {
		domain message.Domain
		want   string
		result SPFResult
	}{
		{"example.test", "[192.0.2.0/24 198.51.100.9/32 203.0.113.1/32 203.0.113.64/28 2001:db8::1/128 2001:db8::2/128 2001:db8:b::/48]", ""},
		{"open.test", "[]", ""},
		{"loop.test", "[]", PermError},
		{"gone.test", "[]", PermError},
		{"slow.test", "[]", TempError},
		{"big.test", "[]", PermError},
		{"nowhere.test", "[]", None},
		{"[192.0.2.1]", "[]", None},
	} {
		got, err := SPFNetworks(t.Context(), z, c.domain)
		var e *SPFError
		result := SPFResult("")
		if errors.As(err, &e) {
			result = e.Result
		}
		if fmt.Sprint(got) != c.want || result != c.result {
			t.Errorf("%s: got %v, %v; want %s, %q", c.domain, got, err, c.want, c.result)
		}
	}
}
