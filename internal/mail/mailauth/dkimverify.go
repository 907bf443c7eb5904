package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// dkimTimeout bounds the verification of a message in time: ten signatures are
// ten questions, one after the other.
const dkimTimeout = 20 * time.Second

// dkimShownOctetsMax bounds the signed header that a result shows.
const dkimShownOctetsMax = 4 << 10

// DKIMResult is what became of one signature of a message.
type DKIMResult struct {
	Outcome          DKIMOutcome `json:"result"`
	Problem          string      `json:"problem,omitempty"`   // why it is no pass
	Domain           string      `json:"domain,omitempty"`    // d=
	Selector         string      `json:"selector,omitempty"`  // s=
	Identity         string      `json:"identity,omitempty"`  // i=
	Algorithm        string      `json:"algorithm,omitempty"` // a=
	Canonicalization string      `json:"canonicalization,omitempty"`
	Fields           []string    `json:"fields,omitempty"` // h=
	Created          time.Time   `json:"created,omitzero"`
	Expires          time.Time   `json:"expires,omitzero"`
	KeyBits          int         `json:"key_bits,omitempty"`
	// Testing says that the domain only tries: a failure then means no more
	// than no signature would (RFC 6376 §3.6.1, t=y).
	Testing bool `json:"testing,omitempty"`
	// Unsigned is how many octets at the end of the body l= leaves out.
	Unsigned int64 `json:"unsigned_octets,omitempty"`

	BodyHash string `json:"body_hash,omitempty"` // as we make it, in base64
	// SignedHeader is what is signed of the header, in canonical form, as far
	// as it is worth showing.
	SignedHeader string     `json:"signed_header,omitempty"`
	Trace        []DKIMStep `json:"trace,omitempty"`
}

// DKIMStep is one step of the verification of a signature.
type DKIMStep struct {
	Step      string        `json:"step"` // "signature", "body", "key" or "header"
	Outcome   string        `json:"outcome"`
	Questions []SPFQuestion `json:"questions,omitempty"`
}

// attempt is one signature while it is verified.
type attempt struct {
	raw  []byte // the field
	sig  signature
	err  error // of reading it
	body *bodyHash
	DKIMResult
}

// VerifyDKIM checks the signatures of a message, in the order of their fields,
// the topmost ten. The lines of the message end in CRLF. The error is that of
// reading it.
func VerifyDKIM(ctx context.Context, r Resolver, msg io.ReaderAt, size int64, now time.Time) ([]DKIMResult, error) {
	ctx, cancel := context.WithTimeout(ctx, dkimTimeout)
	defer cancel()
	header, err := readHeader(msg, size)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	var all []*attempt
	for f := range message.Fields(header) {
		if f.Is("DKIM-Signature") && len(all) < dkimSignaturesMax {
			all = append(all, newAttempt(f.Raw))
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	if err := hashBodies(all, io.NewSectionReader(msg, int64(len(header)), size-int64(len(header)))); err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	picker := newFieldPicker(header)
	out := make([]DKIMResult, len(all))
	for i, a := range all {
		a.verify(ctx, r, picker, now)
		out[i] = a.DKIMResult
	}
	return out, nil
}

// readHeader reads the header of a message with its blank line, as much as is
// looked at.
func readHeader(msg io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, 0, min(size, 16<<10))
	for {
		n := len(b)
		want := min(size, int64(max(cap(b), 2*n)), dkimHeaderOctetsMax)
		if want <= int64(n) {
			return b, nil
		}
		b = append(b, make([]byte, int(want)-n)...)
		if got, err := msg.ReadAt(b[n:], int64(n)); got < len(b)-n {
			return nil, err
		}
		if end := headerEnd(b); end >= 0 {
			return b[:end], nil
		}
	}
}

// headerEnd is where the header ends: after the first empty line; -1 if there
// is none. A line ends at LF here, as the parser has it.
func headerEnd(b []byte) int {
	for pos := 0; pos < len(b); {
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			return -1
		}
		if i == 0 || i == 1 && b[pos] == '\r' {
			return pos + i + 1
		}
		pos += i + 1
	}
	return -1
}

