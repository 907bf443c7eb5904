package smtp

import (
	"bytes"
	"errors"
	"strconv"
)

// Errors of parameters; the machine answers each with a reply of its own.
var (
	errParamSyntax  = errors.New("malformed parameter")
	errParamUnknown = errors.New("unknown parameter")
	errParamTwice   = errors.New("parameter given twice")
)

// nextParam cuts the first parameter off b, RFC 5321 §4.1.2 esmtp-param. A
// parameter is preceded by white space. value is nil without "=".
func nextParam(b []byte) (key, value, rest []byte, err error) {
	if b[0] != ' ' && b[0] != '\t' {
		return nil, nil, nil, errParamSyntax
	}
	b = bytes.TrimLeft(b, " \t")
	word := b
	if i := bytes.IndexAny(b, " \t"); i >= 0 {
		word, rest = b[:i], b[i:]
	}
	key = word
	if i := bytes.IndexByte(word, '='); i >= 0 {
		key, value = word[:i], word[i+1:]
		if len(value) == 0 {
			return nil, nil, nil, errParamSyntax
		}
	}
	if len(key) == 0 || !isAlnum(key[0]) {
		return nil, nil, nil, errParamSyntax
	}
	for _, c := range key {
		if !isAlnum(c) && c != '-' {
			return nil, nil, nil, errParamSyntax
		}
	}
	return key, value, rest, nil
}

// mailParams reads the parameters of MAIL into e: those of extensions that
// are offered.
func mailParams(b []byte, e *Envelope, o *Options, tls bool) error {
	const (
		size = 1 << iota
		body
		utf8
		mailAuth
		ret
		envid
		requireTLS
	)
	seen := 0
	for len(b) > 0 {
		key, value, rest, err := nextParam(b)
		if err != nil {
			return err
		}
		b = rest
		is := 0
		switch {
		case equalFold(key, "SIZE"):
			is = size
			e.Size, err = parseSize(value)
		case !o.Without8Bit && equalFold(key, "BODY"):
			is = body
			e.Body, err = parseBody(value)
		case !o.WithoutUTF8 && equalFold(key, "SMTPUTF8"):
			is = utf8
			e.UTF8, err = true, noValue(value)
		case len(o.Mechanisms) > 0 && equalFold(key, "AUTH"):
			is = mailAuth
			e.Auth, err = parseXtext(value, MailAuthMax)
		case !o.WithoutDSN && equalFold(key, "RET"):
			is = ret
			e.Ret, err = parseRet(value)
		case !o.WithoutDSN && equalFold(key, "ENVID"):
			is = envid
			e.EnvID, err = parseXtext(value, EnvIDMax)
		case o.RequireTLS && tls && equalFold(key, "REQUIRETLS"): // RFC 8689 §2: under TLS only
			is = requireTLS
			e.RequireTLS, err = true, noValue(value)
		default:
			return errParamUnknown
		}
		if err != nil {
			return err
		}
		if seen&is != 0 {
			return errParamTwice
		}
		seen |= is
	}
	return nil
}

