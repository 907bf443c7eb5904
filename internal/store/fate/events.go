package fate

import (
	"encoding/binary"

	"github.com/breakwater-mail/breakwater/internal/store/journal"
)

// Fields of a packed event. Frozen.
const (
	eventAt     = 1
	eventState  = 2
	eventVia    = 3
	eventTLS    = 4
	eventReply  = 5
	eventReason = 6
	eventDSN    = 7
	eventBy     = 8
	eventSame   = 9 // bits 1<<field: the text is that of the event before
)

// texts gives the texts of an event that often repeat, with their limits, in
// the order of their fields from eventVia on.
func (e *Event) texts() [4]*string { return [4]*string{&e.Via, &e.TLS, &e.Reply, &e.Reason} }

var textLimits = [4]int{textMax, textMax, ReplyMax, ReasonMax}

// packEvents appends events, each with its length before it. What is the same
// as in the event before is not said again: most attempts fail like the last.
func packEvents(dst []byte, es []Event) []byte {
	var before Event
	var scratch [1024]byte
	for _, e := range es {
		e.limit()
		b := appendUint(scratch[:0], eventAt, micros(e.At))
		b = appendUint(b, eventState, e.State)
		same := uint64(0)
		old := before.texts()
		for i, s := range e.texts() {
			field := uint64(eventVia + i)
			if *s != "" && *s == *old[i] {
				same |= 1 << field
			} else {
				b = appendText(b, field, *s)
			}
		}
		b = appendText(b, eventDSN, e.DSN)
		b = appendText(b, eventBy, e.By)
		b = appendUint(b, eventSame, same)
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		dst = append(dst, b...)
		before = e
	}
	return dst
}

// limit cuts what is too long.
func (e *Event) limit() {
	for i, s := range e.texts() {
		*s = cut(*s, textLimits[i])
	}
	e.DSN, e.By = cut(e.DSN, textMax), cut(e.By, textMax)
}

// unpackEvents is the reverse of packEvents. It appends to dst.
func unpackEvents(b []byte, dst []Event) ([]Event, error) {
	var before Event
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return dst, errMalformed
		}
		e, err := unpackEvent(b[n:n+int(size)], &before)
		if err != nil {
			return dst, err
		}
		dst = append(dst, e)
		before = e
		b = b[n+int(size):]
	}
	return dst, nil
}

func unpackEvent(b []byte, before *Event) (e Event, err error) {
	err = journal.ParseFields(b, func(field uint64, v []byte) (err error) {
		switch field {
		case eventAt:
			e.At, err = decodeTime(v)
		case eventState:
			e.State, err = number[State](v)
		case eventVia, eventTLS, eventReply, eventReason:
			*e.texts()[field-eventVia] = string(v)
		case eventDSN:
			e.DSN = string(v)
		case eventBy:
			e.By = string(v)
		case eventSame:
			var same uint64
			same, err = number[uint64](v)
			old := before.texts()
			for i, s := range e.texts() {
				if same&(1<<(eventVia+i)) != 0 {
					*s = *old[i]
				}
			}
		}
		return err
	})
	return e, err
}

// remember adds an event to packed ones, of which it keeps the first few and
// the last ones.
func remember(packed []byte, e Event) []byte {
	es, err := unpackEvents(packed, make([]Event, 0, 8))
	if err != nil {
		es = nil // they are lost, what comes is not
	}
	es = append(es, e)
	if n := len(es); n > eventsFirst+eventsLast {
		es = append(es[:eventsFirst], es[n-eventsLast:]...)
	}
	return packEvents(make([]byte, 0, len(packed)+128), es)
}