func newAttempt(raw []byte) *attempt {
	a := &attempt{raw: raw}
	if len(raw) > dkimFieldOctetsMax {
		a.err = fmt.Errorf("it has more than %d octets", dkimFieldOctetsMax)
		return a
	}
	value := string(raw[bytes.IndexByte(raw, ':')+1:])
	a.sig, a.err = parseSignature(value)
	s := &a.sig
	a.Domain, a.Selector, a.Identity, a.Algorithm = s.domain, s.selector, s.identity, s.algorithm
	a.Canonicalization, a.Fields = s.canonicalization, s.names
	if s.created >= 0 {
		a.Created = time.Unix(min(s.created, secondsMax), 0).UTC()
	}
	if s.expires >= 0 {
		a.Expires = time.Unix(min(s.expires, secondsMax), 0).UTC()
	}
	return a
}

// secondsMax is the last second of the year 9999: later ones cannot be in
// JSON.
const secondsMax = 253402300799

// hashBodies reads the body once for all signatures.
func hashBodies(all []*attempt, body io.Reader) error {
	type form struct {
		relaxed bool
		length  int64
	}
	hashes := map[form]*bodyHash{}
	var writers []io.Writer
	for _, a := range all {
		if a.err != nil {
			continue
		}
		f := form{a.sig.relaxedBody, a.sig.length}
		if hashes[f] == nil {
			b := newBodyHash(f.relaxed)
			if f.length >= 0 {
				b.left = f.length
			}
			hashes[f] = b
			writers = append(writers, b)
		}
		a.body = hashes[f]
	}
	if len(writers) == 0 {
		return nil
	}
	_, err := io.Copy(io.MultiWriter(writers...), body)
	return err
}

func (a *attempt) end(step string, outcome DKIMOutcome, format string, args ...any) {
	a.Outcome, a.Problem = outcome, fmt.Sprintf(format, args...)
	a.step(step, a.Problem)
}

func (a *attempt) step(step, outcome string) {
	a.Trace = append(a.Trace, DKIMStep{Step: step, Outcome: outcome})
}

// verify goes the way of RFC 6376 §6.1, but looks at the body first, since
// that costs no question.
func (a *attempt) verify(ctx context.Context, r Resolver, p *fieldPicker, now time.Time) {
	var never errNever
	switch {
	case errors.As(a.err, &never):
		a.end("signature", DKIMPermError, "%v", a.err)
		return
	case a.err != nil:
		a.end("signature", DKIMNeutral, "%v", a.err)
		return
	case a.sig.expired(now):
		a.end("signature", DKIMPermError, "it has expired at %s", a.Expires.Format(time.RFC3339))
		return
	}
	a.step("signature", "read")
	if !a.checkBody() {
		return
	}
	a.SignedHeader = a.shown(p)
	digest := a.headerHash(p)
	records, ok := a.lookUp(ctx, r)
	if !ok {
		return
	}
	var first DKIMResult
	for i, text := range records[:min(len(records), dkimRecordsMax)] {
		if a.try(text, digest); a.Outcome == DKIMPass {
			return
		}
		if i == 0 {
			first = a.DKIMResult
		}
	}
	first.Trace = a.Trace
	a.DKIMResult = first
}

func (a *attempt) checkBody() bool {
	sum := a.body.Sum()
	a.BodyHash = base64.StdEncoding.EncodeToString(sum)
	if a.sig.length >= 0 {
		if a.sig.length > a.body.n {
			a.end("body", DKIMFail, "l= is %d, and the body has only %d octets", a.sig.length, a.body.n)
			return false
		}
		a.Unsigned = a.body.n - a.sig.length
	}
	if !bytes.Equal(sum, a.sig.bodyHash) {
		a.end("body", DKIMFail, "the body was changed: its hash is not that of bh=")
		return false
	}
	a.step("body", "its hash is that of bh=")
	return true
}

// headerHash is the hash that b= signs (RFC 6376 §3.7).
func (a *attempt) headerHash(p *fieldPicker) []byte {
	h := sha256.New()
	h.Write(a.canonicalHeader(p))
	return h.Sum(nil)
}

