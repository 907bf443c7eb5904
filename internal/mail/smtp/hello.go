package smtp

// hello is HELO and EHLO, RFC 5321 §4.1.1.1. Both end a transaction that is
// under way (§4.1.4).
func (t *turn) hello(c Command) Action {
	if !validHelo(c.Arg) {
		return t.wrongly("501 5.5.4 A domain name or an address literal is needed\r\n")
	}
	t.early()
	d := t.d
	a := t.drop()
	if d.helo != string(c.Arg) {
		d.helo = string(c.Arg)
	}
	d.flags &^= flagESMTP
	if c.Verb == VerbHelo {
		t.say(t.m.helo)
	} else {
		d.flags |= flagESMTP
		secure := 0
		if d.flags&flagTLS != 0 {
			secure = 1
		}
		t.say(t.m.ehlo[secure])
	}
	if b := t.countIdle(); b.Kind != actionNone {
		return b
	}
	return a
}

// validHelo reports whether arg can be the name of a host.
//
// Deviation: RFC 5321 §4.1.2 wants a domain or an address literal. What
// clients send is often neither (underscores, bare host names, addresses
// without brackets), and a name that is merely wrong must not cost mail;
// whether to believe it is for policy. Only what could do harm in a Received
// field or a log is refused.
func validHelo(arg []byte) bool {
	if len(arg) == 0 || len(arg) > HeloMax {
		return false
	}
	for _, c := range arg {
		if !isAlnum(c) && c < 0x80 && c != '.' && c != '-' && c != '_' && c != ':' && c != '[' && c != ']' && c != '/' {
			return false
		}
	}
	return true
}
