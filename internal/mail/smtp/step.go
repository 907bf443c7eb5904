package smtp

import "time"

// EventKind says what has happened.
type EventKind uint8

// The events.
const (
	// EventInput brings the octets that the client has sent and the machine
	// has not consumed yet.
	EventInput EventKind = iota
	// EventOpen begins the dialogue: the banner. With TLS from the start
	// (RFC 8314 §3) EventOpenTLS takes its place.
	EventOpen
	EventOpenTLS
	// EventProceed answers the question of the last action with yes. Text
	// goes into the reply to a body that was accepted.
	EventProceed
	// EventRefuse answers it with no: Reply is sent. Outside a question, and
	// while a body is under way, it means that the shell could not take the
	// octets and has given the body up: Reply is sent at the body's end.
	EventRefuse
	// EventChallenge answers ActionAuth: Data is sent as the next challenge.
	EventChallenge
	// EventTimeout says that Due has passed.
	EventTimeout
	// EventShutdown asks the dialogue to end once no body is under way.
	EventShutdown
	// EventResume asks for the unanswered question again: the first event
	// after a hand-over.
	EventResume
)

// Event is one input of the machine.
type Event struct {
	Kind  EventKind
	Data  []byte // EventInput, EventChallenge; not kept
	Reply *Reply // EventRefuse
	Text  string // EventProceed
}

// ActionKind says what the shell has to do.
type ActionKind uint8

// The actions. Those that ask are answered with EventProceed or EventRefuse
// (ActionAuth also with EventChallenge) before any input is consumed.
const (
	// ActionRead wants EventInput: with what is left of the input, or else,
	// once the replies are sent, with new octets. After every other action
	// that is not answered EventInput comes at once, even with no octets.
	ActionRead ActionKind = iota
	// ActionSender asks whether the sender of the new transaction may send.
	// It is asked only with Options.AskSender.
	ActionSender
	// ActionRecipient asks whether the last recipient of the transaction is
	// accepted.
	ActionRecipient
	// ActionBegin asks for a body to be begun.
	ActionBegin
	// ActionBody brings octets of the body in Data; nothing is answered.
	ActionBody
	// ActionEnd asks whether the body, now complete, is accepted: yes only
	// when it is durable.
	ActionEnd
	// ActionAbort says that the body under way will not be completed.
	ActionAbort
	// ActionTLS asks for a TLS handshake once the replies are sent. All input
	// that was read before it must be thrown away (RFC 3207 §6); the machine
	// has consumed what it was given. EventRefuse ends the dialogue.
	ActionTLS
	// ActionAuth asks to begin (Mechanism is set) or go on with a SASL
	// exchange; Data is the response, nil for none.
	ActionAuth
	// ActionCancel says that the client has given the SASL exchange up.
	ActionCancel
	// ActionClose ends the dialogue: send the replies, give up an open body,
	// close the connection.
	ActionClose
	actionCount

	// actionNone is what a command returns that asks nothing.
	actionNone = actionCount
)

// Action is what the machine wants next.
type Action struct {
	Kind ActionKind
	// N is how many octets of the event's input were consumed. It is less
	// than all only when a question must be answered first.
	N int
	// Data is valid until the next step. For ActionBody it is a part of the
	// event's input.
	Data      []byte
	Mechanism string
}

// turn is one step in progress.
type turn struct {
	m     *Machine
	d     *Dialogue
	in    []byte
	n     int // consumed of in
	out   []byte
	now   int64
	rearm bool // something was completed: the deadline starts afresh
}

// Step lets the dialogue d take one event at the time now. Replies are
// appended to out, which is returned; they are to be sent before the shell
// waits for anything. Step does no I/O, and allocates only for addresses and
// for lines that arrive in parts.
func (m *Machine) Step(d *Dialogue, ev Event, now time.Time, out []byte) (Action, []byte) {
	t := turn{m: m, d: d, out: out, now: now.UnixNano()}
	a := t.event(&ev)
	a.N = t.n
	if d.pending != ActionRead || d.stage == stageClosed {
		d.due = 0
	} else if t.rearm {
		t.arm()
	}
	return a, t.out
}

func (t *turn) event(ev *Event) Action {
	d := t.d
	if d.stage == stageClosed {
		return Action{Kind: ActionClose}
	}
	switch ev.Kind {
	case EventOpen, EventOpenTLS:
		if d.stage == stageNew {
			d.stage = stageCommand
			if ev.Kind == EventOpenTLS {
				d.flags |= flagTLS
			}
			t.rearm = true
			t.say(t.m.banner)
		}
	case EventResume:
		t.rearm = true // whatever the client was told to be quick for, it has passed
	case EventInput:
		switch {
		case d.stage == stageNew: // a shell must not
			return t.close("")
		case d.pending == ActionRead:
			t.in = ev.Data
			return t.run()
		}
	case EventProceed, EventRefuse, EventChallenge:
		if a := t.answer(ev); a.Kind != ActionRead {
			return a
		}
		return t.run() // there may be things to do that need no octets
	case EventTimeout:
		if d.flags&flagLeaving != 0 {
			return t.leave()
		}
		return t.close("421 4.4.2 Timeout, closing connection\r\n")
	case EventShutdown:
		d.flags |= flagLeaving
		if d.pending == ActionRead && !d.InBody() {
			return t.leave()
		}
	}
	return t.question()
}

