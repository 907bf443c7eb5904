package wire

// literalLen bounds an announcement: "~{", 19 digits, "+", "}", CRLF.
const literalLen = 2 + 19 + 1 + 1 + 2

// Literal is the announcement of a literal at the end of a line.
type Literal struct {
	Start  int   // offset of its first byte, "{" or "~"
	Size   int64 // bytes that follow the line
	Plus   bool  // non-synchronising: the bytes come without being asked for (RFC 7888)
	Binary bool  // literal8: the bytes may contain NUL (RFC 3516 §4.2)
}

// ParseLiteral finds the announcement that ends line, which includes its LF
// (with or without CR). ok is false if the line ends otherwise.
func ParseLiteral(line []byte) (lit Literal, ok bool) {
	i := len(line) - 1
	if i < 0 || line[i] != '\n' {
		return lit, false
	}
	i--
	if i >= 0 && line[i] == '\r' {
		i--
	}
	if i < 0 || line[i] != '}' {
		return lit, false
	}
	i--
	if i >= 0 && line[i] == '+' {
		lit.Plus = true
		i--
	}
	end := i + 1
	for i >= 0 && '0' <= line[i] && line[i] <= '9' {
		i--
	}
	digits := line[i+1 : end]
	if i < 0 || line[i] != '{' || len(digits) == 0 || len(digits) > 18 {
		return Literal{}, false
	}
	for _, c := range digits {
		lit.Size = lit.Size*10 + int64(c-'0')
	}
	lit.Start = i
	if i > 0 && line[i-1] == '~' && (i == 1 || line[i-2] == ' ' || line[i-2] == '(') {
		lit.Binary = true
		lit.Start = i - 1
	}
	return lit, true
}
