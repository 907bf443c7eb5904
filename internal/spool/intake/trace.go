package intake

import (
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// trace returns the fields that go before the body: the reverse-path, how the
// message came here (RFC 5321 §4.4), and what the edge has added.
func trace(hostname, id string, e *smtp.Envelope, now time.Time) []byte {
	return []byte("Return-Path: <" + smtp.TracePath(e.From) + ">\r\n" + e.Received(hostname, id, now) + e.Headers)
}
