package intake

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
	"github.com/breakwater-mail/breakwater/internal/store/account"
)

const (
	// headerOctetsMax bounds the header of a message that a user sends, which
	// is held in memory until its end: twice what a To field with a thousand
	// names and addresses takes.
	headerOctetsMax = 256 << 10
	// headerFieldsMax bounds its fields. Honest mail has a few dozen.
	headerFieldsMax = 1000
)

// header gathers the header of a message that passes through it in pieces of
// any size. It ends with the blank line, or before the first line that cannot
// be part of it: what follows is the body then, though the blank line is
// missing.
type header struct {
	raw    []byte // whole lines of the header, and the line that is arriving
	line   int    // where in raw that line begins
	fields int
	done   bool
}

// write takes octets up to the end of the header. It returns what it took too
// much of, and what it did not take, which are the body in this order.
func (h *header) write(p []byte) (begun, rest []byte, err error) {
	for len(p) > 0 && !h.done {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		h.raw, p = append(h.raw, p[:n]...), p[n:]
		if h.raw[len(h.raw)-1] == '\n' {
			begun = h.lineEnd()
		}
		if !h.done && (len(h.raw) > headerOctetsMax || h.fields > headerFieldsMax) {
			return nil, nil, &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf(
				"The message's header is larger than %d KB or has more than %d fields", headerOctetsMax>>10, headerFieldsMax)}
		}
	}
	return begun, p, nil
}

// lineEnd looks at the line that has become complete. It returns the line if
// it is the body's.
func (h *header) lineEnd() (begun []byte) {
	line := h.raw[h.line:]
	switch {
	case len(line) == 1, len(line) == 2 && line[0] == '\r':
		h.done = true
		h.raw = h.raw[:h.line]
	case h.line > 0 && (line[0] == ' ' || line[0] == '\t'):
		h.line = len(h.raw)
	case isField(line):
		h.fields++
		h.line = len(h.raw)
	case h.line == 0 && isMailboxLine(line):
		h.raw = h.raw[:0]
	default:
		h.done = true
		begun = bytes.Clone(line)
		h.raw = h.raw[:h.line]
	}
	return begun
}

// end says that the message has ended, and returns what of it is the body. A
// last line without its end gets one.
func (h *header) end() (begun []byte) {
	if h.done {
		return nil
	}
	if h.line < len(h.raw) {
		h.raw = append(h.raw, '\r', '\n')
		begun = h.lineEnd()
	}
	h.done = true
	return begun
}

// isMailboxLine reports whether line stands before a message in a mailbox file
// (RFC 4155): scripts send such files as they are. It is none of the message, and
// taken for its body it would make all fields body, and Bcc with them.
func isMailboxLine(line []byte) bool {
	words := bytes.Fields(bytes.TrimLeft(line, ">"))
	return len(words) >= 7 && string(words[0]) == "From" && bytes.Contains([]byte("Mon Tue Wed Thu Fri Sat Sun"), words[2]) && len(words[2]) == 3
}

// isField reports whether a header field begins in line.
func isField(line []byte) bool {
	for range message.Fields(line) {
		return true
	}
	return false
}

// deliveredTo reports whether a header says that the message has been
// delivered to one of some addresses before, with whatever detail.
func deliveredTo(raw []byte, to ...message.Address) bool {
	for f := range message.Fields(raw) {
		if !f.Is("Delivered-To") {
			continue
		}
		for _, a := range message.ParseAddressList(f.Value()) {
			have, ok := addressOf(a)
			if ok && slices.ContainsFunc(to, func(t message.Address) bool { return sameAddress(undetailed(have), undetailed(t)) }) {
				return true
			}
		}
	}
	return false
}

// tlsOptional reports whether a header says "TLS-Required: No", RFC 8689 §4.3.
// That is the field's only value; one that says something else undoes it.
func tlsOptional(raw []byte) bool {
	optional := false
	for f := range message.Fields(raw) {
		if f.Is("TLS-Required") {
			if optional = strings.EqualFold(f.Value(), "No"); !optional {
				return false
			}
		}
	}
	return optional
}

// undetailed is an address without its detail (RFC 5233).
func undetailed(a message.Address) message.Address {
	if local, _, ok := strings.Cut(a.Local, account.Delimiter); ok && local != "" {
		a.Local = local
	}
	return a
}
