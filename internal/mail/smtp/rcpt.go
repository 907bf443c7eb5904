package smtp

// rcpt is RCPT, RFC 5321 §4.1.1.3.
func (t *turn) rcpt(arg []byte) Action {
	d, o := t.d, &t.m.o
	switch {
	case d.env == nil:
		return t.wrongly("503 5.5.1 Send MAIL first\r\n")
	case d.flags&flagChunked != 0:
		return t.wrongly("503 5.5.1 The message has begun already\r\n")
	}
	path, ok := fromTo(arg, "TO:")
	if !ok {
		return t.wrongly("501 5.5.2 RCPT TO:<address> is needed\r\n")
	}
	to, rest, err := ParsePath(path)
	if err != nil || to.IsZero() {
		return t.wrongly("501 5.1.3 Malformed forward-path\r\n")
	}
	if to.Domain == "" { // <postmaster>, RFC 5321 §4.5.1
		to.Domain = o.Postmaster
	}
	r := Recipient{To: to}
	if err := rcptParams(rest, &r, !o.WithoutDSN); err != nil {
		return t.wrongly(paramReply(err))
	}
	if !d.env.UTF8 && !isASCII(rawPath(path, rest)) {
		return t.wrongly("553 5.6.7 An address with UTF-8 needs SMTPUTF8\r\n")
	}
	if len(d.env.Recipients) >= o.RecipientsMax {
		t.say("452 4.5.3 Too many recipients\r\n") // RFC 5321 §4.5.3.1.10, RFC 9422 §4.3
		if d.surplus++; d.surplus > surplusMax {
			return t.close("421 4.5.3 Too many recipients, closing connection\r\n")
		}
		return Action{Kind: actionNone}
	}
	d.env.Recipients = append(d.env.Recipients, r)
	return t.ask(ActionRecipient)
}

func (t *turn) recipientAnswer(ev *Event, refused bool) Action {
	d := t.d
	if !refused {
		d.idle = 0
		t.say("250 2.1.5 Recipient OK\r\n")
		return Action{Kind: ActionRead}
	}
	last := len(d.env.Recipients) - 1
	d.env.Recipients[last] = Recipient{}
	d.env.Recipients = d.env.Recipients[:last]
	t.sayReply(ev.Reply)
	if a := t.countRefused(); a.Kind != actionNone {
		return a
	}
	return Action{Kind: ActionRead}
}

func (t *turn) countRefused() Action {
	if t.d.refused++; t.d.refused > refusedMax {
		return t.close("421 4.7.0 Too many refused recipients, closing connection\r\n")
	}
	return Action{Kind: actionNone}
}
