package smtp

// dataCommand is DATA, RFC 5321 §4.1.1.4.
func (t *turn) dataCommand(arg []byte) Action {
	d := t.d
	switch {
	case arg != nil:
		return t.wrongly("501 5.5.4 DATA takes no argument\r\n")
	case d.env == nil:
		return t.wrongly("503 5.5.1 Send MAIL first\r\n")
	case d.flags&flagChunked != 0:
		return t.wrongly("503 5.5.1 The message has begun with BDAT\r\n") // RFC 3030 §2
	case len(d.env.Recipients) == 0:
		return t.wrongly("554 5.5.1 No valid recipients\r\n") // RFC 5321 §3.3
	}
	t.early()
	return t.ask(ActionBegin)
}

// beginAnswer goes on with a body, or without one.
func (t *turn) beginAnswer(ev *Event, refused bool) {
	d := t.d
	d.begun = t.now
	chunked := d.flags&flagChunked != 0
	switch {
	case refused && chunked:
		d.refusal = ev.Reply
		d.stage = stageChunk
	case refused:
		t.reset()
		t.sayReply(ev.Reply)
	case chunked:
		d.flags |= flagBody
		d.stage = stageChunk
	default:
		d.flags |= flagBody
		d.stage = stageData
		t.say("354 End data with <CRLF>.<CRLF>\r\n")
	}
}

// data takes octets of the body of DATA.
func (t *turn) data() Action {
	for t.n < len(t.in) {
		emit, n, end, f := t.d.scanBody(t.in[t.n:], t.m.o.TextLineMax, true)
		t.n += n
		t.rearm = true
		if end { // nothing was emitted with it
			t.d.stage = stageCommand
			return t.endBody()
		}
		if a := t.taken(emit, n, f); a.Kind != actionNone {
			return a
		}
	}
	return Action{Kind: ActionRead}
}

// taken passes on what the scanner has emitted of n octets, unless the
// message is refused already or is to be now.
func (t *turn) taken(emit []byte, n int, f fault) Action {
	d := t.d
	if d.fault != faultNone || d.refusal != nil {
		d.size += int64(n) // of interest to the pace only
		return Action{Kind: actionNone}
	}
	d.size += int64(len(emit))
	if f == faultNone && d.size > t.m.o.SizeMax {
		f = faultSize
	}
	switch {
	case f == faultNone && len(emit) == 0:
		return Action{Kind: actionNone}
	case f == faultNone:
		return Action{Kind: ActionBody, Data: emit}
	case t.m.o.CloseOnFault && (f == faultLine || f == faultNUL):
		return t.close(f.reply())
	}
	d.fault = f
	d.flags &^= flagBody
	return Action{Kind: ActionAbort}
}

// endBody answers the end of a message, or asks the shell how to.
func (t *turn) endBody() Action {
	d := t.d
	switch {
	case d.refusal != nil:
		t.sayReply(d.refusal)
	case d.fault != faultNone:
		t.say(d.fault.reply())
	default:
		return t.ask(ActionEnd)
	}
	// A client that has more chunks of this message under way gets the same
	// answer to each: any other might turn 4yz into 5yz for it.
	refusal, f, more := d.refusal, d.fault, d.flags&(flagChunked|flagLast) == flagChunked
	a := t.drop()
	if more {
		d.refusal, d.fault = refusal, f
	}
	if b := t.countIdle(); b.Kind != actionNone {
		return b
	}
	return a
}

// endAnswer gives the final reply. 250 takes the message over: the shell has
// said that it is durable (RFC 5321 §6.1).
func (t *turn) endAnswer(ev *Event, refused bool) {
	d := t.d
	d.idle = 0
	t.reset()
	if refused {
		t.sayReply(ev.Reply)
		return
	}
	t.say("250 2.0.0 OK")
	if ev.Text != "" {
		t.out = append(t.out, ' ')
		for i := range len(ev.Text) {
			c := ev.Text[i]
			if c < ' ' || c > '~' {
				c = '?'
			}
			t.out = append(t.out, c)
		}
	}
	t.out = append(t.out, '\r', '\n')
}
