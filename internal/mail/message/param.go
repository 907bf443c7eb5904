package message

import (
	"strconv"
	"strings"
)

// parseContentType reads a Content-Type value (RFC 2045 §5.1) as tolerantly as
// it can: comments, missing semicolons, unquoted spaces. ok is false when the
// type cannot be made out, and the result is text/plain then.
func parseContentType(s string) (typ, sub string, params []Param, ok, whole bool) {
	typ, rest := cutToken(s)
	rest = skipCFWS(rest)
	if strings.HasPrefix(rest, "/") {
		sub, rest = cutToken(skipCFWS(rest[1:]))
	}
	switch {
	case typ == "" || sub == "" && typ != "text" && typ != "multipart":
		return "text", "plain", nil, false, true
	case sub == "" && typ == "text":
		sub = "plain"
	case sub == "":
		sub = "mixed"
	}
	params, whole = parseParams(rest)
	return typ, sub, params, true, whole
}

// parseDisposition reads a Content-Disposition value (RFC 2183 §2).
func parseDisposition(s string) (disp string, params []Param, whole bool) {
	disp, rest := cutToken(s)
	params, whole = parseParams(rest)
	if disp == "" && len(params) > 0 {
		disp = "attachment" // RFC 2183 §2.8: what is not understood is an attachment
	}
	return disp, params, whole
}

// parseEncoding reads a Content-Transfer-Encoding value (RFC 2045 §6.1) and
// mends the spellings that are found in mail: "7-bit", "8bits", "quoted
// printable".
func parseEncoding(s string) string {
	token, rest := cutToken(s)
	word, _ := cutToken(rest)
	switch strings.ReplaceAll(token, "-", "") + strings.ReplaceAll(word, "-", "") {
	case "7bit", "7bits":
		return "7bit"
	case "8bit", "8bits":
		return "8bit"
	case "base64":
		return "base64"
	case "quotedprintable":
		return "quoted-printable"
	}
	return token
}

// parseLanguages reads a Content-Language value (RFC 3282 §2).
func parseLanguages(s string) []string {
	var tags []string
	for len(tags) < maxLanguages {
		s = strings.TrimLeft(skipCFWS(s), ", \t")
		if s == "" {
			break
		}
		n := 0
		for n < len(s) && !strings.ContainsRune(", \t(", rune(s[n])) {
			n++
		}
		if n > 0 {
			tags = append(tags, s[:n])
			s = s[n:]
		} else if rest := skipCFWS(s); len(rest) < len(s) {
			s = rest
		} else {
			s = s[1:]
		}
	}
	return tags
}

// cutToken returns the RFC 2045 token at the start of s in lower case, after
// white space and comments, and what follows it.
func cutToken(s string) (token, rest string) {
	s = skipCFWS(s)
	n := 0
	for n < len(s) && isTokenChar(s[n]) {
		n++
	}
	return intern(s[:n]), s[n:]
}

func isTokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

// skipCFWS skips white space and comments, nested ones too (RFC 5322 §3.2.2).
// A comment without end reaches to the end of s.
func skipCFWS(s string) string {
	for s != "" {
		switch s[0] {
		case ' ', '\t':
			s = s[1:]
		case '(':
			s = s[commentLen(s):]
		default:
			return s
		}
	}
	return s
}

// commentLen is the length of the comment at the start of s.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// parseParams reads *(";" name "=" value). whole is false when there were more
// than maxParams.
func parseParams(s string) (params []Param, whole bool) {
	for {
		s = skipCFWS(s)
		n := 0
		for n < len(s) && isTokenChar(s[n]) {
			n++
		}
		name := s[:n]
		rest := skipCFWS(s[n:])
		switch {
		case rest == "" && name == "":
			return params, true
		case name == "" || rest == "" || rest[0] != '=':
			if n == 0 {
				n = 1
			}
			s = s[n:] // junk or a bare word: nothing to keep
			continue
		case len(params) == maxParams:
			return params, false
		}
		var value string
		name = intern(name)
		value, s = cutValue(rest[1:], name)
		params = append(params, Param{Name: name, Value: value})
	}
}

// cutValue returns the value at the start of s and what follows it.
func cutValue(s, name string) (value, rest string) {
	trimmed := skipCFWS(s)
	if strings.HasPrefix(trimmed, `"`) {
		return cutQuoted(trimmed)
	}
	// A file name may hold parentheses although it is not quoted; elsewhere
	// they are a comment: charset=us-ascii (Plain text).
	file := strings.HasPrefix(name, "name") || strings.HasPrefix(name, "filename")
	if file {
		trimmed = strings.TrimLeft(s, " \t")
	}
	s = trimmed
	end := len(s)
	for i := 0; i < len(s); i++ {
		if s[i] == ';' || s[i] == '(' && !file {
			end = i
			break
		}
		if !isBlank(s[i]) {
			continue
		}
		run := i
		for i+1 < len(s) && isBlank(s[i+1]) {
			i++
		}
		if beginsParam(s[i+1:]) {
			end = run
			break
		}
	}
	return internExact(strings.TrimRight(s[:end], " \t")), s[end:]
}

