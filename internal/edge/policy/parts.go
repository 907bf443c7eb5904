package policy

import (
	"context"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Parts are what a Policy asks. Any of them may be nil, then its check finds
// nothing.
type Parts struct {
	Lists    Lists
	Greylist Acquaintance
	Bans     Bans
	// WhyBanned looks a ban up without refreshing it, for Explain.
	WhyBanned func(a netip.Addr) (why string, banned bool)
	SPF       SPF
}

// Lists are the DNSBLs and DNSWLs. *dnsbl.Checker is one.
type Lists interface {
	Check(a netip.Addr, done func(dnsbl.Score)) (s dnsbl.Score, ready bool)
	// Reason is about the heaviest list that lists the address. It does not
	// block.
	Reason(s dnsbl.Score, a netip.Addr) (zone, text, url string)
	Findings(ctx context.Context, a netip.Addr) []dnsbl.Finding
	Lists() []dnsbl.List
}

// Bans are the addresses that are not let in. *ban.List is one.
type Bans interface {
	// Ban bans an address, and all of with unless something in it is exempt.
	// It never blocks.
	Ban(a netip.Addr, with netip.Prefix, why string)
	Banned(a netip.Addr) bool   // refreshes the ban
	Authenticated(a netip.Addr) // exempt for a day
}

// Sender is who a message comes from, as the greylist knows senders.
type Sender struct {
	Addr   netip.Addr
	Helo   string
	Domain message.Domain // of the reverse-path, "" for the null one
	Pool   string         // "spf:example.org" if that domain's record names Addr
}

// Waiting is the greylist's answer for one sender and recipient.
type Waiting struct {
	Pass     bool
	First    time.Time     // its first attempt
	Retry    time.Time     // from when on it passes
	Waited   time.Duration // 0 if it passes without having waited
	Attempts int
	Header   string // X-Greylist field with its CRLF, "" if it has not waited
}

// Acquaintance knows who has passed before, and greylists the others. The
// host makes one of *greylist.Table.
type Acquaintance interface {
	KnownAddr(a netip.Addr, now time.Time) bool
	Known(s Sender, now time.Time) bool
	Check(s Sender, to message.Address, now time.Time) Waiting
	// Peek is what Check would say now, without counting an attempt.
	Peek(s Sender, to message.Address, now time.Time) Waiting
	Accepted(s Sender, now time.Time)
}

// SPF asks for sender policies.
type SPF interface {
	// Networks are all networks that a domain's record authorises.
	Networks(ctx context.Context, d message.Domain) ([]netip.Prefix, error)
	// Check evaluates the record of the sender's domain.
	Check(ctx context.Context, a netip.Addr, helo string, from message.Address) SPFFinding
}

// SPFFinding is an SPF result for people to read.
type SPFFinding struct {
	Result    string   `json:"result"`
	Domain    string   `json:"domain"`
	Mechanism string   `json:"mechanism,omitempty"`
	Problem   string   `json:"problem,omitempty"`
	Steps     []string `json:"steps,omitempty"`
}
