package mailauth

import (
	"context"
	"strconv"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// explanationOctetsMax bounds an explanation, in octets: with code and the
// domain's name before it, it fits into one line of a reply (RFC 5321
// §4.5.3.1.5: 512).
const explanationOctetsMax = 400

// name expands a domain-spec to the name to ask for, "" if it cannot be
// asked for.
func (c *checker) name(ctx context.Context, m macroString, domain string) (string, error) {
	if m.uses("p") && !c.named {
		if err := c.count(); err != nil { // §4.6.4: %{p} counts as ptr does
			return "", err
		}
	}
	var failure error
	s, err := m.expand(func(letter byte) string {
		v, err := c.value(ctx, letter, domain)
		if failure == nil {
			failure = err
		}
		return v
	})
	switch {
	case failure != nil:
		return "", failure
	case err != nil:
		return "", permError("%v", err)
	}
	return fitName(s), nil
}

// value is what a macro letter stands for (RFC 7208 §7.2).
func (c *checker) value(ctx context.Context, letter byte, domain string) (string, error) {
	switch letter {
	case 's':
		return c.local + "@" + c.origin, nil
	case 'l':
		return c.local, nil
	case 'o':
		return c.origin, nil
	case 'd':
		return domain, nil
	case 'i':
		return c.dotted(), nil
	case 'p':
		return c.validated(ctx, domain)
	case 'v':
		if c.ip.Is4() {
			return "in-addr", nil
		}
		return "ip6", nil
	case 'h':
		return c.in.Helo, nil
	case 'c':
		return c.ip.String(), nil
	case 'r':
		if c.in.Receiver == "" {
			return "unknown", nil
		}
		return c.in.Receiver, nil
	default: // t
		return strconv.FormatInt(c.in.Now.Unix(), 10), nil
	}
}

// dotted is the client's address with dots between octets or nibbles.
func (c *checker) dotted() string {
	if c.ip.Is4() {
		return c.ip.String()
	}
	const hex = "0123456789ABCDEF"
	b := c.ip.As16()
	out := make([]byte, 0, 63)
	for i, octet := range b {
		if i > 0 {
			out = append(out, '.')
		}
		out = append(out, hex[octet>>4], '.', hex[octet&15])
	}
	return string(out)
}

// validated is the client's validated name: the domain itself if it is one,
// else one below it, else any (RFC 7208 §7.3).
func (c *checker) validated(ctx context.Context, domain string) (string, error) {
	names, err := c.pointers(ctx)
	if err != nil {
		return "", err
	}
	best, rank := "unknown", 0
	for _, name := range names {
		r := 1
		if name == domain {
			r = 3
		} else if within(name, domain) {
			r = 2
		}
		if r > rank {
			best, rank = name, r
		}
	}
	return best, nil
}

// explain fetches and expands what a domain says about its Fail (RFC 7208
// §6.2). Whatever goes wrong means that there is no explanation, and is told
// as the problem.
func (c *checker) explain(ctx context.Context, v verdict) (explanation, problem string) {
	end := c.begin(v.domain, v.exp.text)
	lookups, voids := c.lookups, c.voids
	defer func() { c.lookups, c.voids = lookups, voids }()
	c.lookups, c.voids = 0, 0 // the result stands, and exp has no part in the counts (§4.6.4)
	explanation, problem = c.explanation(ctx, v)
	if problem != "" {
		problem = "no explanation: " + problem
		end(problem)
	} else {
		end("found")
	}
	return explanation, problem
}

func (c *checker) explanation(ctx context.Context, v verdict) (explanation, problem string) {
	target, err := c.name(ctx, v.exp.domain, v.domain)
	switch {
	case err != nil:
		return "", err.Error()
	case target == "":
		return "", "its name cannot be asked for"
	}
	a, err := c.ask(ctx, dns.Question{Name: target, Type: dns.TXT})
	switch {
	case err != nil:
		return "", err.Error()
	case len(a.Texts) != 1:
		return "", target + " has " + strconv.Itoa(len(a.Texts)) + " TXT records"
	case len(a.Texts[0]) > recordOctetsMax:
		return "", target + " is too long"
	}
	m, err := parseMacros(a.Texts[0], true)
	if err != nil {
		return "", err.Error()
	}
	s, err := m.expand(func(letter byte) string {
		s, _ := c.value(ctx, letter, v.domain)
		return s
	})
	switch {
	case err != nil:
		return "", err.Error()
	case len(s) > explanationOctetsMax:
		return "", "it is longer than " + strconv.Itoa(explanationOctetsMax) + " octets"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", "it is not visible ASCII"
	}
	return s, ""
}
