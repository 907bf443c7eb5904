package smtp

// command runs one command line.
func (t *turn) command(line []byte) Action {
	c, err := ParseCommand(line)
	if err != nil {
		return t.wrongly("500 5.5.2 Syntax error\r\n")
	}
	switch c.Verb {
	case VerbHelo, VerbEhlo:
		return t.hello(c)
	case VerbMail:
		return t.mail(c.Arg)
	case VerbRcpt:
		return t.rcpt(c.Arg)
	case VerbData:
		return t.dataCommand(c.Arg)
	case VerbBdat:
		return t.bdat(c.Arg)
	case VerbRset:
		return t.rset(c.Arg)
	case VerbNoop:
		return t.idly("250 2.0.0 OK\r\n")
	case VerbQuit:
		return t.quit(c.Arg)
	case VerbVrfy:
		return t.vrfy(c.Arg)
	case VerbHelp:
		return t.idly("214 2.0.0 Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT (RFC 5321)\r\n")
	case VerbStartTLS:
		return t.startTLS(c.Arg)
	case VerbAuth:
		return t.auth(c.Arg)
	case VerbExpn, VerbEtrn, VerbTurn, VerbSend, VerbSoml, VerbSaml:
		return t.wrongly("502 5.5.1 Command not implemented\r\n")
	}
	return t.unknown(c)
}

// early notes that the client has sent on after a command whose reply it must
// wait for (RFC 2920 §3.1).
func (t *turn) early() {
	if t.n < len(t.in) {
		t.d.flags |= flagEarly
	}
}

// rset gives the transaction up, RFC 5321 §4.1.1.5.
func (t *turn) rset(arg []byte) Action {
	if arg != nil {
		return t.wrongly("501 5.5.4 RSET takes no argument\r\n")
	}
	a := t.drop()
	if b := t.idly("250 2.0.0 OK\r\n"); b.Kind != actionNone {
		return b
	}
	return a
}

// quit ends the session, RFC 5321 §4.1.1.10.
func (t *turn) quit(arg []byte) Action {
	if arg != nil {
		return t.wrongly("501 5.5.4 QUIT takes no argument\r\n")
	}
	return t.close("221 2.0.0 Bye\r\n")
}

// vrfy neither confirms nor denies, RFC 5321 §3.5.3 and §7.3.
func (t *turn) vrfy(arg []byte) Action {
	if arg == nil {
		return t.wrongly("501 5.5.4 VRFY what?\r\n")
	}
	return t.idly("252 2.5.0 Cannot verify, but will take mail for it and see\r\n")
}

// unknown refuses a verb that is none of SMTP's. A request of HTTP is a page
// of a browser that was tricked into posting here: nothing that follows it is
// meant for us.
func (t *turn) unknown(c Command) Action {
	for _, verb := range [...]string{"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE"} {
		if equalFold(c.Name, verb) {
			return t.close("421 4.7.0 This is SMTP, closing connection\r\n")
		}
	}
	return t.wrongly("500 5.5.1 Unknown command\r\n")
}