func (a *attempt) canonicalHeader(p *fieldPicker) []byte {
	b := p.appendSigned(nil, a.sig.names, a.sig.relaxedHeader)
	return appendField(b, withoutSignature(a.raw), a.sig.relaxedHeader)
}

func (a *attempt) shown(p *fieldPicker) string {
	b := a.canonicalHeader(p)
	cut := min(len(b), dkimShownOctetsMax)
	return strings.ToValidUTF8(string(b[:cut]), "?")
}

// withoutSignature takes the value of b= out of a field, with the white space
// around it.
func withoutSignature(raw []byte) []byte {
	start := bytes.IndexByte(raw, ':') + 1
	for start < len(raw) {
		end := len(raw)
		if i := bytes.IndexByte(raw[start:], ';'); i >= 0 {
			end = start + i
		}
		name, _, ok := bytes.Cut(raw[start:end], []byte("="))
		if ok && trimFWS(string(name)) == "b" {
			value := start + len(name) + 1
			return append(append([]byte(nil), raw[:value]...), raw[end:]...)
		}
		start = end + 1
	}
	return raw
}

// lookUp asks for the key (RFC 6376 §3.6.2).
func (a *attempt) lookUp(ctx context.Context, r Resolver) (records []string, ok bool) {
	name := a.sig.selector + "._domainkey." + a.sig.domain
	if len(name) > nameOctetsMax {
		a.end("key", DKIMPermError, "the name of the key is too long for the DNS")
		return nil, false
	}
	ans, q := askText(ctx, r, name)
	switch {
	case ans.Failed():
		a.end("key", DKIMTempError, "the DNS did not answer for %s: %s", name, q.Problem)
	case len(ans.Texts) == 0:
		a.end("key", DKIMPermError, "there is no key at %s", name)
	default:
		a.step("key", "found")
		ok = true
	}
	a.Trace[len(a.Trace)-1].Questions = []SPFQuestion{q}
	return ans.Texts, ok
}

// askText asks for TXT records, and gives the question for the trace.
func askText(ctx context.Context, r Resolver, name string) (dns.Answer, SPFQuestion) {
	q := dns.Question{Name: name, Type: dns.TXT}
	ans := r.Lookup(ctx, q)
	if errors.Is(ans.Err, dns.ErrName) {
		ans = dns.Answer{Question: q, RCode: dns.NXDomain, Took: ans.Took}
	}
	asked := SPFQuestion{Name: name, Type: q.Type.String(), Answers: answers(ans), Took: ans.Took}
	switch {
	case ans.Err != nil:
		asked.Problem = ans.Err.Error()
	case ans.RCode != dns.NoError:
		asked.Problem = ans.RCode.String()
	case len(ans.Texts) == 0:
		asked.Problem = "no such records"
	}
	return ans, asked
}

// try verifies with one key record.
func (a *attempt) try(text string, digest []byte) {
	k, err := parseKeyRecord(text)
	a.KeyBits, a.Testing = k.bits, k.testing
	kind, _, _ := strings.Cut(a.sig.algorithm, "-")
	switch {
	case err != nil:
		a.end("key", DKIMPermError, "the key record cannot be used: %v", err)
	case k.revoked:
		a.end("key", DKIMPermError, "the key was revoked")
	case k.kind != kind:
		a.end("key", DKIMPermError, "the key is for %s, and the signature is %s", snip(k.kind), a.sig.algorithm)
	case k.strict && a.sig.identityDomain != a.sig.domain:
		a.end("key", DKIMPermError, "the key does not sign for domains below its own (t=s)")
	default:
		a.judge(k.verify(digest, a.sig.sig))
	}
}

// judge says what the check of the signature means.
func (a *attempt) judge(err error) {
	switch {
	case errors.Is(err, errWeak):
		a.end("key", DKIMPolicy, "%v", err)
	case err != nil:
		a.end("header", DKIMFail, "%v", err)
	case a.Unsigned > 0:
		// RFC 6376 §8.2: whoever was on the way could add what he liked.
		a.end("header", DKIMPolicy, "the last %d octets of the body are not signed (l=)", a.Unsigned)
	default:
		a.Outcome, a.Problem = DKIMPass, ""
		a.step("header", "the signature is by this key")
	}
}
