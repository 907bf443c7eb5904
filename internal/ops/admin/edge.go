package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The requests about the edge. Only a running host can answer them.
const (
	BanList        Op = "ban list"
	BanAdd         Op = "ban add"
	BanRemove      Op = "ban remove"
	BanWhy         Op = "ban why"
	Explain        Op = "explain"
	TopNow         Op = "top"
	GreylistReport Op = "greylist report"
	ShadowReport   Op = "shadow report"
)

const (
	topRowsMax = 1000            // rows of each table of top: more than anybody reads
	reasonMax  = 200             // octets of a ban's reason
	banForMax  = 366 * 24 * 3600 // seconds of a ban: what is meant for longer belongs into policy.deny
	nameMax    = 320             // octets of a name or address of a query: more than RFC 5321 §4.5.3.1 has
)

// Edge is what stands before the mailroom of a running host.
type Edge interface {
	// Bans gives the latest bans, at most limit of them (0: all), and how
	// many there are.
	Bans(limit int) (Bans, error)
	// Ban adds, removes or looks up one ban.
	Ban(q BanRequest) (BanAnswer, error)
	// Explain judges a would-be delivery, or tells of a session.
	Explain(ctx context.Context, q Query) (Report, error)
	// Top tells what is going on; n is the number of rows of each table.
	Top(n int) (Top, error)
	// Report renders the report on greylisting or on checks in shadow.
	Report(what Op) (Report, error)
}

// ErrNoEdge says that there is no running host with an edge to ask.
var ErrNoEdge = errors.New("only a running host can tell; start it with `breakwater serve` or `breakwater demo`")

// BanRequest is about one ban. Executor has checked it when Edge gets it.
type BanRequest struct {
	Op      Op            `json:"-"`       // BanAdd, BanRemove or BanWhy
	Network netip.Prefix  `json:"network"` // an address is one of its whole length
	For     time.Duration `json:"for,omitempty"`
	Reason  string        `json:"reason,omitempty"`
}

// BanAnswer is what became of a BanRequest.
type BanAnswer struct {
	Done   bool     `json:"done"`             // it was added, was removed, or is there
	Ban    *Ban     `json:"ban,omitempty"`    // of "ban why"
	Ended  []string `json:"ended,omitempty"`  // of "ban remove": what is banned no more
	Detail string   `json:"detail,omitempty"` // why there is no ban, or none in the kernel
}

// Ban is a row of "ban list".
type Ban struct {
	Network string    `json:"network"` // an address, or a network in CIDR form
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"` // unless it sends again, if not Fixed
	Count   int       `json:"count"` // how often it was banned or turned away
	Fixed   bool      `json:"fixed"` // by an operator: what it sends prolongs nothing
	Kernel  bool      `json:"kernel"`
	Reason  string    `json:"reason"`
}

// Bans is the answer to "ban list".
type Bans struct {
	Kernel bool   `json:"kernel"`           // the kernel drops what banned sources send
	Detail string `json:"detail,omitempty"` // why it does not, or what it cannot
	Total  int    `json:"total"`
	Bans   []Ban  `json:"bans"` // latest first
}

// Query is a delivery to be explained, or the id of a session.
type Query struct {
	Session string     `json:"session,omitempty"`
	IP      netip.Addr `json:"ip,omitzero"`
	Helo    string     `json:"helo,omitempty"`
	From    *string    `json:"from,omitempty"` // nil: not given; "" is the null reverse-path
	Rcpt    string     `json:"rcpt,omitempty"`
}

// Report is an answer as JSON and as text for people.
type Report struct {
	JSON json.RawMessage `json:"json"`
	Text string          `json:"text"`
}

// Top is what goes on at the edge. Totals are since the host's start.
type Top struct {
	At       time.Time      `json:"at"`
	Hostname string         `json:"hostname"`
	Level    string         `json:"level"`
	Since    time.Time      `json:"level_since"`
	Arrivals float64        `json:"arrivals_per_second"`
	Guests   TopGuests      `json:"guests"`
	Minute   TopCounts      `json:"last_minute"`
	Total    TopCounts      `json:"total"`
	By       map[string]int `json:"decided_by"` // refusals and deferrals by the check that decided
	Evicted  int64          `json:"evicted"`
	Early    int64          `json:"early_talkers"`
	Octets   int64          `json:"octets"` // both ways, of guests
	Process  TopProcess     `json:"process"`
	DNS      TopDNS         `json:"dns"`
	Lists    []TopList      `json:"lists"`
	Bans     TopBans        `json:"bans"`
	Networks []TopNetwork   `json:"networks"` // the costliest, with figures that halve every ten minutes
	Live     []TopGuest     `json:"live"`     // the costliest guests that are there
}

// TopGuests are the guests of the lobby now.
type TopGuests struct {
	Now      int            `json:"now"`
	Max      int            `json:"max"`
	States   map[string]int `json:"states"`
	Ranks    map[string]int `json:"ranks"` // how they are thought of
	Bytes    int64          `json:"bytes"`
	BytesMax int64          `json:"bytes_max"`
	Sessions int            `json:"sessions"` // handed over and not ended
	TLS      int            `json:"tls"`      // of these, for STARTTLS
}

