package smtp

import (
	"bytes"
	"math"
	"strconv"
)

// bdat is BDAT, RFC 3030 §2. Its octets follow whatever is answered, so a
// chunk that cannot be taken is read and then refused; after that the
// transaction is over, and further chunks of it are refused likewise.
//
// A message that comes by BDAT obeys the same rules as one by DATA: CRLF
// lines, no bare CR or LF, no NUL (BINARYMIME is not offered). Only its last
// line need not end in CRLF.
func (t *turn) bdat(arg []byte) Action {
	d := t.d
	size, last, ok := parseBdat(arg)
	if !ok {
		// What follows may be octets of a message: read as commands they
		// would be the sender's, whoever wrote them.
		return t.close("501 5.5.4 Malformed BDAT, closing connection\r\n")
	}
	if size/chunkDiscardFactor > t.m.o.SizeMax {
		return t.close("552 5.3.4 Chunk too big, closing connection\r\n")
	}
	d.chunk = size
	d.flags &^= flagLast
	if last {
		d.flags |= flagLast
	}
	switch {
	case d.env == nil && (d.refusal != nil || d.fault != faultNone):
		d.flags |= flagChunked // one more of a message that was refused
	case d.env == nil:
		return t.swallow(Reply{Code: 503, Enhanced: "5.5.1", Text: "Send MAIL first"})
	case len(d.env.Recipients) == 0:
		return t.swallow(Reply{Code: 554, Enhanced: "5.5.1", Text: "No valid recipients"})
	case d.size+size > t.m.o.SizeMax && d.flags&flagChunked == 0:
		return t.swallow(Reply{Code: 552, Enhanced: "5.3.4", Text: "Message too big"})
	case d.flags&flagChunked == 0:
		d.flags |= flagChunked
		return t.ask(ActionBegin)
	}
	d.stage = stageChunk
	if d.begun == 0 {
		d.begun = t.now
	}
	return Action{Kind: actionNone}
}

// swallow reads a chunk only to refuse it.
func (t *turn) swallow(r Reply) Action {
	d := t.d
	d.refusal = &r
	d.flags |= flagChunked
	d.begun = t.now
	d.stage = stageChunk
	if d.wrong++; d.wrong > errorsMax {
		return t.close("421 4.7.0 Too many errors, closing connection\r\n")
	}
	return Action{Kind: actionNone}
}

// parseBdat reads chunk-size [SP "LAST"].
func parseBdat(arg []byte) (size int64, last, ok bool) {
	digits, rest, _ := bytes.Cut(arg, []byte{' '})
	size, err := parseSize(digits)
	if err != nil || size == math.MaxInt64 {
		return 0, false, false
	}
	rest = bytes.Trim(rest, " \t")
	if len(rest) == 0 {
		return size, false, true
	}
	return size, true, equalFold(rest, "LAST")
}

// chunk takes octets of a BDAT chunk.
func (t *turn) chunk() Action {
	d := t.d
	for d.chunk > 0 {
		rest := t.in[t.n:]
		if len(rest) == 0 {
			return Action{Kind: ActionRead}
		}
		rest = rest[:min(int64(len(rest)), d.chunk)]
		emit, n, _, f := d.scanBody(rest, t.m.o.TextLineMax, false)
		t.n += n
		d.chunk -= int64(n)
		t.rearm = true
		if a := t.taken(emit, n, f); a.Kind != actionNone {
			return a
		}
	}
	return t.endChunk()
}

// endChunk answers a chunk that is complete.
func (t *turn) endChunk() Action {
	d := t.d
	t.rearm = true
	last := d.flags&flagLast != 0
	refused := d.refusal != nil || d.fault != faultNone
	if last && !refused && d.scan == scanCR {
		return t.taken(nil, 0, faultLine) // and then here again
	}
	d.stage = stageCommand
	if last || refused {
		return t.endBody()
	}
	t.say("250 2.0.0 ")
	t.out = strconv.AppendInt(t.out, d.size, 10)
	t.out = append(t.out, " octets received\r\n"...)
	return Action{Kind: actionNone}
}
