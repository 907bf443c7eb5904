package smtp

import (
	"errors"
	"fmt"
	"strings"
)

// EnhancedCode is an enhanced mail system status code of RFC 3463, such as
// "5.1.1"; "" is none.
type EnhancedCode string

// Valid reports whether c is empty or class.subject.detail with the class
// that a reply of the given code must have (RFC 2034 §4): 2 for 2yz, 4 for
// 4yz, 5 for 5yz. Replies 3yz have none.
func (c EnhancedCode) Valid(code int) bool {
	if c == "" {
		return true
	}
	class, n := cutEnhanced([]byte(c))
	return n == len(c) && class == code/100
}

// cutEnhanced measures the enhanced code that b begins with: its class and
// its length, 0 if there is none.
func cutEnhanced(b []byte) (class, n int) {
	if len(b) < 5 || b[1] != '.' || (b[0] != '2' && b[0] != '4' && b[0] != '5') {
		return 0, 0
	}
	i := 2
	for part := range 2 {
		start := i
		for i < len(b) && i-start < 3 && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		if i == start || (i-start > 1 && b[start] == '0') {
			return 0, 0
		}
		if part == 0 {
			if i >= len(b) || b[i] != '.' {
				return 0, 0
			}
			i++
		}
	}
	return int(b[0] - '0'), i
}

// Reply is one SMTP reply. As an error it is a refusal that the other side is
// told as it is; every other error is a fault of ours that it is not told.
type Reply struct {
	Code     int          // 200 to 599
	Enhanced EnhancedCode // "" for none
	Text     string       // lines are separated by "\n"; printable ASCII, anything else is sent as "?"
}

// Error returns the reply on one line.
func (r *Reply) Error() string { return r.String() }

// String returns the reply on one line, lines joined by "; ".
func (r *Reply) String() string {
	text := strings.ReplaceAll(r.Text, "\n", "; ")
	if r.Enhanced == "" {
		return fmt.Sprintf("%03d %s", r.Code, text)
	}
	return fmt.Sprintf("%03d %s %s", r.Code, r.Enhanced, text)
}

// Temporary reports whether the same command may succeed later (4yz).
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }

// Positive reports whether the reply is 2yz or 3yz.
func (r *Reply) Positive() bool { return r.Code/100 == 2 || r.Code/100 == 3 }

// AppendTo appends the reply as it is sent, with CRLF, in as many lines as it
// needs (RFC 5321 §4.2.1). The enhanced code stands on each line (RFC 2034
// §4).
func (r *Reply) AppendTo(dst []byte) []byte {
	text := r.Text
	room := ReplyLineMax - len("250 \r\n")
	if r.Enhanced != "" {
		room -= len(r.Enhanced) + 1
	}
	for {
		line, rest, more := strings.Cut(text, "\n")
		if len(line) > room {
			line, rest, more = text[:room], text[room:], true
		}
		sep := byte(' ')
		if more {
			sep = '-'
		}
		dst = append(dst, byte('0'+r.Code/100%10), byte('0'+r.Code/10%10), byte('0'+r.Code%10), sep)
		if r.Enhanced != "" {
			dst = append(append(dst, r.Enhanced...), ' ')
		}
		for i := range len(line) {
			c := line[i]
			if c < ' ' || c > '~' {
				c = '?'
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\r', '\n')
		if !more {
			return dst
		}
		text = rest
	}
}

// ErrIncomplete is returned by [ParseReply] when more bytes are needed.
var ErrIncomplete = errors.New("incomplete reply")

// ErrReply is wrapped by [ParseReply] for bytes that can never become a
// reply.
var ErrReply = errors.New("malformed reply")

// ParseReply reads the reply that b begins with and returns its length in
// octets. The enhanced code is taken from the first line; it is removed from
// the lines that begin with the same. Lines may end in a bare LF, since this
// reads what other servers send.
func ParseReply(b []byte) (Reply, int, error) {
	var (
		r    Reply
		text strings.Builder
		n    int
	)
	for lines := 0; ; lines++ {
		if lines == replyLinesMax {
			return Reply{}, 0, fmt.Errorf("%w: more than %d lines", ErrReply, replyLinesMax)
		}
		line, size, err := replyLine(b[n:])
		if err != nil {
			return Reply{}, 0, err
		}
		n += size
		code, last, rest, err := splitReplyLine(line)
		if err != nil {
			return Reply{}, 0, err
		}
		if lines == 0 {
			r.Code = code
			if class, m := cutEnhanced(rest); m > 0 && class == code/100 && (m == len(rest) || rest[m] == ' ') {
				r.Enhanced = EnhancedCode(rest[:m])
			}
		} else {
			if code != r.Code {
				return Reply{}, 0, fmt.Errorf("%w: code changes from %d to %d", ErrReply, r.Code, code)
			}
			text.WriteByte('\n')
		}
		text.Write(cutPrefixWord(rest, string(r.Enhanced)))
		if last {
			r.Text = text.String()
			return r, n, nil
		}
	}
}

// replyLine returns the line that b begins with, without its end, and its
// length with it.
func replyLine(b []byte) ([]byte, int, error) {
	for i, c := range b {
		switch {
		case c == '\n':
			line := b[:i]
			if i > 0 && b[i-1] == '\r' {
				line = b[:i-1]
			}
			return line, i + 1, nil
		case i >= replyLineReadMax:
			return nil, 0, fmt.Errorf("%w: line of more than %d octets", ErrReply, replyLineReadMax)
		}
	}
	return nil, 0, ErrIncomplete
}

func splitReplyLine(line []byte) (code int, last bool, rest []byte, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, nil, fmt.Errorf("%w: no code", ErrReply)
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, true, nil, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, fmt.Errorf("%w: no separator after the code", ErrReply)
	}
	return code, line[3] == ' ', line[4:], nil
}

// cutPrefixWord removes a leading word and the space after it.
func cutPrefixWord(b []byte, word string) []byte {
	if word == "" || len(b) < len(word) || string(b[:len(word)]) != word {
		return b
	}
	if len(b) == len(word) {
		return nil
	}
	if b[len(word)] != ' ' {
		return b
	}
	return b[len(word)+1:]
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