// beginsParam reports whether s starts with name "=", that is, whether a
// semicolon is missing.
func beginsParam(s string) bool {
	const longestName = 40
	i := 0
	for i < len(s) && i <= longestName && isTokenChar(s[i]) {
		i++
	}
	return i > 0 && i < len(s) && s[i] == '='
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// cutQuoted returns the content of the quoted string at the start of s, which
// may lack its end, and what follows it.
func cutQuoted(s string) (value, rest string) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return internExact(s[1:i]), s[i+1:]
		case '\\':
			return cutEscaped(s, i)
		}
	}
	return s[1:], ""
}

func cutEscaped(s string, from int) (value, rest string) {
	b := []byte(s[1:from])
	for i := from; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return string(b), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b = append(b, s[i])
	}
	return string(b), ""
}

// Param returns the decoded value of a Content-Type parameter: RFC 2231
// continuations and charsets, RFC 2047 words where they do not belong but are
// found. The result is UTF-8; "" when there is none.
func (p *Part) Param(name string) string { return DecodeParam(p.Params, name) }

// Charset returns the charset parameter in lower case, "" when there is none.
func (p *Part) Charset() string { return strings.ToLower(p.Param("charset")) }

// Filename returns the decoded file name: the disposition's, else the type's
// name parameter. It may hold path separators: whoever stores it under that
// name must clean it.
func (p *Part) Filename() string {
	if s := DecodeParam(p.DispositionParams, "filename"); s != "" {
		return s
	}
	return p.Param("name")
}

// DecodeParam returns the decoded value of one parameter (RFC 2231 §3, §4) of
// a list as it is in Part: UTF-8, "" when there is none. name is lower case.
// The extended form wins over the plain one.
func DecodeParam(params []Param, name string) string {
	plain := -1
	var sections [maxParams]int // 1 + index in params
	found := false
	for i, p := range params {
		if !strings.HasPrefix(p.Name, name) {
			continue
		}
		switch tail := p.Name[len(name):]; {
		case tail == "":
			if plain < 0 {
				plain = i
			}
		case tail == "*":
			return decodeSections(params, []int{i + 1})
		case tail[0] == '*':
			n, err := strconv.ParseUint(strings.TrimSuffix(tail[1:], "*"), 10, 16)
			if err == nil && n < maxParams && sections[n] == 0 {
				sections[n], found = i+1, true
			}
		}
	}
	if found && sections[0] > 0 {
		return decodeSections(params, sections[:])
	}
	if plain < 0 {
		return ""
	}
	return DecodeHeader(params[plain].Value)
}

// decodeSections joins the sections of one parameter up to the first gap.
func decodeSections(params []Param, sections []int) string {
	var raw []byte
	charset := ""
	for n, at := range sections {
		if at == 0 {
			break
		}
		p := params[at-1]
		v := p.Value
		if !strings.HasSuffix(p.Name, "*") {
			raw = append(raw, v...)
			continue
		}
		if n == 0 {
			if cs, rest, ok := strings.Cut(v, "'"); ok {
				if _, text, ok := strings.Cut(rest, "'"); ok {
					charset, v = cs, text
				}
			}
		}
		raw = appendUnescaped(raw, v)
	}
	return cleanText(decodeCharset(charset, raw))
}

func appendUnescaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexValue(s[i+1]), hexValue(s[i+2])
			if hi < 16 && lo < 16 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

// hexValue is the value of a hexadecimal digit, 255 for anything else.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// intern returns s in lower case, sharing the memory of words that nearly
// every message has.
func intern(s string) string {
	if len(s) <= internLongest {
		var low [internLongest]byte
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			low[i] = c
		}
		if w := commonWord(low[:len(s)]); w != "" {
			return w
		}
	}
	return strings.ToLower(s)
}

// internExact is intern without lowering.
func internExact(s string) string {
	if len(s) <= internLongest {
		if w := commonWord([]byte(s)); w != "" {
			return w
		}
	}
	return s
}

const internLongest = len("quoted-printable")

func commonWord(b []byte) string {
	switch string(b) {
	case "text":
		return "text"
	case "plain":
		return "plain"
	case "html":
		return "html"
	case "multipart":
		return "multipart"
	case "mixed":
		return "mixed"
	case "alternative":
		return "alternative"
	case "related":
		return "related"
	case "application":
		return "application"
	case "octet-stream":
		return "octet-stream"
	case "image":
		return "image"
	case "charset":
		return "charset"
	case "boundary":
		return "boundary"
	case "name":
		return "name"
	case "filename":
		return "filename"
	case "format":
		return "format"
	case "flowed":
		return "flowed"
	case "utf-8":
		return "utf-8"
	case "us-ascii":
		return "us-ascii"
	case "iso-8859-1":
		return "iso-8859-1"
	case "UTF-8":
		return "UTF-8"
	case "7bit":
		return "7bit"
	case "8bit":
		return "8bit"
	case "base64":
		return "base64"
	case "quoted-printable":
		return "quoted-printable"
	case "inline":
		return "inline"
	case "attachment":
		return "attachment"
	}
	return ""
}
