package sasl

import "encoding/base64"

// DecodeResponse makes a response of a client's line, given without CRLF:
// base64 with padding (RFC 4954 §4, RFC 9051 §6.2.2, RFC 5034 §4), "=" for an
// empty initial response, "*" for ErrCancelled. The result is never nil
// unless there is an error. What is too long, has the wrong padding, stray
// bits or foreign octets is ErrMalformed.
func DecodeResponse(line []byte) ([]byte, error) {
	switch {
	case len(line) == 1 && line[0] == '*':
		return nil, ErrCancelled
	case len(line) == 1 && line[0] == '=':
		return []byte{}, nil
	case len(line) > MaxLine:
		return nil, malformed("response too long")
	}
	for _, c := range line {
		// encoding/base64 skips CR and LF; here they are foreign.
		if c == '\r' || c == '\n' {
			return nil, malformed("base64")
		}
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(out, line)
	if err != nil {
		return nil, malformed("base64")
	}
	return out[:n], nil
}

// AppendChallenge appends a challenge in base64 to dst, without CRLF or the
// protocol's prefix ("334 ", "+ ").
func AppendChallenge(dst, challenge []byte) []byte {
	return base64.StdEncoding.AppendEncode(dst, challenge)
}
