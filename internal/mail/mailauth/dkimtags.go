package mailauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// tags is a tag list (RFC 6376 §3.2). Values are without white space around
// them, and as written within.
type tags map[string]string

// parseTags reads a tag list; first is the name of its first tag.
func parseTags(s string) (list tags, first string, err error) {
	list = tags{}
	specs := strings.Split(s, ";")
	if last := len(specs) - 1; last > 0 && trimFWS(specs[last]) == "" {
		specs = specs[:last]
	}
	for i, spec := range specs {
		name, value, ok := strings.Cut(spec, "=")
		name, value = trimFWS(name), trimFWS(value)
		switch {
		case !ok || !tagName(name):
			return nil, "", fmt.Errorf("%q is no tag with a value", snip(spec))
		case !tagValue(value):
			return nil, "", fmt.Errorf("the value of %s= has characters that cannot be there", name)
		}
		if _, twice := list[name]; twice {
			return nil, "", fmt.Errorf("%s= is there twice", name)
		}
		list[name] = value
		if i == 0 {
			first = name
		}
	}
	return list, first, nil
}

func tagName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isAlpha(c) && (i == 0 || !isAlnum(c) && c != '_') {
			return false
		}
	}
	return s != ""
}

// tagValue takes visible characters, UTF-8 (RFC 8616 §5) and white space.
func tagValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' && !isFWS(c) || c == 0x7f {
			return false
		}
	}
	return true
}

func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimFWS(s string) string { return strings.Trim(s, " \t\r\n") }

// withoutFWS takes white space out of a value that may be folded anywhere.
func withoutFWS(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if !isFWS(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// colonList splits a value at colons.
func colonList(s string) []string {
	parts := strings.Split(s, ":")
	for i := range parts {
		parts[i] = trimFWS(parts[i])
	}
	return parts
}

// snip makes a stranger's text fit for a sentence.
func snip(s string) string {
	const octets = 40
	if s = trimFWS(s); len(s) > octets {
		return printable(s[:octets]) + "…"
	}
	return printable(s)
}

// signature is a field DKIM-Signature, taken apart (RFC 6376 §3.5).
type signature struct {
	algorithm        string
	relaxedHeader    bool
	relaxedBody      bool
	domain           string // d=, an A-label name
	selector         string
	identity         string // i=, "" if it is not there
	identityDomain   string // of i=, or d=
	names            []string
	bodyHash, sig    []byte
	length           int64 // l=, -1 if it is not there
	created, expires int64 // -1 if not there
	canonicalization string
}

// parseSignature reads the value of a field DKIM-Signature. What it has read
// before an error is there for the trace.
func parseSignature(value string) (signature, error) {
	s := signature{length: -1, created: -1, expires: -1}
	t, _, err := parseTags(value)
	if err != nil {
		return s, err
	}
	for _, name := range []string{"v", "d", "s", "a", "b", "bh", "h"} {
		if _, ok := t[name]; !ok {
			return s, fmt.Errorf("%s= is missing", name)
		}
	}
	if t["v"] != "1" {
		return s, fmt.Errorf("v=%s is unknown, 1 is wanted", snip(t["v"]))
	}
	for _, step := range []func(tags) error{s.parseNames, s.parseForms, s.parseHashes, s.parseNumbers} {
		if err := step(t); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *signature) parseNames(t tags) error {
	d, err := message.ParseDomain(t["d"])
	if err != nil {
		return fmt.Errorf("d=%s is no domain", snip(t["d"]))
	}
	sel, err := message.ParseDomain(t["s"])
	if err != nil {
		return fmt.Errorf("s=%s is no selector", snip(t["s"]))
	}
	s.domain, s.selector, s.identityDomain = string(d), string(sel), string(d)
	if i, ok := t["i"]; ok {
		at := strings.LastIndexByte(i, '@')
		if at < 0 {
			return errors.New("i= has no @")
		}
		id, err := message.ParseDomain(i[at+1:])
		if err != nil {
			return fmt.Errorf("the domain of i=%s is none", snip(i))
		}
		s.identity, s.identityDomain = snip(i), string(id)
		if !within(s.identityDomain, s.domain) {
			return fmt.Errorf("the domain of i= is not within d=%s", s.domain)
		}
	}
	s.names = colonList(t["h"])
	if len(s.names) > dkimNamesMax {
		return fmt.Errorf("h= lists more than %d fields", dkimNamesMax)
	}
	from := false
	for _, n := range s.names {
		if !fieldNameOK(n) {
			return fmt.Errorf("h= lists %q, which is no name of a field", snip(n))
		}
		from = from || strings.EqualFold(n, "from")
	}
	if !from {
		return errors.New("the field From is not signed")
	}
	return nil
}

func fieldNameOK(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func (s *signature) parseForms(t tags) error {
	s.algorithm = strings.ToLower(t["a"])
	switch s.algorithm {
	case "rsa-sha256", "ed25519-sha256":
	case "rsa-sha1":
		return errNever{"the hash SHA-1 proves nothing any more (RFC 8301)"}
	default:
		return fmt.Errorf("a=%s is unknown", snip(t["a"]))
	}
	s.canonicalization = "simple/simple"
	if c, ok := t["c"]; ok {
		header, body, both := strings.Cut(strings.ToLower(c), "/")
		if !both {
			body = "simple"
		}
		if !canonName(header) || !canonName(body) {
			return fmt.Errorf("c=%s is unknown", snip(c))
		}
		s.relaxedHeader, s.relaxedBody = header == "relaxed", body == "relaxed"
		s.canonicalization = header + "/" + body
	}
	if q, ok := t["q"]; ok {
		for _, method := range colonList(q) {
			if strings.EqualFold(method, "dns/txt") {
				return nil
			}
		}
		return fmt.Errorf("q=%s has no way to the key that we know", snip(q))
	}
	return nil
}

func canonName(s string) bool { return s == "simple" || s == "relaxed" }

func (s *signature) parseHashes(t tags) error {
	var err error
	if s.bodyHash, err = base64.StdEncoding.DecodeString(withoutFWS(t["bh"])); err != nil {
		return errors.New("bh= is not in base64")
	}
	if s.sig, err = base64.StdEncoding.DecodeString(withoutFWS(t["b"])); err != nil || len(s.sig) == 0 {
		return errors.New("b= is not in base64")
	}
	return nil
}

func (s *signature) parseNumbers(t tags) error {
	for _, n := range []struct {
		tag string
		to  *int64
	}{{"l", &s.length}, {"t", &s.created}, {"x", &s.expires}} {
		v, ok := t[n.tag]
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(v, 10, 63)
		if err != nil || v[0] == '+' {
			return fmt.Errorf("%s=%s is no number", n.tag, snip(v))
		}
		*n.to = int64(number)
	}
	if s.created >= 0 && s.expires >= 0 && s.expires <= s.created {
		return errors.New("x= is not after t=")
	}
	return nil
}

func (s *signature) expired(now time.Time) bool { return s.expires >= 0 && now.Unix() >= s.expires }

// errNever is an error that makes a PermError of a signature, where others
// make it Neutral.
type errNever struct{ problem string }

func (e errNever) Error() string { return e.problem }
