package smtp

import "errors"

// mail is MAIL, RFC 5321 §4.1.1.2.
func (t *turn) mail(arg []byte) Action {
	d, o := t.d, &t.m.o
	switch {
	case d.helo == "":
		return t.wrongly("503 5.5.1 Send HELO or EHLO first\r\n")
	case d.env != nil:
		return t.wrongly("503 5.5.1 A transaction is under way already\r\n")
	case o.Submission && d.flags&flagTLS == 0:
		return t.wrongly("530 5.7.0 Issue STARTTLS first\r\n") // RFC 3207 §4
	case o.Submission && d.flags&flagAuthed == 0:
		return t.wrongly("530 5.7.0 Authentication required\r\n") // RFC 4954 §6
	}
	path, ok := fromTo(arg, "FROM:")
	if !ok {
		return t.wrongly("501 5.5.2 MAIL FROM:<address> is needed\r\n")
	}
	from, rest, err := ParsePath(path)
	if err != nil || from.Local != "" && from.Domain == "" {
		return t.wrongly("501 5.1.7 Malformed reverse-path\r\n")
	}
	env := &Envelope{From: from, Helo: d.helo}
	if err := mailParams(rest, env, o, d.flags&flagTLS != 0); err != nil {
		return t.wrongly(paramReply(err))
	}
	switch {
	case !env.UTF8 && !isASCII(rawPath(path, rest)):
		return t.wrongly("553 5.6.7 An address with UTF-8 needs SMTPUTF8\r\n") // RFC 6531 §3.5
	case env.Size > o.SizeMax:
		t.say("552 5.3.4 Message too big\r\n") // RFC 1870 §6.1
		return t.countIdle()
	}
	t.reset()
	d.env = env
	env.Protocol = protocol(d.flags, env.UTF8)
	if o.AskSender {
		return t.ask(ActionSender)
	}
	return t.ok("250 2.1.0 Sender OK\r\n")
}

func (t *turn) senderAnswer(ev *Event, refused bool) {
	if refused {
		t.reset()
		t.sayReply(ev.Reply)
		return
	}
	t.say("250 2.1.0 Sender OK\r\n")
}

func paramReply(err error) string {
	switch {
	case errors.Is(err, errParamUnknown):
		return "555 5.5.4 Parameter not recognised\r\n"
	case errors.Is(err, errParamTwice):
		return "501 5.5.4 Parameter given twice\r\n"
	}
	return "501 5.5.4 Malformed parameter\r\n"
}

// protocol is the "with" of the Received field: RFC 3848, RFC 6531 §4.3.
func protocol(f flags, utf8 bool) string {
	kind := 0
	if f&flagTLS != 0 {
		kind |= 1
	}
	if f&flagAuthed != 0 {
		kind |= 2
	}
	switch {
	case utf8:
		return [...]string{"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"}[kind]
	case f&flagESMTP != 0:
		return [...]string{"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"}[kind]
	}
	return "SMTP"
}
