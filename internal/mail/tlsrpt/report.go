package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of reports.
const (
	// PackedMax of a report in octets (RFC 8460 §4 has none).
	PackedMax = 2 << 20
	// UnpackedMax of a report in octets: one with a thousand failures has some
	// 500,000.
	UnpackedMax = 8 << 20
	// policiesMax of a report are read: a domain has had one or two in a day.
	policiesMax = 128
	// failuresMax of a policy are read, and made.
	failuresMax = 256
	// linesMax of a policy or list of hosts are read.
	linesMax = 64
	// textOctetsMax of any text that is read.
	textOctetsMax = 512
)

// ErrReport says that octets are no report that can be read.
var ErrReport = errors.New("no TLS report")

// Report is what a host says of the sessions of a day (RFC 8460 §4.4).
type Report struct {
	Organization string   `json:"organization-name"`
	Range        Range    `json:"date-range"`
	Contact      string   `json:"contact-info"`
	ID           string   `json:"report-id"`
	Policies     Policies `json:"policies"`
}

// Range is the time that a report is about.
type Range struct {
	Start Time `json:"start-datetime"`
	End   Time `json:"end-datetime"`
}

// PolicyResult is what happened under one policy.
type PolicyResult struct {
	Policy   Policy   `json:"policy"`
	Summary  Summary  `json:"summary"`
	Failures Failures `json:"failure-details,omitempty"`
}

// Policy is what was found of the domain.
type Policy struct {
	Type   Text  `json:"policy-type"` // tlsa, sts, no-policy-found
	Text   Lines `json:"policy-string,omitempty"`
	Domain Text  `json:"policy-domain"`
	MX     Lines `json:"mx-host,omitempty"`
}

// Summary counts sessions.
type Summary struct {
	Successful Count `json:"total-successful-session-count"`
	Failed     Count `json:"total-failure-session-count"`
}

// Failure is one kind of failure, with one host.
type Failure struct {
	Type     Text  `json:"result-type"` // RFC 8460 §4.3
	Sender   Text  `json:"sending-mta-ip,omitempty"`
	Host     Text  `json:"receiving-mx-hostname,omitempty"`
	Helo     Text  `json:"receiving-mx-helo,omitempty"`
	Receiver Text  `json:"receiving-ip,omitempty"`
	Sessions Count `json:"failed-session-count"`
	URI      Text  `json:"additional-information,omitempty"`
	Reason   Text  `json:"failure-reason-code,omitempty"`
}

// Totals adds the sessions of all policies up.
func (r *Report) Totals() (s Summary) {
	for _, p := range r.Policies {
		s.Successful += p.Summary.Successful
		s.Failed += p.Summary.Failed
	}
	return s
}

// Encode makes the octets that are sent: JSON in gzip.
func (r *Report) Encode() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(r); err != nil {
		return nil, fmt.Errorf("encode a TLS report: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack a TLS report: %w", err)
	}
	return b.Bytes(), nil
}

// DecodeReport reads what Encode makes, packed or not.
func DecodeReport(b []byte) (*Report, error) {
	if len(b) > PackedMax {
		return nil, fmt.Errorf("%w: %d octets", ErrReport, len(b))
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrReport, err)
		}
		b, err = io.ReadAll(io.LimitReader(z, UnpackedMax+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrReport, err)
		case len(b) > UnpackedMax:
			return nil, fmt.Errorf("%w: it unpacks to more than %d octets", ErrReport, UnpackedMax)
		}
	}
	var r Report
	if err := json.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if len(r.Policies) == 0 {
		return nil, fmt.Errorf("%w: it has no policies", ErrReport)
	}
	r.Organization, r.Contact, r.ID = clean(r.Organization), clean(r.Contact), clean(r.ID)
	return &r, nil
}

// Text is one line of printable characters.
type Text string

// UnmarshalJSON takes a string; anything else is an empty text.
func (t *Text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = Text(clean(s))
	}
	return nil
}

// clean makes one line of what strangers wrote, of bounded length.
func clean(s string) string {
	if len(s) > textOctetsMax {
		s = s[:textOctetsMax]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	for len(s) > textOctetsMax {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// Count is a number of sessions.
type Count int64

// UnmarshalJSON takes a number, quoted or not; what is none, or negative, is 0.
func (c *Count) UnmarshalJSON(b []byte) error {
	*c = 0
	if n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 53); err == nil && n > 0 {
		*c = Count(n)
	}
	return nil
}

// Time is a moment, in UTC.
type Time struct{ time.Time }

// MarshalJSON gives the form of RFC 3339 in whole seconds.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(time.RFC3339) + `"`), nil
}

// UnmarshalJSON takes the form of RFC 3339, with or without a zone; what is
// none is the zero time.
func (t *Time) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if at, err := time.Parse(layout, s); err == nil && at.UTC().Year() > 0 && at.UTC().Year() < 10000 {
			t.Time = at.UTC().Truncate(time.Second)
			return nil
		}
	}
	t.Time = time.Time{}
	return nil
}

// Policies is a bounded list.
type Policies []PolicyResult

// UnmarshalJSON reads as many as are looked at.
func (p *Policies) UnmarshalJSON(b []byte) (err error) {
	*p, err = list[PolicyResult](b, policiesMax)
	return err
}

// Failures is a bounded list.
type Failures []Failure

// UnmarshalJSON reads as many as are looked at.
func (f *Failures) UnmarshalJSON(b []byte) (err error) {
	*f, err = list[Failure](b, failuresMax)
	return err
}

// Lines is a bounded list of texts.
type Lines []Text

// UnmarshalJSON takes a list, or one text alone.
func (l *Lines) UnmarshalJSON(b []byte) (err error) {
	if len(b) > 0 && b[0] == '"' {
		*l = make(Lines, 1)
		return (*l)[0].UnmarshalJSON(b)
	}
	*l, err = list[Text](b, linesMax)
	return err
}

// list reads a list as far as a bound: what is behind it takes no memory.
func list[T any](b []byte, most int) ([]T, error) {
	if len(b) == 0 || b[0] != '[' {
		return nil, nil // null, or what makes no sense
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var out []T
	for len(out) < most && d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
