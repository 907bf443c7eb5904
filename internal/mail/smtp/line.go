package smtp

import "bytes"

// The replies to lines that are no commands. RFC 5321 §4.1.1 and §2.3.8: a
// line ends in CRLF, and CR or LF stand nowhere else. A line that is not so
// is refused as a whole up to its true end: taking a bare LF for an end would
// let whoever writes a part of a line write a command (the SMTP smuggling
// advisories of December 2023).
const (
	replyBareLF  = "500 5.5.2 Bare LF, a line ends in CRLF\r\n"
	replyBareCR  = "500 5.5.2 Bare CR or NUL in a line\r\n"
	replyTooLong = "500 5.5.2 Line too long\r\n"
)

// lineState is what line has found.
type lineState uint8

const (
	lineNone lineState = iota // the input has ended before the line
	lineOK
	lineBad // it was refused, and answered
)

// line takes the next line, without its CRLF, from what arrived before and
// what is in the input. It is valid until the input is given back.
func (t *turn) line() ([]byte, lineState) {
	d := t.d
	for t.n < len(t.in) {
		rest := t.in[t.n:]
		if d.flags&flagSkip != 0 {
			if t.skipLine(rest) {
				return nil, t.badLine(replyTooLong)
			}
			continue
		}
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			t.keepLine(rest)
			return nil, lineNone
		}
		t.n += end
		t.rearm = true
		line := rest[:end]
		if len(d.line) > 0 {
			line = append(d.line, line...)
			d.line = nil
		}
		whole := bytes.HasSuffix(line, []byte("\r\n"))
		switch {
		case len(line) > t.lineMax(line):
			if whole {
				return nil, t.badLine(replyTooLong)
			}
			d.flags |= flagSkip | flagOwe
		case !whole:
			d.flags |= flagSkip
			return nil, t.badLine(replyBareLF)
		default:
			line = line[:end0(line)]
			if bytes.IndexByte(line, '\r') < 0 && bytes.IndexByte(line, 0) < 0 {
				return line, lineOK
			}
			return nil, t.badLine(replyBareCR)
		}
	}
	return nil, lineNone
}

// end0 is the length of a line without its CRLF.
func end0(line []byte) int { return len(line) - len("\r\n") }

// badLine answers a line that is no command.
func (t *turn) badLine(reply string) lineState {
	if t.m.o.CloseOnFault && reply != replyTooLong {
		t.close("421 4.5.2 Bare CR, bare LF or NUL, closing connection\r\n")
	} else {
		t.wrongly(reply)
	}
	return lineBad
}

// keepLine keeps the beginning of a line until the rest arrives.
func (t *turn) keepLine(part []byte) {
	d := t.d
	t.n += len(part)
	if size := len(d.line) + len(part); size > CommandLineMax {
		var head [5]byte
		n := copy(head[:], d.line)
		n += copy(head[n:], part)
		if size > t.lineMax(head[:n]) {
			d.line = nil
			d.flags |= flagSkip | flagOwe
			if part[len(part)-1] == '\r' {
				d.flags |= flagSkipCR
			}
			return
		}
	}
	d.line = append(d.line, part...)
}

// lineMax is how long the line that begins with head may be with its CRLF.
func (t *turn) lineMax(head []byte) int {
	if t.d.stage == stageAuth {
		return AuthLineMax
	}
	if t.d.flags&flagTLS != 0 && len(t.m.o.Mechanisms) > 0 && len(head) >= 5 && equalFold(head[:4], "AUTH") && head[4] == ' ' {
		return AuthLineMax
	}
	return CommandLineMax
}

// skipLine throws a part of a refused line away, up to its true end. It
// reports whether the end was there and a reply is due.
func (t *turn) skipLine(rest []byte) (owed bool) {
	d := t.d
	end := 0
	if d.flags&flagSkipCR != 0 && rest[0] == '\n' {
		end = 1
	} else if i := bytes.Index(rest, []byte("\r\n")); i >= 0 {
		end = i + 2
	}
	d.flags &^= flagSkipCR
	if end == 0 {
		t.n += len(rest)
		if rest[len(rest)-1] == '\r' {
			d.flags |= flagSkipCR
		}
		return false
	}
	t.n += end
	t.rearm = true
	owed = d.flags&flagOwe != 0
	d.flags &^= flagSkip | flagOwe
	return owed
}
