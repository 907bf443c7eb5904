package message

import "fmt"

// EnvelopeDecoder reads the envelope of the root out of the binary form and
// leaves the parts alone: lists and searches of thousands of messages need no
// more, and a tree for each costs several times as much. It allocates only
// for messages with more addresses than any before. The zero value is ready;
// one goroutine at a time.
type EnvelopeDecoder struct {
	state    decoderState
	envelope Envelope
	room     []EnvelopeAddress
}

// spareAddresses is how many addresses an EnvelopeDecoder keeps room for: a
// mail to a list of recipients has dozens, and maxAddresses of them would take
// 640 KB. Longer lists get room of their own.
const spareAddresses = 64

// Decode reads what AppendBinary wrote, up to the end of the envelope. The
// envelope is the decoder's, until the next call; its strings are pieces of s.
// It is equal to that of DecodeMessage wherever that gives a message; damage
// behind the envelope goes unnoticed. Errors wrap ErrFormat.
func (d *EnvelopeDecoder) Decode(s string) (*Envelope, error) {
	if len(s) == 0 || s[0] != codecVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrFormat)
	}
	if d.room == nil {
		d.room = make([]EnvelopeAddress, spareAddresses)
	}
	st := &d.state
	// The words need no clearing: n says how many there are.
	st.s, st.err, st.n, st.spare = s[1:], nil, 0, d.room
	size := st.offset()
	st.skipDefects(size)
	st.envelope(&d.envelope)
	if st.err != nil {
		return nil, st.err
	}
	return &d.envelope, nil
}

// DecodeEnvelope is EnvelopeDecoder.Decode for a single message. The strings
// share one copy of b.
func DecodeEnvelope(b []byte) (*Envelope, error) {
	var d EnvelopeDecoder
	return d.Decode(string(b))
}