// rcptParams reads the parameters of RCPT into r.
func rcptParams(b []byte, r *Recipient, dsn bool) error {
	for len(b) > 0 {
		key, value, rest, err := nextParam(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case dsn && equalFold(key, "NOTIFY"):
			if r.Notify != 0 {
				return errParamTwice
			}
			r.Notify, err = parseNotify(value)
		case dsn && equalFold(key, "ORCPT"):
			if r.Orcpt != "" {
				return errParamTwice
			}
			r.Orcpt, err = parseOrcpt(value)
		default:
			return errParamUnknown
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func noValue(v []byte) error {
	if v != nil {
		return errParamSyntax
	}
	return nil
}

// parseSize reads RFC 1870 §3 size-value: up to 20 digits; what exceeds an
// int64 exceeds every limit too.
func parseSize(v []byte) (int64, error) {
	if len(v) == 0 || len(v) > 20 {
		return 0, errParamSyntax
	}
	n := int64(0)
	for _, c := range v {
		if !digit(c) {
			return 0, errParamSyntax
		}
		if n > (1<<63-10)/10 {
			n = 1<<63 - 1
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

func parseBody(v []byte) (BodyType, error) {
	switch {
	case equalFold(v, "7BIT"):
		return Body7Bit, nil
	case equalFold(v, "8BITMIME"):
		return Body8BitMIME, nil
	}
	return 0, errParamSyntax
}

func parseRet(v []byte) (Ret, error) {
	switch {
	case equalFold(v, "FULL"):
		return RetFull, nil
	case equalFold(v, "HDRS"):
		return RetHeaders, nil
	}
	return 0, errParamSyntax
}

func parseNotify(v []byte) (Notify, error) {
	n := Notify(0)
	for word := range bytes.SplitSeq(v, []byte{','}) {
		is := Notify(0)
		switch {
		case equalFold(word, "NEVER"):
			is = NotifyNever
		case equalFold(word, "SUCCESS"):
			is = NotifySuccess
		case equalFold(word, "FAILURE"):
			is = NotifyFailure
		case equalFold(word, "DELAY"):
			is = NotifyDelay
		}
		if is == 0 || n&is != 0 {
			return 0, errParamSyntax
		}
		n |= is
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, errParamSyntax
	}
	return n, nil
}

// parseOrcpt checks RFC 3461 §4.2 original-recipient-address: an address
// type, ";", and xtext (RFC 6533 §3 lets UTF-8 and \x{…} stand in it).
func parseOrcpt(v []byte) (string, error) {
	typ, addr, ok := bytes.Cut(v, []byte{';'})
	if !ok || len(typ) == 0 || len(addr) == 0 || len(v) > OrcptMax {
		return "", errParamSyntax
	}
	for _, c := range typ {
		if !isAlnum(c) && c != '-' {
			return "", errParamSyntax
		}
	}
	if equalFold(typ, "UTF-8") {
		return string(v), nil
	}
	if _, err := parseXtext(addr, OrcptMax); err != nil {
		return "", err
	}
	return string(v), nil
}

// parseXtext checks RFC 3461 §4 xtext and returns it as it is.
func parseXtext(v []byte, octetsMax int) (string, error) {
	if len(v) == 0 || len(v) > octetsMax {
		return "", errParamSyntax
	}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '+':
			if i+2 >= len(v) || !upperHex(v[i+1]) || !upperHex(v[i+2]) {
				return "", errParamSyntax
			}
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", errParamSyntax
		}
	}
	return string(v), nil
}

func upperHex(c byte) bool { return digit(c) || 'A' <= c && c <= 'F' }

// DecodeXtext undoes the encoding of RFC 3461 §4 xtext. ok is false for what
// is none.
func DecodeXtext(s string) (text string, ok bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) || !upperHex(s[i+1]) || !upperHex(s[i+2]) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", false
		}
		out = append(out, c)
	}
	return string(out), true
}

// AppendXtext appends s in the encoding of RFC 3461 §4.
func AppendXtext(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			dst = append(dst, '+', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendMail appends the MAIL command of e without CRLF; a parameter is
// written only where the server offers it.
func AppendMail(dst []byte, e *Envelope, x Extensions) []byte {
	dst = AppendPath(append(dst, "MAIL FROM:"...), e.From)
	if e.Size > 0 && x.Size {
		dst = strconv.AppendInt(append(dst, " SIZE="...), e.Size, 10)
	}
	if x.EightBitMIME {
		switch e.Body {
		case Body7Bit:
			dst = append(dst, " BODY=7BIT"...)
		case Body8BitMIME:
			dst = append(dst, " BODY=8BITMIME"...)
		}
	}
	if e.UTF8 && x.SMTPUTF8 {
		dst = append(dst, " SMTPUTF8"...)
	}
	if e.RequireTLS && x.RequireTLS {
		dst = append(dst, " REQUIRETLS"...)
	}
	if e.Auth != "" && x.Auth != nil {
		dst = append(append(dst, " AUTH="...), e.Auth...)
	}
	if x.DSN {
		switch e.Ret {
		case RetFull:
			dst = append(dst, " RET=FULL"...)
		case RetHeaders:
			dst = append(dst, " RET=HDRS"...)
		}
		if e.EnvID != "" {
			dst = append(append(dst, " ENVID="...), e.EnvID...)
		}
	}
	return dst
}

// AppendRcpt appends the RCPT command of r without CRLF.
func AppendRcpt(dst []byte, r *Recipient, x Extensions) []byte {
	dst = AppendPath(append(dst, "RCPT TO:"...), r.To)
	if !x.DSN {
		return dst
	}
	sep := " NOTIFY="
	for _, n := range [...]struct {
		is   Notify
		word string
	}{{NotifyNever, "NEVER"}, {NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}} {
		if r.Notify&n.is != 0 {
			dst = append(append(dst, sep...), n.word...)
			sep = ","
		}
	}
	if r.Orcpt != "" {
		dst = append(append(dst, " ORCPT="...), r.Orcpt...)
	}
	return dst
}

// rawPath is the part of arg that ParsePath read, for the check that UTF-8
// came with SMTPUTF8.
func rawPath(arg, rest []byte) []byte { return arg[:len(arg)-len(rest)] }

// isASCII reports whether b needs no SMTPUTF8.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// fromTo cuts "FROM:" or "TO:" off an argument. White space after the colon
// is not in the grammar of RFC 5321 §4.1.1.2 but is often sent; it is let
// pass.
func fromTo(arg []byte, word string) ([]byte, bool) {
	if len(arg) < len(word) || !equalFold(arg[:len(word)], word) {
		return nil, false
	}
	return bytes.TrimLeft(arg[len(word):], " \t"), true
}
