package fate

import (
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/store/account"
	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// scanned is what the tables need to know of a message's facts.
type scanned struct {
	account  account.ID
	source   Source
	received int64
	tally    Tally
	keys     []uint32
	open     []opened
}

// opened is a recipient that began open.
type opened struct {
	place  int
	state  State
	due    int64
	domain message.Domain
	route  string
}

// scanAccepted reads only what the tables need. Most mail is for one local
// recipient, and then it allocates next to nothing. keys is appended to.
func scanAccepted(b []byte, keys []uint32) (s scanned, err error) {
	s.keys, s.tally.Messages = keys, 1
	err = journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldID:
			s.keys = append(s.keys, keyOf(keyID, v))
		case fieldMessageID:
			s.keys = append(s.keys, keyOf(keyMessageID, v))
		case fieldFrom:
			s.keys = append(s.keys, keyOf(keyAddress, v))
		case fieldSource:
			s.source, err = number[Source](v)
		case fieldAccount:
			s.account, err = number[account.ID](v)
		case fieldReceived:
			s.received, err = number[int64](v)
		case fieldRecipient:
			err = s.recipient(v)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("read facts of message: %w", err)
	}
	return s, nil
}

func (s *scanned) recipient(b []byte) error {
	o := opened{place: int(s.tally.Accepted)}
	var domain, route []byte
	err := journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case fieldAddress:
			_, domain, err = cutAddress(v)
			s.keys = append(s.keys, keyOf(keyAddress, v))
		case fieldRcpt:
			_, _, err = cutAddress(v)
			s.keys = append(s.keys, keyOf(keyAddress, v))
		case fieldState:
			o.state, err = decodeState(v)
		case fieldDue:
			o.due, err = number[int64](v)
		case fieldRoute:
			route = v
		}
		return err
	})
	if err != nil {
		return err
	}
	if o.state == 0 {
		return fmt.Errorf("%w: no state", errMalformed)
	}
	s.tally.Accepted++
	*s.tally.of(o.state)++
	if !o.state.Ended() {
		o.domain, o.route = message.Domain(domain), string(route)
		s.open = append(s.open, o)
	}
	return nil
}

// Kinds of names that messages are found by.
const (
	keyID        = 'i'
	keyMessageID = 'm'
	keyAddress   = 'a'
)

// keyOf is the key of a name in fate_names: 32 bits of it, in lower case as
// far as it is ASCII (FNV-1a). What is found by it is looked at again.
func keyOf(kind byte, name []byte) uint32 {
	h := uint64(0xcbf29ce484222325)
	h = (h ^ uint64(kind)) * 0x100000001b3
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return uint32(h ^ h>>32)
}
