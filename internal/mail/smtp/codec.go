package smtp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// dialogueVersion is the version of the form of [Dialogue.AppendBinary].
const dialogueVersion = 2

// dialogueStringMax bounds a string in the binary form: a SASL response is
// the longest.
const dialogueStringMax = AuthLineMax

// ErrDialogue is wrapped by [DecodeDialogue] for octets that are no state.
var ErrDialogue = errors.New("malformed dialogue state")

// AppendBinary appends the whole state, so that another process can go on
// with the dialogue: version, numbers as varints, strings with their length.
// The facts of the session in an Envelope are not in it, its shell fills them
// in again; nor are a body or a SASL exchange, which are the shell's.
func (d *Dialogue) AppendBinary(dst []byte) []byte {
	dst = append(dst, dialogueVersion, byte(d.stage), byte(d.pending), byte(d.scan), byte(d.fault), d.mech,
		d.wrong, d.refused, d.idle, d.failed)
	dst = binary.AppendUvarint(dst, uint64(d.flags))
	dst = binary.AppendUvarint(dst, uint64(d.last))
	dst = binary.AppendUvarint(dst, uint64(d.surplus))
	dst = binary.AppendUvarint(dst, uint64(d.lineLen))
	for _, n := range [...]int64{d.due, d.begun, d.size, d.chunk} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = appendString(dst, d.helo)
	dst = appendString(dst, string(d.line))
	if d.refusal == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		dst = binary.AppendUvarint(dst, uint64(d.refusal.Code))
		dst = appendString(appendString(dst, string(d.refusal.Enhanced)), d.refusal.Text)
	}
	if d.env == nil {
		return append(dst, 0)
	}
	return appendEnvelope(append(dst, 1), d.env)
}

// The bits of an envelope's marks.
const (
	markUTF8 byte = 1 << iota
	markRequireTLS
)

func appendEnvelope(dst []byte, e *Envelope) []byte {
	dst = appendAddress(dst, e.From)
	dst = binary.AppendVarint(dst, e.Size)
	marks := byte(0)
	if e.UTF8 {
		marks |= markUTF8
	}
	if e.RequireTLS {
		marks |= markRequireTLS
	}
	dst = append(dst, byte(e.Body), marks, byte(e.Ret))
	for _, s := range [...]string{e.Protocol, e.Auth, e.EnvID} {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Recipients)))
	for _, r := range e.Recipients {
		dst = appendAddress(dst, r.To)
		dst = append(dst, byte(r.Notify))
		dst = appendString(dst, r.Orcpt)
	}
	return dst
}

func appendAddress(dst []byte, a message.Address) []byte {
	return appendString(appendString(dst, a.Local), string(a.Domain))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeDialogue reads what AppendBinary wrote. Octets from elsewhere are
// refused where they could not be a state; that they are the state of this
// connection is for the caller to know.
func DecodeDialogue(b []byte) (Dialogue, error) {
	r := reader{b: b}
	if r.byte(dialogueVersion) != dialogueVersion {
		return Dialogue{}, fmt.Errorf("%w: version", ErrDialogue)
	}
	var d Dialogue
	d.stage = stage(r.byte(byte(stageCount) - 1))
	d.pending = ActionKind(r.byte(byte(ActionClose) - 1))
	d.scan = scanState(r.byte(byte(scanStateCount) - 1))
	d.fault = fault(r.byte(byte(faultCount) - 1))
	d.mech, d.wrong, d.refused, d.idle, d.failed = r.byte(255), r.byte(255), r.byte(255), r.byte(255), r.byte(255)
	d.flags = flags(r.uvarint(flagsAll))
	d.last = uint16(r.uvarint(599))
	d.surplus = uint16(r.uvarint(surplusMax + 1))
	d.lineLen = uint32(r.uvarint(1<<32 - 1))
	for _, p := range [...]*int64{&d.due, &d.begun, &d.size, &d.chunk} {
		*p = r.varint()
	}
	d.helo = r.string()
	if line := r.string(); line != "" {
		d.line = []byte(line)
	}
	if r.byte(1) == 1 {
		d.refusal = &Reply{Code: int(r.uvarint(599)), Enhanced: EnhancedCode(r.string()), Text: r.string()}
	}
	if r.byte(1) == 1 {
		d.env = r.envelope()
		d.env.Helo = d.helo
	}
	if r.bad || len(r.b) > 0 || !d.sound() {
		return Dialogue{}, ErrDialogue
	}
	return d, nil
}

// sound checks what Step relies on.
func (d *Dialogue) sound() bool {
	needsEnv := d.pending == ActionSender || d.pending == ActionRecipient || d.pending == ActionBegin || d.pending == ActionEnd ||
		d.stage == stageData || d.flags&flagBody != 0
	switch {
	case d.pending != ActionRead && (d.stage == stageNew || d.stage == stageClosed),
		needsEnv && d.env == nil,
		d.pending == ActionRecipient && len(d.env.Recipients) == 0,
		d.chunk < 0 || d.size < 0,
		d.stage == stageChunk && d.env == nil && d.refusal == nil && d.fault == faultNone,
		d.refusal != nil && (d.refusal.Code < 400 || !d.refusal.Enhanced.Valid(d.refusal.Code)):
		return false
	}
	return true
}

// reader reads the binary form; after an error it reads zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte(most byte) byte {
	if len(r.b) == 0 || r.b[0] > most {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint(most uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > most || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) varint() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) string() string {
	n := r.uvarint(dialogueStringMax)
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) address() message.Address {
	return message.Address{Local: r.string(), Domain: message.Domain(r.string())}
}

func (r *reader) envelope() *Envelope {
	e := &Envelope{From: r.address(), Size: r.varint()}
	e.Body = BodyType(r.byte(byte(Body8BitMIME)))
	marks := r.byte(markUTF8 | markRequireTLS)
	e.UTF8, e.RequireTLS = marks&markUTF8 != 0, marks&markRequireTLS != 0
	e.Ret = Ret(r.byte(byte(RetHeaders)))
	e.Protocol, e.Auth, e.EnvID = r.string(), r.string(), r.string()
	// A recipient has four octets at least: the count cannot make us take
	// more memory than the input is worth.
	n := r.uvarint(uint64(len(r.b) / 4))
	for range n {
		if r.bad {
			break
		}
		e.Recipients = append(e.Recipients, Recipient{To: r.address(), Notify: Notify(r.byte(15)), Orcpt: r.string()})
	}
	return e
}
