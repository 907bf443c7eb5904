package mailauth

import "strings"

// Size limits of what is asked (RFC 1035 §2.3.4): 255 octets on the wire are
// 253 in text.
const (
	nameOctetsMax  = 253
	labelOctetsMax = 63
)

// fitName makes the name to ask for out of an expanded macro string: without
// the dot of the root, in lower case, shortened from the left to what fits
// (RFC 7208 §7.3). It is empty if no question can be made of it.
func fitName(s string) string {
	s = strings.TrimSuffix(s, ".")
	for len(s) > nameOctetsMax {
		_, rest, ok := strings.Cut(s, ".")
		if !ok {
			return ""
		}
		s = rest
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > labelOctetsMax {
			return ""
		}
	}
	return strings.ToLower(s)
}

// within tells whether a name is a domain or a name below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
