package fate

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Tags of this view, in Message, Batch and State envelopes. Frozen;
// docs/formats/fate-records.md.
const (
	tagAccepted = 0x300 // facts of an accepted message, in its Message record
	tagChange   = 0x301 // a transition; Batch, or Message of the DSN that tells
	tagPurged   = 0x302 // books that are no longer kept; Batch
	tagOwed     = 0x303 // reports of success that are owed; Message
	tagTold     = 0x304 // reports of success that were made; Message of the report

	tagStateMessage = 0x380 // a message, or some of its recipients; State
	tagStatePurged  = 0x381 // as tagPurged; State
	tagStateOwed    = 0x382 // as tagOwed; State, after its message

	tagFirst, tagLast = 0x300, 0x3ff
)

// Fields. One name, one number, wherever it occurs. Frozen.
const (
	fieldID         = 0x01
	fieldSource     = 0x02
	fieldAccount    = 0x03
	fieldReceived   = 0x04 // times are Unix microseconds
	fieldSize       = 0x05
	fieldMessageID  = 0x06
	fieldSession    = 0x07
	fieldRemoteIP   = 0x08 // 4 or 16 octets
	fieldProtocol   = 0x09
	fieldTLS        = 0x0a
	fieldFrom       = 0x0b // packed address
	fieldBody       = 0x0c
	fieldOptions    = 0x0d // bits
	fieldRet        = 0x0e
	fieldEnvID      = 0x0f
	fieldSkip       = 0x10
	fieldHeaders    = 0x11
	fieldRecipient  = 0x12 // nested, in order
	fieldAddress    = 0x13 // packed address
	fieldRcpt       = 0x14 // packed address
	fieldSender     = 0x15 // packed address
	fieldNotify     = 0x16
	fieldOrcpt      = 0x17
	fieldState      = 0x18
	fieldDue        = 0x19
	fieldAttempts   = 0x1a
	fieldChanged    = 0x1b
	fieldWarned     = 0x1c // empty; present means true
	fieldRoute      = 0x1d
	fieldEvents     = 0x1e // packed events
	fieldLastRecord = 0x1f // LSN of the record that changed it last
	fieldLSN        = 0x20
	fieldPlaces     = 0x21 // packed numbers
	fieldAttempt    = 0x22 // empty; present means true
	fieldKept       = 0x23 // packed numbers
	fieldFacts      = 0x24 // the value of a tagAccepted
	fieldPlace      = 0x25
	fieldSuccess    = 0x26
)

// Bits of fieldOptions. Frozen.
const (
	optionUTF8        = 1
	optionRequireTLS  = 2
	optionTLSOptional = 4
)

// appendUint leaves zero out: an absent number is zero.
func appendUint[T ~uint8 | ~uint32 | ~uint64 | ~int64 | ~int](dst []byte, field uint64, v T) []byte {
	if v == 0 {
		return dst
	}
	return journal.AppendUint(dst, field, uint64(v))
}

// appendText leaves the empty text out.
func appendText(dst []byte, field uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return journal.AppendString(dst, field, s)
}

// micros is a time as records have it; the zero Time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the reverse of micros.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// appendAddress appends an address as the length of its local part, the local
// part and the domain: no quoting to get wrong. The zero Address is left out.
func appendAddress(dst []byte, field uint64, a message.Address) []byte {
	if a.IsZero() {
		return dst
	}
	var scratch [320]byte
	return journal.AppendField(dst, field, packAddress(scratch[:0], a))
}

func packAddress(dst []byte, a message.Address) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(a.Local)))
	dst = append(dst, a.Local...)
	return append(dst, a.Domain...)
}

// AppendAccepted appends the facts of an accepted message, for
// mailbox.Delivery.Also. m.LSN is not used. A recipient begins with its
// Standing's State, Due and Route, and with one Event: the only one of Events
// or else Last.
func AppendAccepted(dst []byte, m *Message) []byte {
	b := make([]byte, 0, 256+96*len(m.Recipients)+len(m.Headers))
	b = appendText(b, fieldID, m.ID)
	b = appendUint(b, fieldSource, m.Source)
	b = appendUint(b, fieldAccount, m.Account)
	b = appendUint(b, fieldReceived, micros(m.Received))
	b = appendUint(b, fieldSize, m.Size)
	b = appendText(b, fieldMessageID, m.MessageID)
	b = appendText(b, fieldSession, m.Session)
	if ip := m.RemoteIP.Unmap(); ip.IsValid() {
		b = journal.AppendField(b, fieldRemoteIP, ip.AsSlice())
	}
	b = appendText(b, fieldProtocol, m.Protocol)
	b = appendText(b, fieldTLS, m.TLS)
	b = appendAddress(b, fieldFrom, m.From)
	b = appendUint(b, fieldBody, m.Body)
	var options uint8
	if m.UTF8 {
		options |= optionUTF8
	}
	if m.RequireTLS {
		options |= optionRequireTLS
	}
	if m.TLSOptional {
		options |= optionTLSOptional
	}
	b = appendUint(b, fieldOptions, options)
	b = appendUint(b, fieldRet, m.Ret)
	b = appendText(b, fieldEnvID, m.EnvID)
	b = appendUint(b, fieldSkip, m.Skip)
	b = appendText(b, fieldHeaders, m.Headers)
	var scratch [256]byte
	for i := range m.Recipients {
		b = journal.AppendField(b, fieldRecipient, appendRecipient(scratch[:0], &m.Recipients[i], m.Received))
	}
	return journal.AppendField(dst, tagAccepted, b)
}

