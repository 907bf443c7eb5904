package fate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

var errMalformed = errors.New("malformed fate record")

// number reads a number and refuses one that does not fit.
func number[T ~uint8 | ~uint32 | ~uint64 | ~int64 | ~int](v []byte) (T, error) {
	n, ok := journal.Uint(v)
	if !ok || uint64(T(n)) != n {
		return 0, errMalformed
	}
	return T(n), nil
}

func decodeTime(v []byte) (time.Time, error) {
	us, err := number[int64](v)
	return timeOf(us), err
}

// decodeState refuses states that this version does not know: it could not
// count them.
func decodeState(v []byte) (State, error) {
	s, err := number[State](v)
	if err == nil && !s.known() {
		err = fmt.Errorf("%w: state %d", errMalformed, s)
	}
	return s, err
}

func (s State) known() bool { return s >= Queued && s <= Held || s >= Delivered && s <= SetAside }

// cutAddress splits a packed address.
func cutAddress(v []byte) (local, domain []byte, err error) {
	size, n := binary.Uvarint(v)
	if n <= 0 || size > uint64(len(v)-n) {
		return nil, nil, errMalformed
	}
	end := n + int(size)
	return v[n:end], v[end:], nil
}

func decodeAddress(v []byte) (message.Address, error) {
	local, domain, err := cutAddress(v)
	return message.Address{Local: string(local), Domain: message.Domain(domain)}, err
}

// decodeAccepted reads the facts of a message, and those of its recipients that
// are asked for: all, if none are named.
func decodeAccepted(b []byte, rcpts ...int) (*Message, error) {
	m := new(Message)
	wanted := selectionOf(rcpts)
	type packed struct {
		place int
		facts []byte
	}
	recipients, n, size := make([]packed, 0, len(rcpts)), 0, 0
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldID:
			m.ID = string(v)
		case fieldSource:
			m.Source, err = number[Source](v)
		case fieldAccount:
			m.Account, err = number[account.ID](v)
		case fieldReceived:
			m.Received, err = decodeTime(v)
		case fieldSize:
			m.Size, err = number[int64](v)
		case fieldMessageID:
			m.MessageID = string(v)
		case fieldFrom:
			m.From, err = decodeAddress(v)
		case fieldRecipient:
			if wanted.has(n) {
				recipients, size = append(recipients, packed{n, v}), n+1
			}
			n++
		default:
			err = m.decodeRest(field, v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode facts of message: %w", err)
	}
	m.Recipients = make([]Recipient, size)
	for _, r := range recipients {
		if err := m.Recipients[r.place].decode(r.facts, m.Received); err != nil {
			return nil, fmt.Errorf("decode recipient %d: %w", r.place, err)
		}
	}
	return m, nil
}

// selection says which places are asked for; nil is all.
type selection []bool

func selectionOf(rcpts []int) selection {
	if len(rcpts) == 0 {
		return nil
	}
	s := make(selection, min(max(0, slices.Max(rcpts)+1), recipientsMax))
	for _, n := range rcpts {
		if n >= 0 && n < len(s) {
			s[n] = true
		}
	}
	return s
}

func (s selection) has(n int) bool { return s == nil || n < len(s) && s[n] }

// decodeRest reads what is known of the session and for the next host.
func (m *Message) decodeRest(field uint64, v []byte) (err error) {
	switch field {
	case fieldSession:
		m.Session = string(v)
	case fieldRemoteIP:
		ip, ok := netip.AddrFromSlice(v)
		if !ok {
			return errMalformed
		}
		m.RemoteIP = ip
	case fieldProtocol:
		m.Protocol = string(v)
	case fieldTLS:
		m.TLS = string(v)
	case fieldBody:
		m.Body, err = number[smtp.BodyType](v)
	case fieldOptions:
		var options uint64
		options, err = number[uint64](v)
		m.UTF8, m.RequireTLS = options&optionUTF8 != 0, options&optionRequireTLS != 0
		m.TLSOptional = options&optionTLSOptional != 0
	case fieldRet:
		m.Ret, err = number[smtp.Ret](v)
	case fieldEnvID:
		m.EnvID = string(v)
	case fieldSkip:
		m.Skip, err = number[int64](v)
	case fieldHeaders:
		m.Headers = string(v)
	}
	return err
}

