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
	if err := d.begin(s); err != nil {
		return nil, err
	}
	if d.room == nil {
		d.room = make([]EnvelopeAddress, spareAddresses)
	}
	d.state.spare = d.room
	d.state.envelope(&d.envelope)
	if d.state.err != nil {
		return nil, d.state.err
	}
	return &d.envelope, nil
}

// DecodeTexts is Decode without the addresses: the envelope has its texts
// (Date, Subject, InReplyTo, MessageID) and nothing else. Damage behind them
// goes unnoticed.
func (d *EnvelopeDecoder) DecodeTexts(s string) (*Envelope, error) {
	if err := d.begin(s); err != nil {
		return nil, err
	}
	d.envelope = Envelope{}
	d.state.texts(&d.envelope)
	if d.state.err != nil {
		return nil, d.state.err
	}
	return &d.envelope, nil
}

// begin reads what stands before the envelope.
func (d *EnvelopeDecoder) begin(s string) error {
	if len(s) == 0 || s[0] != codecVersion {
		return fmt.Errorf("%w: unknown version", ErrFormat)
	}
	// The words need no clearing: n says how many there are.
	d.state.s, d.state.err, d.state.n = s[1:], nil, 0
	d.state.skipDefects(d.state.offset())
	return d.state.err
}

// DecodeEnvelope is EnvelopeDecoder.Decode for a single message. The strings
// share one copy of b.
func DecodeEnvelope(b []byte) (*Envelope, error) {
	var d EnvelopeDecoder
	return d.Decode(string(b))
}
