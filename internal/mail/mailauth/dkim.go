package mailauth

import (
	"crypto"

	"github.com/breakwater-mail/breakwater/internal/mail/message"
)

// DKIMKey is a key that signs for a domain. Key is an RSA key of at least 1,024
// bits or an Ed25519 key.
type DKIMKey struct {
	Domain   message.Domain
	Selector string // the key's record is at Selector._domainkey.Domain
	Key      crypto.Signer
}

// BodyHash is the hash of a body in relaxed form (RFC 6376 §3.4.4), made of
// octets as they come. Not for concurrent use.
type BodyHash struct{ b *bodyHash }

// NewBodyHash begins a body.
func NewBodyHash() *BodyHash { return &BodyHash{newBodyHash(true)} }

// Write takes the next octets of the body; it never fails.
func (h *BodyHash) Write(p []byte) (int, error) { return h.b.Write(p) }

// Sum ends the body and returns its SHA-256.
func (h *BodyHash) Sum() []byte { return h.b.Sum() }

// DKIMOutcome is the result of one signature (RFC 8601 §2.7.1).
type DKIMOutcome string

// The outcomes.
const (
	DKIMPass      DKIMOutcome = "pass"
	DKIMFail      DKIMOutcome = "fail"      // the signature does not fit the message
	DKIMPolicy    DKIMOutcome = "policy"    // it fits, but is not good enough for us
	DKIMNeutral   DKIMOutcome = "neutral"   // it cannot be understood
	DKIMTempError DKIMOutcome = "temperror" // the DNS did not answer
	DKIMPermError DKIMOutcome = "permerror" // it can never be checked: no key, or no usable one
)

// Limits of what a message or a key record can make us do.
const (
	// dkimSignaturesMax is how many signatures of a message are checked, from
	// the top. Lists and relays leave two or three; each costs a question and
	// an operation with a key.
	dkimSignaturesMax = 10
	// dkimFieldOctetsMax bounds a field DKIM-Signature. Real ones have less
	// than 2 KB, with z= some more.
	dkimFieldOctetsMax = 32 << 10
	// dkimNamesMax bounds the names in h=.
	dkimNamesMax = 500
	// dkimHeaderOctetsMax bounds the header of a message that is verified, as
	// the parser of messages does.
	dkimHeaderOctetsMax = 1 << 20
	// dkimRecordOctetsMax bounds a key record: 16,384 bits of RSA are 3 KB.
	dkimRecordOctetsMax = 8 << 10
	// dkimRecordsMax is how many records at one name are tried. There should
	// be one (RFC 6376 §3.6.2.2).
	dkimRecordsMax = 4
	// dkimRSABitsMin is the shortest key that is believed, and that signs (RFC
	// 8301 §3.2, which wants signers to have 2,048).
	dkimRSABitsMin = 1024
	// dkimRSABitsMax bounds the work that a stranger's key makes us do. RFC
	// 8301 §3.2 wants 4,096 to be verified.
	dkimRSABitsMax = 8192
)
