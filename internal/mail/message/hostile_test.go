package message

import (
	"bytes"
	"strings"
	"testing"
)

// TestHostileValues gives header values that would take quadratic time if a
// search for an end were repeated: they then run into the time limit of go
// test instead of some hundred milliseconds.
func TestHostileValues(t *testing.T) {
	const n = 150_000
	for _, piece := range []string{"=?", "=?a?q?", "=?a?q?x ", "=?utf-8?q?a?=", "=?utf-8?q?a?= ", "=?utf-8?b?=", "\xff", "?="} {
		checkText(t, DecodeHeader(strings.Repeat(piece, n/len(piece))))
	}
	for _, piece := range []string{"(", ")", `"`, `\"`, ";", "=", "a=", "a=b ", "a= ", " ", "a ", "a=(", "a=b(", "a(", `a="b"`, "name=a b", "*0*=", "a=\t;"} {
		s := "text/plain;" + strings.Repeat(piece, n/len(piece))
		_, _, params, _, _ := parseContentType(s)
		DecodeParam(params, "name")
		parseDisposition(s)
		parseLanguages(s)
		parseEncoding(s)
		if _, err := ParseDate(strings.Repeat(piece, n/len(piece))); err == nil {
			t.Errorf("%.20q is no date", piece)
		}
	}
}

// TestHostileHeaders gives whole headers of little but one thing.
func TestHostileHeaders(t *testing.T) {
	const n = 300_000
	for _, piece := range []string{
		"a:\n", ":\n", " \n", "\n ", "junk\n", "--\n", "--x\n", "To:a\n", "To:\n a\n", "\r", "\x00", "\xff\n", "a",
		"Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/mixed; boundary=b\n--b\n", "Content-Type: message/rfc822\n\n",
		"Content-Type: multipart/mixed; boundary=\"" + strings.Repeat("-", 200) + "\"\n",
	} {
		raw := bytes.Repeat([]byte(piece), n/len(piece))
		checkMessage(t, raw, Parse(raw))
	}
}