// appendRecipient appends one recipient as it was accepted.
func appendRecipient(b []byte, r *Recipient, received time.Time) []byte {
	b = appendAddress(b, fieldAddress, r.Address)
	b = appendAddress(b, fieldRcpt, r.Rcpt)
	b = appendAddress(b, fieldSender, r.Sender)
	b = appendUint(b, fieldAccount, r.Account)
	b = appendUint(b, fieldNotify, r.Notify)
	b = appendText(b, fieldOrcpt, r.Orcpt)
	state := r.State
	if state == 0 {
		state = Queued
	}
	b = appendUint(b, fieldState, state)
	b = appendUint(b, fieldDue, micros(r.Due))
	b = appendText(b, fieldRoute, cut(r.Route, textMax))
	e := r.Last
	if len(r.Events) > 0 {
		e = r.Events[0]
	}
	if e == (Event{}) {
		return b
	}
	// When and what are known: the message's time and the recipient's state.
	if e.At.Equal(received) {
		e.At = time.Time{}
	}
	if e.State == state {
		e.State = 0
	}
	var scratch [256]byte
	return journal.AppendField(b, fieldEvents, packEvents(scratch[:0], []Event{e}))
}

// AppendChange appends a change, for Delivery.Also of the message that tells
// the sender of it. The error says that there can be no such change: a record
// that has one cannot be read, nor what else it says.
func AppendChange(dst []byte, c *Change) ([]byte, error) {
	if err := c.check(); err != nil {
		return dst, err
	}
	var scratch [1024]byte
	b := appendUint(scratch[:0], fieldLSN, c.LSN)
	b = journal.AppendField(b, fieldPlaces, packPlaces(nil, c.Rcpt))
	b = appendUint(b, fieldDue, micros(c.Due))
	if c.Attempt {
		b = journal.AppendField(b, fieldAttempt, nil)
	}
	if c.Warned {
		b = journal.AppendField(b, fieldWarned, nil)
	}
	if c.Route != nil {
		b = journal.AppendString(b, fieldRoute, cut(*c.Route, textMax))
	}
	b = journal.AppendField(b, fieldEvents, packEvents(nil, []Event{c.Event}))
	b = appendUint(b, fieldSuccess, c.Owe)
	return journal.AppendField(dst, tagChange, b), nil
}

// purged says that the books of all messages up to floor are gone, except for
// those of kept, which ascend.
type purged struct {
	floor journal.LSN
	kept  []journal.LSN
}

func (p *purged) append(dst []byte, tag uint64) []byte {
	b := appendUint(nil, fieldLSN, p.floor)
	if len(p.kept) > 0 {
		b = journal.AppendField(b, fieldKept, packLSNs(nil, p.kept))
	}
	return journal.AppendField(dst, tag, b)
}

// messageState is a message as of a State record's LSN, or more of its
// recipients, without the facts.
type messageState struct {
	lsn       journal.LSN
	facts     []byte
	standings []placed
}

// placed is the standing of one recipient.
type placed struct {
	place int
	standing
}

// standing is a Standing as the tables have it.
type standing struct {
	state    State
	due      int64
	attempts int
	changed  int64
	warned   bool
	route    string
	events   []byte      // packed
	last     journal.LSN // of the record that changed it last; open ones only
}

func (m *messageState) append(dst []byte) []byte {
	b := appendUint(nil, fieldLSN, m.lsn)
	if m.facts != nil {
		b = journal.AppendField(b, fieldFacts, m.facts)
	}
	var scratch [512]byte
	for i := range m.standings {
		p := &m.standings[i]
		r := appendUint(scratch[:0], fieldPlace, p.place)
		r = appendUint(r, fieldState, p.state)
		b = journal.AppendField(b, fieldRecipient, p.append(r))
	}
	return journal.AppendField(dst, tagStateMessage, b)
}

// append appends all of a standing but its state.
func (s *standing) append(b []byte) []byte {
	b = appendUint(b, fieldDue, s.due)
	b = appendUint(b, fieldAttempts, s.attempts)
	b = appendUint(b, fieldChanged, s.changed)
	if s.warned {
		b = journal.AppendField(b, fieldWarned, nil)
	}
	b = appendText(b, fieldRoute, s.route)
	b = appendUint(b, fieldLastRecord, s.last)
	if len(s.events) > 0 {
		b = journal.AppendField(b, fieldEvents, s.events)
	}
	return b
}

// packPlaces appends ascending numbers, each less the one before.
func packPlaces(dst []byte, ns []int) []byte {
	last := 0
	for _, n := range ns {
		dst = binary.AppendUvarint(dst, uint64(n-last))
		last = n
	}
	return dst
}

// packLSNs appends ascending LSNs, each less the one before.
func packLSNs(dst []byte, ns []journal.LSN) []byte {
	last := journal.LSN(0)
	for _, n := range ns {
		dst = binary.AppendUvarint(dst, uint64(n-last))
		last = n
	}
	return dst
}

// cut shortens s to at most n octets, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
