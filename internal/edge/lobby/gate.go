package lobby

import (
	"net"
	"net/netip"
	"time"

	"github.com/breakwater-mail/breakwater/internal/edge/dnsbl"
	"github.com/breakwater-mail/breakwater/internal/edge/policy"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Gate is what the lobby asks; *policy.Policy is one. Its methods are called
// by several loops at once, and must neither block nor call the lobby. A
// *policy.Guest is valid during the call only.
//
// A Gate may have two more methods: SetLoad(guests, budget float64), which is
// told once a second which parts of Options.Strangers and Options.Budget are
// in use; and Listed(dnsbl.Score) bool, see Options.ListedAt.
type Gate interface {
	// Arrive says what becomes of a connection.
	Arrive(a netip.Addr, now time.Time) policy.Entry
	// Score asks the lists: the answer is ready, or done is called with it
	// once, on another goroutine.
	Score(a netip.Addr, done func(dnsbl.Score)) (s dnsbl.Score, ready bool)
	// Decide judges a guest: at a recipient (HasTo), or at STARTTLS.
	Decide(g *policy.Guest) policy.Verdict
	// Left is called once for each guest that Arrive let wait and that was
	// not handed over.
	Left(g *policy.Guest)
	// Level says how much is going on.
	Level() policy.Level
}

// Handover is a guest on its way to a session.
type Handover struct {
	Conn     net.Conn
	ID       string
	Remote   netip.AddrPort // behind a proxy what that named
	Dialogue smtp.Dialogue  // a question may be pending: begin with EventResume
	Fresh    bool           // nothing was said yet: the session says the banner
	Unread   []byte         // octets that were read and not consumed
	Guest    policy.Guest
	Verdict  policy.Verdict // that let it pass; zero if Fresh
	// Ended is to be called when the session has ended, or, after a hand-over
	// for STARTTLS, as soon as the client has proved to be a good one. Calls
	// after the first do nothing.
	Ended func()
}

// Stats says how a lobby does. Counts are since it began.
type Stats struct {
	Guests    int            `json:"guests"`
	Strangers int            `json:"strangers"` // the bound of Guests
	States    map[string]int `json:"states"`
	Ranks     map[string]int `json:"ranks"`
	Price     int64          `json:"price_bytes"`
	Budget    int64          `json:"budget_bytes"`
	Sessions  int            `json:"sessions"`   // handed over and not ended
	TLS       int            `json:"tls_guests"` // of these, for STARTTLS
	Level     string         `json:"level"`
	Arrived   uint64         `json:"arrived"`
	Admitted  uint64         `json:"admitted"`    // without waiting
	Barred    uint64         `json:"barred"`      // refused by the Gate at once
	Turned    uint64         `json:"turned_away"` // for want of room
	Passed    uint64         `json:"passed"`
	Refused   uint64         `json:"refused"`
	Deferred  uint64         `json:"deferred"`
	Evicted   uint64         `json:"evicted"`
	Early     uint64         `json:"early_talkers"`
	Octets    uint64         `json:"octets"`
	// CPU is the time that the loops have spent on guests.
	CPU time.Duration `json:"cpu"`
}

// GuestInfo is one guest, for people to look at.
type GuestInfo struct {
	ID        string        `json:"id"`
	Addr      netip.Addr    `json:"addr"`
	State     string        `json:"state"`
	Since     time.Time     `json:"since"` // of the state
	Arrived   time.Time     `json:"arrived"`
	Helo      string        `json:"helo,omitempty"`
	From      string        `json:"from,omitempty"`
	To        string        `json:"to,omitempty"`
	Rank      string        `json:"rank"`
	Listed    bool          `json:"listed,omitempty"`
	Faults    string        `json:"faults,omitempty"`
	Octets    int64         `json:"octets"`
	CPU       time.Duration `json:"cpu"`
	Questions int           `json:"questions,omitempty"`
	Price     int           `json:"price_bytes"`
}
