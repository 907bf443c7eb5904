package dsn

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// statusOctetsMax bounds the decoded part for programs: recipientsMax of them
// at some hundred octets.
const statusOctetsMax = 512 << 10

// statusPartsMax is how many such parts are read: one is right, two are found.
const statusPartsMax = 4

// Parse reads a message that may be a delivery status notification, of which
// it looks at the first ParseMax octets. It is tolerant: what cannot be
// understood of a report is left out. The error is ErrNoReport or that of
// reading.
func Parse(r io.ReaderAt, size int64) (Report, error) {
	raw, err := io.ReadAll(io.NewSectionReader(r, 0, min(size, ParseMax)))
	if err != nil {
		return Report{}, fmt.Errorf("read the report: %w", err)
	}
	m := message.Parse(raw)
	p := &reportParts{}
	p.find(m.Root)
	if len(p.status) == 0 {
		return Report{}, ErrNoReport
	}
	out := Report{ID: clean(m.Envelope.MessageID, 998)}
	if d, err := message.ParseDate(m.Envelope.Date); err == nil {
		out.Now = d
	}
	if to := m.Envelope.To; len(to) > 0 {
		out.To = plainAddress(to[0])
	}
	for _, part := range p.status {
		out.readStatus(decoded(raw, part, statusOctetsMax))
	}
	if len(out.Recipients) == 0 {
		return Report{}, ErrNoReport
	}
	out.OriginalHeader = p.header(raw)
	return out, nil
}

// plainAddress is an address of a header; the zero Address if it is none that
// can be written to.
func plainAddress(e message.EnvelopeAddress) message.Address {
	d, err := message.ParseDomain(e.Host)
	if err != nil {
		return message.Address{}
	}
	a, err := message.ParseAddress(message.Address{Local: e.Mailbox, Domain: d}.String())
	if err != nil {
		return message.Address{}
	}
	return a
}

// reportParts are the parts of a report that matter to programs. Bounces are
// found in which they are not in a multipart/report, or not right below it.
type reportParts struct {
	status   []*message.Part // one, but some hosts label their text so too
	original *message.Part   // the message, or its header as text
}

func (p *reportParts) find(part *message.Part) {
	switch kind := part.Type + "/" + part.Subtype; {
	case kind == "message/delivery-status" || kind == "message/global-delivery-status":
		if len(p.status) < statusPartsMax {
			p.status = append(p.status, part)
		}
		return
	case len(p.status) > 0 && p.original == nil && (part.Message() || kind == "text/rfc822-headers" || kind == "message/global-headers"):
		p.original = part
		return
	case part.Message(): // a report that was forwarded is not one to us
		return
	}
	for _, c := range part.Children {
		p.find(c)
	}
}

func (p *reportParts) header(raw []byte) []byte {
	switch o := p.original; {
	case o == nil:
		return nil
	case o.Message():
		root := o.Children[0]
		return limited(raw[root.HeaderStart:root.BodyStart])
	default:
		b := decoded(raw, o, OriginalMax)
		return limited(b[:headerEnd(b)])
	}
}

func limited(b []byte) []byte { return b[:min(len(b), OriginalMax)] }

// decoded is the beginning of a part's body without its transfer encoding.
func decoded(raw []byte, p *message.Part, octets int64) []byte {
	b, err := io.ReadAll(io.LimitReader(p.Decode(bytes.NewReader(raw)), octets))
	if err != nil {
		return nil // raw is in memory: there is none
	}
	return b
}

// readStatus reads the groups of fields, which empty lines part (RFC 3464
// §2.1): the first is about the message, each other about a recipient.
func (r *Report) readStatus(b []byte) {
	for len(b) > 0 && len(r.Recipients) < recipientsMax {
		var group []byte
		group, b = cutGroup(b)
		rc, recipient := r.readGroup(group)
		if recipient && (rc.Action != "" || rc.Status != "") {
			if rc.Action == "" {
				rc.Action = actionOf(rc.Status)
			}
			r.Recipients = append(r.Recipients, rc)
		}
	}
}

// cutGroup cuts what stands before the next empty line.
func cutGroup(b []byte) (group, rest []byte) {
	for pos := 0; pos < len(b); {
		next := len(b)
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		if len(bytes.TrimSpace(b[pos:next])) == 0 {
			return b[:pos], b[next:]
		}
		pos = next
	}
	return b, nil
}

func actionOf(status smtp.EnhancedCode) Action {
	switch status[0] {
	case '2':
		return Delivered
	case '4':
		return Delayed
	}
	return Failed
}

// readGroup reads the fields of a group. recipient says that it is about one.
func (r *Report) readGroup(group []byte) (rc Recipient, recipient bool) {
	for f := range message.Fields(group) {
		value := f.Value()
		switch strings.ToLower(f.Name) {
		case "original-envelope-id":
			r.EnvID = string(smtp.AppendXtext(nil, clean(value, smtp.EnvIDMax)))
		case "reporting-mta":
			_, host, _ := strings.Cut(value, ";")
			if d, err := message.ParseDomain(strings.TrimSpace(host)); err == nil {
				r.Hostname = d
			}
		case "arrival-date":
			r.Arrival = date(value)
		case "final-recipient":
			recipient, rc.Final = true, parseAddress(value)
		case "original-recipient":
			recipient, rc.Original = true, parseOriginal(value)
		case "action":
			if a := Action(strings.ToLower(clean(value, 20))); a.known() {
				rc.Action = a
			}
		case "status":
			word, _, _ := strings.Cut(value, " ")
			if c := smtp.EnhancedCode(word); known(c) {
				rc.Status = c
			}
		case "remote-mta":
			_, host, _ := strings.Cut(value, ";")
			rc.RemoteMTA = clean(host, 255)
		case "diagnostic-code":
			if _, said, ok := strings.Cut(value, ";"); ok {
				value = said
			}
			rc.Reply = clean(value, replyOctetsMax)
		case "last-attempt-date":
			rc.LastTry = date(value)
		case "will-retry-until":
			rc.RetryUntil = date(value)
		}
	}
	return rc, recipient
}

func date(value string) time.Time {
	d, err := message.ParseDate(value)
	if err != nil {
		return time.Time{}
	}
	return d
}

// parseAddress reads type ";" address. Other types than the two of Internet
// mail, and what is no address, give the zero Address.
func parseAddress(value string) message.Address {
	kind, addr, _ := strings.Cut(value, ";")
	addr = strings.TrimSpace(addr)
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "rfc822":
	case "utf-8":
		text, ok := unescaped(addr)
		if !ok {
			return message.Address{}
		}
		addr = text
	default:
		return message.Address{}
	}
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "<"), ">") // some write it as a path
	a, err := message.ParseAddress(addr)
	if err != nil {
		return message.Address{}
	}
	return a
}

// parseOriginal gives an Original-Recipient the form of ORCPT=.
func parseOriginal(value string) string {
	kind, addr, ok := strings.Cut(value, ";")
	kind, addr = strings.TrimSpace(kind), strings.TrimSpace(addr)
	if !ok || kind == "" || addr == "" || !utf8.ValidString(addr) || len(value) > smtp.OrcptMax {
		return ""
	}
	for _, c := range []byte(kind) {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return ""
		}
	}
	if strings.EqualFold(kind, "utf-8") {
		text, ok := unescaped(addr)
		if !ok {
			return ""
		}
		return kind + ";" + escaped(text, true)
	}
	return kind + ";" + string(smtp.AppendXtext(nil, addr))
}
