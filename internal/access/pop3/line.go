package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
)

var errLineTooLong = errors.New("line too long")

// readLine reads one line of at most max octets, its end included, and
// returns it without its CRLF. RFC 1939 §3 wants CRLF; a line that ends in a
// bare LF is taken too, as it can hide nothing here: a command has no body. A
// line that is too long is read to its end and gives errLineTooLong. Any
// other error is the connection's.
func readLine(r *bufio.Reader, max int) (string, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > max {
			long, line = true, nil
		}
		if !long {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		if long {
			return "", errLineTooLong
		}
		return string(bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})), nil
	}
}

// splitCommand parts a line into its keyword, in upper case, and the rest
// behind one space, as it is: a password may begin or end with spaces.
func splitCommand(line string) (keyword, args string) {
	keyword, args, _ = strings.Cut(line, " ")
	return strings.ToUpper(keyword), args
}

// number reads a message number or a count: 1 to 9 digits and nothing else.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
