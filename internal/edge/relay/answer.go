package relay

import (
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// Errors behind the replies that speak of the inner server and not of a
// message. They are for the log.
var (
	errReply    = errors.New("reply out of place")
	errEndless  = errors.New("reply too long")
	errUnasked  = errors.New("reply before there was a command")
	errFacts    = errors.New("XCLIENT is not offered")
	errBare     = errors.New("bare CR or LF in a body")
	errOpen     = errors.New("the inner server relays for strangers")
	errInjected = errors.New("octets in the clear after STARTTLS")
	errNoTLS    = errors.New("STARTTLS is not offered")
	errAway     = errors.New("the inner server does not answer")
	errMisfit   = errors.New("the inner server cannot be used")
	errMismatch = errors.New("the recipients are not those that the inner server has accepted")
)

// unreachable is said while the inner server cannot be reached.
func unreachable(err error) error {
	return fmt.Errorf("%w: %w: %w", &smtp.Reply{Code: 450, Enhanced: "4.4.1", Text: "The mail server does not answer, try again later"}, errAway, err)
}

// away is the same where nothing has happened that is worth a line in the log.
func away() error {
	return &smtp.Reply{Code: 450, Enhanced: "4.4.1", Text: "The mail server does not answer, try again later"}
}

// gone is said when the connection is lost in mid-transaction.
func gone(err error) error {
	return fmt.Errorf("%w: %w", &smtp.Reply{Code: 451, Enhanced: "4.4.2", Text: "Connection to the mail server lost, try again later"}, err)
}

// misfit is said when the inner server refuses us rather than the mail: its
// configuration or ours is wrong, and no mail may bounce for it.
func misfit(err error) error {
	return fmt.Errorf("%w: %w: %w", &smtp.Reply{Code: 451, Enhanced: "4.3.5", Text: "Mail system incorrectly configured, try again later"}, errMisfit, err)
}

// verdict makes the client's answer of a refusal by the inner server: it goes
// on as it is, unless it speaks of the connection (421), of commands that we
// should not have sent (500, 502, 503), or of a right that this host lacks
// (530): none of that is the mail's fault.
func verdict(r *smtp.Reply) error {
	switch {
	case r.Code == 421:
		return &smtp.Reply{Code: 451, Enhanced: r.Enhanced, Text: r.Text}
	case r.Code == 500, r.Code == 502, r.Code == 503, r.Code == 530:
		return misfit(said(r))
	case r.Code/100 == 4, r.Code/100 == 5:
		return r
	}
	return misfit(fmt.Errorf("%w: %s", errReply, r))
}

// said is a reply as something for the log alone: errors.As does not find it.
func said(r *smtp.Reply) error {
	return fmt.Errorf("the inner server said %q", r.String())
}
