package smtp

import (
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// Options of a [Machine]. The zero value of each field has a default.
type Options struct {
	Hostname string // in the banner and the EHLO answer; "localhost" if empty
	// Submission demands TLS and a login before MAIL (RFC 6409 §4.3,
	// RFC 8314 §3.3).
	Submission bool
	TLS        bool     // STARTTLS is offered
	TLSLater   bool     // … and answered 454: there is no room for it now
	Mechanisms []string // of AUTH, offered under TLS only; none: no AUTH
	SizeMax    int64    // of a message in octets; 50 MiB if 0
	// RecipientsMax is announced by LIMITS RCPTMAX; 1000 if 0, never less
	// than RecipientsMin.
	RecipientsMax int
	// TextLineMax is the longest line of a message with its CRLF, in octets;
	// 1 MiB if 0.
	//
	// Deviation: RFC 5321 §4.5.3.1.6 has 1000, and senders that exceed it are
	// many and mostly honest. Nothing here depends on the length, so the
	// limit only bounds what readers must expect.
	TextLineMax int
	// CloseOnFault ends the session at once on a bare CR, bare LF or NUL.
	// Otherwise the command or the message is refused and the session goes
	// on, in step.
	CloseOnFault bool
	AskSender    bool // ActionSender is wanted
	WithoutDSN   bool // DSN is not offered, its parameters are unknown
	Without8Bit  bool // likewise 8BITMIME
	WithoutUTF8  bool // likewise SMTPUTF8
	// RequireTLS offers REQUIRETLS under TLS (RFC 8689). It is a promise about
	// what becomes of the message afterwards, which not every shell can give.
	RequireTLS bool
	// Postmaster is the domain of the bare <postmaster>; Hostname if empty.
	Postmaster message.Domain
	Times      Times
}

// Times are the waits of a dialogue: for each stage the longest silence or
// the longest whole. RFC 5321 §4.5.3.2 gives them as the least a server
// should wait; the zero value of a field is that, or the default named.
type Times struct {
	Command time.Duration // from one reply to the end of the next command; 5 minutes (§4.5.3.2.7)
	Block   time.Duration // for the next octets of a body; 3 minutes (§4.5.3.2.5)
	Body    time.Duration // for the whole of a body; 1 hour
	Auth    time.Duration // for each answer in an AUTH exchange; 2 minutes
	// RateMin is how fast a body must arrive on average, in octets a second,
	// after RateGrace. Defaults: 512 and 1 minute.
	RateMin   int64
	RateGrace time.Duration
}

const (
	// sizeMaxDefault is what large providers take, in octets.
	sizeMaxDefault = 50 << 20
	// recipientsMaxDefault is ten times what RFC 5321 §4.5.3.1.8 asks for:
	// the largest lists still need few transactions, and a transaction stays
	// below half a megabyte.
	recipientsMaxDefault = 1000
	// textLineMaxDefault is beyond any line seen in honest mail, in octets.
	textLineMaxDefault = 1 << 20
	// rateMinDefault is a quarter of what a modem of 1990 does, in octets a
	// second.
	rateMinDefault = 512

	commandWaitDefault = 5 * time.Minute
	blockWaitDefault   = 3 * time.Minute
	bodyWaitDefault    = time.Hour
	authWaitDefault    = 2 * time.Minute
	rateGraceDefault   = time.Minute
)

// Machine is the program that dialogues run: options, and the answers that
// can be written beforehand. It is immutable; any number of dialogues may use
// it concurrently, and a dialogue may change to another machine between two
// steps.
type Machine struct {
	o      Options
	banner string
	helo   string
	ehlo   [2]string // without and with TLS
}

// NewMachine prepares a machine.
func NewMachine(o Options) *Machine {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.Postmaster == "" {
		o.Postmaster = message.Domain(strings.ToLower(o.Hostname))
	}
	setDefault(&o.SizeMax, sizeMaxDefault)
	setDefault(&o.RecipientsMax, recipientsMaxDefault)
	o.RecipientsMax = max(o.RecipientsMax, RecipientsMin)
	setDefault(&o.TextLineMax, textLineMaxDefault)
	setDefault(&o.Times.Command, commandWaitDefault)
	setDefault(&o.Times.Block, blockWaitDefault)
	setDefault(&o.Times.Body, bodyWaitDefault)
	setDefault(&o.Times.Auth, authWaitDefault)
	setDefault(&o.Times.RateMin, rateMinDefault)
	setDefault(&o.Times.RateGrace, rateGraceDefault)
	m := &Machine{o: o}
	m.banner = "220 " + o.Hostname + " ESMTP Breakwater\r\n"
	m.helo = "250 " + o.Hostname + "\r\n"
	m.ehlo = [2]string{m.ehloReply(false), m.ehloReply(true)}
	return m
}

func setDefault[T ~int | ~int64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// ehloReply lists the extensions, RFC 5321 §4.1.1.1.
func (m *Machine) ehloReply(tls bool) string {
	lines := []string{
		m.o.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(m.o.SizeMax, 10),
	}
	if !m.o.Without8Bit {
		lines = append(lines, "8BITMIME")
	}
	if !m.o.WithoutUTF8 {
		lines = append(lines, "SMTPUTF8")
	}
	lines = append(lines, "ENHANCEDSTATUSCODES", "CHUNKING", "LIMITS RCPTMAX="+strconv.Itoa(m.o.RecipientsMax))
	if !m.o.WithoutDSN {
		lines = append(lines, "DSN")
	}
	if m.o.TLS && !tls {
		lines = append(lines, "STARTTLS")
	}
	if tls && m.o.RequireTLS {
		lines = append(lines, "REQUIRETLS")
	}
	if tls && len(m.o.Mechanisms) > 0 {
		lines = append(lines, "AUTH "+strings.Join(m.o.Mechanisms, " "))
	}
	lines = append(lines, "HELP")
	r := Reply{Code: 250, Text: strings.Join(lines, "\n")}
	return string(r.AppendTo(nil))
}

// SizeMax returns the largest message that is accepted, in octets.
func (m *Machine) SizeMax() int64 { return m.o.SizeMax }
