package dns

import (
	"errors"
	"net/netip"
	"strconv"
	"time"
)

// Type is a type of resource record.
type Type uint16

// The types that may be asked for.
const (
	A     Type = 1
	NS    Type = 2
	CNAME Type = 5
	SOA   Type = 6
	PTR   Type = 12
	MX    Type = 15
	TXT   Type = 16
	AAAA  Type = 28
	TLSA  Type = 52
)

// String returns the type's name, or TYPE and its number (RFC 3597 §5).
func (t Type) String() string {
	switch t {
	case A:
		return "A"
	case NS:
		return "NS"
	case CNAME:
		return "CNAME"
	case SOA:
		return "SOA"
	case PTR:
		return "PTR"
	case MX:
		return "MX"
	case TXT:
		return "TXT"
	case AAAA:
		return "AAAA"
	case TLSA:
		return "TLSA"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// RCode is a server's response code.
type RCode uint8

// The codes that mean something to a stub.
const (
	NoError  RCode = 0
	FormErr  RCode = 1
	ServFail RCode = 2
	NXDomain RCode = 3
	NotImp   RCode = 4
	Refused  RCode = 5
)

// String returns the code's name, or RCODE and its number.
func (r RCode) String() string {
	switch r {
	case NoError:
		return "NOERROR"
	case FormErr:
		return "FORMERR"
	case ServFail:
		return "SERVFAIL"
	case NXDomain:
		return "NXDOMAIN"
	case NotImp:
		return "NOTIMP"
	case Refused:
		return "REFUSED"
	}
	return "RCODE" + strconv.Itoa(int(r))
}

// Question is what is asked, always in class IN.
type Question struct {
	Name string // ASCII, lower case, without the dot at the end
	Type Type
}

// MXRecord is a mail exchanger of a domain.
type MXRecord struct {
	Preference uint16
	Host       string // lower case, without the dot at the end; "" for the null MX (RFC 7505)
}

// TLSARecord says which certificates or keys a server may have (RFC 6698
// §2.1). Its numbers are as received: whoever uses it judges them.
type TLSARecord struct {
	Usage    uint8
	Selector uint8
	Matching uint8
	Data     string // octets
}

// Answer is what became of a question. Its slices may be shared with others:
// they are not to be changed.
type Answer struct {
	Question
	RCode RCode        // means something only if Err is nil
	Addrs []netip.Addr // of A and AAAA
	Texts []string     // one for each TXT record, its strings joined
	Names []string     // of PTR, NS and CNAME; lower case, without the dot at the end
	MX    []MXRecord   // in the order of the answer
	// Unfit says that there are MX records whose names are of no use, and were
	// left out.
	Unfit bool
	TLSA  []TLSARecord // in the order of the answer
	// Target is the name that CNAMEs of the question's name led to, whether
	// or not it has records; "" if there were none. See [Answer.Canonical].
	Target string
	// TTL is how long the answer holds: the least of its records, or what the
	// SOA says of a name or type that is not there; 0 if nobody said.
	TTL time.Duration
	// Authentic says that a resolver that is trusted (Options.TrustAD) vouches
	// for the answer by DNSSEC: for each record, each CNAME on the way to it,
	// or for there being none.
	Authentic bool
	// Err is why there is no answer. Failures that a server reported are no
	// errors; see RCode.
	Err  error
	Took time.Duration
}

// Failed reports whether nothing can be learnt from the answer: neither that
// the records are there nor that they are not.
func (a *Answer) Failed() bool {
	return a.Err != nil || a.RCode != NoError && a.RCode != NXDomain
}

// Canonical is the name whose records the answer has: the question's, or what
// its CNAMEs lead to.
func (a *Answer) Canonical() string {
	if a.Target != "" {
		return a.Target
	}
	return a.Name
}

// Status says what can be learnt from the answer.
func (a *Answer) Status() Status {
	switch {
	case a.Err != nil:
		return Unanswered
	case a.RCode == NXDomain:
		return NoName
	case a.RCode != NoError:
		return Failing
	case a.records() == 0:
		return NoData
	}
	return Found
}

func (a *Answer) records() int {
	return len(a.Addrs) + len(a.Texts) + len(a.Names) + len(a.MX) + len(a.TLSA)
}

// Status is what an answer comes to.
type Status uint8

// The statuses. After NoData and NoName it is known that there is nothing;
// after Failing and Unanswered nothing is known, and a later try may tell.
const (
	Found      Status = iota // records
	NoData                   // no records of this type
	NoName                   // no such name: NXDOMAIN
	Failing                  // a server said that it cannot or will not: SERVFAIL, REFUSED …
	Unanswered               // nobody was asked, or nobody answered in time or well
)

// String is the status's word in logs and tables.
func (s Status) String() string {
	switch s {
	case Found:
		return "found"
	case NoData:
		return "no data"
	case NoName:
		return "no such name"
	case Failing:
		return "failing"
	}
	return "unanswered"
}

// Trust says whose word on DNSSEC (the AD bit) counts.
type Trust uint8

// Whom to trust. Between us and a resolver elsewhere anybody may set the bit,
// so it takes the operator to say that nobody is there.
const (
	TrustLoopback Trust = iota // resolvers on this host
	TrustAll                   // all: the way to them is safe
	TrustNone
)

// Why there is no answer.
var (
	ErrTimeout   = errors.New("no name server answered in time")
	ErrBusy      = errors.New("too many DNS questions in flight")
	ErrName      = errors.New("not a domain name that can be asked for")
	ErrMalformed = errors.New("malformed DNS answer")
	ErrClosed    = errors.New("resolver closed")
)
