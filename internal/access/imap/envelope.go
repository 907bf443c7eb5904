package imap

import (
	"strconv"
	"time"

	"github.com/breakwater-mail/breakwater/internal/access/imap/wire"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// appendInternalDate prints a time in UTC: the store keeps no zone.
func appendInternalDate(b []byte, unix int64) []byte {
	return wire.AppendDateTime(b, time.Unix(unix, 0).UTC())
}

// appendEnvelope prints an ENVELOPE (RFC 9051 §7.5.2).
func appendEnvelope(b []byte, e *message.Envelope, utf8 bool) []byte {
	b = append(b, '(')
	b = wire.AppendNString(b, e.Date, utf8)
	b = append(b, ' ')
	b = wire.AppendNString(b, e.Subject, utf8)
	for _, list := range [...][]message.EnvelopeAddress{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = appendAddresses(b, list, utf8)
	}
	b = append(b, ' ')
	b = wire.AppendNString(b, e.InReplyTo, utf8)
	b = append(b, ' ')
	b = wire.AppendNString(b, e.MessageID, utf8)
	return append(b, ')')
}

func appendAddresses(b []byte, list []message.EnvelopeAddress, utf8 bool) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		a := &list[i]
		b = append(b, '(')
		b = wire.AppendNString(b, a.Name, utf8)
		b = append(b, ' ')
		b = wire.AppendNString(b, a.Route, utf8)
		b = append(b, ' ')
		b = wire.AppendNString(b, a.Mailbox, utf8)
		b = append(b, ' ')
		b = wire.AppendNString(b, a.Host, utf8)
		b = append(b, ')')
	}
	return append(b, ')')
}

// appendStructure prints a BODYSTRUCTURE (RFC 9051 §7.5.2), or a BODY without
// the extension data. The parser bounds how deep parts nest.
func appendStructure(b []byte, p *message.Part, extended, utf8 bool) []byte {
	b = append(b, '(')
	if p.Multipart() {
		for _, c := range p.Children {
			b = appendStructure(b, c, extended, utf8)
		}
		b = append(b, ' ')
		b = wire.AppendString(b, p.Subtype, utf8)
		if extended {
			b = append(b, ' ')
			b = appendParams(b, p.Params, utf8)
			b = appendDisposition(b, p, utf8)
		}
		return append(b, ')')
	}
	b = wire.AppendString(b, p.Type, utf8)
	b = append(b, ' ')
	b = wire.AppendString(b, p.Subtype, utf8)
	b = append(b, ' ')
	b = appendParams(b, p.Params, utf8)
	b = append(b, ' ')
	b = wire.AppendNString(b, p.ID, utf8)
	b = append(b, ' ')
	b = wire.AppendNString(b, p.Description, utf8)
	b = append(b, ' ')
	encoding := p.Encoding
	if encoding == "" {
		encoding = "7bit" // RFC 2045 §6.1
	}
	b = wire.AppendString(b, encoding, utf8)
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.Size(), 10)
	switch {
	case p.Message():
		b = append(b, ' ')
		b = appendEnvelope(b, p.Envelope, utf8)
		b = append(b, ' ')
		b = appendStructure(b, p.Children[0], extended, utf8)
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	case p.Type == "text":
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	}
	if extended {
		b = append(b, ' ')
		b = wire.AppendNString(b, p.MD5, utf8)
		b = appendDisposition(b, p, utf8)
	}
	return append(b, ')')
}

func appendParams(b []byte, params []message.Param, utf8 bool) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, p := range params {
		if i > 0 {
			b = append(b, ' ')
		}
		b = wire.AppendString(b, p.Name, utf8)
		b = append(b, ' ')
		b = wire.AppendString(b, p.Value, utf8)
	}
	return append(b, ')')
}

// appendDisposition prints the extension data that all parts share, with a
// space before it.
func appendDisposition(b []byte, p *message.Part, utf8 bool) []byte {
	b = append(b, ' ')
	if p.Disposition == "" {
		b = append(b, "NIL"...)
	} else {
		b = append(b, '(')
		b = wire.AppendString(b, p.Disposition, utf8)
		b = append(b, ' ')
		b = appendParams(b, p.DispositionParams, utf8)
		b = append(b, ')')
	}
	b = append(b, ' ')
	switch len(p.Language) {
	case 0:
		b = append(b, "NIL"...)
	case 1:
		b = wire.AppendString(b, p.Language[0], utf8)
	default:
		b = append(b, '(')
		for i, l := range p.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = wire.AppendString(b, l, utf8)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return wire.AppendNString(b, p.Location, utf8)
}
