package mailauth

import "strings"

// headerValueOctetsMax bounds a value in Received-SPF, so that each line of it,
// with each octet escaped, is within the 998 octets of RFC 5322 §2.1.1.
const headerValueOctetsMax = 480

// ReceivedSPF returns the header field Received-SPF of a check of this input
// (RFC 7208 §9.1), with CRLF at its end.
func (s SPF) ReceivedSPF(in SPFInput) string {
	ip := in.IP.Unmap().WithZone("").String()
	receiver := in.Receiver
	if receiver == "" {
		receiver = "unknown"
	}
	var b strings.Builder
	b.WriteString("Received-SPF: " + string(s.Result) + " (" + comment(receiver+": "+s.says(ip)) + ")")
	pair := func(key, value string) {
		b.WriteString("\r\n\t" + key + "=" + headerValue(value) + ";")
	}
	pair("client-ip", ip)
	if !in.From.IsZero() {
		pair("envelope-from", in.From.String())
	}
	pair("helo", in.Helo)
	pair("receiver", receiver)
	pair("identity", s.Identity)
	if s.Mechanism != "" {
		pair("mechanism", s.Mechanism)
	}
	if s.Problem != "" {
		pair("problem", s.Problem)
	}
	return strings.TrimSuffix(b.String(), ";") + "\r\n"
}

// says is the result in words.
func (s SPF) says(ip string) string {
	switch s.Result {
	case Pass:
		return s.Domain + " lets " + ip + " send"
	case Fail:
		return s.Domain + " does not let " + ip + " send"
	case SoftFail:
		return s.Domain + " probably does not let " + ip + " send"
	case Neutral:
		return s.Domain + " does not say whether " + ip + " may send"
	case TempError:
		return "the DNS did not answer about " + s.Domain
	case PermError:
		return "the record of " + s.Domain + " cannot be understood"
	default:
		return s.Domain + " has no record"
	}
}

// comment is s as it can stand between the parentheses of a comment.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`()\`, r) {
			return '?'
		}
		return r
	}, printable(cut(s)))
}

// headerValue is s as a dot-atom if it is one, else as a quoted string.
func headerValue(s string) string {
	s = printable(cut(s))
	atom := s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
	for i := 0; atom && i < len(s); i++ {
		atom = isAlnum(s[i]) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", s[i]) >= 0
	}
	if atom {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func cut(s string) string {
	if len(s) > headerValueOctetsMax {
		return s[:headerValueOctetsMax]
	}
	return s
}
