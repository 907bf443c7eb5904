package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
)

// verdict is what an answer means.
type verdict uint8

const (
	clear    verdict = iota // not listed
	listed                  // by at least one of the zone's lists, or under a code that does not count
	silent                  // nobody said anything
	refusing                // the zone does not want to say
	poisoned                // the zone says what no list says
	unasked                 // we could not ask: not the zone's fault
)

// lists answer within this network (RFC 5782 §2.1); anything else comes from
// a parked domain, or a resolver that lies about names that are not there.
func answers() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) }

// errorCodes are what lists answer to those whom they do not want to serve.
func errorCodes() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 255, 255, 0}), 24)
}

// judge decides what a zone's answer means, with the lists that it hits and,
// if it is of no use, why.
func (z *zone) judge(lists []List, a *dns.Answer) (v verdict, hits uint32, why string) {
	switch {
	case errors.Is(a.Err, dns.ErrTimeout), errors.Is(a.Err, dns.ErrMalformed):
		return silent, 0, a.Err.Error()
	case a.Err != nil:
		return unasked, 0, a.Err.Error()
	case a.RCode == dns.Refused:
		return refusing, 0, "the server answers " + a.RCode.String()
	case a.RCode == dns.NXDomain:
		return clear, 0, ""
	case a.RCode != dns.NoError:
		return silent, 0, "the server answers " + a.RCode.String()
	case len(a.Addrs) == 0:
		return clear, 0, ""
	}
	for _, addr := range a.Addrs {
		switch {
		case !answers().Contains(addr):
			return poisoned, 0, fmt.Sprintf("answers %s, which is outside %s", addr, answers())
		case errorCodes().Contains(addr):
			return refusing, 0, fmt.Sprintf("answers %s: %s", addr, errorText(addr))
		case z.white && addr.As4() == [4]byte{127, 0, 0, 255}:
			return refusing, 0, fmt.Sprintf("answers %s: too many questions", addr)
		}
	}
	for i := range lists {
		if z.lists>>i&1 != 0 && lists[i].counts(a.Addrs) {
			hits |= 1 << i
		}
	}
	return listed, hits, ""
}

func errorText(a netip.Addr) string {
	switch a.As4()[3] {
	case 252:
		return "the zone's name is misspelt"
	case 254:
		return "asked by way of a public resolver"
	case 255:
		return "too many questions"
	}
	return "an error code"
}

// counts tells whether one of the answers is a hit.
func (l *List) counts(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if len(l.Codes) == 0 && a.As4() != [4]byte{127, 0, 0, 1} {
			return true
		}
		for _, p := range l.Codes {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

// answerText is an answer in words.
func answerText(a *dns.Answer) string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.RCode != dns.NoError:
		return a.RCode.String()
	case len(a.Addrs) == 0:
		return "no address"
	}
	texts := make([]string, len(a.Addrs))
	for i, addr := range a.Addrs {
		texts[i] = addr.String()
	}
	return strings.Join(texts, ", ")
}
