package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// dkimInstancesMax bounds how many fields of one name are signed. More than
// one is wrong for most names anyway (RFC 5322 §3.6).
const dkimInstancesMax = 10

// dkimLineOctetsMax is where the lines of a signature are folded (RFC 5322
// §2.1.1).
const dkimLineOctetsMax = 78

// oversigned are the fields that are signed once more than they are there, so
// that none can be added on the way (RFC 6376 §8.15): those by which a reader,
// or his program, takes the message for what it is.
var oversigned = []string{
	"from", "to", "cc", "subject", "date", "reply-to", "message-id", "in-reply-to", "references",
	"mime-version", "content-type", "content-transfer-encoding",
}

// signed are the fields that are signed if they are there. Lists put their own
// in, and those of ours must then not break the signature by their absence.
var signed = []string{
	"sender", "resent-from", "resent-to", "resent-date", "list-id", "list-post", "list-help", "list-subscribe",
	"list-unsubscribe", "list-unsubscribe-post", "auto-submitted", "content-language", "content-disposition",
}

// SignDKIM signs a message with each of the keys: it returns one field
// DKIM-Signature for each, with its CRLFs, to be put in front of the header.
// header is the message's, with or without its blank line; body has had the
// whole body. rand is what operations with keys take. Without keys it is "".
func SignDKIM(keys []DKIMKey, header []byte, body *BodyHash, now time.Time, rand io.Reader) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	picker := newFieldPicker(header)
	if len(picker.fields["from"]) == 0 {
		return "", errors.New("sign: the message has no From field")
	}
	names := signedNames(picker)
	var out strings.Builder
	for _, k := range keys {
		field, err := signOne(k, picker, names, body.Sum(), now, rand)
		if err != nil {
			return "", fmt.Errorf("sign as %s._domainkey.%s: %w", k.Selector, k.Domain, err)
		}
		out.WriteString(field)
	}
	return out.String(), nil
}

// signedNames is the list of h=.
func signedNames(p *fieldPicker) []string {
	var names []string
	add := func(name string, more int) {
		for range min(len(p.fields[name]), dkimInstancesMax) + more {
			names = append(names, name)
		}
	}
	for _, name := range oversigned {
		add(name, 1)
	}
	for _, name := range signed {
		add(name, 0)
	}
	return names
}

func signOne(k DKIMKey, p *fieldPicker, names []string, bodySum []byte, now time.Time, rand io.Reader) (string, error) {
	algorithm, opts, err := signAlgorithm(k.Key)
	if err != nil {
		return "", err
	}
	if d, err := message.ParseDomain(string(k.Domain)); err != nil || d != k.Domain {
		return "", errors.New("the domain cannot be in the DNS")
	}
	if s, err := message.ParseDomain(k.Selector); err != nil || string(s) != k.Selector {
		return "", errors.New("the selector cannot be in the DNS")
	}
	f := newFolder("DKIM-Signature:")
	for _, tag := range []string{
		"v=1;", "a=" + algorithm + ";", "c=relaxed/relaxed;", "d=" + string(k.Domain) + ";", "s=" + k.Selector + ";",
		"t=" + strconv.FormatInt(now.Unix(), 10) + ";",
	} {
		f.word(tag, true)
	}
	f.word("h=", true)
	for i, name := range names {
		if i < len(names)-1 {
			name += ":"
		} else {
			name += ";"
		}
		f.word(name, false)
	}
	f.word("bh="+base64.StdEncoding.EncodeToString(bodySum)+";", true)
	f.word("b=", true)
	h := sha256.New()
	h.Write(appendField(p.appendSigned(nil, names, true), []byte(f.String()), true))
	sig, err := k.Key.Sign(rand, h.Sum(nil), opts)
	if err != nil {
		return "", err
	}
	f.chop(base64.StdEncoding.EncodeToString(sig))
	return f.String() + "\r\n", nil
}

// signAlgorithm is the a= of a key and how it signs. Ed25519 signs the hash as
// it would sign a text (RFC 8463 §3).
func signAlgorithm(k crypto.Signer) (string, crypto.SignerOpts, error) {
	if k == nil {
		return "", nil, errors.New("no key")
	}
	switch pub := k.Public().(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < dkimRSABitsMin || bits > dkimRSABitsMax {
			return "", nil, fmt.Errorf("an RSA key of %d bits is too short or too long; %d to %d are good (RFC 8301)", bits, dkimRSABitsMin, dkimRSABitsMax)
		}
		return "rsa-sha256", crypto.SHA256, nil
	case ed25519.PublicKey:
		return "ed25519-sha256", crypto.Hash(0), nil
	}
	return "", nil, errors.New("a key that is neither RSA nor Ed25519")
}

// folder writes a field in lines of a size that people like.
type folder struct {
	b    strings.Builder
	line int // octets of the last line
}

func newFolder(name string) *folder {
	f := &folder{}
	f.b.WriteString(name)
	f.line = len(name)
	return f
}

func (f *folder) fold() {
	f.b.WriteString("\r\n\t")
	f.line = 1
}

// word writes what must stay together, after a space or a fold; only after a
// fold if it needs one and spaced is not set.
func (f *folder) word(s string, spaced bool) {
	switch {
	case f.line+1+len(s) > dkimLineOctetsMax && f.line > 1:
		f.fold()
	case spaced:
		f.b.WriteByte(' ')
		f.line++
	}
	f.b.WriteString(s)
	f.line += len(s)
}

// chop writes what may be cut anywhere.
func (f *folder) chop(s string) {
	for len(s) > 0 {
		if f.line >= dkimLineOctetsMax {
			f.fold()
		}
		n := min(len(s), dkimLineOctetsMax-f.line)
		f.b.WriteString(s[:n])
		f.line += n
		s = s[n:]
	}
}

func (f *folder) String() string { return f.b.String() }