// TopCounts count what became of guests.
type TopCounts struct {
	Arrived  int64 `json:"arrived"`
	Turned   int64 `json:"turned_away"`
	Admitted int64 `json:"admitted"`
	Passed   int64 `json:"passed"`
	Refused  int64 `json:"refused"`
	Deferred int64 `json:"deferred"`
	Accepted int64 `json:"accepted"` // messages
}

// TopProcess is what the process takes.
type TopProcess struct {
	CPU        time.Duration `json:"cpu_ns"`
	RSS        int64         `json:"rss_bytes"` // 0: not known
	Heap       int64         `json:"heap_bytes"`
	Goroutines int           `json:"goroutines"`
	Processors int           `json:"processors"`
}

// TopDNS counts questions to name servers.
type TopDNS struct {
	Asked    int64 `json:"asked"`
	Answered int64 `json:"answered"`
	Timeouts int64 `json:"timeouts"`
	Cached   int64 `json:"cached"`
	Busy     int64 `json:"busy"`
	InFlight int   `json:"in_flight"`
}

// TopList is how a DNSBL or DNSWL does.
type TopList struct {
	Zone   string    `json:"zone"`
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since"`
	Asked  int64     `json:"asked"`
	Silent int64     `json:"silent"`
	Listed int64     `json:"listed"`
}

// TopBans are the bans in short.
type TopBans struct {
	Now    int    `json:"now"`
	Kernel bool   `json:"kernel"`
	Detail string `json:"detail,omitempty"`
}

// TopNetwork is what a network costs; a figure that is not among the highest
// of its kind is 0.
type TopNetwork struct {
	Network     string        `json:"network"`
	Connections int64         `json:"connections"`
	Refusals    int64         `json:"refusals"`
	Octets      int64         `json:"octets"`
	CPU         time.Duration `json:"cpu_ns"`
	Questions   int64         `json:"dns_questions"`
}

// TopGuest is one live guest.
type TopGuest struct {
	ID        string        `json:"id"`
	Addr      string        `json:"addr"`
	State     string        `json:"state"`
	Arrived   time.Time     `json:"arrived"`
	Helo      string        `json:"helo,omitempty"`
	From      string        `json:"from,omitempty"`
	To        string        `json:"to,omitempty"`
	Rank      string        `json:"rank"`
	Octets    int64         `json:"octets"`
	CPU       time.Duration `json:"cpu_ns"`
	Questions int           `json:"dns_questions,omitempty"`
	Bytes     int           `json:"bytes"`
}

func (x *Executor) banList(_ context.Context, q Request, a *Answer) error {
	bans, err := x.Edge.Bans(max(q.Limit, 0))
	a.Bans = &bans
	return err
}

func (x *Executor) ban(_ context.Context, q Request, a *Answer) error {
	if q.Ban == nil || !q.Ban.Network.IsValid() {
		return errors.New("no address or network was given")
	}
	b := *q.Ban
	b.Op, b.Network = q.Op, b.Network.Masked()
	if q.Op == BanAdd {
		switch {
		case b.For <= 0 || b.For > banForMax*time.Second:
			return errors.New("a ban takes more than no time and at most a year; policy.deny in the configuration is for ever")
		case len(b.Reason) > reasonMax:
			return fmt.Errorf("the reason has more than %d octets", reasonMax)
		case b.Reason == "":
			b.Reason = "by an operator"
		}
	}
	answer, err := x.Edge.Ban(b)
	if err == nil && q.Op == BanRemove && !answer.Done {
		err = fmt.Errorf("no ban of %s; `breakwater ban list` lists them", NetworkName(b.Network))
	}
	a.Ban = &answer
	return err
}

// NetworkName is a network in CIDR form, an address without the length that is
// its own.
func NetworkName(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (x *Executor) explain(ctx context.Context, q Request, a *Answer) error {
	e := q.Explain
	switch {
	case e == nil || (e.Session == "") == !e.IP.IsValid():
		return errors.New("give either a session or an IP address")
	case len(e.Session) > nameMax || len(e.Helo) > nameMax || e.From != nil && len(*e.From) > nameMax || len(e.Rcpt) > nameMax:
		return fmt.Errorf("a name or address has more than %d octets", nameMax)
	}
	r, err := x.Edge.Explain(ctx, *e)
	a.Report = &r
	return err
}

func (x *Executor) top(_ context.Context, q Request, a *Answer) error {
	t, err := x.Edge.Top(min(max(q.Limit, 0), topRowsMax))
	a.Top = &t
	return err
}

func (x *Executor) report(_ context.Context, q Request, a *Answer) error {
	r, err := x.Edge.Report(q.Op)
	a.Report = &r
	return err
}

// edge is do if there is an edge to ask.
func (x *Executor) edge(do func(context.Context, Request, *Answer) error) func(context.Context, Request, *Answer) error {
	if x.Edge == nil {
		return func(context.Context, Request, *Answer) error { return ErrNoEdge }
	}
	return do
}
