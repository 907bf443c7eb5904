package tlsrpt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

const (
	// MessageMax in octets of a message that a report is looked for in.
	MessageMax = 4 << 20
	// partsMax of it are looked at.
	partsMax = 32
	// base64LineOctets are encoded in a line of 76.
	base64LineOctets = 57
)

// Mail is a message with a report (RFC 8460 §5.3).
type Mail struct {
	// ID is what the Message-ID and the boundary are made of: a dot-atom of at
	// most 60 octets.
	ID        string
	Now       time.Time
	From, To  message.Address
	Domain    message.Domain // that the report is about
	Submitter message.Domain // our host
	Report    *Report
}

// Build makes the whole message.
func (m *Mail) Build() ([]byte, error) {
	if m.ID == "" || len(m.ID) > 60 || strings.Trim(m.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
		return nil, errors.New("make a TLS report: the id is no dot-atom")
	}
	if m.From.IsZero() || m.To.IsZero() || !m.From.ASCII() || !m.To.ASCII() {
		return nil, errors.New("make a TLS report: an address is missing or not ASCII")
	}
	packed, err := m.Report.Encode()
	if err != nil {
		return nil, err
	}
	boundary := "tlsrpt=_" + m.ID
	span := m.Report.Range
	name := fmt.Sprintf("%s!%s!%d!%d.json.gz", m.Submitter, m.Domain, span.Start.Unix(), span.End.Unix())
	var b bytes.Buffer
	field := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	field("From: \"TLS reports of %s\" <%s>", m.Submitter, m.From)
	field("To: <%s>", m.To)
	field("Date: %s", m.Now.UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"))
	field("Message-ID: <%s@%s>", m.ID, m.Submitter)
	field("Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s@%s>", m.Domain, m.Submitter, m.ID, m.Submitter)
	field("TLS-Report-Domain: %s", m.Domain)
	field("TLS-Report-Submitter: %s", m.Submitter)
	// RFC 8460 §3: reports go out whatever is wrong with TLS.
	field("TLS-Required: No")
	field("Auto-Submitted: auto-generated")
	field("MIME-Version: 1.0")
	field("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"%s\"", boundary)
	field("")
	field("--%s", boundary)
	field("Content-Type: text/plain; charset=us-ascii")
	field("")
	b.WriteString(m.text())
	field("--%s", boundary)
	field("Content-Type: application/tlsrpt+gzip")
	field("Content-Transfer-Encoding: base64")
	field("Content-Disposition: attachment;\r\n filename=\"%s\"", name)
	field("")
	for len(packed) > 0 {
		n := min(len(packed), base64LineOctets)
		field("%s", base64.StdEncoding.EncodeToString(packed[:n]))
		packed = packed[n:]
	}
	field("--%s--", boundary)
	return b.Bytes(), nil
}

// text is what people read.
func (m *Mail) text() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	sum := m.Report.Totals()
	say("This is a report on the TLS sessions that %s", m.Submitter)
	say("had with the mail exchangers of %s", m.Domain)
	say("from %s to %s (UTC).", m.Report.Range.Start.UTC().Format(time.DateTime), m.Report.Range.End.UTC().Format(time.DateTime))
	say("")
	say("Sessions that went well: %d", sum.Successful)
	say("Sessions that failed:    %d", sum.Failed)
	say("")
	say("The details are in the attached file (RFC 8460).")
	return b.String()
}

// ParseMessage finds the report in a message and reads it.
func ParseMessage(raw []byte) (*Report, error) {
	if len(raw) > MessageMax {
		return nil, fmt.Errorf("%w: a message of %d octets", ErrReport, len(raw))
	}
	part := find(message.Parse(raw).Root, new(int))
	if part == nil {
		return nil, fmt.Errorf("%w: no part of the message is one", ErrReport)
	}
	b, err := io.ReadAll(io.LimitReader(part.Decode(bytes.NewReader(raw)), PackedMax+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	return DecodeReport(b)
}

// find gives the first part that is a report.
func find(p *message.Part, seen *int) *message.Part {
	if *seen++; *seen > partsMax || p.Message() {
		return nil
	}
	if isReport(p) {
		return p
	}
	for _, child := range p.Children {
		if found := find(child, seen); found != nil {
			return found
		}
	}
	return nil
}

// isReport knows the types of RFC 8460 §6, and the names of files by which
// some senders call theirs.
func isReport(p *message.Part) bool {
	if p.Type != "application" || len(p.Children) > 0 {
		return false
	}
	switch p.Subtype {
	case "tlsrpt+gzip", "tlsrpt+json":
		return true
	case "gzip", "x-gzip", "json", "octet-stream":
		name := strings.ToLower(p.Filename())
		return strings.HasSuffix(name, ".json.gz") || strings.HasSuffix(name, ".json")
	}
	return false
}