// question repeats what the machine waits for.
func (t *turn) question() Action {
	d := t.d
	a := Action{Kind: d.pending}
	if d.pending == ActionAuth {
		if d.flags&flagStart != 0 && int(d.mech) < len(t.m.o.Mechanisms) {
			a.Mechanism = t.m.o.Mechanisms[d.mech]
		}
		if d.flags&(flagStart|flagInitial) != flagStart {
			a.Data = d.line
			if a.Data == nil {
				a.Data = []byte{}
			}
		}
	}
	return a
}

// ask makes a question pending.
func (t *turn) ask(k ActionKind) Action {
	t.d.pending = k
	return t.question()
}

// run consumes input until it ends or the shell has to do something.
func (t *turn) run() Action {
	for {
		a := Action{Kind: actionNone}
		switch t.d.stage {
		case stageCommand:
			if t.d.flags&(flagLeaving|flagBody) == flagLeaving {
				return t.leave()
			}
			line, got := t.line()
			if got == lineNone {
				return Action{Kind: ActionRead}
			}
			if got == lineOK {
				a = t.command(line)
			}
		case stageAuth:
			line, got := t.line()
			if got == lineNone {
				return Action{Kind: ActionRead}
			}
			a = t.authResponse(line, got == lineOK)
		case stageData:
			a = t.data()
		case stageChunk:
			a = t.chunk()
		default:
			return t.close("") // stageNew: a shell must begin with EventOpen
		}
		if a.Kind != actionNone {
			return a
		}
	}
}

// answer takes the shell's answer to the pending question.
func (t *turn) answer(ev *Event) Action {
	d := t.d
	question := d.pending
	d.pending = ActionRead
	t.rearm = true
	refused := ev.Kind == EventRefuse
	if refused && ev.Reply == nil {
		ev.Reply = &Reply{Code: 451, Enhanced: "4.3.0", Text: "Local error, try again later"}
	}
	switch question {
	case ActionSender:
		t.senderAnswer(ev, refused)
	case ActionRecipient:
		return t.recipientAnswer(ev, refused)
	case ActionBegin:
		t.beginAnswer(ev, refused)
	case ActionEnd:
		t.endAnswer(ev, refused)
	case ActionTLS:
		if refused {
			return t.close("")
		}
		t.tlsAnswer()
	case ActionAuth:
		return t.authAnswer(ev, refused)
	default:
		if refused && d.flags&flagBody != 0 {
			d.flags &^= flagBody
			d.refusal = ev.Reply
		}
		t.rearm = false
	}
	return Action{Kind: ActionRead}
}

// arm computes when the client must have made progress.
func (t *turn) arm() {
	d, w := t.d, &t.m.o.Times
	switch d.stage {
	case stageCommand:
		d.due = t.now + int64(w.Command)
		if d.flags&flagChunked != 0 {
			d.due = min(d.due, t.bodyDue())
		}
	case stageAuth:
		d.due = t.now + int64(w.Auth)
	case stageData, stageChunk:
		d.due = min(t.now+int64(w.Block), t.bodyDue())
	}
}

// bodyDue is when the body is too late as a whole or too slow on average.
func (t *turn) bodyDue() int64 {
	d, w := t.d, &t.m.o.Times
	paced := d.size / w.RateMin
	if paced > int64(w.Body/time.Second) {
		return d.begun + int64(w.Body)
	}
	return d.begun + min(int64(w.Body), int64(w.RateGrace)+paced*int64(time.Second))
}

// say appends a reply that is written out with its CRLF.
func (t *turn) say(reply string) {
	t.out = append(t.out, reply...)
	t.d.last = uint16(reply[0]-'0')*100 + uint16(reply[1]-'0')*10 + uint16(reply[2]-'0')
}

func (t *turn) sayReply(r *Reply) {
	t.out = r.AppendTo(t.out)
	t.d.last = uint16(r.Code)
}

// ok answers a command and goes on.
func (t *turn) ok(reply string) Action {
	t.say(reply)
	return Action{Kind: actionNone}
}

// wrongly answers a command that should not have been sent; too many end the
// session.
func (t *turn) wrongly(reply string) Action {
	t.say(reply)
	if t.d.wrong++; t.d.wrong > errorsMax {
		return t.close("421 4.7.0 Too many errors, closing connection\r\n")
	}
	return Action{Kind: actionNone}
}

// idly answers a command that moves nothing forward; too many end the
// session.
func (t *turn) idly(reply string) Action {
	t.say(reply)
	return t.countIdle()
}

func (t *turn) countIdle() Action {
	if t.d.idle++; t.d.idle > idleCommandsMax {
		return t.close("421 4.7.0 Too many commands without a message, closing connection\r\n")
	}
	return Action{Kind: actionNone}
}

// leave ends the session because the host is stopping.
func (t *turn) leave() Action {
	return t.close("421 4.3.2 Service shutting down, try again later\r\n")
}

// close ends the session, with a last reply unless it is "".
func (t *turn) close(reply string) Action {
	if reply != "" {
		t.say(reply)
	}
	t.d.stage = stageClosed
	t.d.pending = ActionRead
	t.d.line = nil
	return Action{Kind: ActionClose}
}

// reset ends the transaction.
func (t *turn) reset() {
	d := t.d
	d.env, d.refusal = nil, nil
	d.begun, d.size, d.chunk, d.lineLen = 0, 0, 0, 0
	d.scan, d.fault = scanLineStart, faultNone
	d.flags &^= flagBody | flagChunked | flagLast
}

// drop ends the transaction and tells the shell if it has an open body.
func (t *turn) drop() Action {
	open := t.d.flags&flagBody != 0
	t.reset()
	if open {
		return Action{Kind: ActionAbort}
	}
	return Action{Kind: actionNone}
}
