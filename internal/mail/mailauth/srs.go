package mailauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// ErrSRS says that an address is none that we rewrote, or that it is too old.
var ErrSRS = errors.New("no valid rewritten sender")

const (
	// srsLocalOctetsMax bounds a rewritten local part, with the quotes that
	// it may need: what every host must take (RFC 5321 §4.5.3.1.1). Some take
	// no more, and would refuse the mail for its sender.
	srsLocalOctetsMax = 64
	// srsDaysMax is how many days a rewritten address can be answered. Hosts
	// give up after 5 days or so; a bounce that comes after three weeks helps
	// nobody, but an old address that was collected is of use to spammers.
	srsDaysMax = 21
	// srsDaysAheadMax is how far the clock of another host of ours may be ahead.
	srsDaysAheadMax = 1
	// srsHashDigits of base32 are 30 bits: whoever guesses needs a thousand
	// million tries, each a RCPT, for one address and day.
	srsHashDigits = 6
	// srsSecretOctetsMin bounds a secret from below: 128 bits.
	srsSecretOctetsMin = 16
)

// srsDigits are the digits of the days and hashes in an address. Upper and
// lower case are the same to us, since hosts on the way may change it.
const srsDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// srsDaysRound is after how many days the two digits of a day begin again.
const srsDaysRound = 1024

// SRSOptions configure an SRS. All must be set.
type SRSOptions struct {
	Domain message.Domain // that forwarded mail is sent from
	// Secrets of at least 16 octets: the first signs, all verify. An old one
	// can go three weeks after a new one was put before it.
	Secrets [][]byte
	Clock   sys.Clock
}

// SRS rewrites the senders of mail that is forwarded, so that the next host
// finds a domain that lets us send (SPF), and a bounce finds its way back. It
// keeps no state: the sender is in the address, with a day and a hash that
// only we can make, so that nobody can send through us to whom he likes. It
// may be used from many goroutines.
//
//	SRS0=HHHHHH=TT=example.org=one@forward.test       one@example.org
//	SRS1=HHHHHH=a.test==HHHH=TT=b.test=one@forward.test   SRS0=HHHH=TT=b.test=one@a.test
type SRS struct{ o SRSOptions }

// NewSRS returns an SRS.
func NewSRS(o SRSOptions) (*SRS, error) {
	if o.Domain == "" || o.Clock == nil || len(o.Secrets) == 0 {
		return nil, errors.New("SRS needs a domain, a clock and a secret")
	}
	for i, s := range o.Secrets {
		if len(s) < srsSecretOctetsMin {
			return nil, fmt.Errorf("secret %d of SRS has fewer than %d octets", i+1, srsSecretOctetsMin)
		}
	}
	return &SRS{o: o}, nil
}

// Forward returns the sender to forward mail of this sender with. The null
// reverse-path and addresses of Domain stay what they are; what another
// forwarder has rewritten gets that forwarder's name put before it, and not a
// second day and domain, so that it does not grow with each host.
//
// A sender that does not fit becomes our postmaster, rewritten likewise. The
// message then still arrives, as it would not with a sender that the next host
// finds too long; a failure that is found while we hand it over is told to its
// true sender all the same, since the queue knows that one; and what bounces
// later than that has a reader.
func (s *SRS) Forward(sender message.Address) message.Address {
	if sender.IsZero() || sender.Domain == s.o.Domain {
		return sender
	}
	if a := s.rewrite(sender); srsFits(a) {
		return a
	}
	postmaster := message.Address{Local: "postmaster", Domain: s.o.Domain}
	if a := s.rewrite(postmaster); srsFits(a) {
		return a
	}
	return postmaster
}

func (s *SRS) rewrite(sender message.Address) message.Address {
	a := message.Address{Domain: s.o.Domain}
	if hop, rest, ok := srsHop(sender); ok {
		a.Local = "SRS1=" + s.hash(0, '1', hop, rest) + "=" + hop + "=" + rest
		return a
	}
	day := srsDay(s.today())
	tail := string(sender.Domain) + "=" + sender.Local
	a.Local = "SRS0=" + s.hash(0, '0', day, tail) + "=" + day + "=" + tail
	return a
}

// srsHop takes an address apart that others have rewritten: the first
// forwarder, and what it put behind "SRS0".
func srsHop(a message.Address) (hop, rest string, ok bool) {
	switch kind, tail := srsKind(a.Local); kind {
	case '0':
		return string(a.Domain), tail, true
	case '1':
		_, tail, _ = strings.Cut(tail[1:], "=")
		hop, rest, ok = strings.Cut(tail, "=")
		_, err := srsAddress(hop, rest)
		return hop, rest, ok && err == nil && srsSeparated(rest)
	}
	return "", "", false
}

