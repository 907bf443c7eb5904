package tlsrpt

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// destinationsMax of a record are read; one is usual.
	destinationsMax = 4
	// recordOctetsMax of a record.
	recordOctetsMax = 4096
)

// ErrRecord says that a text is no TLSRPT record, or has nobody to tell.
var ErrRecord = errors.New("no TLSRPT record")

// Destination is where a domain wants its reports: one of the two.
type Destination struct {
	Mail message.Address
	URL  string // https
}

// String gives the destination as a URI.
func (d Destination) String() string {
	if d.URL != "" {
		return d.URL
	}
	return "mailto:" + d.Mail.String()
}

// ParseRecord reads a TXT record at _smtp._tls (RFC 8460 §3). Destinations that
// are not understood are left out; there is one at least.
func ParseRecord(text string) ([]Destination, error) {
	if len(text) > recordOctetsMax {
		return nil, fmt.Errorf("%w: %d octets", ErrRecord, len(text))
	}
	var out []Destination
	for i, field := range strings.Split(text, ";") {
		name, value, _ := strings.Cut(field, "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if i == 0 && (name != "v" || value != "TLSRPTv1") {
			return nil, fmt.Errorf("%w: it does not begin with v=TLSRPTv1", ErrRecord)
		}
		if name != "rua" || out != nil {
			continue
		}
		for uri := range strings.SplitSeq(value, ",") {
			if d, ok := destination(strings.Trim(uri, " \t")); ok && len(out) < destinationsMax {
				out = append(out, d)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: it names nobody who can be told", ErrRecord)
	}
	return out, nil
}

func destination(uri string) (Destination, bool) {
	scheme, rest, _ := strings.Cut(uri, ":")
	switch strings.ToLower(scheme) {
	case "mailto":
		rest, _, _ = strings.Cut(rest, "?") // RFC 6068 header fields are not for strangers to choose
		s, err := url.PathUnescape(rest)
		if err != nil {
			return Destination{}, false
		}
		a, err := message.ParseAddress(s)
		if err != nil || a.IsZero() {
			return Destination{}, false
		}
		return Destination{Mail: a}, true
	case "https":
		u, err := url.Parse(uri)
		if err != nil || u.Host == "" || u.User != nil {
			return Destination{}, false
		}
		u.Fragment, u.RawFragment, u.Scheme = "", "", "https"
		return Destination{URL: u.String()}, true
	}
	return Destination{}, false
}
