package pop3

import (
	"bufio"
	"bytes"
	"errors"
)

// errEnough says that a [wireWriter] has written all the lines it was asked for.
var errEnough = errors.New("enough lines")

// wireWriter writes a stored message as the lines of a multi-line response
// (RFC 1939 §3): each ends in CRLF, and one that begins with a dot gets a
// second. The state between two writes is a few bytes, so that chunks may
// end anywhere.
type wireWriter struct {
	w      *bufio.Writer
	top    int  // lines of the body still wanted; allLines for all
	body   bool // the blank line behind the header was written
	within int  // octets of the current line so far
	cr     bool // the last of them was a CR
}

const allLines = -1

// Write writes p on; errEnough when no more is wanted. The count is of no use
// to the caller and is len(p) whenever err is nil.
func (w *wireWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.within == 0 && p[0] == '.' {
			w.w.WriteByte('.')
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.within += len(p)
			w.cr = p[len(p)-1] == '\r'
			if _, err := w.w.Write(p); err != nil {
				return 0, err
			}
			return n, nil
		}
		if end > 0 {
			w.w.Write(p[:end])
			w.within += end
			w.cr = p[end-1] == '\r'
		}
		if err := w.endLine(); err != nil {
			return 0, err
		}
		p = p[end+1:]
	}
	return n, nil
}

// endLine ends the current line, whether its CR was there or not, and counts
// it for TOP.
func (w *wireWriter) endLine() error {
	blank := w.within == 0 || w.within == 1 && w.cr
	if !w.cr {
		w.w.WriteByte('\r')
	}
	err := w.w.WriteByte('\n')
	w.within, w.cr = 0, false
	if err != nil {
		return err
	}
	switch {
	case !w.body:
		w.body = blank
	case w.top != allLines:
		w.top--
	}
	if w.body && w.top == 0 {
		return errEnough
	}
	return nil
}

// end closes the last line, if the message did not, and the response.
func (w *wireWriter) end() error {
	if w.within > 0 {
		if err := w.endLine(); err != nil && !errors.Is(err, errEnough) {
			return err
		}
	}
	_, err := w.w.WriteString(".\r\n")
	return err
}
