package intake

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// headerDate is the date-time of RFC 5322 §3.3.
const headerDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// trace returns the fields that go before the body: the reverse-path, how the
// message came here (RFC 5321 §4.4), and what the edge has added.
func trace(hostname, id string, e *smtp.Envelope, now time.Time) []byte {
	return []byte(returnPath(e.From) + e.Received(hostname, id, now) + e.Headers)
}

// returnPath is the field that the last host on the way writes.
func returnPath(from message.Address) string {
	return "Return-Path: <" + smtp.TracePath(from) + ">\r\n"
}
