package message

import (
	"strconv"
	"unicode/utf8"
)

// maxQuoted is the longest string written in quotes: RFC 7162 §4 and old
// clients do not like lines beyond it.
const maxQuoted = 1000

// AppendIMAP appends the ENVELOPE as RFC 9051 §7.5.2 has it. utf8Quoted says
// that quoted strings may hold UTF-8 (IMAP4rev2, UTF8=ACCEPT); other 8-bit
// text goes into a literal.
func (e *Envelope) AppendIMAP(dst []byte, utf8Quoted bool) []byte {
	dst = appendNString(append(dst, '('), e.Date, utf8Quoted)
	dst = appendNString(append(dst, ' '), e.Subject, utf8Quoted)
	for _, list := range [][]EnvelopeAddress{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		dst = appendAddressList(append(dst, ' '), list, utf8Quoted)
	}
	dst = appendNString(append(dst, ' '), e.InReplyTo, utf8Quoted)
	dst = appendNString(append(dst, ' '), e.MessageID, utf8Quoted)
	return append(dst, ')')
}

func appendAddressList(dst []byte, list []EnvelopeAddress, utf8Quoted bool) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for _, a := range list {
		dst = appendNString(append(dst, '('), a.Name, utf8Quoted)
		dst = appendNString(append(dst, ' '), a.Route, utf8Quoted)
		dst = appendNString(append(dst, ' '), a.Mailbox, utf8Quoted)
		dst = append(appendNString(append(dst, ' '), a.Host, utf8Quoted), ')')
	}
	return append(dst, ')')
}

// AppendIMAP appends the part's BODYSTRUCTURE (RFC 9051 §7.5.2), or without
// extension data its BODY. A text part without a charset says US-ASCII, which
// is its default (RFC 2046 §4.1.2).
func (p *Part) AppendIMAP(dst []byte, extended, utf8Quoted bool) []byte {
	dst = append(dst, '(')
	if p.Multipart() {
		dst = p.appendMultipart(dst, extended, utf8Quoted)
	} else {
		dst = p.appendLeaf(dst, extended, utf8Quoted)
	}
	if extended {
		dst = p.appendExtension(dst, utf8Quoted)
	}
	return append(dst, ')')
}

func (p *Part) appendMultipart(dst []byte, extended, utf8Quoted bool) []byte {
	for _, c := range p.Children {
		dst = c.AppendIMAP(dst, extended, utf8Quoted)
	}
	dst = appendIMAPString(append(dst, ' '), p.Subtype, utf8Quoted)
	if extended {
		dst = appendParams(append(dst, ' '), p.Params, utf8Quoted)
	}
	return dst
}

func (p *Part) appendLeaf(dst []byte, extended, utf8Quoted bool) []byte {
	dst = appendIMAPString(dst, p.Type, utf8Quoted)
	dst = appendIMAPString(append(dst, ' '), p.Subtype, utf8Quoted)
	params := p.Params
	if p.Type == "text" && p.Param("charset") == "" {
		params = append(params[:len(params):len(params)], Param{Name: "charset", Value: "us-ascii"})
	}
	dst = appendParams(append(dst, ' '), params, utf8Quoted)
	dst = appendNString(append(dst, ' '), p.ID, utf8Quoted)
	dst = appendNString(append(dst, ' '), p.Description, utf8Quoted)
	encoding := p.Encoding
	if encoding == "" {
		encoding = "7bit"
	}
	dst = appendIMAPString(append(dst, ' '), encoding, utf8Quoted)
	dst = strconv.AppendInt(append(dst, ' '), p.Size(), 10)
	if p.Message() {
		dst = p.Envelope.AppendIMAP(append(dst, ' '), utf8Quoted)
		dst = p.Children[0].AppendIMAP(append(dst, ' '), extended, utf8Quoted)
	}
	if p.Message() || p.Type == "text" {
		dst = strconv.AppendInt(append(dst, ' '), p.Lines, 10)
	}
	if extended {
		dst = appendNString(append(dst, ' '), p.MD5, utf8Quoted)
	}
	return dst
}

// appendExtension appends disposition, language and location.
func (p *Part) appendExtension(dst []byte, utf8Quoted bool) []byte {
	if p.Disposition == "" {
		dst = append(dst, " NIL"...)
	} else {
		dst = appendIMAPString(append(dst, " ("...), p.Disposition, utf8Quoted)
		dst = append(appendParams(append(dst, ' '), p.DispositionParams, utf8Quoted), ')')
	}
	switch len(p.Language) {
	case 0:
		dst = append(dst, " NIL"...)
	case 1:
		dst = appendIMAPString(append(dst, ' '), p.Language[0], utf8Quoted)
	default:
		for i, tag := range p.Language {
			sep := byte(' ')
			if i == 0 {
				dst, sep = append(dst, ' '), '('
			}
			dst = appendIMAPString(append(dst, sep), tag, utf8Quoted)
		}
		dst = append(dst, ')')
	}
	return appendNString(append(dst, ' '), p.Location, utf8Quoted)
}

func appendParams(dst []byte, params []Param, utf8Quoted bool) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	sep := byte('(')
	for _, p := range params {
		dst = appendIMAPString(append(dst, sep), p.Name, utf8Quoted)
		dst = appendIMAPString(append(dst, ' '), p.Value, utf8Quoted)
		sep = ' '
	}
	return append(dst, ')')
}

// appendNString appends a string of the tree, "" as NIL.
func appendNString(dst []byte, s string, utf8Quoted bool) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return appendIMAPString(dst, s, utf8Quoted)
}

// appendIMAPString appends a string of the tree, which has no CR, LF and NUL,
// in quotes if it can be, else as a literal.
func appendIMAPString(dst []byte, s string, utf8Quoted bool) []byte {
	quotable := len(s) <= maxQuoted && (isASCII(s) || utf8Quoted && utf8.ValidString(s))
	if !quotable {
		dst = strconv.AppendInt(append(dst, '{'), int64(len(s)), 10)
		return append(append(dst, "}\r\n"...), s...)
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
