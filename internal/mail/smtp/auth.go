package smtp

import (
	"bytes"
	"encoding/base64"
)

// auth is AUTH, RFC 4954 §4. The SASL exchange itself is the shell's: the
// machine only carries its responses and challenges.
func (t *turn) auth(arg []byte) Action {
	d, o := t.d, &t.m.o
	switch {
	case len(o.Mechanisms) == 0:
		return t.wrongly("502 5.5.1 AUTH is not offered\r\n")
	case d.flags&flagTLS == 0:
		return t.wrongly("538 5.7.11 AUTH needs TLS, issue STARTTLS first\r\n")
	case d.flags&flagESMTP == 0:
		return t.wrongly("503 5.5.1 Send EHLO first\r\n")
	case d.flags&flagAuthed != 0:
		return t.wrongly("503 5.5.1 Already authenticated\r\n")
	case d.env != nil:
		return t.wrongly("503 5.5.1 A transaction is under way\r\n")
	case arg == nil:
		return t.wrongly("501 5.5.4 AUTH needs a mechanism\r\n")
	}
	name, initial, _ := bytes.Cut(arg, []byte{' '})
	mech := -1
	for i, m := range o.Mechanisms {
		if equalFold(name, m) {
			mech = i
		}
	}
	if mech < 0 {
		return t.wrongly("504 5.5.4 Mechanism not offered\r\n")
	}
	t.early()
	d.mech = uint8(mech)
	d.line = nil
	d.flags = d.flags&^flagInitial | flagStart
	initial = bytes.Trim(initial, " \t")
	if len(initial) > 0 {
		d.flags |= flagInitial
		if len(initial) != 1 || initial[0] != '=' { // "=" is the empty response
			var ok bool
			if d.line, ok = decodeBase64(initial); !ok {
				return t.wrongly("501 5.5.2 Malformed base64\r\n")
			}
		}
	}
	return t.ask(ActionAuth)
}

// authResponse takes the client's answer to a challenge; ok is false when the
// line was refused already.
func (t *turn) authResponse(line []byte, ok bool) Action {
	d := t.d
	if d.stage == stageClosed {
		return Action{Kind: ActionClose}
	}
	cancelled := len(line) == 1 && line[0] == '*'
	if ok && !cancelled {
		var decoded bool
		if d.line, decoded = decodeBase64(line); decoded {
			d.flags &^= flagStart | flagInitial
			return t.ask(ActionAuth)
		}
	}
	d.stage = stageCommand
	d.line = nil
	a := Action{Kind: actionNone}
	switch {
	case cancelled:
		a = t.wrongly("501 5.7.0 Authentication cancelled\r\n")
	case ok:
		a = t.wrongly("501 5.5.2 Malformed base64\r\n")
	}
	if a.Kind != actionNone {
		return a
	}
	return Action{Kind: ActionCancel}
}

func (t *turn) authAnswer(ev *Event, refused bool) Action {
	d := t.d
	d.line = nil
	d.flags &^= flagStart | flagInitial
	switch {
	case ev.Kind == EventChallenge:
		d.stage = stageAuth
		t.say("334 ")
		t.out = base64.StdEncoding.AppendEncode(t.out, ev.Data)
		t.out = append(t.out, '\r', '\n')
	case refused:
		d.stage = stageCommand
		t.sayReply(ev.Reply)
		if ev.Reply.Temporary() { // a fault of ours counts against nobody
			break
		}
		if d.failed++; d.failed >= authFailuresMax {
			return t.close("421 4.7.0 Too many failed logins, closing connection\r\n")
		}
	default:
		d.stage = stageCommand
		d.flags |= flagAuthed
		d.idle = 0
		t.say("235 2.7.0 Authenticated\r\n")
	}
	return Action{Kind: ActionRead}
}

func decodeBase64(b []byte) ([]byte, bool) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	return out[:n], err == nil
}