// srsKind is '0' or '1' for a rewritten local part, with what follows "SRS0"
// or "SRS1": a separator and more. It is 0 for others.
func srsKind(local string) (kind byte, tail string) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || !srsSeparated(local[4:]) {
		return 0, ""
	}
	if local[3] != '0' && local[3] != '1' {
		return 0, ""
	}
	return local[3], local[4:]
}

// srsSeparated tells whether a tail begins as it must. Other programs put - or
// + there.
func srsSeparated(tail string) bool {
	return tail != "" && strings.IndexByte("=-+", tail[0]) >= 0
}

func srsFits(a message.Address) bool {
	return len(a.String())-len(a.Domain)-len("@") <= srsLocalOctetsMax
}

// Ours reports whether an address looks like one that Forward makes, whether or
// not Reverse takes it. What another forwarder has rewritten is that one's.
func (s *SRS) Ours(addr message.Address) bool {
	kind, _ := srsKind(addr.Local)
	return kind != 0 && addr.Domain == s.o.Domain
}

// Reverse returns the sender that an address was made of. It does not look at
// the domain: the caller asks Ours before. The error wraps ErrSRS and says what
// is wrong.
func (s *SRS) Reverse(addr message.Address) (message.Address, error) {
	kind, tail := srsKind(addr.Local)
	if kind == 0 {
		return message.Address{}, fmt.Errorf("%w: it begins with neither SRS0 nor SRS1", ErrSRS)
	}
	hash, tail, ok := strings.Cut(tail[1:], "=")
	first, rest, ok2 := strings.Cut(tail, "=")
	if !ok || !ok2 || first == "" {
		return message.Address{}, fmt.Errorf("%w: parts are missing", ErrSRS)
	}
	if !s.genuine(kind, hash, first, rest) {
		return message.Address{}, fmt.Errorf("%w: the hash is not ours", ErrSRS)
	}
	if kind == '1' {
		if !srsSeparated(rest) {
			return message.Address{}, fmt.Errorf("%w: parts are missing", ErrSRS)
		}
		return srsAddress(first, "SRS0"+rest)
	}
	if err := s.checkDay(first); err != nil {
		return message.Address{}, err
	}
	domain, local, ok := strings.Cut(rest, "=")
	if !ok {
		return message.Address{}, fmt.Errorf("%w: parts are missing", ErrSRS)
	}
	return srsAddress(domain, local)
}

func srsAddress(domain, local string) (message.Address, error) {
	var d message.Domain
	var err error
	if strings.HasPrefix(domain, "[") {
		d, err = message.ParseLiteral(domain)
	} else {
		d, err = message.ParseDomain(domain)
	}
	if err != nil || local == "" {
		return message.Address{}, fmt.Errorf("%w: there is no address in it", ErrSRS)
	}
	return message.Address{Local: local, Domain: d}, nil
}

func (s *SRS) today() int {
	return int(s.o.Clock.Now().Unix()/int64(24*time.Hour/time.Second)) % srsDaysRound
}

func srsDay(day int) string {
	return string([]byte{srsDigits[day>>5], srsDigits[day&31]})
}

func (s *SRS) checkDay(digits string) error {
	if len(digits) != 2 {
		return fmt.Errorf("%w: its day has not two digits", ErrSRS)
	}
	high, low := srsDigit(digits[0]), srsDigit(digits[1])
	if high < 0 || low < 0 {
		return fmt.Errorf("%w: its day is none", ErrSRS)
	}
	age := (s.today() - (high<<5 | low) + srsDaysRound) % srsDaysRound
	if age > srsDaysMax && age < srsDaysRound-srsDaysAheadMax {
		return fmt.Errorf("%w: it is older than %d days", ErrSRS, srsDaysMax)
	}
	return nil
}

func srsDigit(c byte) int {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte(srsDigits, c)
}

// genuine tells whether one of the secrets makes this hash.
func (s *SRS) genuine(kind byte, hash, first, rest string) bool {
	got, found := []byte(upperASCII(hash)), 0
	for i := range s.o.Secrets {
		found |= subtle.ConstantTimeCompare(got, []byte(s.hash(i, kind, first, rest)))
	}
	return found == 1
}

// hash of what is in an address, in one case, since hosts may change that.
// Neither a day nor a domain has "=" in it, so that nothing can be moved from
// one part into the next.
func (s *SRS) hash(secret int, kind byte, first, rest string) string {
	h := hmac.New(sha256.New, s.o.Secrets[secret])
	h.Write([]byte("breakwater srs " + string(kind) + "=" + lowerASCII(first) + "=" + lowerASCII(rest)))
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:srsHashDigits]
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
	return string(b)
}
