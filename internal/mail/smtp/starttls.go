package smtp

// startTLS is STARTTLS, RFC 3207. Whatever the client has sent after it in
// the clear is thrown away: here what is in the input, in the shell what else
// was read.
func (t *turn) startTLS(arg []byte) Action {
	d := t.d
	switch {
	case arg != nil:
		return t.wrongly("501 5.5.4 STARTTLS takes no argument\r\n")
	case d.flags&flagTLS != 0:
		return t.wrongly("503 5.5.1 TLS is on already\r\n")
	case !t.m.o.TLS:
		return t.wrongly("502 5.5.1 STARTTLS is not offered\r\n")
	case t.m.o.TLSLater:
		return t.idly("454 4.7.0 TLS is not available now, try again later\r\n") // RFC 3207 §4
	case d.flags&flagBody != 0:
		return t.wrongly("503 5.5.1 The message has begun already\r\n")
	}
	t.early()
	t.reset()
	t.n = len(t.in)
	t.say("220 2.0.0 Ready to start TLS\r\n")
	return t.ask(ActionTLS)
}

// tlsAnswer begins anew: nothing that was said before counts (RFC 3207 §4.2).
func (t *turn) tlsAnswer() {
	d := t.d
	d.helo = ""
	d.flags = d.flags&(flagEarly|flagLeaving) | flagTLS
}
