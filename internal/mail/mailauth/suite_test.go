package mailauth

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// zone is a resolver that knows some names. Their records stand in the order
// in which they are given; TIMEOUT makes the types that a name does not have
// time out.
type zone map[string][]rr

type rr struct {
	Type       string
	Value      string
	Preference uint16
}

func (z zone) Lookup(_ context.Context, q dns.Question) dns.Answer {
	return z.answer(q, q.Name, 8)
}

func (z zone) answer(q dns.Question, name string, chain int) dns.Answer {
	a := dns.Answer{Question: q}
	if chain == 0 {
		a.RCode = dns.ServFail
		return a
	}
	records, ok := z[strings.ToLower(strings.TrimSuffix(name, "."))]
	if !ok {
		a.RCode = dns.NXDomain
	}
	timeout, found := false, false
	for _, r := range records {
		value := strings.ToLower(strings.TrimSuffix(r.Value, "."))
		switch {
		case r.Type == "TIMEOUT":
			timeout = true
			continue
		case r.Type == "CNAME" && q.Type != dns.CNAME:
			return z.answer(q, value, chain-1)
		case r.Type != q.Type.String():
			continue
		case r.Type == "A", r.Type == "AAAA":
			a.Addrs = append(a.Addrs, netip.MustParseAddr(r.Value))
		case r.Type == "MX":
			a.MX = append(a.MX, dns.MXRecord{Preference: r.Preference, Host: value})
		case r.Type == "TXT":
			a.Texts = append(a.Texts, r.Value)
		default:
			a.Names = append(a.Names, value)
		}
		found = true
	}
	if timeout && !found {
		a.Err = dns.ErrTimeout
	}
	return a
}

// lower has the names of a zone as questions have them.
func lower(z zone) zone {
	out := zone{}
	for name, records := range z {
		out[strings.ToLower(name)] = records
	}
	return out
}

type suite struct {
	Description string
	Tests       []struct {
		Name, Spec, Helo, Host, Mailfrom string
		Result                           []SPFResult
		Explanation                      *string
	}
	Zone zone
}

func readSuites(t testing.TB) []suite {
	t.Helper()
	b, err := os.ReadFile("testdata/rfc7208/tests.json")
	if err != nil {
		t.Fatal(err)
	}
	var suites []suite
	if err := json.Unmarshal(b, &suites); err != nil {
		t.Fatal(err)
	}
	return suites
}

// sender splits a reverse-path without a look at what it is made of.
func sender(s string) message.Address {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return message.Address{}
	}
	return message.Address{Local: s[:i], Domain: message.Domain(s[i+1:])}
}

// TestCheckSPF_Suite runs the test suite of RFC 7208 (testdata/rfc7208/SOURCE.txt).
// Of several results that it has for a case, any is right.
func TestCheckSPF_Suite(t *testing.T) {
	cases := 0
	for _, s := range readSuites(t) {
		z := lower(s.Zone)
		for _, c := range s.Tests {
			cases++
			t.Run(s.Description+"/"+c.Name, func(t *testing.T) {
				in := SPFInput{
					IP: netip.MustParseAddr(c.Host), Helo: c.Helo, From: sender(c.Mailfrom),
					Receiver: "mx.example.org", Now: time.Unix(1700000000, 0),
				}
				got := CheckSPF(context.Background(), z, in)
				if !slices.Contains(c.Result, got.Result) {
					t.Errorf("RFC 7208 %s: got %s, want %s\n%s", c.Spec, got.Result, c.Result, asJSON(t, got))
				}
				if c.Explanation != nil && got.Explanation != strings.TrimPrefix(*c.Explanation, "DEFAULT") {
					t.Errorf("RFC 7208 %s: got explanation %q, want %q", c.Spec, got.Explanation, *c.Explanation)
				}
				checkSPF(t, in, got)
			})
		}
	}
	if cases != 203 {
		t.Errorf("got %d cases, want 203", cases)
	}
}

// checkSPF holds a result to what the package promises of any.
func checkSPF(t *testing.T, in SPFInput, s SPF) {
	t.Helper()
	switch s.Result {
	case None, TempError, PermError:
		if s.Problem == "" {
			t.Errorf("%s without a problem", s.Result)
		}
	case Neutral, Pass, Fail, SoftFail:
		if s.Mechanism == "" || len(s.Trace) == 0 {
			t.Errorf("%s without what decided it: %s", s.Result, asJSON(t, s))
		}
	default:
		t.Errorf("got result %q", s.Result)
	}
	if len(s.Trace) > traceStepsMax || s.Lookups > lookupsMax+1 || s.VoidLookups > voidLookupsMax+1 {
		t.Errorf("got %d steps, %d look-ups, %d void", len(s.Trace), s.Lookups, s.VoidLookups)
	}
	for i, step := range s.Trace {
		if step.Outcome == "" || step.Domain == "" {
			t.Errorf("step %d is unfinished: %+v", i, step)
		}
		for _, q := range step.Questions {
			if fitName(q.Name) != q.Name {
				t.Errorf("asked for %q", q.Name)
			}
		}
	}
	if printable(s.Explanation) != s.Explanation || len(s.Explanation) > explanationOctetsMax {
		t.Errorf("got explanation %q", s.Explanation)
	}
	checkHeader(t, s.ReceivedSPF(in))
}

// checkHeader looks for what could break a header, or break out of one.
func checkHeader(t *testing.T, field string) {
	t.Helper()
	body, ok := strings.CutSuffix(field, "\r\n")
	if !ok || !strings.HasPrefix(field, "Received-SPF: ") {
		t.Errorf("got %q, want a header field", field)
	}
	for i, line := range strings.Split(body, "\r\n") {
		if i > 0 && !strings.HasPrefix(line, "\t") || len(line) > 998 ||
			strings.TrimPrefix(line, "\t") != printable(strings.TrimPrefix(line, "\t")) {
			t.Errorf("got line %q in the header field", line)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
