package smtp

import (
	"bytes"
	"strconv"
)

// Extensions is what a server has offered in its answer to EHLO.
type Extensions struct {
	Pipelining   bool
	Size         bool
	SizeMax      int64 // 0 is unstated
	EightBitMIME bool
	SMTPUTF8     bool
	Chunking     bool
	DSN          bool
	StartTLS     bool
	RequireTLS   bool     // RFC 8689
	Auth         []string // mechanisms, nil without AUTH
	XCLIENT      []string // attributes, in capitals; nil without XCLIENT
	RecipientMax int      // LIMITS RCPTMAX (RFC 9422), 0 is unstated
	MessageMax   int      // LIMITS MAILMAX: of a session, 0 is unstated
}

// Extensions reads the answer to EHLO; its first line is a greeting.
func (r *Reply) Extensions() Extensions {
	var x Extensions
	for i, line := range bytes.Split([]byte(r.Text), []byte{'\n'}) {
		if i == 0 {
			continue
		}
		word, arg, _ := bytes.Cut(line, []byte{' '})
		switch {
		case equalFold(word, "PIPELINING"):
			x.Pipelining = true
		case equalFold(word, "SIZE"):
			x.Size = true
			x.SizeMax, _ = strconv.ParseInt(string(arg), 10, 64) // 0 where it is no number: unstated
		case equalFold(word, "8BITMIME"):
			x.EightBitMIME = true
		case equalFold(word, "SMTPUTF8"):
			x.SMTPUTF8 = true
		case equalFold(word, "CHUNKING"):
			x.Chunking = true
		case equalFold(word, "DSN"):
			x.DSN = true
		case equalFold(word, "STARTTLS"):
			x.StartTLS = true
		case equalFold(word, "REQUIRETLS"):
			x.RequireTLS = true
		case equalFold(word, "AUTH"):
			for mech := range bytes.FieldsSeq(arg) {
				x.Auth = append(x.Auth, string(mech))
			}
		case equalFold(word, "XCLIENT"):
			for attr := range bytes.FieldsSeq(arg) {
				x.XCLIENT = append(x.XCLIENT, string(bytes.ToUpper(attr)))
			}
		case equalFold(word, "LIMITS"):
			for limit := range bytes.FieldsSeq(arg) {
				if n, ok := bytes.CutPrefix(limit, []byte("RCPTMAX=")); ok {
					x.RecipientMax, _ = strconv.Atoi(string(n)) // likewise
				}
				if n, ok := bytes.CutPrefix(limit, []byte("MAILMAX=")); ok {
					x.MessageMax, _ = strconv.Atoi(string(n))
				}
			}
		}
	}
	return x
}
