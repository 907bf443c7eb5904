package smtp

import "bytes"

// scanState is where the body scanner stands between two octets.
type scanState uint8

const (
	scanLineStart scanState = iota // after CRLF, or at the beginning
	scanText                       // within a line
	scanCR                         // after a CR within a line
	scanDot                        // after a dot that begins a line
	scanDotCR                      // after such a dot and a CR
	scanStateCount
)

// fault is why a body is refused.
type fault uint8

const (
	faultNone fault = iota
	faultLine       // bare CR or bare LF
	faultNUL
	faultLong // line too long
	faultSize
	faultCount
)

// reply is what is answered at the body's end.
func (f fault) reply() string {
	return [faultCount]string{
		"",
		"554 5.6.0 Message has a bare CR or LF, a line ends in CRLF\r\n",
		"554 5.6.0 Message has a NUL\r\n",
		"554 5.6.0 Message has a line that is too long\r\n",
		"552 5.3.4 Message too big\r\n",
	}[f]
}

// scanBody takes octets of a body and returns a part of p that belongs to
// the message, the number of octets of p that it has taken, whether the end of
// DATA was reached (then emit is empty), and what is wrong with the octets
// taken. p must not be empty. Only with dots are lines that begin with one
// treated as RFC 5321 §4.5.2 bids: the end is CRLF "." CRLF and nothing else,
// whatever bare CRs and LFs stand around it (§4.1.1.4).
//
// After a fault it goes on to find the true end.
//
// It looks at each octet a few times, but each time with the vector code of
// package bytes: for line ends, and for CR and NUL in the block as a whole.
func (d *Dialogue) scanBody(p []byte, lineMax int, dots bool) (emit []byte, n int, end bool, f fault) {
	start, lines := 0, 0 // lines that end in the block with their CR in it
	for n < len(p) {
		switch d.scan {
		case scanCR:
			if p[n] == '\n' {
				if n++; d.lineLen >= uint32(lineMax) && f == faultNone {
					f = faultLong
				}
				d.scan, d.lineLen = scanLineStart, 0
				continue
			}
			f = faultLine
			d.scan = scanText
		case scanDot:
			if p[n] == '\r' {
				n++
				start = n
				d.scan = scanDotCR
				continue
			}
			d.scan = scanText // the dot was put there by the sender and goes
		case scanDotCR:
			if p[n] == '\n' {
				n++
				d.scan, d.lineLen = scanLineStart, 0
				return nil, n, true, faultNone
			}
			f = faultLine
			d.scan = scanText
		case scanLineStart:
			n = d.wholeLines(p, n, lineMax, dots, &lines)
			if n == len(p) {
				continue
			}
			if dots && p[n] == '.' {
				if n > start {
					return p[start:n], n, false, d.checkBlock(p[start:n], lines, f)
				}
				n++
				start = n
				d.scan = scanDot
				continue
			}
			d.scan = scanText
		}
		var more fault
		if n, more = d.scanLine(p, n, lineMax, &lines); f == faultNone {
			f = more
		}
	}
	return p[start:n], n, false, d.checkBlock(p[start:n], lines, f)
}

// wholeLines is the fast way over lines that lie in p from beginning to end
// and are as they should be. It stops at the first that is not so.
func (d *Dialogue) wholeLines(p []byte, n, lineMax int, dots bool, lines *int) int {
	count := 0
	for n < len(p) && (!dots || p[n] != '.') {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 1 || p[n+i-1] != '\r' || i >= lineMax {
			break
		}
		n += i + 1
		count++
	}
	*lines += count
	return n
}

// scanLine goes from within a line at p[n] to its end or that of p. It counts
// in lines those that end in CRLF.
func (d *Dialogue) scanLine(p []byte, n, lineMax int, lines *int) (int, fault) {
	f := faultNone
	i := bytes.IndexByte(p[n:], '\n')
	size := i + 1
	switch {
	case i < 0:
		size = len(p) - n
		if p[len(p)-1] == '\r' {
			d.scan = scanCR
		}
	case i > 0 && p[n+i-1] == '\r':
		d.scan = scanLineStart
		*lines++
	default:
		f = faultLine // and the line goes on
	}
	if d.lineLen += uint32(size); d.lineLen > uint32(lineMax) {
		if f == faultNone {
			f = faultLong
		}
		d.lineLen = uint32(lineMax) // no overflow in a line that never ends
	}
	if d.scan == scanLineStart {
		d.lineLen = 0
	}
	return n + size, f
}

// checkBlock looks for bare CRs and NULs in a block that is about to be
// emitted, in which lines have their whole CRLF.
func (d *Dialogue) checkBlock(block []byte, lines int, f fault) fault {
	if f != faultNone {
		return f
	}
	if d.scan == scanCR && len(block) > 0 {
		lines++
	}
	if bytes.Count(block, []byte{'\r'}) != lines {
		return faultLine
	}
	if bytes.IndexByte(block, 0) >= 0 {
		return faultNUL
	}
	return faultNone
}
