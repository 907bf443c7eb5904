package mailauth

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Resolver answers questions to the DNS; *dns.Client is one.
type Resolver interface {
	Lookup(ctx context.Context, q dns.Question) dns.Answer
}

// SPFResult is a result of check_host (RFC 7208 §2.6).
type SPFResult string

// The results.
const (
	None      SPFResult = "none"      // no record, or no domain to look for one
	Neutral   SPFResult = "neutral"   // the domain does not say
	Pass      SPFResult = "pass"      // the domain lets this address send
	Fail      SPFResult = "fail"      // the domain says that it does not
	SoftFail  SPFResult = "softfail"  // the domain thinks that it does not
	TempError SPFResult = "temperror" // the DNS did not answer
	PermError SPFResult = "permerror" // the record cannot be understood
)

// spfTimeout bounds a check in time. RFC 7208 §4.6.4 wants at least 20
// seconds; whoever has less patience gives a context that ends earlier.
const spfTimeout = 20 * time.Second

// SPFInput is what a check is about.
type SPFInput struct {
	IP       netip.Addr      // the client
	Helo     string          // what it called itself, as it came
	From     message.Address // MAIL FROM; if null, HELO's domain is checked
	Receiver string          // our name, for explanations and Received-SPF
	Now      time.Time       // for the macro letter t
}

// SPF is the result of a check and how it came about.
type SPF struct {
	Result   SPFResult `json:"result"`
	Domain   string    `json:"domain"`   // that was checked
	Identity string    `json:"identity"` // where it is from: mailfrom or helo
	// Mechanism is the term that matched, as written; "default" if none did.
	Mechanism string `json:"mechanism,omitempty"`
	// Open is set with Pass if the term that matched lets nearly everybody
	// send: such a pass says nothing about the client.
	Open        bool      `json:"open,omitempty"`
	Explanation string    `json:"explanation,omitempty"` // of a Fail, the domain's own
	Problem     string    `json:"problem,omitempty"`     // why None, TempError, PermError; or why there is no explanation
	Trace       []SPFStep `json:"trace,omitempty"`
	Lookups     int       `json:"lookups"`      // terms that asked the DNS
	VoidLookups int       `json:"void_lookups"` // questions that had no answer
}

// SPFStep is one term's evaluation, or the look-up of a domain's record.
type SPFStep struct {
	Depth     int           `json:"depth"`            // of include and redirect
	Domain    string        `json:"domain"`           // whose record it is
	Term      string        `json:"term,omitempty"`   // as written; empty: the record is looked up
	Record    string        `json:"record,omitempty"` // what was found then
	Outcome   string        `json:"outcome"`          // "match", "no match", "found" … or what is wrong
	Questions []SPFQuestion `json:"questions,omitempty"`
}

// SPFQuestion is a question to the DNS with its answer.
type SPFQuestion struct {
	Name    string        `json:"name"`
	Type    string        `json:"type"`
	Answers []string      `json:"answers,omitempty"`
	Problem string        `json:"problem,omitempty"` // no answer, or none with records
	Took    time.Duration `json:"took_ns"`
}

// CheckSPF evaluates the policy of the domain of MAIL FROM, or of HELO if that
// is null, for a client (RFC 7208 §4).
func CheckSPF(ctx context.Context, r Resolver, in SPFInput) SPF {
	ctx, cancel := context.WithTimeout(ctx, spfTimeout)
	defer cancel()
	c, domain := newChecker(r, in)
	s := SPF{Result: None, Identity: "mailfrom", Domain: string(in.From.Domain)}
	if in.From.IsZero() {
		s.Identity, s.Domain = "helo", in.Helo
	}
	switch {
	case !c.ip.IsValid():
		s.Problem = "there is no address to check"
		return s
	case domain == "":
		s.Problem = "the domain of " + s.Identity + " is no name of the DNS with a dot in it"
		return s
	}
	s.Domain = domain
	v := c.checkHost(ctx, domain)
	s.Result, s.Mechanism, s.Open, s.Problem = v.result, v.mechanism, v.open && v.result == Pass, v.problem
	if s.Result == Fail && v.exp != nil {
		s.Explanation, s.Problem = c.explain(ctx, v)
	}
	s.Trace, s.Lookups, s.VoidLookups = c.trace, c.lookups, c.voids
	return s
}

// newChecker prepares a check, and gives the domain it begins with (RFC 7208
// §4.3): empty if there is none that could have a record.
func newChecker(r Resolver, in SPFInput) (c *checker, domain string) {
	c = &checker{r: r, in: in, step: -1, ip: in.IP.Unmap().WithZone("")} // §5: mapped IPv4 is IPv4
	if d, err := message.ParseDomain(string(in.From.Domain)); err == nil {
		domain = string(d)
	}
	c.local, c.origin = in.From.Local, domain
	if in.From.IsZero() {
		if d, err := message.ParseDomain(in.Helo); err == nil {
			domain = string(d)
		}
		c.origin = domain
	}
	if c.local == "" {
		c.local = "postmaster" // §4.3
	}
	if !strings.Contains(domain, ".") {
		domain = ""
	}
	return c, domain
}