// decode reads a recipient as it was accepted.
func (r *Recipient) decode(b []byte, received time.Time) error {
	var events []byte
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldAddress:
			r.Address, err = decodeAddress(v)
		case fieldRcpt:
			r.Rcpt, err = decodeAddress(v)
		case fieldSender:
			r.Sender, err = decodeAddress(v)
		case fieldAccount:
			r.Account, err = number[account.ID](v)
		case fieldNotify:
			r.Notify, err = number[smtp.Notify](v)
		case fieldOrcpt:
			r.Orcpt = string(v)
		case fieldState:
			r.State, err = decodeState(v)
		case fieldDue:
			r.Due, err = decodeTime(v)
		case fieldRoute:
			r.Route = string(v)
		case fieldEvents:
			events = v
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.State == 0 {
		return fmt.Errorf("%w: no state", errMalformed)
	}
	if r.Events, err = unpackEvents(events, nil); err != nil || len(r.Events) == 0 {
		return err
	}
	e := &r.Events[0]
	if e.At.IsZero() {
		e.At = received
	}
	if e.State == 0 {
		e.State = r.State
	}
	r.Last = r.Events[len(r.Events)-1]
	return nil
}

// decodeChange reads a change.
func decodeChange(b []byte) (Change, error) {
	var c Change
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldLSN:
			c.LSN, err = number[journal.LSN](v)
		case fieldPlaces:
			c.Rcpt, err = unpackPlaces(v)
		case fieldDue:
			c.Due, err = decodeTime(v)
		case fieldAttempt:
			c.Attempt = true
		case fieldWarned:
			c.Warned = true
		case fieldRoute:
			route := string(v)
			c.Route = &route
		case fieldSuccess:
			c.Owe, err = number[Success](v)
		case fieldEvents:
			var es []Event
			if es, err = unpackEvents(v, nil); err == nil && len(es) != 1 {
				err = errMalformed
			}
			if err == nil {
				c.Event = es[0]
			}
		}
		return err
	})
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return c, fmt.Errorf("decode change: %w", err)
	}
	return c, nil
}

// check says whether a change can be one.
func (c *Change) check() error {
	switch {
	case c.LSN == 0:
		return fmt.Errorf("%w: change of no message", errMalformed)
	case len(c.Rcpt) == 0 || len(c.Rcpt) > recipientsMax:
		return fmt.Errorf("%w: change of %d recipients", errMalformed, len(c.Rcpt))
	case c.State != 0 && !c.State.known():
		return fmt.Errorf("%w: state %d", errMalformed, c.State)
	case c.Owe > ToldExpanded:
		return fmt.Errorf("%w: success %d", errMalformed, c.Owe)
	}
	for i, n := range c.Rcpt {
		if n < 0 || i > 0 && n <= c.Rcpt[i-1] {
			return fmt.Errorf("%w: recipients of a change do not ascend", errMalformed)
		}
	}
	return nil
}

func decodePurged(b []byte) (purged, error) {
	var p purged
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldLSN:
			p.floor, err = number[journal.LSN](v)
		case fieldKept:
			p.kept, err = unpackLSNs(v)
		}
		return err
	})
	if err != nil {
		return p, fmt.Errorf("decode purge: %w", err)
	}
	return p, nil
}

func decodeMessageState(b []byte) (messageState, error) {
	var m messageState
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldLSN:
			m.lsn, err = number[journal.LSN](v)
		case fieldFacts:
			m.facts = v
		case fieldRecipient:
			var p placed
			p, err = decodePlaced(v)
			m.standings = append(m.standings, p)
		}
		return err
	})
	if err == nil && m.lsn == 0 {
		err = errMalformed
	}
	if err != nil {
		return m, fmt.Errorf("decode state of message: %w", err)
	}
	return m, nil
}

func decodePlaced(b []byte) (p placed, err error) {
	err = journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		if field == fieldPlace {
			p.place, err = number[int](v)
			return err
		}
		return p.standing.decodeField(field, v)
	})
	if err == nil && p.state == 0 {
		err = errMalformed
	}
	return p, err
}

// decodeField reads one field of a standing.
func (s *standing) decodeField(field uint64, v []byte) (err error) {
	switch field {
	case fieldState:
		s.state, err = decodeState(v)
	case fieldDue:
		s.due, err = number[int64](v)
	case fieldAttempts:
		s.attempts, err = number[int](v)
	case fieldChanged:
		s.changed, err = number[int64](v)
	case fieldWarned:
		s.warned = true
	case fieldRoute:
		s.route = string(v)
	case fieldLastRecord:
		s.last, err = number[journal.LSN](v)
	case fieldEvents:
		s.events = v
	}
	return err
}

func unpackPlaces(b []byte) ([]int, error) {
	var ns []int
	last := uint64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || d > 1<<31 || len(ns) > 0 && d == 0 || len(ns) == recipientsMax {
			return nil, errMalformed
		}
		if last += d; last > 1<<31 {
			return nil, errMalformed
		}
		ns = append(ns, int(last))
		b = b[n:]
	}
	return ns, nil
}

func unpackLSNs(b []byte) ([]journal.LSN, error) {
	var ns []journal.LSN
	last := uint64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 || last+d < last {
			return nil, errMalformed
		}
		last += d
		ns = append(ns, journal.LSN(last))
		b = b[n:]
	}
	return ns, nil
}
