package sasl

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// clientFirst is RFC 5802 §7 client-first-message.
type clientFirst struct {
	gs2     string // gs2-header, with its last comma
	bare    string // client-first-message-bare
	flag    byte   // 'n', 'y' or 'p'
	binding string // cb-name; "" unless flag is 'p'
	authzid string
	user    string
	nonce   string
}

// parseClientFirst reads client-first-message. Extensions after the nonce
// are allowed and ignored; mandatory ones ("m=") are refused, as §5.1 demands.
func parseClientFirst(b []byte) (clientFirst, error) {
	var f clientFirst
	flag, rest, ok1 := bytes.Cut(b, []byte{','})
	authzid, bare, ok2 := bytes.Cut(rest, []byte{','})
	if !ok1 || !ok2 {
		return f, malformed("SCRAM header")
	}
	switch {
	case len(flag) == 1 && (flag[0] == 'n' || flag[0] == 'y'):
		f.flag = flag[0]
	case bytes.HasPrefix(flag, []byte("p=")) && isBindingName(flag[2:]):
		f.flag, f.binding = 'p', string(flag[2:])
	default:
		return f, malformed("SCRAM channel binding flag")
	}
	var err error
	if len(authzid) > 0 {
		if !bytes.HasPrefix(authzid, []byte("a=")) {
			return f, malformed("SCRAM authorization identity")
		}
		if f.authzid, err = parseSaslname(authzid[2:]); err != nil {
			return f, err
		}
	}
	f.gs2, f.bare = string(b[:len(b)-len(bare)]), string(bare)

	user, rest, ok := bytes.Cut(bare, []byte{','})
	if !ok || !bytes.HasPrefix(user, []byte("n=")) {
		return f, malformed("SCRAM user name")
	}
	if f.user, err = parseSaslname(user[2:]); err != nil {
		return f, err
	}
	nonce, extensions, more := bytes.Cut(rest, []byte{','})
	if f.nonce, err = parseNonce(nonce, MaxNonce); err != nil {
		return f, err
	}
	if more && !areExtensions(extensions) {
		return f, malformed("SCRAM extension")
	}
	return f, nil
}

// clientFinal is RFC 5802 §7 client-final-message.
type clientFinal struct {
	withoutProof string
	binding      []byte // cbind-input
	nonce        string
	proof        [sha256.Size]byte
}

// parseClientFinal reads client-final-message.
func parseClientFinal(b []byte) (clientFinal, error) {
	var f clientFinal
	at := bytes.LastIndex(b, []byte(",p="))
	if at < 0 {
		return f, malformed("SCRAM proof")
	}
	f.withoutProof = string(b[:at])
	proof, ok := decodeValue(b[at+len(",p="):])
	if !ok || len(proof) != len(f.proof) {
		return f, malformed("SCRAM proof")
	}
	copy(f.proof[:], proof)

	binding, rest, ok := bytes.Cut(b[:at], []byte{','})
	if !ok || !bytes.HasPrefix(binding, []byte("c=")) {
		return f, malformed("SCRAM channel binding")
	}
	if f.binding, ok = decodeValue(binding[2:]); !ok {
		return f, malformed("SCRAM channel binding")
	}
	nonce, extensions, more := bytes.Cut(rest, []byte{','})
	var err error
	if f.nonce, err = parseNonce(nonce, 2*MaxNonce); err != nil {
		return f, err
	}
	if more && !areExtensions(extensions) {
		return f, malformed("SCRAM extension")
	}
	return f, nil
}

// decodeValue reads the grammar's base64, in which CR and LF have no place.
func decodeValue(b []byte) ([]byte, bool) {
	if bytes.ContainsAny(b, "\r\n") {
		return nil, false
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	return out[:n], err == nil
}

// parseSaslname undoes =2C and =3D.
func parseSaslname(b []byte) (string, error) {
	if err := checkText(b, 3*MaxName); err != nil {
		return "", err
	}
	var s strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] != '=' {
			s.WriteByte(b[i])
			continue
		}
		switch {
		case bytes.HasPrefix(b[i:], []byte("=2C")):
			s.WriteByte(',')
		case bytes.HasPrefix(b[i:], []byte("=3D")):
			s.WriteByte('=')
		default:
			return "", malformed("SCRAM user name")
		}
		i += 2
	}
	if s.Len() > MaxName {
		return "", malformed("name or password too long")
	}
	return s.String(), nil
}

// parseNonce reads "r=" and printable ASCII without comma.
func parseNonce(b []byte, max int) (string, error) {
	if !bytes.HasPrefix(b, []byte("r=")) || len(b) == 2 || len(b) > max+2 {
		return "", malformed("SCRAM nonce")
	}
	for _, c := range b[2:] {
		if c < 0x21 || c > 0x7e || c == ',' {
			return "", malformed("SCRAM nonce")
		}
	}
	return string(b[2:]), nil
}

// areExtensions checks attr-val *("," attr-val): a letter, "=", a value.
func areExtensions(b []byte) bool {
	for attr := range bytes.SplitSeq(b, []byte{','}) {
		if len(attr) < 3 || attr[1] != '=' || checkText(attr, MaxResponse) != nil {
			return false
		}
		c := attr[0] | 0x20
		if c < 'a' || c > 'z' || attr[0] == 'm' {
			return false
		}
	}
	return true
}

func isBindingName(b []byte) bool {
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 64
}
