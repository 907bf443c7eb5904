package dsn

import (
	"bytes"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

const retFull = smtp.RetFull

// part is the third part of a report: the message or its header (RFC 6522 §3,
// RFC 6533 §4). wide allows 8-bit octets.
func (o *original) part(all, wide bool) (part, bool) {
	if all && o.whole {
		if p, ok := o.message(wide); ok {
			return p, true
		}
	}
	return o.fields(wide)
}

// message returns the whole of the message, if that can be: an embedded
// message has no transfer encoding of its own (RFC 2046 §5.2.1), so it must be
// 7-bit by itself, or made so.
func (o *original) message(wide bool) (part, bool) {
	switch {
	case len(o.head) == 0:
		return part{}, false
	case sevenBit(o.head):
		return part{"Content-Type: message/rfc822\r\n", o.head}, true
	case !wide || !plainLines(o.head):
		var b bytes.Buffer
		err := message.Downgrade(&b, bytes.NewReader(o.head), int64(len(o.head)))
		if err != nil || !sevenBit(b.Bytes()) { // fields of any length go through it
			return part{}, false
		}
		return part{"Content-Type: message/rfc822\r\n", b.Bytes()}, true
	}
	header := o.head[:o.end]
	switch {
	case bytes.IndexFunc(header, notASCII) < 0:
		return part{"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n", o.head}, true
	case utf8.Valid(header):
		return part{"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n", o.head}, true
	}
	return part{}, false
}

// fields returns the header. A header with 8-bit octets that nobody can name is
// still what the sender wrote: quoted-printable keeps it.
func (o *original) fields(wide bool) (part, bool) {
	header := o.head[:o.end]
	switch {
	case len(header) == 0:
		return part{}, false
	case sevenBit(header):
		return part{"Content-Type: text/rfc822-headers\r\n", header}, true
	case wide && plainLines(header) && utf8.Valid(header):
		return part{"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n", header}, true
	}
	charset := ""
	if utf8.Valid(header) {
		charset = "; charset=utf-8"
	}
	return part{"Content-Type: text/rfc822-headers" + charset + "\r\nContent-Transfer-Encoding: quoted-printable\r\n", quoted(header)}, true
}
