package mailauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// traceAnswersMax bounds the answers of one question that the trace keeps: an
// answer of 64 KB has thousands of addresses, and the first show what it is.
const traceAnswersMax = 16

// traceTextOctetsMax bounds one answer in the trace; a record is there as a
// whole anyway.
const traceTextOctetsMax = 512

// ask asks, and writes question and answer into the trace. Its error is a
// TempError: the DNS says nothing.
func (c *checker) ask(ctx context.Context, q dns.Question) (dns.Answer, error) {
	a := c.r.Lookup(ctx, q)
	if errors.Is(a.Err, dns.ErrName) {
		a = dns.Answer{Question: q, RCode: dns.NXDomain, Took: a.Took} // RFC 7208 §4.8
	}
	problem := ""
	switch {
	case a.Err != nil:
		problem = a.Err.Error()
	case a.RCode != dns.NoError:
		problem = a.RCode.String()
	case empty(a):
		problem = "no such records"
	}
	if c.step >= 0 {
		s := &c.trace[c.step]
		s.Questions = append(s.Questions, SPFQuestion{Name: q.Name, Type: q.Type.String(), Answers: answers(a), Problem: problem, Took: a.Took})
	}
	if a.Failed() {
		return dns.Answer{}, &SPFError{TempError, fmt.Sprintf("%s %s: %s", q.Name, q.Type, problem)}
	}
	return a, nil
}

// askCounted is ask for questions that count if they are void.
func (c *checker) askCounted(ctx context.Context, q dns.Question) (dns.Answer, error) {
	a, err := c.ask(ctx, q)
	if err == nil {
		err = c.void(a)
	}
	return a, err
}

// void counts an answer without records (RFC 7208 §4.6.4).
//
// Deviation: a name that exists and only has no IPv6 address is not counted.
// Three hosts with IPv4 only would make a good domain's record an error for
// every client that comes over IPv6.
func (c *checker) void(a dns.Answer) error {
	if !empty(a) || a.Type == dns.AAAA && a.RCode == dns.NoError {
		return nil
	}
	if c.voids++; c.voids > voidLookupsMax {
		return permError("more than %d questions to the DNS have no answer, the last for %s of %s", voidLookupsMax, a.Type, a.Name)
	}
	return nil
}

func empty(a dns.Answer) bool {
	return len(a.Addrs) == 0 && len(a.Texts) == 0 && len(a.Names) == 0 && len(a.MX) == 0
}

// answers shows the records of an answer.
func answers(a dns.Answer) []string {
	var out []string
	add := func(s string) bool {
		if len(out) == traceAnswersMax {
			out = append(out, "and more")
			return false
		}
		if len(s) > traceTextOctetsMax {
			s = s[:traceTextOctetsMax] + "…"
		}
		out = append(out, s)
		return true
	}
	for _, addr := range a.Addrs {
		if !add(addr.String()) {
			return out
		}
	}
	for _, mx := range a.MX {
		if !add(fmt.Sprintf("%d %s.", mx.Preference, printable(mx.Host))) {
			return out
		}
	}
	for _, name := range a.Names {
		if !add(printable(name) + ".") {
			return out
		}
	}
	for _, text := range a.Texts {
		if !add(printable(text)) {
			return out
		}
	}
	return out
}
