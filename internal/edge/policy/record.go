package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// What a Record is about.
const (
	RecordVerdict  = "verdict"  // Decide's answer
	RecordLeft     = "left"     // the guest has gone without a session
	RecordAccepted = "accepted" // a message of the session was accepted
)

// Record is one line of the history.
type Record struct {
	At      time.Time  `json:"at"`
	What    string     `json:"what"`
	Session string     `json:"session"`
	IP      netip.Addr `json:"ip"`
	Helo    string     `json:"helo,omitempty"`
	ESMTP   bool       `json:"esmtp,omitempty"`
	TLS     bool       `json:"tls,omitempty"`
	From    *string    `json:"from,omitempty"` // nil: none yet; "" is the null reverse-path
	To      string     `json:"to,omitempty"`
	Known   bool       `json:"known,omitempty"`

	// Of a verdict. Checks that found nothing are not in Evidence.
	Level    string     `json:"level,omitempty"`
	Verdict  string     `json:"verdict,omitempty"`
	Score    int        `json:"score,omitempty"`
	By       string     `json:"by,omitempty"`
	Reply    string     `json:"reply,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`

	// Of a guest that has left.
	Ended     string `json:"ended,omitempty"`
	Outcome   string `json:"outcome,omitempty"` // refused, or left
	Rcpts     int    `json:"rcpts,omitempty"`
	StayMS    int64  `json:"stay_ms,omitempty"`
	Octets    int64  `json:"octets,omitempty"`
	CPUUS     int64  `json:"cpu_us,omitempty"`
	Questions int    `json:"dns_questions,omitempty"`
}

const (
	// recordTextMax is the longest text of a record, in octets: an address
	// path has 256 (RFC 5321 §4.5.3.1.3), a HELO argument 255, a reply line 512.
	recordTextMax = 512
	// recordMax is the longest line of the history that is read, in octets: 60
	// pieces of evidence with escapes would not fill it.
	recordMax = 128 << 10
)

// ErrRecord is wrapped by DecodeRecord for what is no record.
var ErrRecord = errors.New("malformed record")

// DecodeRecord reads one line of the history.
func DecodeRecord(line []byte) (Record, error) {
	var r Record
	if len(line) > recordMax {
		return r, fmt.Errorf("%w: %d octets", ErrRecord, len(line))
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Session == "" || r.What != RecordVerdict && r.What != RecordLeft && r.What != RecordAccepted {
		return Record{}, fmt.Errorf("%w: no session or no known kind", ErrRecord)
	}
	return r, nil
}

// appendHead begins a line with what all records have.
func appendHead(b []byte, what string, g *Guest, now time.Time) []byte {
	b = append(b, `{"at":"`...)
	b = appendTime(b, now)
	b = append(b, `","what":"`...)
	b = append(b, what...)
	b = append(b, `","session":`...)
	b = appendText(b, g.ID)
	b = append(b, `,"ip":"`...)
	b = g.Addr.Unmap().WithZone("").AppendTo(b)
	b = append(b, '"')
	if g.HasFrom {
		b = append(b, `,"from":`...)
		b = appendText(b, g.From.String())
	}
	return b
}

// appendVerdict appends a verdict's line.
func appendVerdict(b []byte, g *Guest, v *Verdict, l Level, now time.Time) []byte {
	b = appendHead(b, RecordVerdict, g, now)
	b = appendField(b, "helo", g.Helo)
	b = appendTrue(b, "esmtp", g.ESMTP)
	b = appendTrue(b, "tls", g.TLS)
	b = appendTrue(b, "known", g.Known)
	if g.HasTo {
		b = appendField(b, "to", g.To.String())
	}
	b = appendField(b, "level", l.String())
	b = appendField(b, "verdict", v.Kind.String())
	b = appendInt(b, "score", int64(v.Score))
	b = appendField(b, "by", v.By)
	if v.Reply != nil {
		b = appendReply(b, v.Reply)
	}
	sep := `,"evidence":[`
	for i := range v.Evidence {
		if e := &v.Evidence[i]; e.Detail != nothing || e.Decided {
			b = append(b, sep...)
			b = appendEvidence(b, e)
			sep = ","
		}
	}
	if sep == "," {
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

func appendEvidence(b []byte, e *Evidence) []byte {
	b = append(b, `{"check":`...)
	b = appendText(b, e.Check)
	b = append(b, `,"detail":`...)
	b = appendText(b, e.Detail)
	b = appendInt(b, "weight", int64(e.Weight))
	b = appendTrue(b, "shadow", e.Shadow)
	b = appendTrue(b, "decided", e.Decided)
	return append(b, '}')
}

func appendLeft(b []byte, g *Guest, now time.Time) []byte {
	b = appendHead(b, RecordLeft, g, now)
	b = appendField(b, "helo", g.Helo)
	b = appendField(b, "ended", g.Ended)
	outcome := "left"
	if g.Refused {
		outcome = "refused"
	}
	b = appendField(b, "outcome", outcome)
	b = appendInt(b, "rcpts", int64(g.Rcpts))
	if !g.Arrived.IsZero() {
		b = appendInt(b, "stay_ms", now.Sub(g.Arrived).Milliseconds())
	}
	b = appendInt(b, "octets", g.Octets)
	b = appendInt(b, "cpu_us", g.CPU.Microseconds())
	b = appendInt(b, "dns_questions", int64(g.Questions))
	return append(b, "}\n"...)
}

func appendAccepted(b []byte, g *Guest, now time.Time) []byte {
	b = appendHead(b, RecordAccepted, g, now)
	b = appendTrue(b, "known", g.Known)
	return append(b, "}\n"...)
}

// appendReply appends a reply as its String is.
func appendReply(b []byte, r *smtp.Reply) []byte {
	b = append(b, `,"reply":"`...)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	if r.Enhanced != "" {
		b = append(b, ' ')
		b = appendEscaped(b, string(r.Enhanced))
	}
	b = append(b, ' ')
	b = appendEscaped(b, strings.ReplaceAll(r.Text, "\n", "; "))
	return append(b, '"')
}

// appendTime appends the UTC time with milliseconds, RFC 3339. A year that has
// not four digits, which only a broken clock tells, becomes the year 1.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Time{}
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return append(appendDigits(b, t.Nanosecond()/1e6, 3), 'Z')
}

func appendDigits(b []byte, n, width int) []byte {
	for div := [...]int{1, 1, 10, 100, 1000}[width]; div > 0; div /= 10 {
		b = append(b, byte('0'+n/div%10))
	}
	return b
}

func appendField(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return appendText(b, text)
}

func appendTrue(b []byte, name string, is bool) []byte {
	if !is {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	return append(b, `":true`...)
}

func appendInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, n, 10)
}

// appendText appends a JSON string (RFC 8259 §7). Octets that are no UTF-8
// become U+FFFD; what is too long is cut.
func appendText(b []byte, s string) []byte {
	return append(appendEscaped(append(b, '"'), s), '"')
}

// appendEscaped appends the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	if len(s) > recordTextMax {
		s = cut(s)
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return b
}

// cut leaves what fits, without half a character at its end.
func cut(s string) string {
	n := recordTextMax
	for n > recordTextMax-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
