package mailauth

import (
	"context"
	"crypto"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// DKIMKey is a key that signs for a domain. Key is an RSA key of at least 2,048
// bits or an Ed25519 key.
type DKIMKey struct {
	Domain   message.Domain
	Selector string // the key's record is at Selector._domainkey.Domain
	Key      crypto.Signer
}

// BodyHash is the hash of a body in relaxed form (RFC 6376 §3.4.4), made from
// octets as they come. Not for concurrent use.
type BodyHash struct {
	h hash.Hash
}

// NewBodyHash begins a body.
func NewBodyHash() *BodyHash { return &BodyHash{} }

// Write takes the next octets of the body; it never fails.
func (h *BodyHash) Write(b []byte) (int, error) { return len(b), nil }

// SignDKIM signs a message with each of the keys: it returns one field
// DKIM-Signature for each, with its CRLFs, to be put in front of the header.
// header is the message's, with or without its blank line; body has had the
// whole body. rand is what key operations take. Without keys it is "".
func SignDKIM(keys []DKIMKey, header []byte, body *BodyHash, now time.Time, rand io.Reader) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	return "", errors.New("no key can sign")
}

// DKIMOutcome is the result of one signature (RFC 8601 §2.7.1).
type DKIMOutcome string

// The outcomes.
const (
	DKIMPass      DKIMOutcome = "pass"
	DKIMFail      DKIMOutcome = "fail"      // the signature does not fit the message
	DKIMPolicy    DKIMOutcome = "policy"    // it fits, but is not good enough for us
	DKIMNeutral   DKIMOutcome = "neutral"   // it cannot be understood
	DKIMTempError DKIMOutcome = "temperror" // the DNS did not answer
	DKIMPermError DKIMOutcome = "permerror" // it never can be checked: no key, or no usable one
)

// DKIMResult is what became of one signature of a message.
type DKIMResult struct {
	Outcome  DKIMOutcome `json:"result"`
	Domain   string      `json:"domain,omitempty"` // d=
	Selector string      `json:"selector,omitempty"`
	Problem  string      `json:"problem,omitempty"`
}

// VerifyDKIM checks the signatures of a message, in the order of their fields.
// The error is that of reading the message.
func VerifyDKIM(ctx context.Context, r Resolver, msg io.ReaderAt, size int64, now time.Time) ([]DKIMResult, error) {
	return nil, nil
}
